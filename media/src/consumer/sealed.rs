//! Packets as they went out, for receivers who can be helped only by the same packet again (NACK without RTX).
//!
//! Sealing anew, with another send time say, would use a number twice (RFC 3711 §9.1); what is kept is the ciphertext.

/// Packets kept, a power of two: 1.3 s of sound, at most 92 KiB of video.
const KEPT: usize = 64;

/// The last packets that went out.
#[derive(Debug, Default)]
pub(crate) struct SealedPackets {
    /// By the lower bits of the index. Empty until the first packet.
    packets: Vec<(u64, Vec<u8>)>,
}

impl SealedPackets {
    pub(crate) fn keep(&mut self, index: u64, packet: &[u8]) {
        if self.packets.is_empty() {
            self.packets.resize_with(KEPT, || (u64::MAX, Vec::new()));
        }
        let (kept, bytes) = &mut self.packets[index as usize % KEPT];
        *kept = index;
        bytes.clear();
        bytes.extend_from_slice(packet);
    }

    pub(crate) fn get(&self, index: u64) -> Option<&[u8]> {
        let (kept, bytes) = self.packets.get(index as usize % KEPT)?;
        (*kept == index).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_packets_as_they_were() {
        let mut sealed = SealedPackets::default();
        assert_eq!(sealed.get(0), None);
        (0..100u64).for_each(|index| sealed.keep(index, &index.to_be_bytes()));
        assert_eq!(sealed.get(35), None);
        assert_eq!(sealed.get(36), Some(&36u64.to_be_bytes()[..]));
        assert_eq!(sealed.get(100), None);
    }
}
