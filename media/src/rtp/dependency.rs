//! The dependency descriptor header extension (AV1 RTP payload format, Appendix A): what a frame is needed for, and what it
//! needs, told outside of its payload. AV1 always has it; other codecs may.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::layers::{Layer, MAX_SPATIAL};

/// Templates that a structure may have (§A.8.2: template ids have 6 bits).
const MAX_TEMPLATES: usize = 64;

/// Decode targets that a structure may have (§A.8.2: `dt_cnt_minus_one` has 5 bits).
pub const MAX_TARGETS: u8 = 32;

/// What a frame is to a decode target (§A.8.3.1): two bits for each of up to [`MAX_TARGETS`], the first lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indications(u64);

/// The frame may be switched to: whoever decodes it can decode what follows of the target.
const SWITCH: u64 = 2;

impl Indications {
    /// Whether the frame belongs to this decode target.
    pub fn is_present(self, target: u8) -> bool {
        self.of(target) != 0
    }

    /// Whether one may begin to take this decode target with the frame.
    pub fn is_switch(self, target: u8) -> bool {
        self.of(target) == SWITCH
    }

    fn of(self, target: u8) -> u64 {
        self.0.checked_shr(u32::from(target) * 2).unwrap_or(0) & 3
    }
}

/// What one template, or one frame, says.
#[derive(Debug, Clone, Copy, Default)]
struct Template {
    layer: Layer,
    indications: Indications,
    depends: u64,
}

/// The template dependency structure (§A.8.2), which a key frame brings and later frames refer to.
#[derive(Debug, Clone)]
pub struct Structure {
    offset: u8,
    targets: u8,
    chains: u8,
    templates: [Template; MAX_TEMPLATES],
    count: usize,
    layers: [Layer; MAX_TARGETS as usize],
    /// The size of each spatial layer's picture; 0 × 0 when not told.
    pub sizes: [(u16, u16); MAX_SPATIAL],
}

impl Structure {
    /// The best decode target that stays within `limit`: the largest size, then the highest rate of frames. The lowest of all
    /// when none does.
    pub fn target_within(&self, limit: Layer) -> u8 {
        let targets = || (0u8..).zip(self.layers.iter().take(usize::from(self.targets)));
        let fitting = targets().filter(|(_, layer)| layer.spatial <= limit.spatial && layer.temporal <= limit.temporal);
        let best = fitting.max_by_key(|(_, layer)| **layer);
        best.or_else(|| targets().min_by_key(|(_, layer)| **layer))
            .map_or(0, |(target, _)| target)
    }

    /// The highest layer of a decode target.
    pub fn layer_of(&self, target: u8) -> Layer {
        self.layers.get(usize::from(target)).copied().unwrap_or_default()
    }

    /// How many decode targets there are, 1–32.
    pub fn targets(&self) -> u8 {
        self.targets
    }
}

/// What the extension says of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependencyDescriptor {
    /// The packet begins its frame.
    pub starts_frame: bool,
    /// The packet ends its frame.
    pub ends_frame: bool,
    /// The frame's number.
    pub frame: u16,
    /// Whether it brings a structure, as the first packet of a key frame does.
    pub brings_structure: bool,
    /// The frame's layer.
    pub layer: Layer,
    /// What it is to each decode target.
    pub indications: Indications,
    /// The frames it refers to: bit n for the frame whose number is less by n + 1. All bits for one that is further away.
    pub depends: u64,
}

impl DependencyDescriptor {
    /// Reads an element of the extension. `structure` is the stream's, which is replaced when the element brings another.
    /// `None` when it is cut, broken, or refers to a template that is not there.
    pub fn parse(element: &[u8], structure: &mut Option<Box<Structure>>) -> Option<Self> {
        let mut bits = Bits { element, position: 0 };
        let starts_frame = bits.flag()?;
        let ends_frame = bits.flag()?;
        let template = bits.small(6)?;
        let frame = u16::try_from(bits.number(16)?).ok()?;
        let (mut brings_structure, mut custom) = (false, [false; 3]);
        if element.len() > 3 {
            brings_structure = bits.flag()?;
            let active_targets = bits.flag()?;
            for flag in &mut custom {
                *flag = bits.flag()?;
            }
            if brings_structure {
                let read = Structure::read(&mut bits)?;
                match structure {
                    Some(known) => **known = read,
                    None => *structure = Some(Box::new(read)),
                }
            }
            if active_targets {
                bits.number(u32::from(structure.as_ref()?.targets))?;
            }
        }
        let structure = structure.as_ref()?;
        let index = usize::from(template.wrapping_sub(structure.offset) & 0x3f);
        let mut read = *structure.templates.get(..structure.count)?.get(index)?;
        let [custom_indications, custom_references, custom_chains] = custom;
        if custom_indications {
            read.indications = bits.indications(structure.targets)?;
        }
        if custom_references {
            read.depends = 0;
            loop {
                let size = bits.number(2)?;
                if size == 0 {
                    break;
                }
                read.depends |= reference(bits.number(size * 4)?);
            }
        }
        if custom_chains {
            for _ in 0..structure.chains {
                bits.number(8)?;
            }
        }
        Some(Self {
            starts_frame,
            ends_frame,
            frame,
            brings_structure,
            layer: read.layer,
            indications: read.indications,
            depends: read.depends,
        })
    }
}

/// The bit of the frame whose number is less by `less_one + 1`.
fn reference(less_one: u32) -> u64 {
    1u64.checked_shl(less_one).unwrap_or(u64::MAX)
}

/// Writes another frame number into an element.
pub fn rewrite(element: &mut [u8], frame: u16) {
    if let Some([_, high, low]) = element.first_chunk_mut() {
        [*high, *low] = frame.to_be_bytes();
    }
}

impl Structure {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let mut structure = Self {
            offset: bits.small(6)?,
            targets: bits.small(5)? + 1,
            chains: 0,
            templates: [Template::default(); MAX_TEMPLATES],
            count: 0,
            layers: [Layer::LOWEST; MAX_TARGETS as usize],
            sizes: [(0, 0); MAX_SPATIAL],
        };
        let top = structure.read_layers(bits)?;
        let targets = structure.targets;
        let mut templates = structure.templates;
        let read = templates.get_mut(..structure.count)?;
        for template in read.iter_mut() {
            template.indications = bits.indications(targets)?;
        }
        for template in read.iter_mut() {
            while bits.flag()? {
                template.depends |= reference(bits.number(4)?);
            }
        }
        structure.chains = u8::try_from(bits.non_symmetric(u32::from(targets) + 1)?).ok()?;
        if structure.chains > 0 {
            for _ in 0..targets {
                bits.non_symmetric(u32::from(structure.chains))?;
            }
            for _ in 0..read.len() * usize::from(structure.chains) {
                bits.number(4)?;
            }
        }
        // A.8.3.2: the layer of a target is the highest of what belongs to it.
        for (target, layer) in (0..targets).zip(&mut structure.layers) {
            for template in read.iter().filter(|template| template.indications.is_present(target)) {
                layer.spatial = layer.spatial.max(template.layer.spatial);
                layer.temporal = layer.temporal.max(template.layer.temporal);
            }
        }
        if bits.flag()? {
            for spatial in 0..=usize::from(top) {
                // The largest width is written less one.
                let width = u16::try_from(bits.number(16)? + 1).unwrap_or(u16::MAX);
                let height = u16::try_from(bits.number(16)? + 1).unwrap_or(u16::MAX);
                if let Some(size) = structure.sizes.get_mut(spatial) {
                    *size = (width, height);
                }
            }
        }
        structure.templates = templates;
        Some(structure)
    }

    /// Reads the layer of each template; gives the highest spatial one.
    fn read_layers(&mut self, bits: &mut Bits<'_>) -> Option<u8> {
        let mut layer = Layer::LOWEST;
        loop {
            self.templates.get_mut(self.count)?.layer = layer;
            self.count += 1;
            match bits.number(2)? {
                0 => {}
                1 => layer.temporal += 1,
                2 => {
                    layer = Layer {
                        spatial: layer.spatial + 1,
                        temporal: 0,
                    };
                }
                _ => return Some(layer.spatial),
            }
        }
    }
}

/// A position in an element, most significant bit first.
struct Bits<'e> {
    element: &'e [u8],
    position: usize,
}

impl Bits<'_> {
    fn flag(&mut self) -> Option<bool> {
        let byte = self.element.get(self.position / 8)?;
        let set = byte >> (7 - self.position % 8) & 1 == 1;
        self.position += 1;
        Some(set)
    }

    /// At most 32 bits.
    fn number(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// At most 8 bits.
    fn small(&mut self, count: u32) -> Option<u8> {
        u8::try_from(self.number(count)?).ok()
    }

    fn indications(&mut self, targets: u8) -> Option<Indications> {
        let mut packed = 0;
        for target in 0..targets {
            packed |= u64::from(self.number(2)?) << (target * 2);
        }
        Some(Indications(packed))
    }

    /// A number below `limit`, of which the lower ones take a bit less (§A.8.1, ns(n)).
    fn non_symmetric(&mut self, limit: u32) -> Option<u32> {
        let width = u32::BITS - limit.leading_zeros();
        let short = (1 << width) - limit;
        let value = self.number(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + u32::from(self.flag()?))
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes elements.
    #[derive(Default)]
    pub(crate) struct Writer(Vec<bool>);

    impl Writer {
        pub(crate) fn bits(mut self, value: u32, count: u32) -> Self {
            self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
            self
        }

        pub(crate) fn done(self) -> Vec<u8> {
            let bytes = self.0.chunks(8);
            bytes
                .map(|bits| {
                    bits.iter()
                        .enumerate()
                        .fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
                })
                .collect()
        }
    }

    /// The first packet of a key frame with two spatial and two temporal layers, of which the upper size depends on the lower
    /// in every frame (L2T2): targets S0T0, S0T1, S1T0, S1T1.
    pub(crate) fn key_frame(frame: u16) -> Vec<u8> {
        let mut writer = Writer::default()
            .bits(0b10, 2)
            .bits(5, 6)
            .bits(u32::from(frame), 16)
            .bits(0b10000, 5)
            .bits(5, 6)
            .bits(3, 5);
        // Layers of the templates 5–10: S0T0 twice (key, then not), S0T1, S1T0 twice, S1T1.
        for next in [0, 1, 2, 0, 1, 3] {
            writer = writer.bits(next, 2);
        }
        for indications in ["SSSS", "SSRR", "-D-R", "--SS", "--SS", "---D"] {
            for indication in indications.chars() {
                let value = "-DSR".find(indication).unwrap();
                writer = writer.bits(u32::try_from(value).unwrap(), 2);
            }
        }
        // Frames come as S0 S1 S0 S1, so the same size is 2 before, of the lowest rate 4.
        for references in [&[][..], &[4], &[2], &[1], &[4, 1], &[2, 1]] {
            for reference in references {
                writer = writer.bits(1, 1).bits(reference - 1, 4);
            }
            writer = writer.bits(0, 1);
        }
        // No chains; sizes.
        writer = writer.bits(0, 2).bits(1, 1);
        for side in [639u32, 359, 1279, 719] {
            writer = writer.bits(side, 16);
        }
        writer.done()
    }

    /// A packet of a later frame, by its template.
    pub(crate) fn later(template: u8, frame: u16) -> Vec<u8> {
        Writer::default()
            .bits(0b11, 2)
            .bits(u32::from(template), 6)
            .bits(u32::from(frame), 16)
            .done()
    }

    #[test]
    fn a_key_frame_brings_what_later_frames_refer_to() {
        let mut structure = None;
        assert_eq!(DependencyDescriptor::parse(&later(6, 1), &mut structure), None);
        let key = DependencyDescriptor::parse(&key_frame(100), &mut structure).unwrap();
        assert!(key.starts_frame && !key.ends_frame && key.brings_structure);
        assert_eq!((key.frame, key.layer, key.depends), (100, Layer::LOWEST, 0));
        let known = structure.as_ref().unwrap();
        assert_eq!(known.targets(), 4);
        assert_eq!(known.sizes[..2], [(640, 360), (1280, 720)]);
        let layers: Vec<_> = (0..4).map(|target| known.layer_of(target)).collect();
        let layer = |spatial, temporal| Layer { spatial, temporal };
        assert_eq!(layers, [layer(0, 0), layer(0, 1), layer(1, 0), layer(1, 1)]);
        assert_eq!(known.target_within(Layer::TOP), 3);
        assert_eq!(known.target_within(layer(1, 0)), 2);
        assert_eq!(known.target_within(layer(0, 3)), 1);

        let upper = DependencyDescriptor::parse(&later(9, 103), &mut structure).unwrap();
        assert_eq!((upper.layer, upper.depends), (layer(1, 0), 0b1001));
        assert!(!upper.indications.is_present(1) && upper.indications.is_switch(3));
        assert!(!upper.indications.is_present(200), "there is no such target");
        assert_eq!(DependencyDescriptor::parse(&later(11, 104), &mut structure), None);
        assert_eq!(DependencyDescriptor::parse(&later(4, 104), &mut structure), None);
    }

    #[test]
    fn a_frame_may_differ_from_its_template() {
        let mut structure = None;
        DependencyDescriptor::parse(&key_frame(0), &mut structure).unwrap();
        let custom = Writer::default()
            .bits(0b11, 2)
            .bits(6, 6)
            .bits(7, 16)
            .bits(0b00110, 5)
            .bits(0b10_10_00_00, 8)
            .bits(0b01_0010, 6)
            .bits(0b11, 2)
            .bits(200, 12)
            .bits(0, 2)
            .done();
        let read = DependencyDescriptor::parse(&custom, &mut structure).unwrap();
        assert!(read.indications.is_switch(1) && !read.indications.is_present(2));
        assert_eq!(read.depends, u64::MAX, "too far away to be kept track of");
    }

    #[test]
    fn cut_elements_are_refused() {
        let whole = key_frame(9);
        for len in 0..whole.len() {
            assert_eq!(DependencyDescriptor::parse(&whole[..len], &mut None), None, "{len}");
        }
    }

    #[test]
    fn another_number_changes_nothing_else() {
        let mut element = key_frame(9);
        let before = DependencyDescriptor::parse(&element, &mut None).unwrap();
        rewrite(&mut element, 0xabcd);
        let after = DependencyDescriptor::parse(&element, &mut None).unwrap();
        assert_eq!(
            after,
            DependencyDescriptor {
                frame: 0xabcd,
                ..before
            }
        );
    }

    proptest! {
        #[test]
        fn any_elements_are_read_or_refused(
            elements in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..4),
        ) {
            let mut structure = None;
            for element in elements {
                DependencyDescriptor::parse(&element, &mut structure);
                if let Some(structure) = &structure {
                    prop_assert!(structure.target_within(Layer::TOP) < structure.targets());
                }
            }
        }
    }
}
