//! Only the loudest of a room go out, where its room says so: what 100 people cost their receivers is bounded by how many are
//! let speak at a time.
//!
//! A place is taken by the first packet that is loud, at once, from whoever has been silent longest; nothing is swallowed as long as fewer
//! speak than there are places. Where all places are in use, the loudest of the others takes that of the quietest at the next
//! look at levels, if it is louder by [`OVERTAKE`]. Who falls silent keeps their place until somebody needs it, so that
//! pauses within speech cost nothing. Packets that do not go out lie in the ring and are shown to taps all the same.

use std::time::{Duration, Instant};

use crate::engine::slab::Key;
use crate::engine::speakers::{self, BEGIN, OVERTAKE};
use crate::engine::{Engine, Router};
use crate::producer::Producer;

/// Who was not loud for this long has stopped, or paused: whoever is loud may take the place.
const PAUSE: Duration = speakers::INTERVAL;

impl Engine {
    /// Lets at most `loudest` producers of sound be heard in a router; `None` lets all.
    pub(super) fn limit_voices(&mut self, key: Key<Router>, loudest: Option<usize>) {
        let Some(router) = self.routers.get_mut(key) else {
            return;
        };
        router.voices = loudest;
        let mut producers = router.audio.clone();
        // Those who were loud last go first; one who never was comes last.
        producers.sort_by_key(|producer| {
            let producer = self.producers.get(*producer);
            std::cmp::Reverse(producer.map(|producer| (producer.level.loud_at(), producer.audible)))
        });
        for (producer, place) in producers.into_iter().zip(0..) {
            let audible = loudest.is_none_or(|loudest| place < loudest);
            self.set_audible(producer, audible);
        }
    }

    /// Whether there is a place for one more.
    pub(super) fn has_free_voice(&self, router: &Router) -> bool {
        router.voices.is_none_or(|loudest| {
            let producers = router.audio.iter().filter_map(|key| self.producers.get(*key));
            producers.filter(|producer| producer.audible).count() < loudest
        })
    }

    /// A producer that is not heard is loud: gives it a free place, or that of who is silent longest. `false` when all speak.
    pub(super) fn let_speak(&mut self, now: Instant, key: Key<Producer>) -> bool {
        let Some(router) = self.producers.get(key).and_then(|it| self.routers.get(it.router)) else {
            return false;
        };
        if !self.has_free_voice(router) {
            let audible = router.audio.iter().filter_map(|other| {
                let producer = self.producers.get(*other).filter(|producer| producer.audible)?;
                Some((producer.level.loud_at(), *other))
            });
            let Some((loud_at, silent)) = audible.min_by_key(|(loud_at, _)| *loud_at) else {
                return false;
            };
            if loud_at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
                return false;
            }
            self.set_audible(silent, false);
        }
        self.set_audible(key, true);
        true
    }

    /// At a look at levels: whoever is much louder than one who is heard is heard in their place.
    pub(super) fn settle_voices(&mut self, key: Key<Router>) {
        while let Some((quiet, loud)) = self.overtaken(key) {
            self.set_audible(quiet, false);
            self.set_audible(loud, true);
        }
    }

    /// The quietest of those who are heard and the loudest of the others, if these have to change places.
    fn overtaken(&self, key: Key<Router>) -> Option<(Key<Producer>, Key<Producer>)> {
        let router = self.routers.get(key).filter(|router| router.voices.is_some())?;
        let by_loudness = |audible: bool| {
            router.audio.iter().filter_map(move |key| {
                let producer = self.producers.get(*key)?;
                let counts = producer.audible == audible && !producer.paused;
                counts.then(|| (producer.level.loudness(), *key))
            })
        };
        let (quiet, heard) = by_loudness(true).min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        let (loud, unheard) = by_loudness(false).max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (loud >= BEGIN && loud > quiet + OVERTAKE).then_some((heard, unheard))
    }

    fn set_audible(&mut self, key: Key<Producer>, audible: bool) {
        let Some(producer) = self.producers.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut producer.audible, audible) == audible || audible {
            return;
        }
        producer.round.clear();
        for consumer in &producer.consumers {
            if let Some(consumer) = self.consumers.get_mut(*consumer) {
                consumer.mapping.stop();
            }
        }
    }
}
