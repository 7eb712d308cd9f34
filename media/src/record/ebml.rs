//! EBML (RFC 8794) as far as Matroska files of calls need it. Written here because `mkv-element`, which was tried first, writes sizes
//! that are one less than a power of 128 as "unknown" (docs/decisions/001-matroska-writer.md).

pub(crate) mod read;

/// Element IDs (RFC 9559 §5).
pub(crate) mod id {
    pub(crate) const EBML: u32 = 0x1A45_DFA3;
    pub(crate) const EBML_VERSION: u32 = 0x4286;
    pub(crate) const EBML_READ_VERSION: u32 = 0x42F7;
    pub(crate) const EBML_MAX_ID_LENGTH: u32 = 0x42F2;
    pub(crate) const EBML_MAX_SIZE_LENGTH: u32 = 0x42F3;
    pub(crate) const DOC_TYPE: u32 = 0x4282;
    pub(crate) const DOC_TYPE_VERSION: u32 = 0x4287;
    pub(crate) const DOC_TYPE_READ_VERSION: u32 = 0x4285;
    pub(crate) const VOID: u32 = 0xEC;
    pub(crate) const CRC_32: u32 = 0xBF;
    pub(crate) const SEGMENT: u32 = 0x1853_8067;
    pub(crate) const SEEK_HEAD: u32 = 0x114D_9B74;
    pub(crate) const SEEK: u32 = 0x4DBB;
    pub(crate) const SEEK_ID: u32 = 0x53AB;
    pub(crate) const SEEK_POSITION: u32 = 0x53AC;
    pub(crate) const INFO: u32 = 0x1549_A966;
    pub(crate) const TIMESTAMP_SCALE: u32 = 0x002A_D7B1;
    pub(crate) const DURATION: u32 = 0x4489;
    pub(crate) const SEGMENT_FILENAME: u32 = 0x7384;
    pub(crate) const MUXING_APP: u32 = 0x4D80;
    pub(crate) const WRITING_APP: u32 = 0x5741;
    pub(crate) const TRACKS: u32 = 0x1654_AE6B;
    pub(crate) const TRACK_ENTRY: u32 = 0xAE;
    pub(crate) const TRACK_NUMBER: u32 = 0xD7;
    pub(crate) const TRACK_UID: u32 = 0x73C5;
    pub(crate) const TRACK_TYPE: u32 = 0x83;
    pub(crate) const FLAG_LACING: u32 = 0x9C;
    pub(crate) const NAME: u32 = 0x536E;
    pub(crate) const LANGUAGE: u32 = 0x0022_B59C;
    pub(crate) const CODEC_ID: u32 = 0x86;
    pub(crate) const CODEC_PRIVATE: u32 = 0x63A2;
    pub(crate) const SEEK_PRE_ROLL: u32 = 0x56BB;
    pub(crate) const VIDEO: u32 = 0xE0;
    pub(crate) const PIXEL_WIDTH: u32 = 0xB0;
    pub(crate) const PIXEL_HEIGHT: u32 = 0xBA;
    pub(crate) const AUDIO: u32 = 0xE1;
    pub(crate) const SAMPLING_FREQUENCY: u32 = 0xB5;
    pub(crate) const CHANNELS: u32 = 0x9F;
    pub(crate) const CLUSTER: u32 = 0x1F43_B675;
    pub(crate) const TIMESTAMP: u32 = 0xE7;
    pub(crate) const SIMPLE_BLOCK: u32 = 0xA3;
    pub(crate) const CUES: u32 = 0x1C53_BB6B;
    pub(crate) const CUE_POINT: u32 = 0xBB;
    pub(crate) const CUE_TIME: u32 = 0xB3;
    pub(crate) const CUE_TRACK_POSITIONS: u32 = 0xB7;
    pub(crate) const CUE_TRACK: u32 = 0xF7;
    pub(crate) const CUE_CLUSTER_POSITION: u32 = 0xF1;
    pub(crate) const CUE_RELATIVE_POSITION: u32 = 0xF0;
}

/// Appends elements to bytes.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// With room for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
        }
    }

    /// What was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes written.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What was written behind the first `start` bytes.
    pub(crate) fn written_from(&mut self, start: usize) -> &mut [u8] {
        self.bytes.get_mut(start..).unwrap_or_default()
    }

    /// An element's ID; IDs bear their own length marker.
    pub(crate) fn id(&mut self, id: u32) {
        let bytes = id.to_be_bytes();
        self.bytes.extend_from_slice(&bytes[id_offset(id)..]);
    }

    /// An element's size in as few bytes as hold it.
    pub(crate) fn size(&mut self, size: u64) {
        let length = size_length(size);
        self.size_in(size, length);
    }

    /// An element's size in `length` bytes (1–8), which must hold it: for sizes that are to take the same room whatever they are.
    pub(crate) fn size_in(&mut self, size: u64, length: usize) {
        debug_assert!(size_length(size) <= length && length <= 8, "a size that does not fit");
        let marked = size | 1 << (7 * length);
        self.bytes.extend_from_slice(&marked.to_be_bytes()[8 - length..]);
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// An element of these bytes.
    pub(crate) fn binary(&mut self, id: u32, value: &[u8]) {
        self.id(id);
        self.size(value.len() as u64);
        self.raw(value);
    }

    /// An unsigned integer in as few bytes as hold it, at least one.
    pub(crate) fn uint(&mut self, id: u32, value: u64) {
        let bytes = value.to_be_bytes();
        self.binary(id, &bytes[8 - uint_length(value)..]);
    }

    /// An unsigned integer in eight bytes.
    pub(crate) fn uint_wide(&mut self, id: u32, value: u64) {
        self.binary(id, &value.to_be_bytes());
    }

    /// A float in eight bytes.
    pub(crate) fn float(&mut self, id: u32, value: f64) {
        self.binary(id, &value.to_be_bytes());
    }

    /// Text.
    pub(crate) fn text(&mut self, id: u32, value: &str) {
        self.binary(id, value.as_bytes());
    }

    /// An element that holds the elements that `children` writes.
    pub(crate) fn master(&mut self, id: u32, children: impl FnOnce(&mut Self)) {
        let mut body = Self::default();
        children(&mut body);
        self.binary(id, &body.bytes);
    }

    /// Padding of exactly `length` bytes, header included; at least 2, of which 0 is possible too and writes nothing.
    pub(crate) fn void(&mut self, length: usize) {
        if length == 0 {
            return;
        }
        let size_length = if length < 64 { 1 } else { 8 };
        self.id(id::VOID);
        self.size_in((length - 1 - size_length) as u64, size_length);
        self.bytes.resize(self.bytes.len() + length - 1 - size_length, 0);
    }
}

/// Bytes that an ID does not use of its four.
fn id_offset(id: u32) -> usize {
    // No ID has more than three leading zero bytes.
    (id.leading_zeros() / 8).min(3) as usize
}

/// Bytes that an ID takes.
pub(crate) fn id_length(id: u32) -> usize {
    4 - id_offset(id)
}

/// Bytes that a size takes (RFC 8794 §6.2). All ones mean "unknown", so the largest value of each length needs one byte more.
pub(crate) fn size_length(size: u64) -> usize {
    let bits = 64 - (size + 1).leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

/// Bytes that an unsigned integer takes, at least one.
pub(crate) fn uint_length(value: u64) -> usize {
    (8 - value.leading_zeros() as usize / 8).max(1)
}

/// Bytes that a whole element takes whose data is `size` bytes.
pub(crate) fn element_length(id: u32, size: usize) -> usize {
    id_length(id) + size_length(size as u64) + size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_all_ones_are_never_written() {
        let table: &[(u64, &[u8])] = &[
            (0, &[0x80]),
            (126, &[0xfe]),
            (127, &[0x40, 0x7f]),
            (16_382, &[0x7f, 0xfe]),
            (16_383, &[0x20, 0x3f, 0xff]),
            (2_097_150, &[0x3f, 0xff, 0xfe]),
            (2_097_151, &[0x10, 0x1f, 0xff, 0xff]),
            (268_435_455, &[0x08, 0x0f, 0xff, 0xff, 0xff]),
        ];
        for (size, bytes) in table {
            let mut writer = Writer::default();
            writer.size(*size);
            assert_eq!(writer.into_bytes(), *bytes, "{size}");
        }
    }

    #[test]
    fn elements_take_the_room_that_is_planned_for_them() {
        for value in [0, 1, 255, 256, 65_535, 1 << 40, u64::MAX] {
            let mut writer = Writer::default();
            writer.uint(id::TIMESTAMP_SCALE, value);
            assert_eq!(writer.len(), element_length(id::TIMESTAMP_SCALE, uint_length(value)));
        }
        for length in (2..200).chain([16_383, 70_000]) {
            let mut writer = Writer::default();
            writer.void(length);
            assert_eq!(writer.len(), length);
        }
    }
}
