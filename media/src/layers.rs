//! Layers of a video track: which there are, what each costs, and which of them a receiver is to have.
//!
//! A layer is spatial (a size) and temporal (a rate of frames). The spatial layers of simulcast are streams of their own;
//! those of SVC share one. Two bounds meet in a receiver: its *ceiling*, by what it asked for ([`Preference`]), and its
//! *target*, by its bandwidth. Absent on purpose: when a switch is possible. That depends on the packets, and is the
//! business of [`crate::consumer`].

mod dynacast;
mod meter;

pub(crate) use self::dynacast::Dynacast;
pub(crate) use self::meter::{INTERVAL, LayerMeter};

/// Spatial layers that are told apart: simulcast and SVC of browsers have up to 3.
pub const MAX_SPATIAL: usize = 4;

/// Temporal layers that are told apart: the browsers' scalability modes have up to 3.
pub const MAX_TEMPORAL: usize = 4;

/// A layer of a video track; 0 is the lowest. Ordered by size, then by rate of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Layer {
    /// The size: the index of a simulcast encoding, or the spatial layer of SVC. Below [`MAX_SPATIAL`].
    pub spatial: u8,
    /// The rate of frames. Below [`MAX_TEMPORAL`].
    pub temporal: u8,
}

impl Layer {
    /// The smallest picture at the lowest rate.
    pub const LOWEST: Self = Self {
        spatial: 0,
        temporal: 0,
    };

    /// No bound: above every layer there is, or the same.
    pub const TOP: Self = Self {
        spatial: MAX_SPATIAL as u8 - 1,
        temporal: MAX_TEMPORAL as u8 - 1,
    };

    /// The lower of each.
    #[must_use]
    pub fn capped(self, other: Self) -> Self {
        Self {
            spatial: self.spatial.min(other.spatial),
            temporal: self.temporal.min(other.temporal),
        }
    }

    /// The layer nearest to this one that is told apart.
    #[must_use]
    pub fn known(self) -> Self {
        self.capped(Self::TOP)
    }
}

/// A layer as it comes in now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerRate {
    /// Which.
    pub layer: Layer,
    /// What forwarding up to this layer takes, headers included, over about the last second: all temporal layers up to it,
    /// and with SVC all spatial layers up to it.
    pub bits_per_second: u64,
    /// Of the picture, in pixels; 0 while unknown.
    pub width: u16,
    /// Of the picture, in pixels; 0 while unknown.
    pub height: u16,
    /// Whether packets of it come. One that the publisher paused, or never began, does not.
    pub active: bool,
}

/// How good a receiver wants a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quality {
    /// The best there is.
    #[default]
    High,
    /// A size in the middle.
    Medium,
    /// The smallest.
    Low,
}

/// What a receiver asked for, in terms of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preference {
    /// How good.
    pub quality: Quality,
    /// The width it is shown at, in pixels: a picture that is at least as large is not exceeded.
    pub max_width: Option<u16>,
    /// As [`max_width`](Self::max_width).
    pub max_height: Option<u16>,
}

impl Preference {
    /// The ceiling among the layers of a track, lowest first. Of a screen only the rate of frames is lowered by
    /// [`Quality`]: its text is to stay legible.
    pub fn ceiling(&self, layers: &[LayerRate], screen: bool) -> Layer {
        let top = layers.iter().map(|rate| rate.layer.spatial).max().unwrap_or(0);
        let spatial = match self.quality {
            Quality::Low if !screen => 0,
            // Of three the second, of two the upper one.
            Quality::Medium if !screen => top.div_ceil(2),
            Quality::High | Quality::Medium | Quality::Low => Layer::TOP.spatial,
        };
        // With one size only, or a screen, the rate of frames is what can be lowered.
        let temporal = match self.quality {
            Quality::Low if screen || top == 0 => 0,
            Quality::Medium if screen || top == 0 => 1,
            Quality::High | Quality::Medium | Quality::Low => Layer::TOP.temporal,
        };
        Layer {
            spatial: spatial.min(self.fitting(layers, top)),
            temporal,
        }
    }

    /// The lowest spatial layer that fills the place it is shown at.
    fn fitting(&self, layers: &[LayerRate], top: u8) -> u8 {
        if self.max_width.is_none() && self.max_height.is_none() {
            return Layer::TOP.spatial;
        }
        let fills = |bound: Option<u16>, size: u16| bound.is_none_or(|bound| size >= bound);
        (0..top)
            .find(|spatial| {
                // A picture that is unknown yet may be too small. A turned one is judged by its longer side.
                let sizes = layers.iter().filter(|rate| rate.layer.spatial == *spatial);
                sizes.clone().any(|rate| {
                    rate.width > 0 && (fills(self.max_width, rate.width) || fills(self.max_height, rate.height))
                })
            })
            .unwrap_or(Layer::TOP.spatial)
    }
}

/// What a publisher said of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// A screen: its size is kept as long as bandwidth allows.
    pub screen: bool,
    /// Frames are encrypted end to end: nothing in the payload but its descriptor is to be relied upon.
    pub encrypted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(sizes: &[(u16, u16)], temporal: u8) -> Vec<LayerRate> {
        let spatial = sizes.iter().zip(0u8..);
        spatial
            .flat_map(|(&(width, height), spatial)| {
                (0..temporal).map(move |temporal| LayerRate {
                    layer: Layer { spatial, temporal },
                    bits_per_second: 0,
                    width,
                    height,
                    active: true,
                })
            })
            .collect()
    }

    fn ceiling(quality: Quality, bounds: Option<(u16, u16)>, sizes: &[(u16, u16)], screen: bool) -> (u8, u8) {
        let preference = Preference {
            quality,
            max_width: bounds.map(|(width, _)| width),
            max_height: bounds.map(|(_, height)| height),
        };
        let ceiling = preference.ceiling(&layers(sizes, 3), screen);
        (ceiling.spatial, ceiling.temporal)
    }

    const THREE: [(u16, u16); 3] = [(320, 180), (640, 360), (1280, 720)];
    const UNKNOWN: [(u16, u16); 3] = [(0, 0); 3];

    #[test]
    fn qualities_are_sizes_and_with_one_size_rates_of_frames() {
        use Quality::{High, Low, Medium};
        let cases = [
            (High, &THREE[..], (3, 3)),
            (Medium, &THREE, (1, 3)),
            (Low, &THREE, (0, 3)),
            (Medium, &THREE[..2], (1, 3)),
            (Low, &THREE[..2], (0, 3)),
            (High, &THREE[..1], (3, 3)),
            (Medium, &THREE[..1], (0, 1)),
            (Low, &THREE[..1], (0, 0)),
            (Low, &UNKNOWN, (0, 3)),
        ];
        for (quality, sizes, expected) in cases {
            assert_eq!(ceiling(quality, None, sizes, false), expected, "{quality:?} {sizes:?}");
        }
    }

    #[test]
    fn a_screen_keeps_its_size_and_loses_frames() {
        assert_eq!(ceiling(Quality::Low, None, &THREE, true), (3, 0));
        assert_eq!(ceiling(Quality::Medium, None, &THREE, true), (3, 1));
        assert_eq!(ceiling(Quality::High, Some((300, 100)), &THREE, true), (0, 3));
    }

    #[test]
    fn the_smallest_picture_that_fills_its_place_is_the_ceiling() {
        let cases = [
            ((100, 100), 0),
            ((320, 180), 0),
            ((321, 181), 1),
            ((640, 2000), 1),
            ((1000, 700), 3),
            ((4000, 4000), 3),
        ];
        for (bounds, expected) in cases {
            assert_eq!(
                ceiling(Quality::High, Some(bounds), &THREE, false).0,
                expected,
                "{bounds:?}"
            );
        }
        assert_eq!(ceiling(Quality::High, Some((100, 100)), &UNKNOWN, false).0, 3);
        assert_eq!(ceiling(Quality::Low, Some((1000, 700)), &THREE, false).0, 0);
    }
}
