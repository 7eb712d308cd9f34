//! The SFU's decisions: orders and engine events in; engine commands, events for the room and timers out.

mod cameras;
mod inspecting;
mod publishing;
mod quality;
mod seats;
mod subscribing;
mod viewing;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use caside_media::control::{CloseReason, Command, EventKind};
use caside_media::layers::{Content, Preference};
use caside_media::parameters::{
    ConsumerId, Fingerprint, IceCredentials, MediaKind, ProducerId, ProducerParameters, RouterId, TapId, TransportId,
};
use caside_media::sdp::{
    self, Candidate, CodecPolicy, LocalDescription, NegotiateError, PublishAnswer, PublishSession, SubscribeSession,
    SubscribeTrack,
};
use caside_protocol::client::{Subscribe, SubscribePolicy, SubscribeQuality, Target, TrackSource};
use caside_protocol::error::Refusal;
use caside_protocol::server::{PublishLayer, SfuOfferTrack};
use caside_protocol::view::{Source, Track, TrackKind};
use caside_protocol::{ErrorCode, ParticipantId, TrackId};

pub(super) use self::seats::{Seat, Taken};
use super::command::{ConnectionStep, PublishedTrack, SfuCommand, SfuEvent, TrackStep};
use super::member::{Consumption, Member, Publishing, Subscribing, Wish};
use super::stats;
use crate::media_worker::WorkerLoad;
use crate::observed::Asked;
use inspecting::Inspection;

/// What to do after an order or an event.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// For the engines, in order, each with the index of its worker. Those of the seats that are new are to be there first.
    pub(super) commands: Vec<(usize, Command)>,
    /// For the room, in order.
    pub(super) events: Vec<SfuEvent>,
    /// Offers whose answers are to be waited for: participant and offer number.
    pub(super) timers: Vec<(ParticipantId, u64)>,
    /// Participants wait for a seat: [`SfuState::seat_who_waits`] is to be called by and by.
    pub(super) look_for_seats: bool,
}

/// What all descriptions of this SFU have in common, and where ids come from.
pub(super) struct Setting {
    /// Where clients reach each worker.
    pub(super) candidates: Vec<Vec<Candidate>>,
    /// What each worker has to do now.
    pub(super) loads: Box<dyn Fn() -> Vec<WorkerLoad> + Send>,
    pub(super) fingerprint: Fingerprint,
    pub(super) policy: CodecPolicy,
    /// Makes ids that are unique in this process.
    pub(super) next_id: Box<dyn FnMut() -> u64 + Send>,
    /// Makes fresh ICE credentials.
    pub(super) credentials: Box<dyn FnMut() -> IceCredentials + Send>,
    /// Whether any client reached this node by UDP.
    pub(super) reached: Arc<AtomicBool>,
}

/// A published track.
#[derive(Debug)]
pub(super) struct Producer {
    pub(super) participant: ParticipantId,
    pub(super) published: PublishedTrack,
    /// The publisher's seat, and the transport that it comes over.
    home: Seat,
    transport: TransportId,
    places: seats::Places,
    content: Content,
    paused: bool,
    /// The highest encoding that its publisher was told to send; `None`: all.
    wanted: Option<u8>,
}

impl Producer {
    fn is_sound(&self) -> bool {
        self.published.parameters.kind == MediaKind::Audio
    }
}

/// One room's SFU.
pub(super) struct SfuState {
    pub(super) setting: Setting,
    members: HashMap<ParticipantId, Member>,
    pub(super) producers: HashMap<ProducerId, Producer>,
    tracks: HashMap<TrackId, ProducerId>,
    pub(super) transports: HashMap<TransportId, (ParticipantId, Target)>,
    /// Those that were told to the room as negotiated.
    pub(super) offered: HashSet<TransportId>,
    /// What each tap observes.
    taps: HashMap<TapId, ProducerId>,
    /// The oldest first: its engine says who speaks.
    seats: Vec<Taken>,
    /// Whether a look for free seats is to come.
    looking_for_seats: bool,
    speakers: Vec<TrackId>,
    /// How many offers were made to subscribers.
    offers: u64,
    stats_requests: HashMap<u64, (ParticipantId, u64)>,
    /// Operators who wait for the engines' statistics.
    inspections: Vec<Inspection>,
    /// Everybody, who spoke last first; who never spoke in the order in which they came.
    floor: Vec<ParticipantId>,
    /// How many cameras members receive and how many voices are heard; 0: all.
    last_n: u32,
    audio_last_n: u32,
    pub(super) effects: Effects,
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
            offered: HashSet::new(),
            taps: HashMap::new(),
            seats: Vec::new(),
            looking_for_seats: false,
            speakers: Vec::new(),
            offers: 0,
            stats_requests: HashMap::new(),
            inspections: Vec::new(),
            floor: Vec::new(),
            last_n: 0,
            audio_last_n: 0,
            effects: Effects::default(),
        }
    }

    /// Carries out an order of the room.
    pub(super) fn apply(&mut self, command: SfuCommand) -> Effects {
        match command {
            SfuCommand::Attach {
                participant,
                subscribe,
                last_n,
                may_subscribe,
                may_send_data,
            } => {
                self.detach(participant);
                let mut member = Member::new(subscribe, may_subscribe, may_send_data);
                member.last_n = last_n;
                self.members.insert(participant, member);
                self.floor.push(participant);
                self.select_cameras_for(participant);
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
            SfuCommand::Watch {
                participant,
                request,
                publisher,
                sdp,
            } => {
                let result = self.watch(participant, publisher, &sdp);
                self.effects.events.push(SfuEvent::WatchAnswered {
                    participant,
                    request,
                    result,
                });
            }
            SfuCommand::Subscribe { participant, wish } => self.subscribe(participant, &wish),
            SfuCommand::SetLastN { participant, last_n } => self.set_last_n(participant, last_n),
            SfuCommand::Limit { last_n, audio_last_n } => self.limit(last_n, audio_last_n),
            SfuCommand::SetPaused { track, paused } => self.set_paused(track, paused),
            SfuCommand::SetReceiving { participant, receiving } => self.set_receiving(participant, receiving),
            SfuCommand::SetRights {
                participant,
                may_subscribe,
                may_send_data,
            } => self.set_rights(participant, may_subscribe, may_send_data),
            SfuCommand::OfferAgain { participant } => self.offer_again(participant),
            SfuCommand::Stats { participant, request } => self.ask_stats(participant, request),
            SfuCommand::Tap { track, tap, sink } => {
                if let Some((producer, home)) = self.home_of(track) {
                    self.taps.insert(tap, producer);
                    self.effects
                        .commands
                        .push((home.worker, Command::Tap { producer, tap, sink }));
                }
            }
            SfuCommand::Untap { tap } => {
                let producer = self.taps.remove(&tap).and_then(|id| self.producers.get(&id));
                if let Some(producer) = producer {
                    self.effects
                        .commands
                        .push((producer.home.worker, Command::Untap { tap }));
                }
            }
            SfuCommand::RequestKeyFrame { track } => {
                if let Some((producer, home)) = self.home_of(track) {
                    self.effects
                        .commands
                        .push((home.worker, Command::RequestKeyFrame { producer }));
                }
            }
        }
        self.tell_offered();
        std::mem::take(&mut self.effects)
    }

    /// The engine's name of a track, and where its publisher sits.
    fn home_of(&self, track: TrackId) -> Option<(ProducerId, Seat)> {
        let producer = *self.tracks.get(&track)?;
        Some((producer, self.producers.get(&producer)?.home))
    }

    /// Takes an event of the engine that has this router.
    pub(super) fn media(&mut self, router: RouterId, event: EventKind) -> Effects {
        match event {
            EventKind::TransportChecked { transport, tcp } => self.stepped(transport, ConnectionStep::Checked { tcp }),
            EventKind::TransportConnected { transport } => self.stepped(transport, ConnectionStep::Connected),
            EventKind::HandshakeBegun { transport } => self.stepped(transport, ConnectionStep::HandshakeBegun),
            EventKind::ProducerStarted { producer } => self.came(producer, TrackStep::Started),
            EventKind::ProducerKeyFrame { producer } => self.came(producer, TrackStep::KeyFrame),
            EventKind::ProducerFlow { producer, flow } => self.came(producer, TrackStep::Flow(flow)),
            // A milestone, of which the shell tells traces.
            EventKind::ConsumerStarted { .. } => {}
            EventKind::TransportSecured { transport } => {
                if let Some((participant, target)) = self.transports.get(&transport).copied() {
                    self.effects.events.push(SfuEvent::Connected { participant, target });
                }
            }
            EventKind::TransportClosed { transport, reason } => self.transport_closed(transport, reason),
            EventKind::EncodingsWanted { producer, highest } => self.encodings_wanted(router, producer, highest),
            EventKind::Quality {
                transport,
                grade,
                cause,
            } => self.judged(transport, grade, cause),
            EventKind::ActiveSpeakers { producers } => self.heard(router, producers),
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
                        |consumer| self.members.get(&participant)?.track_of(consumer),
                    );
                    self.effects.events.push(SfuEvent::Stats { request, stats });
                } else {
                    self.measured(request, transports);
                }
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// The engine that has this router was lost with every transport, and an empty one took its place.
    pub(super) fn restarted(&mut self, router: RouterId) -> Effects {
        let seat = self
            .seats
            .iter()
            .map(|taken| taken.seat)
            .find(|seat| seat.router == router);
        let Some(seat) = seat else {
            return Effects::default();
        };
        let sits = |participant| self.members.get(participant).is_some_and(|it| it.seat == Some(seat));
        let lost = self.transports.iter().filter(|(_, (participant, _))| sits(participant));
        let mut transports: Vec<_> = lost.map(|(transport, _)| *transport).collect();
        transports.sort_unstable();
        for transport in transports {
            self.transport_closed(transport, CloseReason::Internal);
        }
        self.renew_seat(seat);
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

    // ---- ends -----------------------------------------------------------------------------------------------------

    fn detach(&mut self, participant: ParticipantId) {
        let Some(member) = self.members.remove(&participant) else {
            return;
        };
        self.stats_requests.retain(|_, (p, _)| *p != participant);
        self.floor.retain(|other| *other != participant);
        // Without a seat there are no connections.
        let Some(seat) = member.seat else { return };
        if let Some(subscribing) = member.subscribe {
            self.close_transport(seat, subscribing.transport);
            self.discount_consumers(seat, subscribing.sent());
        }
        if let Some(viewing) = member.view {
            self.close_transport(seat, viewing.transport);
            self.discount_consumers(seat, viewing.sent());
        }
        let published = member.publish.is_some();
        if let Some(publishing) = member.publish {
            self.close_transport(seat, publishing.transport);
            for track in publishing.tracks.into_values() {
                self.withdraw(track);
            }
        }
        self.leave_seat(seat);
        if published {
            self.select_cameras();
            self.offer_where_wanted();
        }
    }

    fn close_transport(&mut self, seat: Seat, transport: TransportId) {
        self.transports.remove(&transport);
        self.effects
            .commands
            .push((seat.worker, Command::CloseTransport { transport }));
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
                self.select_cameras();
                self.offer_where_wanted();
            }
            Target::Subscribe if member.view.as_ref().is_some_and(|view| view.transport == transport) => {
                if let (Some(seat), Some(view)) = (member.seat, member.view.take()) {
                    self.discount_consumers(seat, view.sent());
                }
            }
            Target::Subscribe => {
                if let (Some(seat), Some(subscribing)) = (member.seat, member.subscribe.take()) {
                    self.discount_consumers(seat, subscribing.sent());
                }
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
            let Some(seat) = member.seat else { continue };
            let send = Command::SendData {
                transport: publishing.transport,
                label: label.to_owned(),
                data: data.clone(),
                text,
            };
            self.effects.commands.push((seat.worker, send));
        }
    }

    fn ask_stats(&mut self, participant: ParticipantId, request: u64) {
        let Some(seat) = self.members.get(&participant).and_then(|member| member.seat) else {
            let stats = stats::of_participant(&[], |_| None, |_| None, |_| None);
            self.effects.events.push(SfuEvent::Stats { request, stats });
            return;
        };
        if self.stats_requests.len() >= MAX_STATS_REQUESTS
            && let Some(oldest) = self.stats_requests.keys().min().copied()
        {
            self.stats_requests.remove(&oldest);
        }
        let number = (self.setting.next_id)();
        self.stats_requests.insert(number, (participant, request));
        let stats = Command::Stats {
            router: seat.router,
            request: number,
        };
        self.effects.commands.push((seat.worker, stats));
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

impl Setting {
    /// What a client is told of a connection at this seat.
    fn local_description(&self, seat: Seat, ice: IceCredentials) -> LocalDescription {
        LocalDescription {
            ice,
            fingerprint: self.fingerprint.clone(),
            candidates: self.candidates.get(seat.worker).cloned().unwrap_or_default(),
        }
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
        track: said.and_then(|s| s.track).unwrap_or_else(TrackId::new),
        participant_id: participant,
        kind,
        source: said
            .and_then(|s| s.source)
            .filter(fits)
            .unwrap_or_else(|| Source::default_of(kind)),
        label: said.and_then(|s| s.label.clone()),
        encryption: said.and_then(|s| s.encryption.clone()),
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
pub(super) fn cause(reason: CloseReason) -> &'static str {
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
