//! What is sent while the machine has too little time ([`crate::pressure`]).

use std::time::Instant;

use crate::engine::Engine;
use crate::engine::sharing::importance;
use crate::engine::slab::Key;
use crate::layers::Layer;
use crate::parameters::MediaKind;
use crate::pressure::Pressure;
use crate::producer::Producer;

impl Engine {
    /// Sets how much is given up from now on.
    pub fn set_pressure(&mut self, now: Instant, pressure: Pressure) {
        if std::mem::replace(&mut self.pressure, pressure) == pressure {
            return;
        }
        for key in self.producers.keys() {
            if self.producers.get(key).is_some_and(|it| it.kind == MediaKind::Video) {
                self.follow(now, key);
            }
        }
    }

    /// How much is given up.
    pub fn pressure(&self) -> Pressure {
        self.pressure
    }

    /// The highest layer of a producer that there is time for; `None` for none.
    pub(super) fn limit(&self, key: Key<Producer>) -> Option<Layer> {
        let Some(producer) = self.producers.get(key).filter(|_| self.pressure > Pressure::NONE) else {
            return Some(Layer::TOP);
        };
        let speaking = self.speaking(producer.router);
        self.pressure
            .limit(importance(producer, &speaking), producer.layers.top())
    }
}
