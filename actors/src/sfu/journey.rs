//! A connection's way to its first picture, as spans in the trace of the offer or answer that began it: ICE, DTLS, the first
//! packet, the first key frame. Each is told when it is over, so that none stays open for as long as somebody is in a room.
//!
//! Knows nothing of connections that nobody traces.

use std::collections::HashMap;
use std::time::SystemTime;

use caside_media::control::{CloseReason, Command, EventKind};
use caside_media::parameters::{ConsumerId, MediaKind, ProducerId, TransportId};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanContext;

use crate::trace;

/// The ways of all connections of a room.
#[derive(Debug, Default)]
pub(super) struct Journeys {
    transports: HashMap<TransportId, Journey>,
    /// Those on which nothing has come yet, or no key frame.
    incoming: HashMap<ProducerId, Track>,
    /// Those on which nothing has gone yet.
    outgoing: HashMap<ConsumerId, Track>,
}

#[derive(Debug)]
struct Journey {
    /// The span that it began in.
    within: SpanContext,
    stage: Stage,
    /// When the stage began.
    since: SystemTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ice,
    Dtls,
    Up,
}

#[derive(Debug)]
struct Track {
    within: SpanContext,
    transport: TransportId,
    kind: MediaKind,
    since: SystemTime,
}

impl Journeys {
    /// Takes note of what is ordered of the engines in the current span.
    pub(super) fn begin(&mut self, commands: &[(usize, Command)]) {
        let within = match commands.is_empty() {
            true => None,
            false => trace::current(),
        };
        if within.is_none() && self.is_empty() {
            return;
        }
        let now = SystemTime::now();
        for (_, command) in commands {
            match command {
                Command::ConnectTransport { transport, .. } => self.connect(*transport, within.as_ref(), now),
                Command::Produce {
                    transport,
                    producer,
                    parameters,
                } => {
                    if let Some(track) = self.track(*transport, within.as_ref(), parameters.kind, now) {
                        self.incoming.insert(*producer, track);
                    }
                }
                Command::Consume {
                    transport,
                    consumer,
                    parameters,
                    ..
                } => {
                    if let Some(track) = self.track(*transport, within.as_ref(), parameters.kind, now) {
                        self.outgoing.insert(*consumer, track);
                    }
                }
                Command::CloseTransport { transport } => self.forget(*transport),
                Command::CloseProducer { producer } => {
                    self.incoming.remove(producer);
                }
                Command::CloseConsumer { consumer } => {
                    self.outgoing.remove(consumer);
                }
                _ => {}
            }
        }
    }

    /// Tells of what an engine reports, if it is a step of somebody's way.
    pub(super) fn passed(&mut self, event: &EventKind) {
        if self.is_empty() {
            return;
        }
        let now = SystemTime::now();
        match event {
            EventKind::TransportConnected { transport } => self.step(*transport, Stage::Ice, Stage::Dtls, now),
            EventKind::TransportSecured { transport } => self.step(*transport, Stage::Dtls, Stage::Up, now),
            EventKind::TransportClosed { transport, reason } => self.closed(*transport, *reason, now),
            EventKind::ProducerStarted { producer } => {
                let Some(mut track) = self.incoming.remove(producer) else {
                    return;
                };
                track.since = self.tell_track(&track, "media.first_rtp", "receive", now);
                if track.kind == MediaKind::Video {
                    self.incoming.insert(*producer, track);
                }
            }
            EventKind::ProducerKeyFrame { producer } => {
                if let Some(track) = self.incoming.remove(producer) {
                    self.tell_track(&track, "media.first_key_frame", "receive", now);
                }
            }
            EventKind::ConsumerStarted { consumer } => {
                if let Some(track) = self.outgoing.remove(consumer) {
                    self.tell_track(&track, "media.first_rtp", "send", now);
                    if track.kind == MediaKind::Video {
                        self.tell_track(&track, "media.first_key_frame", "send", now);
                    }
                }
            }
            _ => {}
        }
    }

    fn is_empty(&self) -> bool {
        self.transports.is_empty() && self.incoming.is_empty() && self.outgoing.is_empty()
    }

    /// The client's side is known from here on. One that is up goes on, whatever it renegotiates.
    fn connect(&mut self, transport: TransportId, within: Option<&SpanContext>, now: SystemTime) {
        let Some(within) = within else { return };
        if self
            .transports
            .get(&transport)
            .is_none_or(|known| known.stage == Stage::Ice)
        {
            let journey = Journey {
                within: within.clone(),
                stage: Stage::Ice,
                since: now,
            };
            self.transports.insert(transport, journey);
        }
    }

    /// A track belongs to its connection's trace, if that has one: what one publishes is offered to others in the trace of its
    /// publisher, but is seen in theirs.
    fn track(
        &self,
        transport: TransportId,
        within: Option<&SpanContext>,
        kind: MediaKind,
        since: SystemTime,
    ) -> Option<Track> {
        let journey = self.transports.get(&transport).map(|journey| &journey.within);
        Some(Track {
            within: journey.or(within)?.clone(),
            transport,
            kind,
            since,
        })
    }

    fn step(&mut self, transport: TransportId, from: Stage, to: Stage, now: SystemTime) {
        if let Some(journey) = self.transports.get_mut(&transport).filter(|it| it.stage == from) {
            journey.tell(transport, now, None);
            journey.stage = to;
            journey.since = now;
        }
    }

    /// A connection that ends before it is up is told with the reason.
    fn closed(&mut self, transport: TransportId, reason: CloseReason, now: SystemTime) {
        if let Some(journey) = self.transports.get(&transport)
            && journey.stage != Stage::Up
            && reason != CloseReason::Requested
        {
            journey.tell(transport, now, Some(super::state::cause(reason)));
        }
        self.forget(transport);
    }

    fn forget(&mut self, transport: TransportId) {
        self.transports.remove(&transport);
        self.incoming.retain(|_, track| track.transport != transport);
        self.outgoing.retain(|_, track| track.transport != transport);
    }

    /// A step of a track; it began when both the track and its connection were there. Gives when it ended.
    fn tell_track(&self, track: &Track, name: &'static str, direction: &'static str, now: SystemTime) -> SystemTime {
        let up = self.transports.get(&track.transport).map(|journey| journey.since);
        let began = up.map_or(track.since, |up| up.max(track.since));
        let attributes = vec![
            KeyValue::new("caside.media.kind", word(track.kind)),
            KeyValue::new("caside.media.direction", direction),
            transport_attribute(track.transport),
        ];
        trace::tell(&track.within, name, (began.min(now), now), attributes, None);
        now
    }
}

impl Journey {
    fn tell(&self, transport: TransportId, now: SystemTime, error: Option<&'static str>) {
        let name = match self.stage {
            Stage::Ice => "media.ice",
            Stage::Dtls | Stage::Up => "media.dtls",
        };
        let attributes = vec![transport_attribute(transport)];
        trace::tell(&self.within, name, (self.since.min(now), now), attributes, error);
    }
}

fn transport_attribute(transport: TransportId) -> KeyValue {
    KeyValue::new("caside.transport.id", i64::try_from(transport.0).unwrap_or(i64::MAX))
}

fn word(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}
