//! Sealing what goes to the client, each index once.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::replay::ReplayWindow;
use super::{
    Cipher, ENCRYPTED, RTCP_HEADER, RTP_HEADER, RtpIndex, SRTCP_OVERHEAD, SRTP_OVERHEAD, SrtpError, read_u16, read_u32,
};

/// SSRCs whose used indices are remembered. Beyond it the one that was silent longest is forgotten.
pub const MAX_OUTBOUND_SSRCS: usize = 1024;

/// Packets of an SSRC may be sealed out of order by 64 times this.
const WINDOW_WORDS: usize = 16;

pub(super) struct Outbound {
    cipher: Cipher,
    used: Vec<Used>,
    /// Where each SSRC is in `used`.
    places: HashMap<u32, usize, RandomState>,
    /// The place of the last packet's SSRC, which mostly is the next one's too.
    last: usize,
    /// Counts sealed RTP packets; orders [`Used::last`].
    sealed: u64,
    /// One counter for all SSRCs keeps (SSRC, index) unique as well as one each would (RFC 3711 §3.2.1 asks for no more).
    rtcp_index: u32,
}

struct Used {
    ssrc: u32,
    window: ReplayWindow<WINDOW_WORDS>,
    last: u64,
}

impl Outbound {
    pub(super) fn new(cipher: Cipher) -> Self {
        Self {
            cipher,
            used: Vec::new(),
            places: HashMap::default(),
            last: 0,
            sealed: 0,
            rtcp_index: 0,
        }
    }

    pub(super) fn seal_rtp(
        &mut self,
        packet: &mut [u8],
        len: usize,
        header_len: usize,
        roc: u32,
    ) -> Result<usize, SrtpError> {
        if header_len < RTP_HEADER || header_len > len || packet.len().saturating_sub(SRTP_OVERHEAD) < len {
            return Err(SrtpError::Malformed);
        }
        let sequence = read_u16(packet, 2).ok_or(SrtpError::Malformed)?;
        let ssrc = read_u32(packet, 8).ok_or(SrtpError::Malformed)?;
        let index = RtpIndex { ssrc, roc, sequence };
        self.use_up(index)?;
        Ok(self.cipher.seal_rtp(packet, len, header_len, index)?)
    }

    /// Reads what sealing the next packet needs; see [`crate::engine::ahead`].
    pub(super) fn preload(&self) -> u64 {
        let used = self.used.get(self.last);
        self.sealed ^ used.map_or(0, |used| used.last ^ used.window.preload())
    }

    pub(super) fn seal_rtcp(&mut self, packet: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if len < RTCP_HEADER || packet.len().saturating_sub(SRTCP_OVERHEAD) < len {
            return Err(SrtpError::Malformed);
        }
        let ssrc = read_u32(packet, 4).ok_or(SrtpError::Malformed)?;
        let index = self.rtcp_index + 1;
        if index & ENCRYPTED != 0 {
            return Err(SrtpError::KeyExhausted);
        }
        self.rtcp_index = index;
        Ok(self.cipher.seal_rtcp(packet, len, ssrc, index)?)
    }

    /// Takes an index before it is sealed: should sealing fail half-way, the index stays used.
    fn use_up(&mut self, index: RtpIndex) -> Result<(), SrtpError> {
        self.sealed += 1;
        if self.used.get(self.last).is_none_or(|used| used.ssrc != index.ssrc) {
            self.last = match self.places.get(&index.ssrc) {
                Some(place) => *place,
                None => self.make_place(index.ssrc),
            };
        }
        let used = self.used.get_mut(self.last).ok_or(SrtpError::Malformed)?;
        if !used.window.is_new(index.extended()) {
            return Err(SrtpError::Reused);
        }
        used.window.mark(index.extended());
        used.last = self.sealed;
        Ok(())
    }

    /// A place for a new SSRC: one more, or that of the SSRC that was silent longest.
    fn make_place(&mut self, ssrc: u32) -> usize {
        let fresh = Used {
            ssrc,
            window: ReplayWindow::new(),
            last: self.sealed,
        };
        let oldest = if self.used.len() < MAX_OUTBOUND_SSRCS {
            None
        } else {
            self.used
                .iter()
                .enumerate()
                .min_by_key(|(_, used)| used.last)
                .map(|(place, _)| place)
        };
        let place = match oldest {
            Some(place) => {
                let forgotten = std::mem::replace(&mut self.used[place], fresh);
                self.places.remove(&forgotten.ssrc);
                place
            }
            None => {
                self.used.push(fresh);
                self.used.len() - 1
            }
        };
        self.places.insert(ssrc, place);
        place
    }
}
