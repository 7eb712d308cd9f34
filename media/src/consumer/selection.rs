//! Which packets of a stream are forwarded, by their layers: a switch up waits for a frame that makes it possible, a switch down
//! for the next frame. Nothing is left out of a frame that has begun.

use crate::layers::Layer;
use crate::producer::ring::PacketInfo;
use crate::rtp::dependency::{MAX_TARGETS, Structure};
use crate::rtp::frame::{Described, FrameInfo, Switch};

/// What is forwarded of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection {
    /// What is to be reached.
    wanted: Layer,
    limit: Limit,
    /// The limit of packets before `since`.
    before: Limit,
    /// The packet with which `limit` began.
    since: u64,
    /// Of described frames: bit n says that the frame whose number is less by n + 1 than `last` was forwarded.
    forwarded: u64,
    last: u16,
}

/// Up to where packets are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    layer: Layer,
    /// Of described frames.
    target: u8,
}

impl Limit {
    fn admits(&self, frame: &FrameInfo) -> bool {
        match &frame.described {
            Some(described) => described.indications.is_present(self.target),
            None => frame.layer.spatial <= self.layer.spatial && frame.layer.temporal <= self.layer.temporal,
        }
    }
}

impl Selection {
    /// Begins with a key frame, which all layers can be begun with.
    pub(crate) fn new(wanted: Layer, first: &PacketInfo, structure: Option<&Structure>) -> Self {
        let limit = Limit {
            layer: wanted,
            target: structure.map_or(0, |structure| structure.target_within(wanted)),
        };
        Self {
            wanted,
            limit,
            before: limit,
            since: first.extended,
            forwarded: 1,
            last: first.frame.described.map_or(0, |described| described.frame),
        }
    }

    /// Sets what is to be reached.
    pub(crate) fn want(&mut self, wanted: Layer) {
        self.wanted = wanted;
    }

    /// The highest layer that is forwarded now.
    pub(crate) fn limit(&self) -> Layer {
        self.limit.layer
    }

    /// Whether a packet goes. `in_order` says that none after it was looked at.
    pub(crate) fn admits(
        &mut self,
        frame: &FrameInfo,
        extended: u64,
        in_order: bool,
        structure: Option<&Structure>,
    ) -> bool {
        if !in_order {
            return self.admitted(frame, extended);
        }
        if frame.starts && (self.limit.layer != self.wanted || frame.described.is_some()) {
            self.reconsider(frame, extended, structure);
        }
        let admitted = self.limit.admits(frame);
        if let Some(described) = frame.described.as_ref().filter(|_| frame.starts) {
            self.note(described, admitted);
        }
        admitted
    }

    /// Whether a packet goes that comes late, or again.
    pub(crate) fn admitted(&self, frame: &FrameInfo, extended: u64) -> bool {
        self.limit_at(extended).admits(frame)
    }

    /// Whether the packet is the last of its picture that goes, though the publisher's picture goes on.
    pub(crate) fn ends_picture(&self, frame: &FrameInfo, extended: u64) -> bool {
        frame.ends && frame.layer.spatial >= self.limit_at(extended).layer.spatial
    }

    fn limit_at(&self, extended: u64) -> &Limit {
        if extended < self.since {
            &self.before
        } else {
            &self.limit
        }
    }

    /// Moves the limit if this frame allows it.
    fn reconsider(&mut self, frame: &FrameInfo, extended: u64, structure: Option<&Structure>) {
        let next = match (&frame.described, structure) {
            (Some(described), Some(structure)) => self.described_limit(frame, described, structure),
            _ => self.plain_limit(frame),
        };
        if next != self.limit {
            self.before = self.limit;
            self.limit = next;
            self.since = extended;
        }
    }

    fn plain_limit(&self, frame: &FrameInfo) -> Limit {
        let Limit { mut layer, target } = self.limit;
        let Layer { spatial, temporal } = frame.layer;
        // Down: at a picture's lowest layer, so that none is cut in the middle.
        if spatial == 0 {
            layer = layer.capped(self.wanted);
        }
        // A picture that depends on none before: all of its layers can be begun.
        if frame.independent && spatial == 0 {
            layer = self.wanted;
        }
        if layer.temporal < self.wanted.temporal {
            let wanted = self.wanted.temporal;
            layer.temporal = match frame.switch {
                Switch::Own if temporal == layer.temporal + 1 => temporal,
                Switch::Above if temporal <= layer.temporal => wanted,
                Switch::Own | Switch::Above | Switch::None => layer.temporal,
            };
        }
        Limit { layer, target }
    }

    fn described_limit(&self, frame: &FrameInfo, described: &Described, structure: &Structure) -> Limit {
        let target = structure.target_within(self.wanted);
        let layer = structure.layer_of(target);
        let now = Limit { layer, target };
        if self.limit == now {
            return now;
        }
        let thinner = self.limit.target < structure.targets().min(MAX_TARGETS)
            && layer.spatial == structure.layer_of(self.limit.target).spatial
            && layer.temporal <= structure.layer_of(self.limit.target).temporal;
        let decodable = described.depends & !self.reach(described.frame) == 0;
        let begins = described.indications.is_switch(target) && decodable;
        // The decode targets of a picture begin with its lowest layer's frame.
        if (thinner && frame.layer.spatial == 0) || begins {
            now
        } else {
            self.limit
        }
    }

    /// The forwarded frames as `frame` refers to them.
    fn reach(&self, frame: u16) -> u64 {
        let step = u32::from(frame.wrapping_sub(self.last)).saturating_sub(1);
        self.forwarded.checked_shl(step).unwrap_or(0)
    }

    /// Remembers whether a frame went.
    fn note(&mut self, described: &Described, admitted: bool) {
        let ahead = described.frame.wrapping_sub(self.last);
        if ahead == 0 || ahead >= 0x8000 {
            return;
        }
        // Seen from the frame after this one: this one is bit 0.
        self.forwarded = self.reach(described.frame).checked_shl(1).unwrap_or(0) | u64::from(admitted);
        self.last = described.frame;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::dependency::DependencyDescriptor;
    use crate::rtp::dependency::tests::{key_frame, later};

    fn layer(spatial: u8, temporal: u8) -> Layer {
        Layer { spatial, temporal }
    }

    fn packet(extended: u64, frame: FrameInfo) -> PacketInfo {
        PacketInfo {
            frame,
            ..PacketInfo::plain(extended)
        }
    }

    /// A packet that is a whole frame of a layer. `switch` says that rates above may be begun.
    fn plain(spatial: u8, temporal: u8, independent: bool, switch: Switch) -> FrameInfo {
        FrameInfo {
            layer: layer(spatial, temporal),
            starts: true,
            ends: true,
            independent,
            switch,
            ..FrameInfo::default()
        }
    }

    /// One picture of three sizes: which of them go, and the last with the end of the picture.
    fn picture(selection: &mut Selection, next: &mut u64, temporal: u8, key: bool) -> Vec<(u8, bool)> {
        let mut went = Vec::new();
        for spatial in 0..3 {
            let frame = plain(spatial, temporal, key, Switch::Above);
            if selection.admits(&frame, *next, true, None) {
                went.push((spatial, selection.ends_picture(&frame, *next)));
            }
            *next += 1;
        }
        went
    }

    #[test]
    fn sizes_in_one_stream_go_down_at_a_picture_and_up_at_an_independent_one() {
        let mut next = 1;
        let first = plain(0, 0, true, Switch::Above);
        let mut selection = Selection::new(layer(2, 3), &packet(0, first), None);
        let all = [(0, false), (1, false), (2, true)];
        assert_eq!(picture(&mut selection, &mut next, 0, true), all);
        assert_eq!(picture(&mut selection, &mut next, 0, false), all);
        // In the middle of a picture the wish changes: the picture goes on.
        assert!(selection.admits(&plain(0, 0, false, Switch::Above), next, true, None));
        selection.want(layer(1, 3));
        assert!(selection.admits(&plain(1, 0, false, Switch::Above), next + 1, true, None));
        assert!(selection.admits(&plain(2, 0, false, Switch::Above), next + 2, true, None));
        next += 3;
        assert_eq!(picture(&mut selection, &mut next, 0, false), [(0, false), (1, true)]);
        assert!(
            selection.admitted(&plain(2, 0, false, Switch::Above), 3),
            "a late packet goes by what was forwarded then"
        );
        selection.want(layer(2, 3));
        assert_eq!(picture(&mut selection, &mut next, 0, false), [(0, false), (1, true)]);
        assert_eq!(picture(&mut selection, &mut next, 0, true), all);
    }

    #[test]
    fn rates_in_one_stream_go_up_where_the_frame_allows() {
        let first = plain(0, 0, true, Switch::None);
        let mut selection = Selection::new(Layer::LOWEST, &packet(0, first), None);
        selection.want(layer(3, 2));
        let mut next = 0;
        let mut went = |temporal, switch| {
            next += 1;
            selection.admits(&plain(0, temporal, false, switch), next, true, None)
        };
        assert!(went(0, Switch::None));
        assert!(!went(2, Switch::Own), "one rate after the other");
        assert!(!went(1, Switch::None));
        assert!(went(1, Switch::Own));
        assert!(!went(2, Switch::None));
        assert!(went(2, Switch::Own));
        assert!(went(2, Switch::None));

        let mut selection = Selection::new(Layer::LOWEST, &packet(0, first), None);
        selection.want(layer(3, 2));
        assert!(!selection.admits(&plain(0, 2, false, Switch::Above), 1, true, None));
        assert!(selection.admits(&plain(0, 0, false, Switch::Above), 2, true, None));
        assert!(selection.admits(&plain(0, 2, false, Switch::None), 3, true, None));
    }

    /// Frames with dependency descriptors (L2T2, every picture's upper size depends on the lower).
    struct Described {
        structure: Option<Box<Structure>>,
        selection: Option<Selection>,
        frame: u16,
    }

    impl Described {
        fn element(&mut self, element: &[u8]) -> bool {
            let read = DependencyDescriptor::parse(element, &mut self.structure).unwrap();
            let frame = FrameInfo {
                layer: read.layer,
                starts: read.starts_frame,
                ends: read.ends_frame,
                described: Some(crate::rtp::frame::Described {
                    indications: read.indications,
                    depends: read.depends,
                    frame: read.frame,
                }),
                ..FrameInfo::default()
            };
            let extended = u64::from(self.frame);
            self.frame = self.frame.wrapping_add(1);
            match &mut self.selection {
                Some(selection) => selection.admits(&frame, extended, true, self.structure.as_deref()),
                None => {
                    let first = packet(extended, frame);
                    self.selection = Some(Selection::new(Layer::TOP, &first, self.structure.as_deref()));
                    true
                }
            }
        }

        fn key(&mut self) -> [bool; 2] {
            let first = self.element(&key_frame(self.frame));
            [first, self.element(&later(8, self.frame))]
        }

        /// A picture of the lowest rate, or of the higher one.
        fn picture(&mut self, temporal: u8) -> [bool; 2] {
            let templates = if temporal == 0 { [6, 9] } else { [7, 10] };
            templates.map(|template| self.element(&later(template, self.frame)))
        }

        fn want(&mut self, wanted: Layer) {
            self.selection.as_mut().unwrap().want(wanted);
        }
    }

    #[test]
    fn described_frames_go_by_their_decode_target() {
        for first in [0, 0x7ffe, 0xfffd] {
            let mut stream = Described {
                structure: None,
                selection: None,
                frame: first,
            };
            assert_eq!(stream.key(), [true, true]);
            assert_eq!((stream.picture(1), stream.picture(0)), ([true; 2], [true; 2]));
            stream.want(layer(1, 0));
            assert_eq!((stream.picture(1), stream.picture(0)), ([false; 2], [true; 2]));
            stream.want(layer(0, 0));
            assert_eq!((stream.picture(1), stream.picture(0)), ([false; 2], [true, false]));
            // The upper size refers to one that did not go, until a key frame comes.
            stream.want(layer(1, 1));
            stream.picture(1);
            assert!(!stream.picture(0)[1]);
            assert_eq!(stream.key(), [true, true]);
            assert_eq!((stream.picture(1), stream.picture(0)), ([true; 2], [true; 2]));
            stream.want(layer(0, 1));
            stream.picture(1);
            assert_eq!((stream.picture(0), stream.picture(1)), ([true, false], [true, false]));
        }
    }
}
