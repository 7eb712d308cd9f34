//! What is told by the clock: sender reports to receivers, receiver reports to publishers.

use std::time::{Duration, Instant};

use crate::consumer::sender_report::timestamp_at;
use crate::control::EventKind;
use crate::engine::association::mix;
use crate::engine::feedback::FEEDBACK_SSRC;
use crate::engine::quality::Observed;
use crate::engine::rtcp_batch::RtcpBatch;
use crate::engine::slab::Key;
use crate::engine::{Association, Engine};
use crate::rtcp::ReportBlock;

/// Reports go out this often, and up to [`INTERVAL_SPREAD_MS`] later so that those of many transports do not coincide.
const INTERVAL: Duration = Duration::from_millis(900);
const INTERVAL_SPREAD_MS: u64 = 200;

/// The first report of a transport.
const FIRST: Duration = Duration::from_millis(100);

/// What publishers without transport-wide feedback may send, in bits a second: they adapt by the losses we report.
const REMB_BITRATE: u64 = 10_000_000;

/// Streams that a REMB names; a browser applies it to the whole connection in any case.
const MAX_REMB_STREAMS: usize = 64;

/// Report blocks of one receiver report (its count has 5 bits).
const MAX_BLOCKS: usize = 31;

impl Engine {
    /// When a transport that was secured now makes its first report.
    pub(super) fn first_report(now: Instant) -> Instant {
        now + FIRST
    }

    /// Sends a transport's reports and sets the time of the next.
    pub(super) fn report(&mut self, now: Instant, key: Key<Association>) {
        let ntp = self.ntp(now);
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        association.reports += 1;
        let spread = Duration::from_millis(mix(association.id.0 ^ association.reports << 32) % INTERVAL_SPREAD_MS);
        association.report_due = Some(now + INTERVAL + spread);
        let Some(path) = association.media_path() else { return };
        let consumers = association.consumers.clone();
        let mut reports = Vec::new();
        for consumer in consumers.iter().filter_map(|consumer| self.consumers.get(*consumer)) {
            let Some(producer) = self
                .producers
                .get(consumer.producer)
                .filter(|producer| !producer.paused)
            else {
                continue;
            };
            // Of those that send.
            let Some((encoding, _)) = consumer.mapping.live() else {
                continue;
            };
            let Some(stream) = producer.streams.get(encoding) else {
                continue;
            };
            let offset = self.clock_offset(producer);
            let clock = stream.clock.as_ref().zip(offset);
            let rate = consumer.codec.clock_rate;
            let rtp = timestamp_at(now, ntp, &consumer.mapping, clock, rate, stream.first_packet);
            if let Some(rtp) = rtp {
                reports.push((consumer, rtp));
            }
        }
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        let arrivals = association.arrivals.as_mut();
        let lifted = arrivals.and_then(|arrivals| arrivals.path()?.lifted());
        let mut batch = RtcpBatch::new(&mut association.transport, path, &mut self.control);
        for (consumer, rtp) in reports {
            let (packets, octets) = (consumer.stats.packets as u32, consumer.stats.payload_bytes as u32);
            batch.add(|writer| {
                writer.sender_report(consumer.ssrc, ntp, rtp, packets, octets)
                    && writer.canonical_name(consumer.ssrc, &consumer.cname)
            });
        }
        let mut blocks: Vec<ReportBlock> = Vec::new();
        let (mut has_remb, mut has_transport_cc) = (false, false);
        let mut received = Observed::default();
        let mut flows = Vec::new();
        for producer in &association.producers {
            let Some(producer) = self.producers.get_mut(*producer) else {
                continue;
            };
            let asks = producer.streams.iter().any(|stream| stream.key_frames.is_unheeded());
            if let Some(flow) = producer.flow.look(producer.stats.packets, producer.paused, asks) {
                flows.push((producer.router, producer.id, flow));
            }
            for stream in &mut producer.streams {
                let Some(ssrc) = stream.ssrc else { continue };
                let feedback = stream.feedback(&producer.codecs);
                has_remb |= feedback.remb;
                has_transport_cc |= feedback.transport_cc && producer.extensions.transport_cc.is_some();
                let block = stream.reception.report(now, ssrc, stream.clock.as_ref());
                if let Some(block) = block.filter(|_| !producer.paused) {
                    let lost = f64::from(block.fraction_lost) / 256.0;
                    received.track(producer.kind, lost, stream.jitter_ms(&producer.codecs));
                }
                blocks.extend(block);
            }
        }
        for blocks in blocks.chunks(MAX_BLOCKS) {
            batch.add(|writer| writer.receiver_report(FEEDBACK_SSRC, blocks));
        }
        if has_remb && !has_transport_cc && !blocks.is_empty() {
            let ssrcs: Vec<_> = blocks.iter().map(|block| block.ssrc).take(MAX_REMB_STREAMS).collect();
            batch.add(|writer| writer.remb(FEEDBACK_SSRC, REMB_BITRATE, &ssrcs));
        } else if let Some(cap) = lifted {
            let ssrcs = blocks.first().map(|block| block.ssrc);
            batch.add(|writer| writer.remb(FEEDBACK_SSRC, cap, ssrcs.as_slice()));
        }
        self.dropped.unsealed += batch.finish();
        for (router, producer, flow) in flows {
            self.emit(router, EventKind::ProducerFlow { producer, flow });
        }
        self.judge(key, &received);
    }
}
