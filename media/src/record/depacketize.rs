//! Takes a codec's bytes out of RTP payloads, checking every length: any bytes may come, none may panic, and no frame
//! grows beyond [`MAX_FRAME_BYTES`].
//!
//! A [`Depacketizer`] is given the payloads of one frame (all packets of one RTP timestamp) in order and without gaps,
//! and then asked for the frame as Matroska stores it. Order, gaps and timestamps are the business of
//! [`reorder`](super::reorder) and [`assemble`](super::assemble).
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::Bytes;

use crate::parameters::CodecKind;

pub mod av1;
pub(crate) mod bits;
pub mod h264;
pub mod opus;
pub mod vp8;
pub mod vp9;

/// The largest frame that is put together, in bytes.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// Why a payload or the frame made of payloads is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// It ends before what its headers announce.
    #[error("truncated payload")]
    Truncated,
    /// A value that the payload format or the codec forbids.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// A packet type that was not negotiated.
    #[error("unsupported packet type {0}")]
    Unsupported(u8),
    /// The frame does not start with this packet, or lacks its end.
    #[error("incomplete frame")]
    Incomplete,
    /// The frame exceeds [`MAX_FRAME_BYTES`].
    #[error("frame too large")]
    TooLarge,
}

/// One whole encoded frame as a Matroska block holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodedFrame {
    /// The bytes; never empty.
    pub data: Bytes,
    /// Whether decoding can start here.
    pub key: bool,
    /// Width and height in pixels, when this frame tells them: key frames do.
    pub dimensions: Option<(u32, u32)>,
    /// CodecPrivate, when this frame tells it: H.264 and AV1 key frames do.
    pub codec_private: Option<Bytes>,
    /// Samples at the RTP clock that it lasts; 0 for video, where only the next frame tells.
    pub samples: u32,
}

/// The depacketizer of a track's codec.
#[derive(Debug)]
pub enum Depacketizer {
    /// RFC 7587.
    Opus(opus::Opus),
    /// RFC 7741.
    Vp8(vp8::Vp8),
    /// RFC 6184. Boxed because it keeps parameter sets.
    H264(Box<h264::H264>),
    /// RFC 9628.
    Vp9(vp9::Vp9),
    /// AOMedia's RTP payload format for AV1.
    Av1(av1::Av1),
}

impl Depacketizer {
    /// A depacketizer between two frames. `fmtp` is the codec's `a=fmtp` value, which may bear H.264 parameter sets.
    pub fn new(codec: CodecKind, fmtp: &str) -> Self {
        match codec {
            CodecKind::Opus => Self::Opus(opus::Opus::default()),
            CodecKind::Vp8 => Self::Vp8(vp8::Vp8::default()),
            CodecKind::H264 => Self::H264(Box::new(h264::H264::with_fmtp(fmtp))),
            CodecKind::Vp9 => Self::Vp9(vp9::Vp9::default()),
            CodecKind::Av1 => Self::Av1(av1::Av1::default()),
        }
    }

    /// A depacketizer of frames that are encrypted end to end: what of a frame can be in the clear is read, and nothing else. Frames of
    /// Opus and VP9 are taken as they are; those of VP8, H.264 and AV1 need the headers that an SFU needs, too.
    pub fn of_encrypted(codec: CodecKind, fmtp: &str) -> Self {
        match codec {
            CodecKind::Opus => Self::Opus(opus::Opus::opaque()),
            CodecKind::Vp9 => Self::Vp9(vp9::Vp9::opaque()),
            CodecKind::Vp8 | CodecKind::H264 | CodecKind::Av1 => Self::new(codec, fmtp),
        }
    }

    /// Adds the next payload of the frame. After an error the frame is lost: call [`reset`](Self::reset).
    ///
    /// # Errors
    /// See [`PayloadError`].
    pub fn push(&mut self, payload: &[u8]) -> Result<(), PayloadError> {
        match self {
            Self::Opus(codec) => codec.push(payload),
            Self::Vp8(codec) => codec.push(payload),
            Self::H264(codec) => codec.push(payload),
            Self::Vp9(codec) => codec.push(payload),
            Self::Av1(codec) => codec.push(payload),
        }
    }

    /// Ends the frame: `None` when its packets held nothing to keep. Afterwards the next frame can start, whatever the result.
    ///
    /// # Errors
    /// See [`PayloadError`].
    pub fn finish(&mut self) -> Result<Option<CodedFrame>, PayloadError> {
        let frame = match self {
            Self::Opus(codec) => codec.finish(),
            Self::Vp8(codec) => codec.finish(),
            Self::H264(codec) => codec.finish(),
            Self::Vp9(codec) => codec.finish(),
            Self::Av1(codec) => codec.finish(),
        };
        self.reset();
        frame
    }

    /// Forgets the frame under way; parameter sets are kept.
    pub fn reset(&mut self) {
        match self {
            Self::Opus(codec) => codec.reset(),
            Self::Vp8(codec) => codec.reset(),
            Self::H264(codec) => codec.reset(),
            Self::Vp9(codec) => codec.reset(),
            Self::Av1(codec) => codec.reset(),
        }
    }
}

/// Depacketizes the payloads of one frame.
fn one_frame<'a>(
    mut depacketizer: Depacketizer,
    payloads: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<CodedFrame>, PayloadError> {
    for payload in payloads {
        depacketizer.push(payload)?;
    }
    depacketizer.finish()
}

/// The Opus packet in one payload.
///
/// # Errors
/// See [`PayloadError`].
pub fn opus<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<CodedFrame>, PayloadError> {
    one_frame(Depacketizer::new(CodecKind::Opus, ""), payloads)
}

/// The VP8 frame in the payloads of one timestamp.
///
/// # Errors
/// See [`PayloadError`].
pub fn vp8<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<CodedFrame>, PayloadError> {
    one_frame(Depacketizer::new(CodecKind::Vp8, ""), payloads)
}

/// The VP9 frame or superframe in the payloads of one timestamp.
///
/// # Errors
/// See [`PayloadError`].
pub fn vp9<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<CodedFrame>, PayloadError> {
    one_frame(Depacketizer::new(CodecKind::Vp9, ""), payloads)
}

/// The H.264 access unit in the payloads of one timestamp.
///
/// # Errors
/// See [`PayloadError`].
pub fn h264<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<CodedFrame>, PayloadError> {
    one_frame(Depacketizer::new(CodecKind::H264, ""), payloads)
}

/// The AV1 temporal unit in the payloads of one timestamp.
///
/// # Errors
/// See [`PayloadError`].
pub fn av1<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<CodedFrame>, PayloadError> {
    one_frame(Depacketizer::new(CodecKind::Av1, ""), payloads)
}

/// Appends to a frame within its bound.
fn append(frame: &mut Vec<u8>, bytes: &[u8]) -> Result<(), PayloadError> {
    if frame.len() + bytes.len() > MAX_FRAME_BYTES {
        return Err(PayloadError::TooLarge);
    }
    frame.extend_from_slice(bytes);
    Ok(())
}

/// Reads from the front of a payload.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], PayloadError> {
    let (head, tail) = rest.split_at_checked(count).ok_or(PayloadError::Truncated)?;
    *rest = tail;
    Ok(head)
}

/// Reads one byte from the front of a payload.
fn take_byte(rest: &mut &[u8]) -> Result<u8, PayloadError> {
    let (head, tail) = rest.split_first().ok_or(PayloadError::Truncated)?;
    *rest = tail;
    Ok(*head)
}
