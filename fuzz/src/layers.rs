//! What packets say of their layers: the payload descriptors of VP8 and VP9, and the dependency descriptor, whose elements refer
//! to what earlier ones brought.

use arbitrary::Arbitrary;
use caside_media::layers::{Layer, MAX_SPATIAL};
use caside_media::rtp::dependency::{DependencyDescriptor, MAX_TARGETS, Structure, rewrite};
use caside_media::rtp::vp8::{self, Vp8Descriptor};
use caside_media::rtp::vp9::{self, Vp9Descriptor};

use crate::input::{Blob, Sequence};

/// A packet of some stream.
#[derive(Debug, Arbitrary)]
pub enum Packet<'a> {
    /// Its payload, and numbers to write into it.
    Payload(Blob<'a>, u16, u8),
    /// Its dependency descriptor.
    Element(Blob<'a>, u16),
}

/// The packets of one stream.
pub type Input<'a> = Sequence<Packet<'a>>;

/// Reads them one after the other.
pub fn run(input: &Input<'_>) {
    let mut structure = None;
    for packet in input.iter() {
        match packet {
            Packet::Payload(payload, picture, tl0) => {
                read_vp8(payload, *picture, *tl0);
                read_vp9(payload, *picture, *tl0);
            }
            Packet::Element(element, frame) => read_element(element, *frame, &mut structure),
        }
    }
}

fn fitting(picture: u16, bits: u8) -> u16 {
    match bits {
        15 => picture & 0x7fff,
        7 => picture & 0x7f,
        _ => 0,
    }
}

fn read_vp8(payload: &[u8], picture: u16, tl0: u8) {
    let Some(before) = Vp8Descriptor::parse(payload) else {
        return;
    };
    assert!(before.len <= payload.len());
    let (picture, tl0) = (fitting(picture, before.picture_bits), before.tl0.map(|_| tl0));
    let mut written = payload.to_vec();
    assert!(vp8::rewrite(&mut written, picture, before.picture_bits, tl0).is_some());
    assert_eq!(
        Vp8Descriptor::parse(&written),
        Some(Vp8Descriptor { picture, tl0, ..before })
    );
    assert_eq!(written[before.len..], payload[before.len..]);
}

fn read_vp9(payload: &[u8], picture: u16, tl0: u8) {
    let Some(before) = Vp9Descriptor::parse(payload) else {
        return;
    };
    assert!(before.len <= payload.len());
    let picture = fitting(picture, before.picture_bits);
    let mut written = payload.to_vec();
    assert!(vp9::rewrite(&mut written, picture, before.picture_bits, before.tl0.map(|_| tl0)).is_some());
    let tl0 = before.tl0.map(|(at, _)| (at, tl0));
    assert_eq!(
        Vp9Descriptor::parse(&written),
        Some(Vp9Descriptor { picture, tl0, ..before })
    );
    assert_eq!(written[before.len..], payload[before.len..]);
}

fn read_element(element: &[u8], frame: u16, structure: &mut Option<Box<Structure>>) {
    let mut again = structure.clone();
    let Some(before) = DependencyDescriptor::parse(element, structure) else {
        return;
    };
    let known = structure.as_ref().expect("what is read refers to a structure");
    assert!((1..=MAX_TARGETS).contains(&known.targets()));
    for spatial in 0..MAX_SPATIAL as u8 {
        let limit = Layer { spatial, ..Layer::TOP };
        assert!(known.target_within(limit) < known.targets());
    }
    let mut written = element.to_vec();
    rewrite(&mut written, frame);
    let after = DependencyDescriptor::parse(&written, &mut again);
    assert_eq!(after, Some(DependencyDescriptor { frame, ..before }));
}
