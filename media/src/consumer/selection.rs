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
        if layer.spatial < self.wanted.spatial && frame.independent && spatial <= self.wanted.spatial {
            // A picture that depends on none before: its upper layers can be begun as they come.
            layer.spatial = layer.spatial.max(spatial);
        }
        if layer.temporal < self.wanted.temporal {
            let wanted = self.wanted.temporal;
            layer.temporal = match frame.switch {
                _ if frame.independent && spatial == 0 => wanted,
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
