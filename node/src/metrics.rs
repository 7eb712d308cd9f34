//! What the node counts: every family of metrics once, as plain data, from which `/metrics` is written and what goes to a collector.
//!
//! Names follow Prometheus' conventions, for both. Counters are kept where things happen; here they are only read.

mod actors;
mod media;
mod node;
mod process;
mod recordings;

use std::borrow::Cow;
use std::time::Duration;

use caside_actors::media_worker::MediaWorkerHandle;
use caside_actors::observed::{BOUNDS, Durations};

use crate::http::App;

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, from the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by how long they were.
    Histogram,
}

/// What is counted, of several things.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) points: Vec<Point>,
}

/// One thing's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) labels: Vec<(&'static str, Cow<'static, str>)>,
    pub(crate) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Count(u64),
    Signed(i64),
    Real(f64),
    /// Told in seconds.
    Micros(u64),
    Histogram(Histogram),
}

/// Durations by bucket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Histogram {
    /// The longest that each bucket but the last takes, in seconds.
    pub(crate) bounds: &'static [f64],
    /// How many are in each bucket; those of shorter ones are not among them.
    pub(crate) counts: Vec<u64>,
    /// All durations together, in µs.
    pub(crate) sum_us: u64,
}

impl Family {
    fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            name,
            kind,
            help,
            points: Vec::new(),
        }
    }

    pub(crate) fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Counter, help)
    }

    pub(crate) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Gauge, help)
    }

    pub(crate) fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Histogram, help)
    }

    /// With the value of the only thing there is.
    pub(crate) fn of(self, value: impl Into<Value>) -> Self {
        self.with([], value)
    }

    /// With one thing's value.
    pub(crate) fn with<const N: usize>(
        mut self,
        labels: [(&'static str, Cow<'static, str>); N],
        value: impl Into<Value>,
    ) -> Self {
        self.add(labels, value);
        self
    }

    /// Adds one thing's value.
    pub(crate) fn add<const N: usize>(
        &mut self,
        labels: [(&'static str, Cow<'static, str>); N],
        value: impl Into<Value>,
    ) {
        self.points.push(Point {
            labels: labels.into(),
            value: value.into(),
        });
    }

    /// What it is measured in, by UCUM; empty of what is only counted. It is the end of the name, too.
    pub(crate) fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        match name.rsplit('_').next() {
            Some("seconds") => "s",
            Some("bytes") => "By",
            Some("ratio") => "1",
            _ => "",
        }
    }
}

/// A value of a label that is a constant of the program.
pub(crate) const fn word(word: &'static str) -> Cow<'static, str> {
    Cow::Borrowed(word)
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Count(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Count(value as u64)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Count(u64::from(value))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Count(u64::from(value))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Signed(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<Duration> for Value {
    fn from(value: Duration) -> Self {
        Self::Micros(u64::try_from(value.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Durations> for Value {
    fn from(value: Durations) -> Self {
        Self::Histogram(Histogram {
            bounds: &BOUNDS,
            counts: value.counts.to_vec(),
            sum_us: value.sum_us,
        })
    }
}

/// A reading of everything. A media worker that does not answer is left out.
pub(crate) async fn gather(app: &App) -> Vec<Family> {
    // A worker answers between two rounds of packets, for which one waits on a thread of its own, as for the system's files.
    let workers = app.media.clone();
    let apart = tokio::task::spawn_blocking(move || {
        let media = workers.workers().iter().map(MediaWorkerHandle::counters).collect();
        (media, process::families())
    });
    let (media, process): (Vec<_>, Vec<Family>) = apart.await.unwrap_or_default();
    let mut families = node::families(app);
    families.extend(actors::families(&app.node.actors_report()));
    families.extend(media::families(&media));
    families.extend(recordings::families(&app.recordings.report().await));
    families.extend(app.traffic.families());
    families.extend(node::telemetry(&app.telemetry));
    families.extend(process::runtime());
    families.extend(process);
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_the_end_of_the_name() {
        let unit = |name| Family::gauge(name, "").unit();
        assert_eq!(unit("caside_actor_wait_seconds_total"), "s");
        assert_eq!(unit("caside_spool_bytes"), "By");
        assert_eq!(unit("caside_media_busy_ratio"), "1");
        assert_eq!(unit("caside_media_estimate_bits_per_second"), "");
        assert_eq!(unit("caside_rooms"), "");
    }
}
