//! Payloads of codecs, put together to frames.

use arbitrary::Arbitrary;
use caside_media::parameters::CodecKind;
use caside_media::record::depacketize::{Depacketizer, MAX_FRAME_BYTES};

use crate::input::{Blob, Sequence, Text};

/// A codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Codec {
    /// Sound.
    Opus,
    /// Picture.
    Vp8,
    /// Picture.
    Vp9,
    /// Picture.
    H264,
    /// Picture.
    Av1,
}

impl From<Codec> for CodecKind {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::Opus => Self::Opus,
            Codec::Vp8 => Self::Vp8,
            Codec::Vp9 => Self::Vp9,
            Codec::H264 => Self::H264,
            Codec::Av1 => Self::Av1,
        }
    }
}

/// A track's payloads, frame by frame.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    codec: Codec,
    fmtp: Text<'a>,
    frames: Sequence<Vec<Blob<'a>>>,
}

/// Depacketizes the frames one after another.
pub fn run(input: &Input<'_>) {
    let mut depacketizer = Depacketizer::new(input.codec.into(), &input.fmtp);
    for payloads in input.frames.iter() {
        for payload in payloads {
            if depacketizer.push(payload).is_err() {
                depacketizer.reset();
                break;
            }
        }
        if let Ok(Some(frame)) = depacketizer.finish() {
            assert!(
                (1..=MAX_FRAME_BYTES).contains(&frame.data.len()),
                "{} bytes",
                frame.data.len()
            );
            assert!(
                frame
                    .codec_private
                    .is_none_or(|private| private.len() <= MAX_FRAME_BYTES)
            );
        }
    }
}
