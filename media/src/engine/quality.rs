//! How well each connection does, looked at with its reports.

use crate::control::EventKind;
use crate::engine::slab::Key;
use crate::engine::{Association, Engine};
use crate::parameters::MediaKind;
use crate::quality::Sample;

/// What was lost and how unevenly packets came, of the tracks of one direction.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Observed {
    sound: Mean,
    picture: Mean,
}

#[derive(Debug, Default, Clone, Copy)]
struct Mean {
    count: f64,
    lost: f64,
    jitter_ms: f64,
}

impl Observed {
    /// A track of which the part `lost` (0–1) was lost lately.
    pub(super) fn track(&mut self, kind: MediaKind, lost: f64, jitter_ms: f64) {
        let mean = match kind {
            MediaKind::Audio => &mut self.sound,
            MediaKind::Video => &mut self.picture,
        };
        mean.count += 1.0;
        mean.lost += lost;
        mean.jitter_ms += jitter_ms;
    }

    /// Loss and jitter: of sound, which is what the score is about; of pictures where there is no sound.
    fn means(&self) -> Option<(f64, f64)> {
        [self.sound, self.picture]
            .into_iter()
            .find(|mean| mean.count > 0.0)
            .map(|mean| (mean.lost / mean.count, mean.jitter_ms / mean.count))
    }
}

impl Engine {
    /// Judges a transport by what was `received` over it since the last report and by what its client told.
    pub(super) fn judge(&mut self, key: Key<Association>, received: &Observed) {
        let Some(association) = self.associations.get(key) else {
            return;
        };
        let mut told = Observed::default();
        let (mut lowered, mut starved, mut overloaded) = (false, false, false);
        for consumer in &association.consumers {
            let Some(consumer) = self.consumers.get(*consumer).filter(|it| !it.paused) else {
                continue;
            };
            if consumer.stats.reported {
                told.track(consumer.kind, consumer.stats.fraction_lost, consumer.jitter_ms());
            }
            if consumer.kind == MediaKind::Video {
                starved |= consumer.wanted().is_none();
                lowered |= association.downlink.estimate().is_some() && association.downlink.desired > 0.0;
                lowered |= consumer.is_pressed();
                overloaded |= consumer.is_pressed();
            }
        }
        let Some((loss, jitter_ms)) = worse(received.means(), told.means()) else {
            return;
        };
        let sample = Sample {
            loss,
            rtt_ms: association.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            jitter_ms,
            lowered,
            starved,
            overloaded,
        };
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        let (router, transport) = (association.router, association.id);
        if let Some((grade, cause)) = association.quality.observe(&sample) {
            let quality = EventKind::Quality {
                transport,
                grade,
                cause,
            };
            self.emit(router, quality);
        }
    }
}

/// The worse of each, of the two directions.
fn worse(a: Option<(f64, f64)>, b: Option<(f64, f64)>) -> Option<(f64, f64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.max(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}
