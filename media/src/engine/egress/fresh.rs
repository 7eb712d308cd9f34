//! Packets that go for the first time: what came in this round, what waited for its turn, and what is kept for those who begin.

use super::{Outcome, Sender, content};
use crate::consumer::{Consumer, Decision};
use crate::engine::backlog::{Leave, Waiting};
use crate::engine::beginnings::{beginning, wire_bytes};
use crate::engine::slab::Key;
use crate::parameters::MediaKind;
use crate::producer::{Fresh, Producer};

impl Sender<'_> {
    /// The next packet that waited, if it may go now.
    pub(super) fn take_waiting(&mut self) -> Option<(Waiting, Leave)> {
        if self.backlog.is_empty() {
            return None;
        }
        let may_send = self.downlink.may_send(self.now_us);
        self.backlog.take(self.now_us, may_send)
    }

    /// Sends a packet that waited.
    pub(super) fn send_waiting(
        &mut self,
        consumer: &mut Consumer,
        producer: &Producer,
        (waiting, leave): (Waiting, Leave),
    ) -> Outcome {
        let Waiting { encoding, extended, .. } = waiting;
        self.downlink.heed_pace(leave == Leave::Turn);
        let outcome = self.send_one(consumer, producer, encoding, extended);
        self.downlink.heed_pace(true);
        if outcome == Outcome::Started {
            self.send_later(waiting.consumer, consumer, producer, encoding, extended);
        }
        outcome
    }

    /// Sends a consumer's part of the round, or as much of it as its path may be given now.
    pub(super) fn send_fresh(&mut self, key: Key<Consumer>, consumer: &mut Consumer, producer: &Producer) -> Outcome {
        let mut outcome = Outcome::Sent;
        // Packets up to this one were sent when the consumer began.
        let mut caught_up = self.send_past(key, consumer, producer);
        if caught_up.is_some() {
            outcome = Outcome::Started;
        } else if producer.round.is_empty() && consumer.kind == MediaKind::Video && consumer.is_waiting() {
            outcome = Outcome::NeedsKeyFrame;
        }
        for Fresh { encoding, extended } in producer.round.iter().copied() {
            if caught_up.is_some_and(|(begun, last)| begun == encoding && extended <= last) {
                continue;
            }
            if self.must_wait(key, consumer, encoding) {
                self.backlog.push(Waiting {
                    consumer: key,
                    encoding,
                    extended,
                    since_us: self.now_us,
                });
                continue;
            }
            match self.send_one(consumer, producer, encoding, extended) {
                Outcome::Sent => {}
                Outcome::NeedsKeyFrame => outcome = Outcome::NeedsKeyFrame,
                Outcome::Started => {
                    outcome = Outcome::Started;
                    // What overtook it is in the ring already and will not come again.
                    caught_up = self
                        .send_later(key, consumer, producer, encoding, extended)
                        .or(caught_up);
                }
            }
        }
        outcome
    }

    /// Whether a packet that is for this consumer has to wait for its turn: the path is given no more now, or others of it wait before
    /// it. Sound does not wait, nor does the packet that a picture begins with: what comes after it is taken by that.
    fn must_wait(&mut self, key: Key<Consumer>, consumer: &Consumer, encoding: usize) -> bool {
        consumer.kind == MediaKind::Video
            && consumer.may_follow(encoding)
            && (self.backlog.has(key) || !self.downlink.may_send(self.now_us))
    }

    /// Sends a packet if it is one for this consumer.
    fn send_one(&mut self, consumer: &mut Consumer, producer: &Producer, encoding: usize, extended: u64) -> Outcome {
        // A packet that was overtaken in its slot meanwhile is gone.
        let slot = producer
            .streams
            .get(encoding)
            .and_then(|stream| stream.ring.get(extended));
        let Some(slot) = slot else {
            return Outcome::Sent;
        };
        if producer.codec_kind(slot.info.codec) != Some(consumer.codec.kind) {
            // Should the publisher come back to the codec, that is a new beginning.
            consumer.mapping.stop();
            return Outcome::Sent;
        }
        if content(consumer, slot).is_none() {
            self.dropped.opaque += 1;
            return Outcome::Sent;
        }
        match consumer.decide(&slot.info, encoding, producer) {
            Decision::Skip => Outcome::Sent,
            Decision::NeedKeyFrame => Outcome::NeedsKeyFrame,
            Decision::Send(mapped) => {
                self.send_first(consumer, slot, mapped);
                Outcome::Sent
            }
            Decision::Fill(mapped) => {
                self.use_up(consumer, slot, mapped);
                Outcome::Sent
            }
            Decision::Start(mapped) => {
                self.send_first(consumer, slot, mapped);
                Outcome::Started
            }
        }
    }

    /// Lets a consumer begin with what is kept since the latest key frame, if it may. Gives up to where it was sent then.
    fn send_past(&mut self, key: Key<Consumer>, consumer: &mut Consumer, producer: &Producer) -> Option<(usize, u64)> {
        let run = beginning(self.now, consumer, producer, self.downlink)?;
        let encoding = consumer.encoding();
        let stream = producer.streams.get(encoding)?;
        let (first, latest) = (stream.ring.get(run.first)?, stream.ring.get(stream.highest()?)?);
        let mapped = consumer.begin_with_past(&first.info, &latest.info, producer);
        let numbered = consumer.header.has_transport_cc();
        self.downlink.begin_burst(self.now, wire_bytes(&run), numbered);
        self.send_first(consumer, first, mapped);
        self.send_later(key, consumer, producer, encoding, run.first);
        self.downlink.end_burst();
        Some((encoding, latest.info.extended))
    }

    /// Sends what the ring holds of a stream after the packet that a consumer began with, but for what waits for its turn. Gives
    /// up to where that is.
    fn send_later(
        &mut self,
        key: Key<Consumer>,
        consumer: &mut Consumer,
        producer: &Producer,
        encoding: usize,
        begun: u64,
    ) -> Option<(usize, u64)> {
        let stream = producer.streams.get(encoding)?;
        let (epoch, highest) = (stream.ring.get(begun)?.info.epoch, stream.highest()?);
        let later = (begun + 1..=highest).filter_map(|extended| stream.ring.get(extended));
        let mut last = None;
        for slot in later.take_while(|slot| slot.info.epoch == epoch) {
            let extended = slot.info.extended;
            last = Some((encoding, extended));
            if !self.backlog.holds(key, encoding, extended)
                && let Decision::Send(mapped) = consumer.decide(&slot.info, encoding, producer)
            {
                self.send_first(consumer, slot, mapped);
            }
        }
        last
    }
}
