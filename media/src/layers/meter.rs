//! What the layers of a track bring in, measured.

use std::time::{Duration, Instant};

use super::{Layer, LayerRate, MAX_SPATIAL, MAX_TEMPORAL};

/// How often rates are settled.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);

/// Intervals that a rate is the mean of.
const WINDOW: usize = 4;

/// A layer of which nothing came for so many intervals, while others came, is not sent.
const SILENT: usize = 3;

/// Of encodings nothing but so many frames of the lowest is enough: a publisher encodes each picture in all sizes that it sends.
const MISSED: u8 = 6;

/// The bytes of each layer in one interval.
type Bytes = [[u32; MAX_TEMPORAL]; MAX_SPATIAL];

const NO_RATE: LayerRate = LayerRate {
    layer: Layer::LOWEST,
    bits_per_second: 0,
    width: 0,
    height: 0,
    active: false,
};

/// The rates of a track's layers. Takes no memory of its own.
#[derive(Debug)]
pub(crate) struct LayerMeter {
    /// Spatial layers share a stream, so that an upper one needs those below.
    shared: bool,
    bytes: Bytes,
    /// Past intervals and how long they took, latest first.
    window: [(Bytes, Duration); WINDOW],
    since: Option<Instant>,
    /// Spatial layers there are, and the temporal layers seen of each.
    spatial: usize,
    temporal: [u8; MAX_SPATIAL],
    sizes: [(u16, u16); MAX_SPATIAL],
    active: [bool; MAX_SPATIAL],
    /// Frames of the lowest encoding since the last packet of each.
    missed: [u8; MAX_SPATIAL],
    rates: [LayerRate; MAX_SPATIAL * MAX_TEMPORAL],
    len: usize,
}

impl LayerMeter {
    /// `streams` encodings: with more than one each is a spatial layer.
    pub(crate) fn new(streams: usize) -> Self {
        let mut meter = Self {
            shared: streams <= 1,
            bytes: Bytes::default(),
            window: [(Bytes::default(), Duration::ZERO); WINDOW],
            since: None,
            spatial: streams.clamp(1, MAX_SPATIAL),
            temporal: [1; MAX_SPATIAL],
            sizes: [(0, 0); MAX_SPATIAL],
            active: [false; MAX_SPATIAL],
            missed: [0; MAX_SPATIAL],
            rates: [NO_RATE; MAX_SPATIAL * MAX_TEMPORAL],
            len: 0,
        };
        meter.publish();
        meter
    }

    /// A packet came, which `starts` a frame or does not. Says whether its spatial layer did not come before, or another comes no
    /// longer.
    pub(crate) fn packet(&mut self, layer: Layer, len: usize, starts: bool) -> bool {
        let Layer { spatial, temporal } = layer.known();
        let (spatial, temporal) = (usize::from(spatial), usize::from(temporal));
        self.bytes[spatial][temporal] = self.bytes[spatial][temporal].saturating_add(len as u32);
        self.spatial = self.spatial.max(spatial + 1);
        self.temporal[spatial] = self.temporal[spatial].max(temporal as u8 + 1);
        self.missed[spatial] = 0;
        let begins = !std::mem::replace(&mut self.active[spatial], true);
        let ends = starts && spatial == 0 && !self.shared && self.miss();
        if begins || ends {
            self.publish();
        }
        begins || ends
    }

    /// Counts a frame of the lowest encoding. Says whether another is not sent any more.
    fn miss(&mut self) -> bool {
        let mut ends = false;
        for (missed, active) in self.missed.iter_mut().zip(&mut self.active).skip(1) {
            *missed = missed.saturating_add(1);
            if *missed >= MISSED {
                ends |= std::mem::replace(active, false);
            }
        }
        ends
    }

    /// The highest spatial layer there is.
    pub(crate) fn top(&self) -> u8 {
        self.spatial as u8 - 1
    }

    /// The highest spatial layer that comes, not above `limit`; else the lowest that comes, or the lowest of all.
    pub(crate) fn nearest(&self, limit: u8) -> u8 {
        let coming = || (0..MAX_SPATIAL as u8).filter(|spatial| self.is_active(usize::from(*spatial)));
        let within = coming().rfind(|spatial| *spatial <= limit);
        within.or_else(|| coming().next()).unwrap_or(0)
    }

    /// The size of a spatial layer's picture.
    pub(crate) fn size(&mut self, spatial: u8, width: u16, height: u16) {
        if let Some(size) = self.sizes.get_mut(usize::from(spatial)) {
            *size = (width, height);
        }
    }

    /// Whether an interval is to be settled.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.since
            .is_none_or(|since| now.saturating_duration_since(since) >= INTERVAL)
    }

    /// Ends an interval. Says whether anything came in the last ones, so that there is more to settle.
    pub(crate) fn settle(&mut self, now: Instant) -> bool {
        let took = self
            .since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.since = Some(now);
        self.window.rotate_right(1);
        self.window[0] = (std::mem::take(&mut self.bytes), took);
        let came = |spatial: usize, intervals: usize| {
            let latest = self.window.iter().take(intervals);
            latest.flat_map(|(bytes, _)| bytes[spatial]).any(|bytes| bytes > 0)
        };
        let others_come = (0..MAX_SPATIAL).any(|spatial| came(spatial, 1));
        for spatial in 0..self.spatial {
            let comes = came(spatial, SILENT) && self.missed[spatial] < MISSED;
            // A still screen sends nothing at all: that says nothing about one layer.
            if comes || others_come {
                self.active[spatial] = comes;
            }
        }
        let goes_on = (0..self.spatial).any(|spatial| came(spatial, WINDOW));
        self.publish();
        goes_on
    }

    /// As of the last interval, lowest layer first.
    pub(crate) fn rates(&self) -> &[LayerRate] {
        self.rates.get(..self.len).unwrap_or_default()
    }

    /// Whether it is known of any layer how much comes.
    pub(crate) fn is_measured(&self) -> bool {
        self.rates().iter().any(|rate| rate.bits_per_second > 0)
    }

    /// Whether packets of a spatial layer come.
    pub(crate) fn is_active(&self, spatial: usize) -> bool {
        self.active.get(spatial).copied().unwrap_or(false)
    }

    fn publish(&mut self) {
        let time: Duration = self.window.iter().map(|(_, took)| *took).sum();
        let mut below = 0;
        self.len = 0;
        for spatial in 0..self.spatial {
            let mut bytes = if self.shared { below } else { 0 };
            for temporal in 0..usize::from(self.temporal[spatial]) {
                let sum: u64 = self
                    .window
                    .iter()
                    .map(|(bytes, _)| u64::from(bytes[spatial][temporal]))
                    .sum();
                bytes += sum;
                let (width, height) = self.sizes[spatial];
                self.rates[self.len] = LayerRate {
                    layer: Layer {
                        spatial: spatial as u8,
                        temporal: temporal as u8,
                    },
                    bits_per_second: (bytes * 8_000_000).checked_div(time.as_micros() as u64).unwrap_or(0),
                    width,
                    height,
                    active: self.active[spatial],
                };
                self.len += 1;
            }
            below = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::test_start;

    fn layer(spatial: u8, temporal: u8) -> Layer {
        Layer { spatial, temporal }
    }

    /// Some intervals, in each of which these packets come.
    fn intervals(meter: &mut LayerMeter, from: u32, count: u32, packets: &[(Layer, usize)]) -> bool {
        let mut goes_on = false;
        for n in from..from + count {
            for (layer, len) in packets {
                meter.packet(*layer, *len, true);
            }
            goes_on = meter.settle(test_start() + INTERVAL * n);
        }
        goes_on
    }

    fn rates(meter: &LayerMeter) -> Vec<(u8, u8, u64, bool)> {
        let rates = meter.rates().iter();
        rates
            .map(|rate| {
                (
                    rate.layer.spatial,
                    rate.layer.temporal,
                    rate.bits_per_second,
                    rate.active,
                )
            })
            .collect()
    }

    #[test]
    fn rates_of_simulcast_are_summed_by_rate_of_frames() {
        let mut meter = LayerMeter::new(2);
        assert_eq!(rates(&meter), [(0, 0, 0, false), (1, 0, 0, false)]);
        meter.settle(test_start());
        let packets = [(layer(0, 0), 1000), (layer(0, 1), 500), (layer(1, 0), 4000)];
        intervals(&mut meter, 1, 8, &packets);
        // Four intervals a second.
        assert_eq!(
            rates(&meter),
            [(0, 0, 32_000, true), (0, 1, 48_000, true), (1, 0, 128_000, true)]
        );
    }

    #[test]
    fn a_layer_of_svc_costs_those_below_it_too() {
        let mut meter = LayerMeter::new(1);
        meter.settle(test_start());
        intervals(&mut meter, 1, 8, &[(layer(0, 0), 1000), (layer(1, 0), 2000)]);
        assert_eq!(rates(&meter), [(0, 0, 32_000, true), (1, 0, 96_000, true)]);
    }

    #[test]
    fn a_layer_that_stops_is_inactive_unless_all_stop() {
        let mut meter = LayerMeter::new(2);
        let both = [(layer(0, 0), 100), (layer(1, 0), 100)];
        intervals(&mut meter, 1, 4, &both);
        assert!(intervals(&mut meter, 5, 2, &both[..1]));
        assert!(meter.is_active(1));
        intervals(&mut meter, 7, 1, &both[..1]);
        assert!(meter.is_active(0) && !meter.is_active(1));
        assert!(!intervals(&mut meter, 8, 8, &[]), "there is nothing left to settle");
        assert!(meter.is_active(0) && !meter.is_active(1));
        meter.packet(layer(1, 0), 100, true);
        assert!(meter.is_active(1), "a layer that comes again is known at once");
    }

    #[test]
    fn an_encoding_that_stops_is_known_after_some_pictures() {
        let mut meter = LayerMeter::new(3);
        for spatial in 0..3 {
            meter.packet(layer(spatial, 0), 100, true);
        }
        // Two packets a picture of the lowest, one of the middle, none of the highest.
        for picture in 1..=MISSED {
            assert!(meter.is_active(2));
            let changed = meter.packet(layer(0, 0), 100, true) | meter.packet(layer(0, 0), 100, false);
            assert_eq!(changed, picture == MISSED);
            assert!(!meter.packet(layer(1, 0), 100, true));
        }
        assert!(meter.is_active(0) && meter.is_active(1) && !meter.is_active(2));
        meter.settle(test_start());
        assert!(!meter.is_active(2), "though it came in this interval");
        assert!(meter.packet(layer(2, 0), 100, true));
        meter.settle(test_start() + INTERVAL);
        assert!(meter.is_active(2));
    }

    #[test]
    fn layers_beyond_those_told_apart_are_counted_with_the_top() {
        let mut meter = LayerMeter::new(1);
        meter.packet(layer(9, 9), 100, true);
        meter.size(9, 1, 1);
        assert_eq!(meter.rates().last().map(|rate| rate.layer), Some(Layer::TOP));
    }
}
