//! The SFU's decisions: orders and engine events in; engine commands, events for the room and timers out.

use std::collections::{BTreeMap, HashMap};

use caside_media::control::{CloseReason, Command, EventKind};
use caside_media::parameters::{
    ConsumerId, Fingerprint, IceCredentials, MediaKind, ProducerId, ProducerParameters, RouterId, TransportId,
};
use caside_media::sdp::{
    self, Candidate, CodecPolicy, LocalDescription, NegotiateError, PublishAnswer, PublishSession, SubscribeSession,
    SubscribeTrack,
};
use caside_protocol::client::{Subscribe, SubscribeQuality, Target, TrackSource};
use caside_protocol::error::Refusal;
use caside_protocol::server::SfuOfferTrack;
use caside_protocol::view::{Source, Track, TrackKind};
use caside_protocol::{ErrorCode, ParticipantId, TrackId};

use super::command::{PublishedTrack, SfuCommand, SfuEvent};
use super::member::{Consumption, Member, Publishing, Subscribing};
use super::stats;

/// What to do after an order or an event.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// For the engine, in order.
    pub(super) commands: Vec<Command>,
    /// For the room, in order.
    pub(super) events: Vec<SfuEvent>,
    /// Offers whose answers are to be waited for: participant and offer number.
    pub(super) timers: Vec<(ParticipantId, u64)>,
}

/// What all descriptions of this SFU have in common, and where ids come from.
pub(super) struct Setting {
    pub(super) router: RouterId,
    pub(super) candidates: Vec<Candidate>,
    pub(super) fingerprint: Fingerprint,
    pub(super) policy: CodecPolicy,
    /// Makes ids that are unique in this process.
    pub(super) next_id: Box<dyn FnMut() -> u64 + Send>,
    /// Makes fresh ICE credentials.
    pub(super) credentials: Box<dyn FnMut() -> IceCredentials + Send>,
}

/// A published track.
#[derive(Debug)]
struct Producer {
    participant: ParticipantId,
    published: PublishedTrack,
}

/// One room's SFU.
pub(super) struct SfuState {
    setting: Setting,
    members: HashMap<ParticipantId, Member>,
    producers: HashMap<ProducerId, Producer>,
    tracks: HashMap<TrackId, ProducerId>,
    transports: HashMap<TransportId, (ParticipantId, Target)>,
    stats_requests: HashMap<u64, (ParticipantId, u64)>,
    effects: Effects,
}

/// Statistics asked for and not yet answered, at most; older ones are forgotten.
const MAX_STATS_REQUESTS: usize = 256;

impl SfuState {
    pub(super) fn new(setting: Setting) -> Self {
        Self {
            setting,
            members: HashMap::new(),
            producers: HashMap::new(),
            tracks: HashMap::new(),
            transports: HashMap::new(),
            stats_requests: HashMap::new(),
            effects: Effects::default(),
        }
    }

    /// Carries out an order of the room.
    pub(super) fn apply(&mut self, command: SfuCommand) -> Effects {
        match command {
            SfuCommand::Attach {
                participant,
                subscribe,
                may_subscribe,
                may_send_data,
            } => {
                self.detach(participant);
                self.members
                    .insert(participant, Member::new(subscribe, may_subscribe, may_send_data));
                self.offer_all_tracks(participant);
            }
            SfuCommand::Detach { participant } => self.detach(participant),
            SfuCommand::PublishOffer {
                participant,
                request,
                sdp,
                sources,
            } => {
                self.publish_offer(participant, request, &sdp, &sources);
            }
            SfuCommand::SubscribeAnswer {
                participant,
                request,
                sdp,
            } => {
                let mut result = self.subscribe_answer(participant, &sdp);
                if let Err(AnswerError::OtherConnection) = result {
                    // The client answered from a new peer connection: the old one is of no use to it any more.
                    self.renew_subscription(participant);
                    result = Ok(());
                }
                let result = result.map_err(AnswerError::into_refusal);
                self.effects.events.push(SfuEvent::SubscribeAnswered {
                    participant,
                    request,
                    result,
                });
                self.offer_if_wanted(participant);
            }
            SfuCommand::Subscribe { participant, wish } => self.subscribe(participant, &wish),
            SfuCommand::SetPaused { track, paused } => self.set_paused(track, paused),
            SfuCommand::SetReceiving { participant, receiving } => self.set_receiving(participant, receiving),
            SfuCommand::Stats { participant, request } => self.ask_stats(participant, request),
            SfuCommand::Tap { track, tap, sink } => {
                if let Some(producer) = self.tracks.get(&track) {
                    self.effects.commands.push(Command::Tap {
                        producer: *producer,
                        tap,
                        sink,
                    });
                }
            }
            SfuCommand::Untap { tap } => self.effects.commands.push(Command::Untap { tap }),
            SfuCommand::RequestKeyFrame { track } => {
                if let Some(producer) = self.tracks.get(&track) {
                    self.effects
                        .commands
                        .push(Command::RequestKeyFrame { producer: *producer });
                }
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// Takes an event of the engine.
    pub(super) fn media(&mut self, event: EventKind) -> Effects {
        match event {
            EventKind::TransportConnected { .. } | EventKind::ProducerStarted { .. } => {}
            EventKind::TransportSecured { transport } => {
                if let Some((participant, target)) = self.transports.get(&transport).copied() {
                    self.effects.events.push(SfuEvent::Connected { participant, target });
                }
            }
            EventKind::TransportClosed { transport, reason } => self.transport_closed(transport, reason),
            EventKind::ActiveSpeakers { producers } => {
                let tracks = producers
                    .iter()
                    .filter_map(|p| self.producers.get(p))
                    .map(|p| p.published.track.track)
                    .collect();
                self.effects.events.push(SfuEvent::ActiveSpeakers { tracks });
            }
            EventKind::Data {
                transport,
                label,
                data,
                text,
            } => self.forward_data(transport, &label, &data, text),
            EventKind::Stats { request, transports } => {
                if let Some((participant, request)) = self.stats_requests.remove(&request) {
                    let stats = stats::of_participant(
                        &transports,
                        |transport| {
                            self.transports
                                .get(&transport)
                                .filter(|(p, _)| *p == participant)
                                .map(|(_, target)| *target)
                        },
                        |producer| self.producers.get(&producer).map(|p| p.published.track.track),
                        |consumer| {
                            let subscribe = self.members.get(&participant)?.subscribe.as_ref()?;
                            subscribe.consumers.get(&consumer).map(|c| c.track)
                        },
                    );
                    self.effects.events.push(SfuEvent::Stats { request, stats });
                }
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// The engine was lost with every transport.
    pub(super) fn restarted(&mut self) -> Effects {
        let mut transports: Vec<_> = self.transports.keys().copied().collect();
        transports.sort_unstable();
        for transport in transports {
            self.transport_closed(transport, CloseReason::Internal);
        }
        // The engine that comes has none of what the others would close.
        let opens = |command: &Command| matches!(command, Command::OpenTransport { .. });
        self.effects.commands.retain(opens);
        std::mem::take(&mut self.effects)
    }

    /// An offer's time to be answered is over.
    pub(super) fn offer_timed_out(&mut self, participant: ParticipantId, offer: u64) -> Effects {
        let subscribing = self.members.get_mut(&participant).and_then(|m| m.subscribe.as_mut());
        if let Some(subscribing) = subscribing.filter(|s| s.outstanding && s.offer == offer) {
            subscribing.outstanding = false;
            subscribing.session.abandon();
            let refusal = Refusal::new(
                ErrorCode::NegotiationTimeout,
                "the subscribe offer was not answered in time; it is made anew on the next change",
            );
            self.effects.events.push(SfuEvent::Failed { participant, refusal });
        }
        std::mem::take(&mut self.effects)
    }

    // ---- publishing -----------------------------------------------------------------------------------------------

    fn publish_offer(
        &mut self,
        participant: ParticipantId,
        request: u64,
        sdp: &str,
        sources: &BTreeMap<String, TrackSource>,
    ) {
        let mut published = Vec::new();
        let mut unpublished = Vec::new();
        let result = self.negotiate_publish(participant, sdp, sources, &mut published, &mut unpublished);
        self.effects.events.push(SfuEvent::PublishAnswered {
            participant,
            request,
            result,
            published: published.clone(),
            unpublished: unpublished.clone(),
        });
        for track in unpublished {
            self.withdraw(track);
        }
        for track in published {
            self.announce(participant, track.track.track);
        }
        self.offer_where_wanted();
    }

    fn negotiate_publish(
        &mut self,
        participant: ParticipantId,
        sdp: &str,
        sources: &BTreeMap<String, TrackSource>,
        published: &mut Vec<PublishedTrack>,
        unpublished: &mut Vec<TrackId>,
    ) -> Result<(String, BTreeMap<String, TrackId>), Refusal> {
        let remote_session = sdp::parse(sdp)
            .map_err(|e| bad_sdp(&NegotiateError::from(e)))?
            .session_id;
        let member = self.members.get_mut(&participant).ok_or_else(not_attached)?;
        let Setting {
            next_id,
            credentials,
            router,
            candidates,
            fingerprint,
            policy,
        } = &mut self.setting;
        let mut allocate = || ProducerId(next_id());

        let running = member.publish.as_mut().filter(|p| p.remote_session == remote_session);
        let (answer, fresh) = match running {
            Some(publishing) => (
                publishing
                    .session
                    .offer(sdp, &mut allocate, credentials)
                    .map_err(|e| bad_sdp(&e))?,
                None,
            ),
            None => {
                let ice = credentials();
                let local = local_description(candidates, fingerprint, ice.clone());
                let mut session = PublishSession::new(local, policy.clone());
                let answer = session
                    .offer(sdp, &mut allocate, credentials)
                    .map_err(|e| bad_sdp(&e))?;
                (answer, Some((session, ice)))
            }
        };
        if let Some((session, local)) = fresh {
            // A new peer connection replaces the one before, with its tracks.
            if let Some(old) = member.publish.take() {
                unpublished.extend(old.tracks.into_values());
                self.transports.remove(&old.transport);
                self.effects.commands.push(Command::CloseTransport {
                    transport: old.transport,
                });
            }
            let transport = TransportId(next_id());
            self.transports.insert(transport, (participant, Target::Publish));
            self.effects.commands.push(Command::OpenTransport {
                router: *router,
                transport,
                local,
            });
            let tracks = BTreeMap::new();
            member.publish = Some(Publishing {
                transport,
                session,
                remote_session,
                tracks,
                data: false,
            });
        }
        let publishing = member.publish.as_mut().ok_or_else(not_attached)?;
        let PublishAnswer {
            sdp,
            connect,
            added,
            updated,
            removed,
            data_channel,
            ..
        } = answer;
        publishing.data = data_channel;
        let transport = publishing.transport;
        self.effects.commands.push(Command::ConnectTransport {
            transport,
            local: connect.local,
            remote: connect.remote,
            dtls: connect.dtls,
        });
        for (mid, producer) in removed {
            unpublished.extend(publishing.tracks.remove(&mid));
            self.effects.commands.push(Command::CloseProducer { producer });
        }
        for (_, producer, parameters) in updated {
            if let Some(known) = self.producers.get_mut(&producer) {
                known.published.parameters = parameters.clone();
            }
            self.effects
                .commands
                .push(Command::UpdateProducer { producer, parameters });
        }
        for (mid, producer, parameters) in added {
            let track = track_of(participant, &mid, &parameters, sources);
            publishing.tracks.insert(mid.clone(), track.track);
            self.tracks.insert(track.track, producer);
            let info = PublishedTrack {
                track,
                mid,
                parameters: parameters.clone(),
            };
            published.push(info.clone());
            self.producers.insert(
                producer,
                Producer {
                    participant,
                    published: info,
                },
            );
            self.effects.commands.push(Command::Produce {
                transport,
                producer,
                parameters,
            });
        }
        Ok((sdp, publishing.tracks.clone()))
    }

    /// Puts a new track before everybody who wants it.
    fn announce(&mut self, publisher: ParticipantId, track: TrackId) {
        let mut receivers: Vec<_> = self
            .members
            .iter()
            .filter(|(id, m)| **id != publisher && m.wants(track))
            .map(|(id, _)| *id)
            .collect();
        receivers.sort_unstable();
        for receiver in receivers {
            self.add_consumer(receiver, track);
        }
    }

    /// Takes an ended track from everybody.
    fn withdraw(&mut self, track: TrackId) {
        if let Some(producer) = self.tracks.remove(&track) {
            self.producers.remove(&producer);
        }
        for member in self.members.values_mut() {
            member.wishes.remove(&track);
            let Some(subscribing) = member.subscribe.as_mut() else {
                continue;
            };
            if let Some((consumer, _)) = subscribing.consumer_of(track) {
                subscribing.consumers.remove(&consumer);
                subscribing.session.remove(consumer);
                self.effects.commands.push(Command::CloseConsumer { consumer });
            }
        }
    }

    fn set_paused(&mut self, track: TrackId, paused: bool) {
        if let Some(producer) = self.tracks.get(&track) {
            self.effects.commands.push(Command::PauseProducer {
                producer: *producer,
                paused,
            });
        }
    }

    // ---- subscribing ----------------------------------------------------------------------------------------------

    fn offer_all_tracks(&mut self, participant: ParticipantId) {
        let Some(member) = self.members.get(&participant) else {
            return;
        };
        let mut wanted: Vec<_> = self
            .producers
            .values()
            .filter(|p| p.participant != participant)
            .map(|p| p.published.track.track)
            .filter(|track| member.wants(*track))
            .collect();
        wanted.sort_unstable();
        for track in wanted {
            self.add_consumer(participant, track);
        }
        self.offer_if_wanted(participant);
    }

    fn subscribe(&mut self, participant: ParticipantId, wish: &Subscribe) {
        let Some(producer) = self.tracks.get(&wish.track).and_then(|p| self.producers.get(p)) else {
            return;
        };
        if producer.participant == participant {
            return;
        }
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        member.wishes.insert(wish.track, wish.quality);
        let receives = member.receives(wish.track);
        let consumer = member.subscribe.as_ref().and_then(|s| s.consumer_of(wish.track));
        match consumer {
            Some((consumer, Consumption { started: true, .. })) => {
                self.effects.commands.push(Command::PauseConsumer {
                    consumer,
                    paused: !receives,
                });
            }
            // It starts as the wish then says.
            Some(_) => {}
            None if wish.quality == SubscribeQuality::Off => {}
            None => {
                self.add_consumer(participant, wish.track);
                self.offer_if_wanted(participant);
            }
        }
    }

    fn set_receiving(&mut self, participant: ParticipantId, receiving: bool) {
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        member.receiving = receiving;
        let Some(subscribing) = &member.subscribe else { return };
        for (consumer, consumption) in &subscribing.consumers {
            if consumption.started {
                let paused = !member.receives(consumption.track);
                self.effects.commands.push(Command::PauseConsumer {
                    consumer: *consumer,
                    paused,
                });
            }
        }
    }

    /// Puts a track into a participant's next offer.
    fn add_consumer(&mut self, participant: ParticipantId, track: TrackId) {
        let Some(producer) = self.tracks.get(&track).and_then(|id| self.producers.get(id)) else {
            return;
        };
        let Some(codec) = producer.published.parameters.codecs.first().cloned() else {
            return;
        };
        let Some(member) = self.members.get_mut(&participant).filter(|m| m.may_subscribe) else {
            return;
        };
        let Setting {
            next_id,
            credentials,
            router,
            candidates,
            fingerprint,
            policy,
        } = &mut self.setting;
        let subscribing = member.subscribe.get_or_insert_with(|| {
            let transport = TransportId(next_id());
            let ice = credentials();
            self.transports.insert(transport, (participant, Target::Subscribe));
            self.effects.commands.push(Command::OpenTransport {
                router: *router,
                transport,
                local: ice.clone(),
            });
            let local = local_description(candidates, fingerprint, ice);
            let session = SubscribeSession::new(local, policy.clone());
            Subscribing {
                transport,
                session,
                offer: 0,
                outstanding: false,
                consumers: HashMap::new(),
            }
        });
        if subscribing.consumer_of(track).is_some() {
            return;
        }
        let consumer = ConsumerId(next_id());
        let added = subscribing.session.add(SubscribeTrack {
            consumer,
            kind: producer.published.parameters.kind,
            codec,
            stream_id: producer.participant.to_string(),
            track_id: track.to_string(),
            extensions: producer.published.parameters.extensions,
            // Everything of one publisher is to be played in sync.
            cname: producer.participant.to_string(),
        });
        match added {
            Ok(()) => {
                subscribing
                    .consumers
                    .insert(consumer, Consumption { track, started: false });
            }
            Err(e) => {
                let refusal = Refusal::new(ErrorCode::Overloaded, format!("track {track} cannot be offered: {e}"));
                self.effects.events.push(SfuEvent::Failed { participant, refusal });
            }
        }
    }

    fn offer_where_wanted(&mut self) {
        let mut ids: Vec<_> = self.members.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.offer_if_wanted(id);
        }
    }

    fn offer_if_wanted(&mut self, participant: ParticipantId) {
        let Some(subscribing) = self.members.get_mut(&participant).and_then(|m| m.subscribe.as_mut()) else {
            return;
        };
        if subscribing.outstanding {
            return;
        }
        let Some(offer) = subscribing.session.offer() else {
            return;
        };
        subscribing.outstanding = true;
        subscribing.offer += 1;
        self.effects.timers.push((participant, subscribing.offer));
        let tracks = offer
            .mids
            .iter()
            .filter_map(|(mid, consumer)| {
                let consumption = subscribing.consumers.get(consumer)?;
                let producer = self.producers.get(self.tracks.get(&consumption.track)?)?;
                let Track {
                    participant_id,
                    track,
                    source,
                    ..
                } = producer.published.track;
                Some((
                    mid.clone(),
                    SfuOfferTrack {
                        participant_id,
                        track,
                        source,
                    },
                ))
            })
            .collect();
        self.effects.events.push(SfuEvent::SubscribeOffer {
            participant,
            sdp: offer.sdp,
            tracks,
        });
    }

    fn subscribe_answer(&mut self, participant: ParticipantId, sdp: &str) -> Result<(), AnswerError> {
        let member = self.members.get_mut(&participant).ok_or(AnswerError::NotAttached)?;
        let (receiving, wishes) = (member.receiving, &member.wishes);
        let subscribing = member.subscribe.as_mut().ok_or(NegotiateError::NoOffer)?;
        let answer = subscribing.session.answer(sdp)?;
        subscribing.outstanding = false;
        if let Some(connect) = answer.connect {
            self.effects.commands.push(Command::ConnectTransport {
                transport: subscribing.transport,
                local: connect.local,
                remote: connect.remote,
                dtls: connect.dtls,
            });
        }
        for (consumer, reason) in answer.rejected {
            let Some(gone) = subscribing.consumers.remove(&consumer) else {
                continue;
            };
            self.effects.commands.push(Command::CloseConsumer { consumer });
            let code = if reason.code() == "no_common_codec" {
                ErrorCode::NoCommonCodec
            } else {
                ErrorCode::BadSdp
            };
            let refusal = Refusal::new(code, format!("track {} was not accepted: {reason}", gone.track));
            self.effects.events.push(SfuEvent::Failed { participant, refusal });
        }
        for (consumer, parameters) in answer.started {
            let Some(consumption) = subscribing.consumers.get_mut(&consumer) else {
                continue;
            };
            let Some(producer) = self.tracks.get(&consumption.track) else {
                continue;
            };
            consumption.started = true;
            let off = wishes.get(&consumption.track) == Some(&SubscribeQuality::Off);
            self.effects.commands.push(Command::Consume {
                transport: subscribing.transport,
                producer: *producer,
                consumer,
                parameters,
                paused: off || !receiving,
            });
        }
        Ok(())
    }

    /// Drops the subscribe connection and offers everything over a new one.
    fn renew_subscription(&mut self, participant: ParticipantId) {
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        if let Some(subscribing) = member.subscribe.take() {
            self.close_transport(subscribing.transport);
        }
        self.offer_all_tracks(participant);
    }

    // ---- ends -----------------------------------------------------------------------------------------------------

    fn detach(&mut self, participant: ParticipantId) {
        let Some(member) = self.members.remove(&participant) else {
            return;
        };
        self.stats_requests.retain(|_, (p, _)| *p != participant);
        if let Some(subscribing) = member.subscribe {
            self.close_transport(subscribing.transport);
        }
        if let Some(publishing) = member.publish {
            self.close_transport(publishing.transport);
            for track in publishing.tracks.into_values() {
                self.withdraw(track);
            }
            self.offer_where_wanted();
        }
    }

    fn close_transport(&mut self, transport: TransportId) {
        self.transports.remove(&transport);
        self.effects.commands.push(Command::CloseTransport { transport });
    }

    /// A connection ended on its own.
    fn transport_closed(&mut self, transport: TransportId, reason: CloseReason) {
        let Some((participant, target)) = self.transports.remove(&transport) else {
            return;
        };
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        self.effects.events.push(SfuEvent::Disconnected {
            participant,
            target,
            cause: cause(reason),
        });
        match target {
            Target::Publish => {
                let Some(publishing) = member.publish.take() else {
                    return;
                };
                let tracks: Vec<_> = publishing.tracks.into_values().collect();
                if !tracks.is_empty() {
                    self.effects.events.push(SfuEvent::Unpublished {
                        participant,
                        tracks: tracks.clone(),
                    });
                }
                for track in tracks {
                    self.withdraw(track);
                }
                self.offer_where_wanted();
            }
            Target::Subscribe => {
                member.subscribe = None;
                // Whoever is still there answers the offer of a new connection.
                self.offer_all_tracks(participant);
            }
        }
    }

    // ---- data and statistics --------------------------------------------------------------------------------------

    fn forward_data(&mut self, from: TransportId, label: &str, data: &bytes::Bytes, text: bool) {
        let Some((sender, _)) = self.transports.get(&from).copied() else {
            return;
        };
        if !self.members.get(&sender).is_some_and(|m| m.may_send_data) {
            return;
        }
        for (id, member) in &self.members {
            let Some(publishing) = member.publish.as_ref().filter(|p| p.data && *id != sender) else {
                continue;
            };
            self.effects.commands.push(Command::SendData {
                transport: publishing.transport,
                label: label.to_owned(),
                data: data.clone(),
                text,
            });
        }
    }

    fn ask_stats(&mut self, participant: ParticipantId, request: u64) {
        if self.stats_requests.len() >= MAX_STATS_REQUESTS
            && let Some(oldest) = self.stats_requests.keys().min().copied()
        {
            self.stats_requests.remove(&oldest);
        }
        let number = (self.setting.next_id)();
        self.stats_requests.insert(number, (participant, request));
        self.effects.commands.push(Command::Stats {
            router: self.setting.router,
            request: number,
        });
    }
}

/// Why a subscriber's answer was not taken.
enum AnswerError {
    NotAttached,
    /// It comes from another peer connection than the offer was made for.
    OtherConnection,
    Negotiate(NegotiateError),
}

impl From<NegotiateError> for AnswerError {
    fn from(error: NegotiateError) -> Self {
        match error {
            NegotiateError::CertificateChanged => Self::OtherConnection,
            other => Self::Negotiate(other),
        }
    }
}

impl AnswerError {
    fn into_refusal(self) -> Refusal {
        match self {
            Self::NotAttached => not_attached(),
            Self::OtherConnection => bad_sdp(&NegotiateError::CertificateChanged),
            Self::Negotiate(error) => bad_sdp(&error),
        }
    }
}

fn local_description(candidates: &[Candidate], fingerprint: &Fingerprint, ice: IceCredentials) -> LocalDescription {
    LocalDescription {
        ice,
        fingerprint: fingerprint.clone(),
        candidates: candidates.to_vec(),
    }
}

fn track_of(
    participant: ParticipantId,
    mid: &str,
    parameters: &ProducerParameters,
    sources: &BTreeMap<String, TrackSource>,
) -> Track {
    let kind = match parameters.kind {
        MediaKind::Audio => TrackKind::Audio,
        MediaKind::Video => TrackKind::Video,
    };
    let said = sources.get(mid);
    let fits = |source: &Source| match source {
        Source::Microphone | Source::ScreenAudio => kind == TrackKind::Audio,
        Source::Camera | Source::Screen => kind == TrackKind::Video,
        Source::File => true,
    };
    Track {
        track: TrackId::new(),
        participant_id: participant,
        kind,
        source: said
            .and_then(|s| s.source)
            .filter(fits)
            .unwrap_or_else(|| Source::default_of(kind)),
        label: said.and_then(|s| s.label.clone()),
        codec: parameters.codecs.first().map_or("", |c| c.kind.name()).to_owned(),
        muted: false,
        held: false,
        layers: parameters.encodings.iter().filter_map(|e| e.rid.clone()).collect(),
    }
}

fn bad_sdp(error: &NegotiateError) -> Refusal {
    let code = match error.code() {
        "no_common_codec" => ErrorCode::NoCommonCodec,
        _ => ErrorCode::BadSdp,
    };
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        message = format!("{message}: {source}");
    }
    Refusal::new(code, message)
}

fn not_attached() -> Refusal {
    Refusal::new(ErrorCode::NotJoined, "join a room first")
}

/// The stable word for a reason, as `connection-quality` shows it.
fn cause(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Requested => "requested",
        CloseReason::RemoteClosed => "remote_closed",
        CloseReason::IceTimeout => "ice_timeout",
        CloseReason::ConsentExpired => "consent_expired",
        CloseReason::DtlsFailed => "dtls_failed",
        CloseReason::FingerprintMismatch => "fingerprint_mismatch",
        CloseReason::Internal => "internal",
    }
}
