//! What an engine did since it began, and how its clients' connections do.

use crate::consumer::Consumer;
use crate::engine::{Association, Engine};
use crate::layers::MAX_SPATIAL;
use crate::parameters::MediaKind;
use crate::producer::Producer;
use crate::quality::Grade;

/// Counters since the engine began, and gauges over the transports there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Packets that came from publishers, duplicates left out.
    pub packets_received: u64,
    /// Packets that came from other engines.
    pub packets_piped: u64,
    /// Packets that went out for the first time.
    pub packets_forwarded: u64,
    /// Packets that went out again because they were asked for.
    pub packets_retransmitted: u64,
    /// Packets asked of publishers again.
    pub packets_nacked: u64,
    /// Payload bytes of packets that came from publishers.
    pub bytes_received: u64,
    /// Payload bytes of packets that went out for the first time.
    pub bytes_forwarded: u64,
    /// Packets of publishers that never came; one that comes late after all is taken off again (RFC 3550 §6.4.1).
    pub packets_lost: i64,
    /// Packets that did not arrive, by the word of receivers; taken off again likewise.
    pub packets_lost_downstream: i64,
    /// Key frames that receivers asked for.
    pub key_frame_requests_received: u64,
    /// Outgoing pictures by the size that is sent now, the smallest first.
    pub pictures_by_size: [usize; MAX_SPATIAL],
    /// Outgoing pictures of which nothing is sent now.
    pub pictures_stopped: usize,
    /// Key frames asked of publishers.
    pub key_frame_requests: u64,
    /// Probes sent.
    pub probes: u64,
    /// Bytes sent to fill probes.
    pub padding_bytes: u64,
    /// Transports by how they do, those of which it is known: poor, good, excellent.
    pub grades: [usize; 3],
    /// Transports whose client told what arrives.
    pub estimated: usize,
    /// Of those, the ones that are given less than is wanted.
    pub constrained: usize,
    /// Outgoing pictures that are less than they could be, or are not sent, because the machine has too little time.
    pub pressed: usize,
    /// The sum of their estimates, in bits a second.
    pub estimate_bps: u64,
}

impl Totals {
    pub(crate) fn add_consumer(&mut self, consumer: &Consumer) {
        self.packets_forwarded += consumer.stats.packets;
        self.packets_retransmitted += consumer.stats.retransmitted;
        self.bytes_forwarded += consumer.stats.payload_bytes;
        self.packets_lost_downstream += i64::from(consumer.stats.lost);
        self.key_frame_requests_received += consumer.stats.key_frame_requests;
    }

    pub(crate) fn add_producer(&mut self, producer: &Producer) {
        match producer.is_piped() {
            true => self.packets_piped += producer.stats.packets,
            false => {
                self.packets_received += producer.stats.packets;
                self.bytes_received += producer.stats.payload_bytes;
                self.packets_lost += producer.lost();
            }
        }
        self.packets_nacked += producer.stats.nacks;
        self.key_frame_requests += producer.stats.key_frame_requests;
    }

    pub(crate) fn add_path(&mut self, association: &Association) {
        self.probes += association.downlink.counters.probes;
        self.padding_bytes += association.downlink.counters.padding_bytes;
    }
}

impl Engine {
    /// Sums up. Takes a look at everything there is: not for each round.
    pub fn totals(&self) -> Totals {
        let mut totals = self.ended;
        self.consumers.iter().for_each(|consumer| totals.add_consumer(consumer));
        totals.pressed = self.consumers.iter().filter(|consumer| consumer.is_pressed()).count();
        for consumer in self
            .consumers
            .iter()
            .filter(|consumer| consumer.kind == MediaKind::Video)
        {
            let producer = self.producers.get(consumer.producer);
            let size = producer.and_then(|producer| consumer.current(producer));
            match size.and_then(|layer| totals.pictures_by_size.get_mut(usize::from(layer.spatial))) {
                Some(count) => *count += 1,
                None => totals.pictures_stopped += 1,
            }
        }
        self.producers.iter().for_each(|producer| totals.add_producer(producer));
        for association in self.associations.iter() {
            totals.add_path(association);
            if let Some(grade) = association.quality.grade_told() {
                let index = match grade {
                    Grade::Poor => 0,
                    Grade::Good => 1,
                    Grade::Excellent => 2,
                };
                totals.grades[index] += 1;
            }
            if let Some(downlink) = association.downlink.stats() {
                totals.estimated += 1;
                totals.constrained += usize::from(downlink.desired > 0.0);
                totals.estimate_bps += downlink.estimate.bits_per_second as u64;
            }
        }
        totals
    }
}
