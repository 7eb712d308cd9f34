//! What one client received: counted, ordered and timed.

use caside_media::rtp::unwrap_near;

use crate::marker::Marker;
use crate::report::Histogram;

/// Streams that one client keeps count of; a room has fewer tracks.
const MAX_STREAMS: usize = 256;

/// One track as it is received.
#[derive(Debug, Clone)]
struct Stream {
    ssrc: u32,
    /// The publishing bot's number for it.
    number: u32,
    highest: u64,
    /// The frame of the packet that came last.
    frame: u32,
    /// From where the current window counts.
    window_base: u64,
    window_received: u64,
    /// Packets that came of the key frame that is being received; `None` once one was whole.
    key_frame: Option<(u32, u16)>,
}

/// What was received since the last window began, over streams and clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    /// Packets that the sequence numbers say were sent.
    pub(crate) expected: u64,
    /// Packets that came, each counted once.
    pub(crate) received: u64,
    /// Their bytes: whole RTP packets, before encryption.
    pub(crate) bytes: u64,
    /// Packets that came after one with a higher number.
    pub(crate) reordered: u64,
    /// Packets without a marker: padding, retransmissions, or damage.
    pub(crate) unmarked: u64,
    /// Packets whose frame counter ran backwards although their sequence number did not.
    pub(crate) backwards: u64,
    /// Streams that began with something else than a key frame.
    pub(crate) began_blind: u64,
    /// From sending to the kernel's stamp on arrival.
    pub(crate) delay: Histogram,
}

impl Totals {
    /// Adds another's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.bytes += other.bytes;
        self.reordered += other.reordered;
        self.unmarked += other.unmarked;
        self.backwards += other.backwards;
        self.began_blind += other.began_blind;
        self.delay.add(&other.delay);
    }

    /// The share of expected packets that did not come.
    pub(crate) fn loss(&self) -> f64 {
        if self.expected == 0 {
            return 0.0;
        }
        self.expected.saturating_sub(self.received) as f64 / self.expected as f64
    }
}

/// A packet's header as far as it matters here, and its payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'p> {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) len: usize,
    pub(crate) payload: &'p [u8],
    pub(crate) at_ns: u64,
}

/// The streams of one client.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    streams: Vec<Stream>,
    /// Where the last packet's stream is, which the next one is of most of the time.
    last: usize,
}

impl Checker {
    /// Takes a packet. Returns whether a stream's first key frame is whole with it.
    pub(crate) fn take(&mut self, packet: &Received<'_>, totals: &mut Totals) -> bool {
        let Some(marker) = Marker::find(packet.payload) else {
            totals.unmarked += 1;
            return false;
        };
        totals.bytes += packet.len as u64;
        if packet.at_ns > 0 {
            totals.delay.record_ns(packet.at_ns.saturating_sub(marker.sent_ns));
        }
        let known = self
            .streams
            .get(self.last)
            .is_some_and(|stream| stream.ssrc == packet.ssrc);
        if !known {
            match self.streams.iter().position(|stream| stream.ssrc == packet.ssrc) {
                Some(at) => self.last = at,
                None if self.streams.len() < MAX_STREAMS => {
                    self.last = self.streams.len();
                    self.streams.push(Stream::begin(packet, &marker, totals));
                }
                None => return false,
            }
        }
        match self.streams.get_mut(self.last) {
            Some(stream) => stream.take(packet, &marker, totals),
            None => false,
        }
    }

    /// Ends the window: what was expected and received in it is added to `totals`.
    pub(crate) fn end_window(&mut self, totals: &mut Totals) {
        for stream in &mut self.streams {
            totals.expected += stream.highest - stream.window_base;
            totals.received += stream.window_received;
            stream.window_base = stream.highest;
            stream.window_received = 0;
        }
    }

    /// Streams that have had a whole key frame.
    pub(crate) fn decoding(&self) -> usize {
        self.streams.iter().filter(|stream| stream.key_frame.is_none()).count()
    }
}

impl Stream {
    fn begin(packet: &Received<'_>, marker: &Marker, totals: &mut Totals) -> Self {
        if !marker.key_frame || marker.packet != 0 {
            totals.began_blind += 1;
        }
        let sequence = u64::from(packet.sequence) + (1 << 16);
        Self {
            ssrc: packet.ssrc,
            number: marker.stream,
            highest: sequence - 1,
            frame: marker.frame,
            window_base: sequence - 1,
            window_received: 0,
            key_frame: Some((marker.frame, 0)),
        }
    }

    fn take(&mut self, packet: &Received<'_>, marker: &Marker, totals: &mut Totals) -> bool {
        let extended = unwrap_near(self.highest, packet.sequence);
        self.window_received += 1;
        if extended < self.highest {
            totals.reordered += 1;
        } else {
            self.highest = extended;
            if marker.frame < self.frame || marker.stream != self.number {
                totals.backwards += 1;
            }
            self.frame = marker.frame;
            self.number = marker.stream;
        }
        let Some((frame, count)) = &mut self.key_frame else {
            return false;
        };
        if !marker.key_frame {
            return false;
        }
        if *frame != marker.frame {
            (*frame, *count) = (marker.frame, 0);
        }
        *count += 1;
        let whole = *count == marker.packets;
        if whole {
            self.key_frame = None;
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::MARKER;

    fn payload(frame: u32, packet: u16, key_frame: bool) -> Vec<u8> {
        let mut payload = vec![0; 10 + MARKER];
        let marker = Marker {
            stream: 1,
            frame,
            packet,
            packets: 2,
            key_frame,
            sent_ns: 1000,
        };
        assert!(marker.write(&mut payload[10..]));
        payload
    }

    fn feed(packets: &[(u16, Vec<u8>)]) -> (Totals, Vec<bool>) {
        let (mut checker, mut totals) = (Checker::default(), Totals::default());
        let whole = packets
            .iter()
            .map(|(sequence, payload)| {
                let packet = Received {
                    ssrc: 9,
                    sequence: *sequence,
                    len: 100,
                    payload,
                    at_ns: 3000,
                };
                checker.take(&packet, &mut totals)
            })
            .collect();
        checker.end_window(&mut totals);
        (totals, whole)
    }

    #[test]
    fn a_whole_stream_has_no_loss_and_decodes_with_its_key_frame() {
        let (totals, whole) = feed(&[
            (65_535, payload(0, 0, true)),
            (0, payload(0, 1, true)),
            (1, payload(1, 0, false)),
        ]);
        assert_eq!((totals.expected, totals.received, totals.bytes), (3, 3, 300));
        assert_eq!((totals.began_blind, totals.backwards, totals.reordered), (0, 0, 0));
        assert_eq!(whole, [false, true, false]);
    }

    #[test]
    fn what_is_missing_late_or_wrong_is_counted() {
        let (totals, whole) = feed(&[
            (10, payload(5, 0, false)),
            (14, payload(7, 0, false)),
            (13, payload(6, 1, false)),
            (15, payload(4, 0, false)),
            (16, vec![0; 50]),
        ]);
        assert_eq!((totals.expected, totals.received), (6, 4));
        assert_eq!((totals.began_blind, totals.backwards, totals.reordered), (1, 1, 1));
        assert_eq!(totals.unmarked, 1);
        assert!(whole.iter().all(|whole| !whole));
        assert!((totals.loss() - 2.0 / 6.0).abs() < 1e-9);
    }
}
