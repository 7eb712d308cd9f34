//! Lost sound, filled in from what later packets have of it (RFC 2198).
//!
//! It is done once for all receivers, where a packet comes in: what was lost then lies in the ring as if it had come, plain, and
//! goes to everybody under its own number, with RED or without. Should the packet itself still come, it was only late, and
//! is a duplicate: so no number is ever sealed twice, which a decision in each receiver could not promise.

use bytes::Bytes;

use crate::control::{TapItem, TapPacket};
use crate::parameters::{PayloadType, Ssrc};
use crate::producer::Producer;
use crate::producer::ring::{PacketInfo, Wrapping};
use crate::producer::stream::Stream;
use crate::rtp::red::{MAX_REDUNDANT, Red};

/// The places of packets that one packet made up for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Recovered {
    /// Newest first.
    places: [u64; MAX_REDUNDANT],
    count: usize,
}

impl Recovered {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn oldest_first(&self) -> impl Iterator<Item = u64> + use<> {
        let Self { places, count } = *self;
        places.into_iter().take(count).rev()
    }

    fn push(&mut self, place: u64) {
        if let Some(free) = self.places.get_mut(self.count) {
            *free = place;
            self.count += 1;
        }
    }
}

/// Puts into the ring what is missing there and lies in a packet that is not the stream's first.
///
/// RFC 2198 does not number its blocks. Senders repeat the packets just before, so the last block is of the packet before, the one
/// before it of the packet before that; which is believed only where the timestamps agree with those around.
pub(super) fn recover(stream: &mut Stream, info: &PacketInfo, red: &Red<'_>) -> Recovered {
    let mut recovered = Recovered::default();
    let mut later = 0;
    for (block, distance) in red.redundant().zip(1..) {
        let Some(extended) = info.extended.checked_sub(distance).filter(|it| *it >= stream.oldest()) else {
            break;
        };
        if block.earlier <= later {
            break;
        }
        later = block.earlier;
        if stream.ring.get(extended).is_some() || block.payload_type != red.payload_type || block.data.is_empty() {
            continue;
        }
        let timestamp = info.timestamp.wrapping_sub(u32::from(block.earlier));
        let before = extended.checked_sub(1).and_then(|before| stream.ring.get(before));
        let goes_on = before.is_none_or(|before| {
            before.info.epoch != info.epoch || (timestamp.wrapping_sub(before.info.timestamp) as i32) > 0
        });
        if !goes_on {
            break;
        }
        let missing = PacketInfo {
            extended,
            timestamp,
            marker: false,
            // Its level was in the header that was lost.
            audio_level: None,
            wrapping: Wrapping::Plain,
            recovered: true,
            ..*info
        };
        stream.ring.insert(missing, &[], block.data);
        stream.nack.forget(extended);
        recovered.push(extended);
    }
    recovered
}

impl Producer {
    /// Shows taps what was recovered.
    pub(super) fn observe_recovered(
        &mut self,
        encoding: usize,
        recovered: &Recovered,
        ssrc: Ssrc,
        payload_type: PayloadType,
    ) {
        for extended in recovered.oldest_first() {
            let slot = self.streams.get(encoding).and_then(|stream| stream.ring.get(extended));
            let Some(packet) = slot.map(|slot| TapPacket {
                received: slot.info.arrival,
                ssrc,
                payload_type,
                sequence: extended as u16,
                timestamp: slot.info.timestamp,
                marker: false,
                payload: Bytes::copy_from_slice(slot.payload()),
            }) else {
                continue;
            };
            self.observe(|| TapItem::Packet(packet.clone()));
        }
    }
}
