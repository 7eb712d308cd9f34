//! The last packets of a stream, kept once for all who take from it.

use std::time::Instant;

use crate::parameters::MediaKind;
use crate::rtp::frame::FrameInfo;

/// How many packets a ring holds, a power of two: at 2.5 Mbit/s about 2 s of video; 2.5 s of sound at 20 ms a packet.
pub(crate) fn capacity(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Video => 512,
        MediaKind::Audio => 128,
    }
}

/// Sizes that a slot's memory grows through, so that a steady stream soon stops allocating.
const SIZE_CLASSES: [usize; 5] = [128, 256, 640, 1280, 2048];

/// What the header said of a packet, as far as forwarding needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PacketInfo {
    /// Sequence number without wraps; grows over restarts of the publisher too.
    pub(crate) extended: u64,
    /// Changes where sequence numbers or timestamps do not go on from what was before.
    pub(crate) epoch: u32,
    pub(crate) timestamp: u32,
    pub(crate) arrival: Instant,
    /// Index into the producer's codecs.
    pub(crate) codec: u8,
    pub(crate) marker: bool,
    /// Whether a decoder can begin with this packet.
    pub(crate) key_frame: bool,
    /// RFC 6464: the V bit and the level.
    pub(crate) audio_level: Option<u8>,
    /// `urn:3gpp:video-orientation`.
    pub(crate) orientation: Option<u8>,
    /// Layers, of a picture.
    pub(crate) frame: FrameInfo,
    pub(crate) wrapping: Wrapping,
    /// It did not come itself: a later packet had it as redundant sound.
    pub(crate) recovered: bool,
}

/// How the sound of a packet lies in its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Wrapping {
    /// The payload is the codec's.
    #[default]
    Plain,
    /// Behind the headers and blocks of RED (RFC 2198).
    Red {
        /// Where it begins.
        primary: u16,
    },
    /// Where it lies in RED cannot be told: the frame is encrypted end to end, or malformed.
    Opaque,
}

/// A packet in a ring.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) info: PacketInfo,
    descriptor_len: u8,
    /// The dependency descriptor, then the payload.
    data: Vec<u8>,
}

impl Slot {
    /// The dependency descriptor of an AV1 packet; empty when there is none.
    pub(crate) fn descriptor(&self) -> &[u8] {
        &self.data[..usize::from(self.descriptor_len)]
    }

    /// The payload without padding.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.data[usize::from(self.descriptor_len)..]
    }

    /// The payload without what RED puts before the packet's own sound; `None` when that cannot be told.
    pub(crate) fn unwrapped(&self) -> Option<&[u8]> {
        match self.info.wrapping {
            Wrapping::Plain => Some(self.payload()),
            Wrapping::Red { primary } => self.payload().get(usize::from(primary)..),
            Wrapping::Opaque => None,
        }
    }

    fn fill(&mut self, info: PacketInfo, descriptor: &[u8], payload: &[u8]) {
        // An element has at most 255 bytes (RFC 8285 §4.3).
        let descriptor_len = u8::try_from(descriptor.len()).unwrap_or(0);
        let descriptor = &descriptor[..usize::from(descriptor_len)];
        self.data.clear();
        let needed = descriptor.len() + payload.len();
        if self.data.capacity() < needed {
            let class = SIZE_CLASSES
                .into_iter()
                .find(|class| *class >= needed)
                .unwrap_or(needed);
            self.data.reserve_exact(class);
        }
        self.data.extend_from_slice(descriptor);
        self.data.extend_from_slice(payload);
        self.descriptor_len = descriptor_len;
        self.info = info;
    }
}

/// The last packets of a stream, found by extended sequence number.
#[derive(Debug)]
pub(crate) struct Ring {
    capacity: usize,
    /// Empty until the first packet: many a stream never starts.
    slots: Vec<Option<Slot>>,
}

impl Ring {
    /// `capacity` is a power of two.
    pub(crate) fn new(capacity: usize) -> Self {
        debug_assert!(capacity.is_power_of_two(), "indexes are masked");
        Self {
            capacity,
            slots: Vec::new(),
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    pub(crate) fn get(&self, extended: u64) -> Option<&Slot> {
        let slot = self.slots.get(self.index(extended))?.as_ref()?;
        (slot.info.extended == extended).then_some(slot)
    }

    pub(crate) fn get_mut(&mut self, extended: u64) -> Option<&mut Slot> {
        let index = self.index(extended);
        let slot = self.slots.get_mut(index)?.as_mut()?;
        (slot.info.extended == extended).then_some(slot)
    }

    /// Keeps a packet in place of the one `capacity` before it.
    pub(crate) fn insert(&mut self, info: PacketInfo, descriptor: &[u8], payload: &[u8]) {
        if self.slots.is_empty() {
            self.slots.resize_with(self.capacity, || None);
        }
        let index = self.index(info.extended);
        let slot = self.slots[index].get_or_insert_with(|| Slot {
            info,
            descriptor_len: 0,
            data: Vec::new(),
        });
        slot.fill(info, descriptor, payload);
    }

    fn index(&self, extended: u64) -> usize {
        extended as usize & (self.capacity - 1)
    }
}

#[cfg(test)]
impl PacketInfo {
    /// A packet of which nothing but its number matters to a test.
    pub(crate) fn plain(extended: u64) -> Self {
        Self {
            extended,
            epoch: 0,
            timestamp: 0,
            arrival: crate::producer::test_start(),
            codec: 0,
            marker: false,
            key_frame: false,
            audio_level: None,
            orientation: None,
            frame: Default::default(),
            wrapping: Default::default(),
            recovered: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_last_packets_whatever_their_order() {
        let mut ring = Ring::new(4);
        assert!(ring.get(0).is_none());
        for extended in [1, 0, 3, 2, 6] {
            ring.insert(PacketInfo::plain(extended), b"dd", &extended.to_be_bytes());
        }
        for extended in [0, 1, 3, 6] {
            let slot = ring.get(extended).expect("kept");
            assert_eq!(
                (slot.descriptor(), slot.payload()),
                (&b"dd"[..], &extended.to_be_bytes()[..])
            );
        }
        for extended in [2, 4, 5, 7, 10] {
            assert!(ring.get(extended).is_none(), "{extended}");
        }
    }

    #[test]
    fn a_slot_takes_packets_of_any_size() {
        let mut ring = Ring::new(1);
        for len in [0, 1500, 3, 2048, 4000, 0] {
            let payload = vec![7; len];
            ring.insert(PacketInfo::plain(len as u64), &[], &payload);
            assert_eq!(ring.get(len as u64).expect("kept").payload(), payload);
        }
    }
}
