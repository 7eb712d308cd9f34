//! RTCP on its way to one transport: as many messages a datagram as fit.

use crate::parameters::Path;
use crate::rtcp::RtcpWriter;
use crate::send_buffer::SendBuffer;
use crate::transport::{SRTCP_OVERHEAD, Transport};

/// Plain bytes of a compound at most; sealed and over IPv6 and UDP it fits the smallest MTU of 1280.
const MAX_COMPOUND: usize = 1200;

/// Collects messages; [`finish`](Self::finish) sends the rest.
pub(crate) struct RtcpBatch<'e> {
    transport: &'e mut Transport,
    path: Path,
    out: &'e mut SendBuffer,
    buffer: [u8; MAX_COMPOUND],
    len: usize,
    unsealed: u64,
}

impl<'e> RtcpBatch<'e> {
    pub(crate) fn new(transport: &'e mut Transport, path: Path, out: &'e mut SendBuffer) -> Self {
        Self {
            transport,
            path,
            out,
            buffer: [0; MAX_COMPOUND],
            len: 0,
            unsealed: 0,
        }
    }

    /// Adds what `write` writes, all in one datagram; it says whether everything had room.
    pub(crate) fn add(&mut self, mut write: impl FnMut(&mut RtcpWriter<'_>) -> bool) {
        for _ in 0..2 {
            let mut writer = RtcpWriter::new(&mut self.buffer[self.len..]);
            if write(&mut writer) {
                self.len += writer.len();
                return;
            }
            // Once more with an empty datagram. What does not fit that is not sent.
            self.seal();
        }
        debug_assert!(false, "a message is larger than a datagram");
    }

    /// Sends what is left. Returns how many datagrams could not be sealed.
    pub(crate) fn finish(mut self) -> u64 {
        self.seal();
        self.unsealed
    }

    fn seal(&mut self) {
        let len = std::mem::take(&mut self.len);
        if len == 0 {
            return;
        }
        let datagram = self.out.reserve(len + SRTCP_OVERHEAD);
        datagram[..len].copy_from_slice(&self.buffer[..len]);
        match self.transport.protect_rtcp(datagram, len) {
            Ok(sealed) => self.out.commit(self.path, sealed),
            Err(_) => self.unsealed += 1,
        }
    }
}
