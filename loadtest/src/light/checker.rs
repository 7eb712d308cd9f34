//! What one client received: counted, ordered and timed, and whether several sizes of a picture are one stream without a seam.

use std::cmp::Ordering;

use caside_media::rtp::unwrap_near;
use caside_media::rtp::vp8::Vp8Descriptor;

use crate::marker::Marker;
use crate::report::Histogram;
use crate::synthetic::SIZES;

/// Streams that one client keeps count of; a room has fewer tracks.
const MAX_STREAMS: usize = 256;

/// Bits of a picture's number that count.
const PICTURE: u16 = 0x7fff;

/// One track as it is received.
#[derive(Debug, Clone)]
struct Stream {
    ssrc: u32,
    highest: u64,
    /// The packet with the highest number so far; `None` before the first.
    last: Option<Last>,
    /// From where the current window counts.
    window_base: u64,
    window_received: u64,
    /// Packets that came of the key frame that is being received; `None` once one was whole.
    key_frame: Option<(u32, u16)>,
}

/// A packet that others follow.
#[derive(Debug, Clone, Copy)]
struct Last {
    marker: Marker,
    timestamp: u32,
    /// The number of its picture in the payload descriptor; 0 where there is one size only.
    picture: u16,
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
    /// What streams have that they may not have.
    pub(crate) faults: Faults,
    /// Changes of size within a stream.
    pub(crate) switches: u64,
    /// By how many ticks of 1/90,000 s a picture's timestamp was off most after such a change.
    pub(crate) skew: u32,
    /// From sending to the kernel's stamp on arrival.
    pub(crate) delay: Histogram,
}

/// What may not be, whatever the network does. Of packets, of which each is judged by the one before; only where no sequence number
/// is missing between them, unless it says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Streams that began with something else than a key frame.
    pub(crate) began_blind: u64,
    /// Packets that were published before what had come already, though their sequence number is higher; missing ones or not.
    pub(crate) backwards: u64,
    /// Packets of another size than that before, in the middle of a frame, or at its timestamp.
    pub(crate) mixed: u64,
    /// Changes of size that do not begin with a key frame.
    pub(crate) switched_blind: u64,
    /// Packets whose timestamp, or the number of whose picture, does not go on from the packet before (RFC 7741 §4.2).
    pub(crate) misnumbered: u64,
}

impl Faults {
    /// Adds another's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.began_blind += other.began_blind;
        self.backwards += other.backwards;
        self.mixed += other.mixed;
        self.switched_blind += other.switched_blind;
        self.misnumbered += other.misnumbered;
    }

    /// All together.
    pub(crate) fn count(&self) -> u64 {
        self.began_blind + self.backwards + self.mixed + self.switched_blind + self.misnumbered
    }
}

impl Totals {
    /// Adds another's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.bytes += other.bytes;
        self.reordered += other.reordered;
        self.unmarked += other.unmarked;
        self.delay.add(&other.delay);
        self.add_course(other);
    }

    /// Adds of another what counts from a stream's beginning, and not in a time that is measured: faults and changes of size.
    pub(crate) fn add_course(&mut self, other: &Self) {
        self.faults.add(&other.faults);
        self.switches += other.switches;
        self.skew = self.skew.max(other.skew);
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
    pub(crate) timestamp: u32,
    pub(crate) len: usize,
    pub(crate) payload: &'p [u8],
    pub(crate) at_ns: u64,
}

/// The pictures of one client, where it asked for sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pictures {
    /// How many of each size it asked for, lowest first.
    pub(crate) asked: [usize; SIZES],
    /// How many of each size came last.
    pub(crate) had: [usize; SIZES],
    /// How many are not of the size that was asked for.
    pub(crate) others: usize,
}

/// The streams of one client.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    streams: Vec<Stream>,
    /// Sizes that were asked for, by SSRC.
    asked: Vec<(u32, u8)>,
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

    /// Says which sizes are asked for, by SSRC; of others none is.
    pub(crate) fn expect(&mut self, sizes: Vec<(u32, u8)>) {
        self.asked = sizes;
    }

    /// What was asked for, and what comes; `None` where nothing was asked for.
    pub(crate) fn pictures(&self) -> Option<Pictures> {
        let mut pictures = Pictures::default();
        let count = |sizes: &mut [usize; SIZES], size: u8| {
            sizes
                .get_mut(usize::from(size))
                .into_iter()
                .for_each(|count| *count += 1);
        };
        for (ssrc, asked) in &self.asked {
            let stream = self.streams.iter().find(|stream| stream.ssrc == *ssrc);
            let had = stream.and_then(|stream| stream.last?.marker.encoding);
            count(&mut pictures.asked, *asked);
            had.into_iter().for_each(|had| count(&mut pictures.had, had));
            pictures.others += usize::from(had != Some(*asked));
        }
        (!self.asked.is_empty()).then_some(pictures)
    }

    /// Streams that have had a whole key frame.
    pub(crate) fn decoding(&self) -> usize {
        self.streams.iter().filter(|stream| stream.key_frame.is_none()).count()
    }
}

impl Stream {
    fn begin(packet: &Received<'_>, marker: &Marker, totals: &mut Totals) -> Self {
        if !marker.key_frame || marker.packet != 0 {
            totals.faults.began_blind += 1;
        }
        let sequence = u64::from(packet.sequence) + (1 << 16);
        Self {
            ssrc: packet.ssrc,
            highest: sequence - 1,
            last: None,
            window_base: sequence - 1,
            window_received: 0,
            key_frame: Some((marker.frame, 0)),
        }
    }

    fn take(&mut self, packet: &Received<'_>, marker: &Marker, totals: &mut Totals) -> bool {
        let extended = unwrap_near(self.highest, packet.sequence);
        self.window_received += 1;
        match extended.cmp(&self.highest) {
            Ordering::Less => totals.reordered += 1,
            Ordering::Equal => {}
            Ordering::Greater => {
                let follows = extended == self.highest + 1;
                self.highest = extended;
                self.judge(packet, marker, follows, totals);
            }
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

    /// Judges a packet by the one before it, which it `follows` unless numbers are missing between them.
    fn judge(&mut self, packet: &Received<'_>, marker: &Marker, follows: bool, totals: &mut Totals) {
        let descriptor = marker.encoding.and_then(|_| Vp8Descriptor::parse(packet.payload));
        let now = Last {
            marker: *marker,
            timestamp: packet.timestamp,
            picture: descriptor.map_or(0, |descriptor| descriptor.picture),
        };
        let Some(last) = self.last.replace(now) else {
            return;
        };
        let switches = marker.encoding != last.marker.encoding;
        totals.switches += u64::from(switches);
        // A picture may come twice where its size changes.
        let goes_on = match switches {
            true => marker.frame >= last.marker.frame,
            false => (marker.frame, marker.packet) > (last.marker.frame, last.marker.packet),
        };
        if !goes_on || marker.stream != last.marker.stream {
            totals.faults.backwards += 1;
        }
        if !follows || marker.encoding.is_none() {
            return;
        }
        let later = now.timestamp.wrapping_sub(last.timestamp);
        let begins = marker.packet == 0;
        if switches {
            let is_between = begins && last.marker.packet + 1 == last.marker.packets;
            totals.faults.mixed += u64::from(!is_between || later == 0);
            totals.faults.switched_blind += u64::from(!marker.key_frame);
        }
        let pictures = now.picture.wrapping_sub(last.picture) & PICTURE;
        let is_numbered = match begins {
            true => pictures == 1 && later != 0 && later < 1 << 31,
            false => pictures == 0 && later == 0,
        };
        totals.faults.misnumbered += u64::from(!is_numbered && (begins || !switches));
        if switches && begins {
            let frames = marker.frame.saturating_sub(last.marker.frame);
            let expected = u32::from(marker.ticks).saturating_mul(frames);
            totals.skew = totals.skew.max(later.abs_diff(expected));
        }
    }
}

#[cfg(test)]
mod tests;
