//! What stands between the client's SCTP packets and rtc-sctp.
//!
//! rtc-sctp 0.21.1 walks through every number that a FORWARD TSN skips, keeps every reset request that waits for data, opens a stream
//! for any identifier and visits all of them with every chunk, panics on the causes of an ABORT that are cut off, and ends an
//! established association on a delayed copy of its INIT or on an ERROR, which only informs. All of it comes from an
//! authenticated client, but would stop the others of the thread too.

use std::time::Instant;

/// Bytes of the common header (RFC 9260 §3.1).
const HEADER: usize = 12;

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const ERROR: u8 = 9;
const RECONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;

/// Bytes of a DATA chunk before its user data (RFC 9260 §3.3.1).
const DATA_HEADER: usize = 16;

/// How far a number may lie ahead of the highest known: more than fits the receive window.
const MAX_AHEAD: u32 = 8192;

/// Streams that may be open at a time: the channels, and as many that are being closed.
const MAX_STREAMS: usize = 2 * super::MAX_CHANNELS;

/// INIT and RECONFIG chunks at once, and a second. A client sends one to begin, and one for each channel that it closes.
const CONTROL_BURST: f64 = 64.0;
const CONTROL_RATE: f64 = 4.0;

/// What the guard knows of an association.
pub(super) struct Guard {
    /// The highest TSN that the client used.
    highest: Option<u32>,
    tokens: f64,
    refilled: Option<Instant>,
}

/// What the session knows.
pub(super) struct Known<'s> {
    /// The association is up.
    pub(super) established: bool,
    /// Streams that are open.
    pub(super) streams: &'s [u16],
}

/// What a packet that may pass begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Dropped.
    Refused,
    /// For the association that there is.
    Passed,
    /// The client begins an association.
    Begins,
}

impl Guard {
    pub(super) fn new() -> Self {
        Self {
            highest: None,
            tokens: CONTROL_BURST,
            refilled: None,
        }
    }

    /// Judges a packet by its chunks.
    pub(super) fn judge(&mut self, now: Instant, packet: &[u8], known: &Known<'_>) -> Verdict {
        self.try_judge(now, packet, known).unwrap_or(Verdict::Refused)
    }

    fn try_judge(&mut self, now: Instant, packet: &[u8], known: &Known<'_>) -> Option<Verdict> {
        let mut verdict = Verdict::Passed;
        let mut new_streams: Vec<u16> = Vec::new();
        let mut rest = packet.get(HEADER..)?;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let (kind, chunk, after) = split_chunk(rest)?;
            match kind {
                DATA => {
                    let tsn = read_u32(chunk, 4)?;
                    let stream = u16::from_be_bytes(chunk.get(8..10)?.try_into().ok()?);
                    if chunk.len() <= DATA_HEADER || !self.advance_to(tsn) {
                        return None;
                    }
                    if !known.streams.contains(&stream) && !new_streams.contains(&stream) {
                        new_streams.push(stream);
                    }
                }
                FORWARD_TSN if !self.advance_to(read_u32(chunk, 4)?) => return None,
                RECONFIG if !self.take_token(now) => return None,
                ABORT if !causes_fit(chunk) => return None,
                ERROR => return None,
                INIT => {
                    // An INIT is alone in its packet (RFC 9260 §3.3.2).
                    if known.established || !after.is_empty() || !self.take_token(now) {
                        return None;
                    }
                    self.highest = Some(read_u32(chunk, 16)?.wrapping_sub(1));
                    verdict = Verdict::Begins;
                }
                INIT_ACK if !known.established => self.highest = Some(read_u32(chunk, 16)?.wrapping_sub(1)),
                _ => {}
            }
            rest = after;
        }
        (known.streams.len() + new_streams.len() <= MAX_STREAMS || new_streams.is_empty()).then_some(verdict)
    }

    /// Whether `tsn` is no further ahead than a client can be, with serial number arithmetic (RFC 1982).
    fn advance_to(&mut self, tsn: u32) -> bool {
        let Some(highest) = self.highest else { return false };
        let ahead = tsn.wrapping_sub(highest);
        if ahead == 0 || ahead > u32::MAX / 2 {
            return true;
        }
        if ahead > MAX_AHEAD {
            return false;
        }
        self.highest = Some(tsn);
        true
    }

    fn take_token(&mut self, now: Instant) -> bool {
        let since = self
            .refilled
            .replace(now)
            .map_or(0.0, |before| now.saturating_duration_since(before).as_secs_f64());
        self.tokens = (self.tokens + since * CONTROL_RATE).min(CONTROL_BURST);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

/// The first chunk's type, its bytes without padding, and what follows it.
fn split_chunk(rest: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let header: [u8; 4] = rest.get(..4)?.try_into().ok()?;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if len < 4 {
        return None;
    }
    let chunk = rest.get(..len)?;
    Some((
        header[0],
        chunk,
        rest.get(len.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

/// Whether the error causes of a chunk lie within it, one right after the other as rtc-sctp reads them (RFC 9260 §3.3.10).
fn causes_fit(chunk: &[u8]) -> bool {
    let mut causes = chunk.get(4..).unwrap_or_default();
    while let [_, _, high, low, ..] = *causes {
        let len = usize::from(u16::from_be_bytes([high, low]));
        match causes.split_at_checked(len) {
            Some((_, rest)) if len >= 4 => causes = rest,
            _ => return false,
        }
    }
    true
}

fn read_u32(chunk: &[u8], offset: usize) -> Option<u32> {
    chunk.get(offset..offset + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an arbitrary start of virtual time")]
    fn start() -> Instant {
        Instant::now()
    }

    fn packet(chunks: &[(u8, &[u8])]) -> Vec<u8> {
        let mut packet = vec![0; HEADER];
        for (kind, value) in chunks {
            packet.extend([*kind, 3]);
            packet.extend((4 + value.len() as u16).to_be_bytes());
            packet.extend(*value);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet
    }

    fn init(tsn: u32) -> Vec<u8> {
        let mut value = vec![0; 12];
        value.extend(tsn.to_be_bytes());
        packet(&[(INIT, &value)])
    }

    fn data(tsn: u32, stream: u16) -> Vec<u8> {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend(stream.to_be_bytes());
        value.extend([0, 0, 0, 0, 0, 51, b'x']);
        packet(&[(DATA, &value)])
    }

    const NEW: Known<'_> = Known {
        established: false,
        streams: &[],
    };
    const UP: Known<'_> = Known {
        established: true,
        streams: &[],
    };

    #[test]
    fn numbers_far_ahead_are_refused_and_wrap() {
        let mut guard = Guard::new();
        assert_eq!(
            guard.judge(start(), &data(5, 0), &UP),
            Verdict::Refused,
            "before any INIT"
        );
        assert_eq!(guard.judge(start(), &init(u32::MAX), &NEW), Verdict::Begins);
        assert_eq!(guard.judge(start(), &data(u32::MAX, 0), &UP), Verdict::Passed);
        assert_eq!(guard.judge(start(), &data(3, 0), &UP), Verdict::Passed);
        assert_eq!(
            guard.judge(start(), &data(u32::MAX, 0), &UP),
            Verdict::Passed,
            "a repetition"
        );
        let forward = |tsn: u32| packet(&[(FORWARD_TSN, &tsn.to_be_bytes())]);
        assert_eq!(guard.judge(start(), &forward(3 + MAX_AHEAD + 1), &UP), Verdict::Refused);
        assert_eq!(guard.judge(start(), &forward(3 + MAX_AHEAD), &UP), Verdict::Passed);
    }

    #[test]
    fn an_established_association_is_not_begun_anew() {
        let mut guard = Guard::new();
        assert_eq!(guard.judge(start(), &init(1), &NEW), Verdict::Begins);
        assert_eq!(
            guard.judge(start(), &init(1), &NEW),
            Verdict::Begins,
            "repeated while its answer is lost"
        );
        assert_eq!(guard.judge(start(), &init(1), &UP), Verdict::Refused);
    }

    #[test]
    fn streams_and_resets_are_bounded() {
        let mut guard = Guard::new();
        assert_eq!(guard.judge(start(), &init(1), &NEW), Verdict::Begins);
        let open: Vec<u16> = (0..MAX_STREAMS as u16).collect();
        let full = Known {
            established: true,
            streams: &open,
        };
        assert_eq!(guard.judge(start(), &data(1, 7), &full), Verdict::Passed);
        assert_eq!(guard.judge(start(), &data(2, 999), &full), Verdict::Refused);

        let reset = packet(&[(RECONFIG, &[0; 16])]);
        let passed = (0..1000)
            .filter(|_| guard.judge(start(), &reset, &UP) == Verdict::Passed)
            .count();
        assert!(passed <= CONTROL_BURST as usize, "{passed}");
    }

    #[test]
    fn malformed_packets_are_refused() {
        let mut guard = Guard::new();
        assert_eq!(guard.judge(start(), &init(1), &NEW), Verdict::Begins);
        for bad in [
            vec![],
            vec![0; 12],
            [packet(&[]), vec![0, 0, 0, 3]].concat(),
            [packet(&[]), vec![0, 0, 0, 9, 1]].concat(),
        ] {
            assert_eq!(guard.judge(start(), &bad, &UP), Verdict::Refused, "{bad:?}");
        }
        assert_eq!(
            guard.judge(start(), &packet(&[(DATA, &[0; 12])]), &UP),
            Verdict::Refused,
            "no user data"
        );
    }
}
