//! Opening what the client sealed. State changes only after a packet proved authentic.

use super::replay::ReplayWindow;
use super::{Cipher, ENCRYPTED, OpenError, RtpIndex, read_u16, read_u32, rtp_header_len};

/// SSRCs that a client may send from over the life of a transport; packets of further ones are dropped. Simulcast of three
/// layers with retransmission takes six.
pub const MAX_INBOUND_SSRCS: usize = 128;

/// Indices up to this far behind the highest may still come: about a second of high-rate video.
const RTP_WINDOW_WORDS: usize = 32;

const RTCP_WINDOW_WORDS: usize = 2;

pub(super) struct Inbound {
    cipher: Cipher,
    rtp: Ssrcs<RTP_WINDOW_WORDS>,
    rtcp: Ssrcs<RTCP_WINDOW_WORDS>,
}

impl Inbound {
    pub(super) fn new(cipher: Cipher) -> Self {
        Self {
            cipher,
            rtp: Ssrcs::default(),
            rtcp: Ssrcs::default(),
        }
    }

    pub(super) fn ssrcs(&self) -> usize {
        self.rtp.ssrcs.len()
    }

    /// Reads what opening the next report needs; see [`crate::engine::ahead`].
    pub(super) fn preload_rtcp(&self) -> u64 {
        let ssrc = self.rtcp.ssrcs.first().copied().unwrap_or_default();
        u64::from(ssrc) ^ self.rtcp.windows.first().map_or(0, ReplayWindow::preload)
    }

    pub(super) fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, OpenError> {
        let header = rtp_header_len(packet).ok_or(OpenError::Malformed)?;
        let sequence = read_u16(packet, 2).ok_or(OpenError::Malformed)?;
        let ssrc = read_u32(packet, 8).ok_or(OpenError::Malformed)?;

        let known = self.rtp.position(ssrc);
        let extended = match known.map(|at| &self.rtp.windows[at]) {
            Some(window) => {
                let extended = estimate(window.highest(), sequence);
                if !window.is_new(extended) {
                    return Err(OpenError::Replayed);
                }
                extended
            }
            None => u64::from(sequence),
        };
        if known.is_none() && self.rtp.is_full() {
            return Err(OpenError::TooManySsrcs);
        }
        let index = RtpIndex::from_parts(ssrc, extended).ok_or(OpenError::Replayed)?;
        let len = self.cipher.open_rtp(packet, header, index)?;
        self.rtp.mark(known, ssrc, extended);
        Ok(len)
    }

    pub(super) fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, OpenError> {
        let ssrc = read_u32(packet, 4).ok_or(OpenError::Malformed)?;
        let word = self.cipher.rtcp_index_word(packet).ok_or(OpenError::Malformed)?;
        let index = u64::from(word & !ENCRYPTED);

        let known = self.rtcp.position(ssrc);
        match known {
            Some(at) if !self.rtcp.windows[at].is_new(index) => return Err(OpenError::Replayed),
            None if self.rtcp.is_full() => return Err(OpenError::TooManySsrcs),
            _ => {}
        }
        let len = self.cipher.open_rtcp(packet, ssrc, word)?;
        self.rtcp.mark(known, ssrc, index);
        Ok(len)
    }
}

/// The extended sequence number that `sequence` most likely has (RFC 3711 appendix A).
fn estimate(highest: Option<u64>, sequence: u16) -> u64 {
    const HALF: u64 = 1 << 15;
    let sequence = u64::from(sequence);
    let Some(highest) = highest else { return sequence };
    let (roc, last) = (highest >> 16, highest & 0xffff);
    let roc = if last < HALF && sequence > last + HALF {
        // Before the first wrap there is no earlier cycle that it could be of.
        roc.saturating_sub(1)
    } else if last >= HALF && sequence < last - HALF {
        roc + 1
    } else {
        roc
    };
    (roc << 16) | sequence
}

/// Windows by SSRC. There are few and the same few come again and again, so that a scan over four bytes each is the
/// fastest map; only a new SSRC allocates.
#[derive(Default)]
struct Ssrcs<const WORDS: usize> {
    ssrcs: Vec<u32>,
    windows: Vec<ReplayWindow<WORDS>>,
}

impl<const WORDS: usize> Ssrcs<WORDS> {
    fn position(&self, ssrc: u32) -> Option<usize> {
        self.ssrcs.iter().position(|known| *known == ssrc)
    }

    fn is_full(&self) -> bool {
        self.ssrcs.len() >= MAX_INBOUND_SSRCS
    }

    fn mark(&mut self, known: Option<usize>, ssrc: u32, index: u64) {
        match known {
            Some(at) => self.windows[at].mark(index),
            None => {
                let mut window = ReplayWindow::new();
                window.mark(index);
                self.ssrcs.push(ssrc);
                self.windows.push(window);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::estimate;

    #[test]
    fn estimates_the_nearest_index() {
        let cases = [
            (None, 0xffff, 0xffff),
            (Some(5), 6, 6),
            (Some(0xfffe), 1, 0x1_0001),
            (Some(0x1_0001), 0xffff, 0xffff),
            (Some(0x1_0001), 2, 0x1_0002),
            (Some(5), 0xfff0, 0xfff0),
            (Some(0x2_9000), 0x0fff, 0x3_0fff),
            (Some(0x2_9000), 0x1000, 0x2_1000),
        ];
        for (highest, sequence, expected) in cases {
            assert_eq!(estimate(highest, sequence), expected, "{highest:?} {sequence}");
        }
    }
}
