//! How consumers begin: at once with what is kept since the latest key frame, where that may be; else with a key frame that
//! the publisher is asked for.

use std::time::Instant;

use crate::consumer::Consumer;
use crate::engine::Engine;
use crate::engine::downlink::Downlink;
use crate::engine::slab::Key;
use crate::producer::Producer;
use crate::producer::kept::KeptRun;

/// What goes with a payload on the wire, roughly: UDP, IP, SRTP, and a header with extensions.
const HEADERS: usize = 72;

/// What a run takes on the wire.
pub(super) fn wire_bytes(run: &KeptRun) -> usize {
    run.bytes + run.packets as usize * HEADERS
}

/// The run that a consumer may begin with now, over a path that may carry it at once.
pub(super) fn beginning(
    now: Instant,
    consumer: &Consumer,
    producer: &Producer,
    downlink: &Downlink,
) -> Option<KeptRun> {
    let run = consumer.beginning(now, producer)?;
    (wire_bytes(&run) <= downlink.burst_room(now)).then_some(run)
}

impl Engine {
    /// Lets a consumer that waits begin: in this round with what is kept, or with the next key frame, which is asked for. Before
    /// its transport has a path it cannot; this is done again then.
    pub(super) fn begin(&mut self, now: Instant, key: Key<Consumer>) {
        let Some(consumer) = self.consumers.get(key).filter(|consumer| consumer.is_sent()) else {
            return;
        };
        let Some(producer) = self.producers.get_mut(consumer.producer) else {
            return;
        };
        let association = self.associations.get(consumer.transport);
        let Some(association) = association.filter(|it| it.media_path().is_some()) else {
            return;
        };
        if beginning(now, consumer, producer, &association.downlink).is_some() {
            self.queue_consumer(key);
            return;
        }
        producer.request_key_frame(now, consumer.encoding());
        let producer = consumer.producer;
        self.queue_request(producer);
    }
}
