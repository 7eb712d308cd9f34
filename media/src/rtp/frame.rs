//! Where a packet lies in its picture and in its layers, whatever the codec.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::layers::{Layer, MAX_SPATIAL};
use crate::parameters::CodecKind;
use crate::rtp::dependency::{DependencyDescriptor, Indications, Structure};
use crate::rtp::key_frame::starts_key_frame;
use crate::rtp::vp8::{self, Vp8Descriptor};
use crate::rtp::vp9::{self, Vp9Descriptor};

/// What a packet says of its frame, as far as forwarding needs it. One that says nothing belongs to the lowest layer, is no
/// part of a numbering, and is always forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FrameInfo {
    /// Within its stream: of simulcast the spatial part is 0.
    pub(crate) layer: Layer,
    /// It begins a frame of its layer.
    pub(crate) starts: bool,
    /// It ends a frame of its layer, as far as the packet tells.
    pub(crate) ends: bool,
    /// Its frame depends on no picture before.
    pub(crate) independent: bool,
    /// Higher rates of frames may be begun with it.
    pub(crate) switch: Switch,
    /// The picture's number (of a dependency descriptor, the frame's), which has as many bits; 0 when there is none.
    pub(crate) picture: u16,
    pub(crate) picture_bits: u8,
    /// The running number of frames of the lowest temporal layer.
    pub(crate) tl0: Option<u8>,
    /// By a dependency descriptor: what it is to each decode target, and which frames it needs.
    pub(crate) described: Option<Described>,
}

/// What only a dependency descriptor tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) indications: Indications,
    pub(crate) depends: u64,
    /// The frame's number.
    pub(crate) frame: u16,
}

/// Which temporal layers may be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Switch {
    /// None.
    #[default]
    None,
    /// That of the frame itself: it depends on the lowest one only (VP8's Y).
    Own,
    /// Those above the frame's (VP9's U).
    Above,
}

/// What a packet says, and what it says of its stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Description {
    pub(crate) frame: FrameInfo,
    /// A decoder can begin with this packet.
    pub(crate) key_frame: bool,
    /// The sizes of the spatial layers, 0 × 0 for those it does not tell.
    pub(crate) sizes: Option<[(u16, u16); MAX_SPATIAL]>,
}

/// Reads what a packet says: its dependency descriptor if it has one that can be understood, else its payload.
pub(crate) fn describe(
    codec: CodecKind,
    payload: &[u8],
    element: &[u8],
    structure: &mut Option<Box<Structure>>,
) -> Description {
    let mut description = match codec {
        CodecKind::Vp8 => vp8(payload).unwrap_or_default(),
        CodecKind::Vp9 => vp9(payload).unwrap_or_default(),
        CodecKind::H264 | CodecKind::Av1 | CodecKind::Opus => Description {
            key_frame: starts_key_frame(codec, payload),
            ..Description::default()
        },
    };
    let read = (!element.is_empty()).then(|| DependencyDescriptor::parse(element, structure));
    if let Some(read) = read.flatten() {
        // Of VP8 the key frame is known by the frame's first byte, which stays in the clear in any case.
        apply(&read, codec, structure.as_deref(), &mut description);
    }
    description
}

fn apply(read: &DependencyDescriptor, codec: CodecKind, structure: Option<&Structure>, description: &mut Description) {
    let frame = &mut description.frame;
    frame.layer = read.layer.known();
    frame.starts = read.starts_frame;
    frame.ends = read.ends_frame;
    frame.described = Some(Described {
        indications: read.indications,
        depends: read.depends,
        frame: read.frame,
    });
    if matches!(codec, CodecKind::H264 | CodecKind::Av1) {
        frame.picture_bits = 0;
    }
    description.key_frame = read.starts_frame && read.brings_structure;
    if let Some(structure) = structure.filter(|_| read.brings_structure) {
        description.sizes = Some(structure.sizes).filter(|sizes| sizes.iter().any(|(width, _)| *width > 0));
    }
}

fn vp8(payload: &[u8]) -> Option<Description> {
    let read = Vp8Descriptor::parse(payload)?;
    let inter = payload.get(read.len)? & 0x01 != 0;
    let key_frame = read.starts_frame && !inter;
    let size = if key_frame { read.key_frame_size(payload) } else { None };
    Some(Description {
        frame: FrameInfo {
            layer: Layer {
                spatial: 0,
                temporal: read.temporal.unwrap_or(0),
            },
            starts: read.starts_frame,
            ends: false,
            independent: key_frame,
            switch: if read.layer_sync { Switch::Own } else { Switch::None },
            picture: read.picture,
            picture_bits: read.picture_bits,
            tl0: read.tl0,
            described: None,
        },
        key_frame,
        sizes: size.map(|size| [size, (0, 0), (0, 0), (0, 0)]),
    })
}

fn vp9(payload: &[u8]) -> Option<Description> {
    let read = Vp9Descriptor::parse(payload)?;
    let layer = Layer {
        spatial: read.spatial,
        temporal: read.temporal,
    };
    Some(Description {
        frame: FrameInfo {
            layer: layer.known(),
            starts: read.starts_frame,
            ends: read.ends_frame,
            independent: !read.inter_predicted,
            switch: if read.switching_up { Switch::Above } else { Switch::None },
            picture: read.picture,
            picture_bits: read.picture_bits,
            tl0: read.tl0.map(|(_, tl0)| tl0),
            described: None,
        },
        key_frame: read.starts_key_frame(),
        sizes: read.sizes,
    })
}

/// Writes other picture numbers into a payload that says `frame` of itself.
pub(crate) fn rewrite(codec: CodecKind, payload: &mut [u8], frame: &FrameInfo, picture: u16, tl0: Option<u8>) {
    // The numbers lie where they were read, so there is room.
    let _written = match codec {
        CodecKind::Vp8 => vp8::rewrite(payload, picture, frame.picture_bits, tl0),
        CodecKind::Vp9 => vp9::rewrite(payload, picture, frame.picture_bits, tl0),
        CodecKind::H264 | CodecKind::Av1 | CodecKind::Opus => None,
    };
}
