//! RTCP compounds.

use caside_media::rtcp::parse::ssrcs;
use caside_media::rtcp::{Packets, RtcpMessage};

/// Reads a plain compound to its end.
pub fn run(compound: &[u8]) {
    let mut messages = 0;
    for message in Packets::new(compound) {
        messages += 1;
        match message {
            RtcpMessage::SenderReport { blocks, .. } | RtcpMessage::ReceiverReport { blocks } => {
                assert!(blocks.count() <= 31);
            }
            RtcpMessage::Goodbye { ssrcs: bytes } => assert!(ssrcs(bytes, 4).count() <= 31),
            RtcpMessage::Nack { pairs, .. } => {
                let pairs_count = pairs.clone().count();
                assert!(pairs.sequences().count() <= pairs_count * 17);
            }
            RtcpMessage::FullIntra { entries } => assert!(ssrcs(entries, 8).count() <= entries.len() / 8),
            _ => {}
        }
    }
    assert!(
        messages <= compound.len() / 4,
        "every message takes its header at least"
    );
}
