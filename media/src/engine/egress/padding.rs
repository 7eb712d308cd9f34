//! Packets that fill a probe: the last ones once more, which repairs what was lost of them; where there are none, padding.

use std::time::Instant;

use super::{Purpose, Sender};
use crate::consumer::Consumer;
use crate::consumer::rewrite::{MAX_HEADER, Numbers};
use crate::engine::slab::Key;
use crate::engine::{Association, Engine};
use crate::parameters::MediaKind;
use crate::producer::Producer;
use crate::transport::SRTP_OVERHEAD;

/// How many packets back a probe goes before it begins again with the latest.
const RECENT: u64 = 32;

/// The padding of one packet at most: its length is told in one byte (RFC 3550 §5.1).
const MAX_PADDING: usize = 255;

impl Engine {
    /// Sends what is due of a transport's probe, if one is under way.
    pub(in crate::engine) fn send_probe(&mut self, now: Instant, key: Key<Association>) {
        let abs_send_time = self.ntp(now).abs_send_time();
        let filler = self.filler(key);
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        if association.downlink.probe().is_none() {
            return;
        }
        let filler = filler.and_then(|filler| self.consumers.get_mut(filler));
        let (Some(path), Some(consumer)) = (association.media_path(), filler) else {
            association.downlink.end_probe();
            return;
        };
        let Some(producer) = self.producers.get(consumer.producer) else {
            association.downlink.end_probe();
            return;
        };
        let mut sender = Sender {
            now,
            path,
            transport: &mut association.transport,
            now_us: association.downlink.micros(now),
            downlink: &mut association.downlink,
            backlog: &mut association.backlog,
            abs_send_time,
            rtt: association.rtt,
            out: &mut self.control,
            dropped: &mut self.dropped,
        };
        sender.fill(consumer, producer);
    }

    /// The track whose RTX stream carries probes: of those that flow the one with the most packets.
    fn filler(&self, key: Key<Association>) -> Option<Key<Consumer>> {
        let association = self.associations.get(key)?;
        association.downlink.probe()?;
        let able = association.consumers.iter().filter_map(|key| {
            let consumer = self.consumers.get(*key)?;
            let able =
                consumer.kind == MediaKind::Video && consumer.rtx.is_some() && consumer.header.has_transport_cc();
            able.then_some(((consumer.mapping.live().is_some(), consumer.stats.packets), *key))
        });
        able.max_by_key(|(order, _)| *order).map(|(_, key)| key)
    }
}

impl Sender<'_> {
    /// Sends packets until what is due in this slot was sent.
    fn fill(&mut self, consumer: &mut Consumer, producer: &Producer) {
        let mut back = 0;
        while let Some(probe) = self.downlink.probe() {
            let before = probe.bytes;
            if probe.is_complete() {
                self.downlink.end_probe();
                return;
            }
            if before >= probe.due_bytes(self.now) {
                return;
            }
            let latest = consumer.mapping.next_index().checked_sub(1 + back % RECENT);
            back += 1;
            let again = latest.and_then(|index| self.send_one_again(consumer, producer, index as u16, Purpose::Probe));
            if again.is_none() {
                self.send_padding(consumer);
            }
            let sent = self.downlink.probe().map_or(0, |probe| probe.bytes - before);
            self.downlink.counters.padding_bytes += u64::from(sent);
            if sent == 0 {
                // Nothing can be sealed.
                self.downlink.end_probe();
            }
        }
    }

    /// A packet of padding alone on the RTX stream.
    fn send_padding(&mut self, consumer: &mut Consumer) {
        let Some((payload_type, ssrc)) = consumer.rtx else {
            return;
        };
        let index = consumer.retransmit.take_rtx_index();
        let numbers = Numbers {
            marker: false,
            frame: None,
            payload_type,
            ssrc,
            sequence: index as u16,
            timestamp: consumer.mapping.latest().map_or(0, |(timestamp, _)| timestamp),
            abs_send_time: self.abs_send_time,
            transport_cc: Some(self.downlink.next_number()),
        };
        let buffer = self.out.reserve(MAX_HEADER + MAX_PADDING + SRTP_OVERHEAD);
        let header = buffer
            .first_chunk_mut()
            .expect("the buffer begins with room for the longest header");
        let header_len = consumer.header.write_padding(header, &numbers);
        let end = header_len + MAX_PADDING;
        buffer[header_len..end].fill(0);
        buffer[end - 1] = MAX_PADDING as u8;
        let roc = (index >> 16) as u32;
        match self
            .transport
            .protect_rtp(&mut buffer[..end + SRTP_OVERHEAD], end, header_len, roc)
        {
            Ok(sealed) => {
                self.out.commit(self.path, sealed);
                self.downlink.sent(self.now_us, sealed);
            }
            Err(_) => self.dropped.unsealed += 1,
        }
    }
}
