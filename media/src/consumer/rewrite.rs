//! The header of a packet as its receiver agreed to it.

use crate::parameters::{ConsumerParameters, ExtensionIds, PayloadType, Ssrc};
use crate::producer::ring::Slot;
use crate::rtp::dependency;
use crate::rtp::extensions::{ONE_BYTE, TWO_BYTE};
use crate::rtp::header::{FIXED_HEADER_LEN, write_fixed};

/// The longest header that is written: the fixed part, the extension's, mid (18), send time (5), transport-wide number (4),
/// level (3), orientation (3), dependency descriptor (257), all with two-byte headers and 3 bytes to fill the last word.
pub(crate) const MAX_HEADER: usize = FIXED_HEADER_LEN + 4 + 18 + 5 + 4 + 3 + 3 + 257 + 3;

/// The longest mid (RFC 9143 §15.1 with RFC 8285's one-byte form).
const MAX_MID: usize = 16;

/// The bit that says that a packet ends in padding (RFC 3550 §5.1).
pub(crate) const PADDING: u8 = 0x20;

/// The longest element of the one-byte form.
const MAX_ONE_BYTE: usize = 16;

/// What is different in each packet that is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) payload_type: PayloadType,
    pub(crate) ssrc: Ssrc,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    /// 6.18 fixed point seconds.
    pub(crate) abs_send_time: u32,
    pub(crate) marker: bool,
    /// The frame's number in the dependency descriptor; `None` leaves it as it came.
    pub(crate) frame: Option<u16>,
    /// Counts all packets of the transport; `None` leaves the extension out.
    pub(crate) transport_cc: Option<u16>,
}

/// Writes the headers of one consumer.
#[derive(Debug)]
pub(crate) struct HeaderWriter {
    extensions: ExtensionIds,
    mid: [u8; MAX_MID],
    mid_len: usize,
}

impl HeaderWriter {
    pub(crate) fn new(parameters: &ConsumerParameters) -> Self {
        let mut mid = [0; MAX_MID];
        let bytes = parameters.mid.as_bytes();
        let mid_len = if bytes.len() <= MAX_MID { bytes.len() } else { 0 };
        mid[..mid_len].copy_from_slice(&bytes[..mid_len]);
        let mut extensions = parameters.extensions;
        if mid_len == 0 {
            extensions.mid = None;
        }
        for id in [
            &mut extensions.mid,
            &mut extensions.audio_level,
            &mut extensions.abs_send_time,
            &mut extensions.transport_cc,
            &mut extensions.video_orientation,
            &mut extensions.dependency_descriptor,
        ] {
            *id = id.filter(|id| (1..=14).contains(id));
        }
        Self {
            extensions,
            mid,
            mid_len,
        }
    }

    /// Whether packets bear the transport-wide sequence number.
    pub(crate) fn has_transport_cc(&self) -> bool {
        self.extensions.transport_cc.is_some()
    }

    /// Writes the header of `slot`'s packet and returns its length. Contributing sources and padding are left out.
    pub(crate) fn write(&self, out: &mut [u8; MAX_HEADER], slot: &Slot, numbers: &Numbers) -> usize {
        let descriptor = slot.descriptor();
        let ids = &self.extensions;
        let has_descriptor = ids.dependency_descriptor.is_some() && !descriptor.is_empty();
        let two_byte = has_descriptor && descriptor.len() > MAX_ONE_BYTE;
        let mut block = Block {
            out,
            len: FIXED_HEADER_LEN + 4,
            two_byte,
        };
        self.write_common(&mut block, numbers);
        if let (Some(id), Some(level)) = (ids.audio_level, slot.info.audio_level) {
            block.element(id, &[level]);
        }
        if let (Some(id), Some(orientation)) = (ids.video_orientation, slot.info.orientation) {
            block.element(id, &[orientation]);
        }
        if let Some(id) = ids.dependency_descriptor.filter(|_| has_descriptor) {
            let start = block.element(id, descriptor);
            if let (Some(frame), Some(element)) = (numbers.frame, block.out.get_mut(start..)) {
                dependency::rewrite(element, frame);
            }
        }
        let len = block.finish();
        let (fixed, _) = out
            .split_first_chunk_mut()
            .expect("the buffer is longer than a fixed header");
        write_fixed(
            fixed,
            len > FIXED_HEADER_LEN,
            numbers.marker,
            numbers.payload_type,
            numbers.sequence,
            numbers.timestamp,
            numbers.ssrc,
        );
        len
    }

    /// Writes the header of a packet that has padding and nothing else.
    pub(crate) fn write_padding(&self, out: &mut [u8; MAX_HEADER], numbers: &Numbers) -> usize {
        let mut block = Block {
            out,
            len: FIXED_HEADER_LEN + 4,
            two_byte: false,
        };
        self.write_common(&mut block, numbers);
        let len = block.finish();
        let (fixed, _) = out
            .split_first_chunk_mut()
            .expect("the buffer is longer than a fixed header");
        let extension = len > FIXED_HEADER_LEN;
        let Numbers {
            payload_type,
            sequence,
            timestamp,
            ssrc,
            ..
        } = *numbers;
        write_fixed(fixed, extension, false, payload_type, sequence, timestamp, ssrc);
        fixed[0] |= PADDING;
        len
    }

    /// What every packet of the consumer bears.
    fn write_common(&self, block: &mut Block<'_>, numbers: &Numbers) {
        let ids = &self.extensions;
        if let Some(id) = ids.mid {
            block.element(id, &self.mid[..self.mid_len]);
        }
        if let Some(id) = ids.abs_send_time {
            let [_, a, b, c] = numbers.abs_send_time.to_be_bytes();
            block.element(id, &[a, b, c]);
        }
        if let (Some(id), Some(number)) = (ids.transport_cc, numbers.transport_cc) {
            block.element(id, &number.to_be_bytes());
        }
    }
}

/// The extension under construction.
struct Block<'b> {
    out: &'b mut [u8; MAX_HEADER],
    len: usize,
    two_byte: bool,
}

impl Block<'_> {
    /// `data` has 1–16 bytes in the one-byte form, at most 255 in the other.
    /// Returns where they begin.
    fn element(&mut self, id: u8, data: &[u8]) -> usize {
        if self.two_byte {
            self.out[self.len] = id;
            self.out[self.len + 1] = data.len() as u8;
            self.len += 2;
        } else {
            self.out[self.len] = id << 4 | (data.len() - 1) as u8;
            self.len += 1;
        }
        let start = self.len;
        self.out[start..start + data.len()].copy_from_slice(data);
        self.len += data.len();
        start
    }

    /// Fills the last word and writes the extension's own header. The length of the whole header so far.
    fn finish(self) -> usize {
        let start = FIXED_HEADER_LEN + 4;
        if self.len == start {
            return FIXED_HEADER_LEN;
        }
        let end = start + (self.len - start).next_multiple_of(4);
        self.out[self.len..end].fill(0);
        let profile = if self.two_byte { TWO_BYTE } else { ONE_BYTE };
        self.out[FIXED_HEADER_LEN..FIXED_HEADER_LEN + 2].copy_from_slice(&profile.to_be_bytes());
        let words = ((end - start) / 4) as u16;
        self.out[FIXED_HEADER_LEN + 2..start].copy_from_slice(&words.to_be_bytes());
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{Codec, CodecKind, Feedback, MediaKind};
    use crate::producer::ring::{PacketInfo, Ring};
    use crate::rtp::RtpHeader;

    fn writer(mid: &str, extensions: ExtensionIds) -> HeaderWriter {
        HeaderWriter::new(&ConsumerParameters {
            kind: MediaKind::Video,
            mid: mid.to_owned(),
            codec: Codec {
                kind: CodecKind::Av1,
                payload_type: PayloadType(45),
                clock_rate: 90_000,
                channels: 0,
                fmtp: String::new(),
                feedback: Feedback::default(),
                rtx: None,
                red: None,
            },
            ssrc: Ssrc(7),
            rtx_ssrc: None,
            extensions,
            cname: String::new(),
        })
    }

    fn written(writer: &HeaderWriter, descriptor: &[u8]) -> (RtpHeader, Vec<(u8, Vec<u8>)>) {
        let mut ring = Ring::new(1);
        let info = PacketInfo {
            timestamp: 1,
            marker: true,
            audio_level: Some(0x85),
            orientation: Some(3),
            ..PacketInfo::plain(1)
        };
        ring.insert(info, descriptor, b"payload");
        let numbers = Numbers {
            payload_type: PayloadType(45),
            ssrc: Ssrc(7),
            sequence: 9,
            timestamp: 11,
            marker: true,
            frame: None,
            abs_send_time: 0x0001_0203,
            transport_cc: Some(0x0405),
        };
        let mut out = [0xff; MAX_HEADER];
        let len = writer.write(&mut out, ring.get(1).unwrap(), &numbers);
        let header = RtpHeader::parse(&out[..len]).unwrap();
        assert!(header.payload.is_empty() && header.marker);
        assert_eq!((header.payload_type, header.ssrc), (PayloadType(45), Ssrc(7)));
        assert_eq!((header.sequence, header.timestamp), (9, 11));
        let elements = header
            .extensions(&out[..len])
            .map(|(id, data)| (id, data.to_vec()))
            .collect();
        (header, elements)
    }

    const ALL: ExtensionIds = ExtensionIds {
        mid: Some(1),
        rid: None,
        repaired_rid: None,
        audio_level: Some(2),
        abs_send_time: Some(3),
        transport_cc: Some(4),
        video_orientation: Some(5),
        dependency_descriptor: Some(6),
    };

    #[test]
    fn writes_what_was_agreed_in_either_form() {
        for descriptor_len in [1, 16, 17, 255] {
            let descriptor = vec![9; descriptor_len];
            let (header, elements) = written(&writer("0123456789abcdef", ALL), &descriptor);
            let profile = header.extension.unwrap().0;
            assert_eq!(profile, if descriptor_len > 16 { TWO_BYTE } else { ONE_BYTE });
            let expected = [
                (1, b"0123456789abcdef".to_vec()),
                (3, vec![1, 2, 3]),
                (4, vec![4, 5]),
                (2, vec![0x85]),
                (5, vec![3]),
                (6, descriptor),
            ];
            assert_eq!(elements, expected);
        }
    }

    #[test]
    fn writes_no_extension_when_none_was_agreed() {
        let (header, _) = written(&writer("0", ExtensionIds::default()), &[1]);
        assert_eq!(header.extension, None);
    }

    #[test]
    fn ids_outside_the_one_byte_form_and_long_mids_are_left_out() {
        let ids = ExtensionIds {
            audio_level: Some(15),
            video_orientation: Some(0),
            transport_cc: None,
            ..ALL
        };
        let (_, elements) = written(&writer("0123456789abcdefg", ids), &[]);
        assert_eq!(elements, [(3, vec![1, 2, 3])]);
    }
}
