//! Reports and requests that come in.

use std::time::{Duration, Instant};

use crate::consumer::sender_report::ClockOffset;
use crate::control::TapItem;
use crate::engine::slab::Key;
use crate::engine::{Association, Engine};
use crate::parameters::Ssrc;
use crate::producer::receiver_report::SenderClock;
use crate::rtcp::parse::ssrcs;
use crate::rtcp::{NackPairs, NtpTime, Packets, ReportBlocks, RtcpMessage, ntp};

/// A round trip that takes longer is of no use to reckon with.
const MAX_RTT: Duration = Duration::from_secs(10);

/// The size of a FIR entry (RFC 5104 §4.3.1.1).
const FIR_ENTRY: usize = 8;

impl Engine {
    /// Takes a plain compound. Round trips and clocks are reckoned from its `arrival`.
    pub(super) fn receive_rtcp(&mut self, now: Instant, arrival: Instant, key: Key<Association>, compound: &[u8]) {
        for message in Packets::new(compound) {
            let named = message.named();
            let within = self
                .associations
                .get_mut(key)
                .is_some_and(|it| it.budget.report(now, named));
            if !within {
                self.dropped.reports += 1;
                return;
            }
            match message {
                RtcpMessage::SenderReport { ssrc, ntp, rtp, blocks } => {
                    self.sender_report(arrival, key, ssrc, ntp, rtp);
                    self.report_blocks(arrival, key, blocks);
                }
                RtcpMessage::ReceiverReport { blocks } => self.report_blocks(arrival, key, blocks),
                RtcpMessage::Goodbye { ssrcs: bytes } => ssrcs(bytes, 4).for_each(|ssrc| self.goodbye(key, ssrc)),
                RtcpMessage::Nack { media, pairs } => self.nack(key, media, pairs),
                RtcpMessage::PictureLoss { media } => self.key_frame_wanted(now, key, media),
                RtcpMessage::FullIntra { entries } => {
                    ssrcs(entries, FIR_ENTRY).for_each(|ssrc| self.key_frame_wanted(now, key, ssrc));
                }
                RtcpMessage::TransportCc(feedback) => self.arrivals_told(now, key, &feedback),
                RtcpMessage::ReceiverEstimate { bits_per_second } => {
                    self.receiver_estimated(now, key, bits_per_second);
                }
                RtcpMessage::Application | RtcpMessage::Other => {}
            }
        }
    }

    fn sender_report(&mut self, arrival: Instant, key: Key<Association>, ssrc: Ssrc, ntp: NtpTime, rtp: u32) {
        let ours = self.ntp(arrival);
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        let Some(route) = association.ssrcs.find(ssrc) else {
            return;
        };
        let Some(producer) = self.producers.get_mut(route.producer) else {
            return;
        };
        let Some(stream) = producer.streams.get_mut(route.encoding) else {
            return;
        };
        if stream.ssrc != Some(ssrc) {
            return;
        }
        association.clock_offset = Some(ClockOffset::observe(association.clock_offset, ours, ntp));
        stream.clock = Some(SenderClock {
            ntp,
            rtp,
            received: arrival,
        });
        if route.encoding == producer.tapped {
            producer.observe(|| TapItem::SenderReport {
                ntp: ntp.0,
                rtp,
                received: arrival,
            });
        }
        self.tell_clocks(route.producer, route.encoding);
    }

    fn report_blocks(&mut self, arrival: Instant, key: Key<Association>, blocks: ReportBlocks<'_>) {
        let arrival = self.ntp(arrival).compact();
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        for block in blocks {
            let Some(consumer) = association.consumer_ssrcs.get(&block.ssrc.0) else {
                continue;
            };
            let Some(consumer) = self.consumers.get_mut(*consumer) else {
                continue;
            };
            // Not of the retransmissions.
            if consumer.ssrc == block.ssrc {
                consumer.stats.fraction_lost = f64::from(block.fraction_lost) / 256.0;
                consumer.stats.lost = block.lost;
                consumer.stats.jitter = block.jitter;
                consumer.stats.reported = true;
            }
            if block.last_report != 0 {
                // RFC 3550 §6.4.1. A negative time comes from a report made up, or from clocks that do not agree.
                let rtt = arrival.wrapping_sub(block.last_report).wrapping_sub(block.delay);
                if rtt < 1 << 31 {
                    association.observe_rtt(ntp::from_compact(rtt).min(MAX_RTT));
                }
            }
        }
    }

    fn goodbye(&mut self, key: Key<Association>, ssrc: Ssrc) {
        let Some(route) = self
            .associations
            .get(key)
            .and_then(|association| association.ssrcs.find(ssrc))
        else {
            return;
        };
        let stream = self
            .producers
            .get_mut(route.producer)
            .and_then(|producer| producer.streams.get_mut(route.encoding));
        if let Some(stream) = stream.filter(|stream| stream.ssrc == Some(ssrc)) {
            stream.ended();
        }
    }

    fn nack(&mut self, key: Key<Association>, media: Ssrc, pairs: NackPairs<'_>) {
        let Some(association) = self.associations.get(key) else {
            return;
        };
        let Some(&consumer_key) = association.consumer_ssrcs.get(&media.0) else {
            return;
        };
        let Some(consumer) = self.consumers.get_mut(consumer_key) else {
            return;
        };
        let agreed = consumer.rtx.is_some() || consumer.sealed.is_some();
        if consumer.ssrc != media || consumer.paused || !agreed {
            return;
        }
        for sequence in pairs.sequences() {
            if !consumer.retransmit.ask(sequence) {
                self.dropped.retransmissions += 1;
                break;
            }
        }
        if consumer.retransmit.is_asked() {
            self.queue_consumer(consumer_key);
        }
    }

    fn key_frame_wanted(&mut self, now: Instant, key: Key<Association>, media: Ssrc) {
        let Some(association) = self.associations.get(key) else {
            return;
        };
        let Some(&key) = association.consumer_ssrcs.get(&media.0) else {
            return;
        };
        let Some(consumer) = self.consumers.get_mut(key).filter(|consumer| consumer.ssrc == media) else {
            return;
        };
        consumer.stats.key_frame_requests += 1;
        if consumer.is_sent() {
            self.request_key_frame_for(now, key);
        }
    }
}
