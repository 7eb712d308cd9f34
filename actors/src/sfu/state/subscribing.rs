//! What participants receive: offers made, answers taken, wishes and holds.

use caside_media::parameters::ConsumerParameters;

use super::*;

/// A track that a participant accepted.
pub(super) struct Beginning {
    pub(super) transport: TransportId,
    pub(super) producer: ProducerId,
    pub(super) consumer: ConsumerId,
    pub(super) track: TrackId,
    pub(super) parameters: ConsumerParameters,
}

impl SfuState {
    pub(super) fn offer_all_tracks(&mut self, participant: ParticipantId) {
        let wanted = self.wanted_tracks(participant);
        self.offer_tracks(participant, wanted);
    }

    /// The others' tracks that a participant wants and may receive, in an order that is always the same.
    pub(super) fn wanted_tracks(&self, participant: ParticipantId) -> Vec<TrackId> {
        let Some(member) = self.members.get(&participant) else {
            return Vec::new();
        };
        let others = self.producers.values().filter(|p| p.participant != participant);
        let tracks = others.map(|p| p.published.track.track);
        let mut wanted: Vec<_> = tracks.filter(|track| member.wants(*track)).collect();
        wanted.sort_unstable();
        wanted
    }

    pub(super) fn offer_tracks(&mut self, participant: ParticipantId, tracks: Vec<TrackId>) {
        for track in tracks {
            self.add_consumer(participant, track);
        }
        self.offer_if_wanted(participant);
    }

    pub(super) fn subscribe(&mut self, participant: ParticipantId, wish: &Subscribe) {
        let Some(producer) = self.tracks.get(&wish.track).and_then(|p| self.producers.get(p)) else {
            return;
        };
        if producer.participant == participant {
            return;
        }
        let is_video = producer.published.parameters.kind == MediaKind::Video;
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        if member.wishes.insert(wish.track, Wish::new(wish)).is_none() {
            // It takes no place among the last speakers' cameras any more.
            self.select_cameras_for(participant);
        }
        let Some(member) = self.members.get(&participant) else {
            return;
        };
        let receives = member.receives(wish.track);
        let preference = member.preference(wish.track);
        let consumer = member.subscribe.as_ref().and_then(|s| s.consumer_of(wish.track));
        match consumer {
            Some((consumer, Consumption { started: true, .. })) => {
                let Some(seat) = member.seat else { return };
                if let Some(preference) = preference.filter(|_| is_video) {
                    let prefer = Command::PreferLayers { consumer, preference };
                    self.effects.commands.push((seat.worker, prefer));
                }
                let paused = !receives;
                let pause = Command::PauseConsumer { consumer, paused };
                self.effects.commands.push((seat.worker, pause));
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

    pub(super) fn set_receiving(&mut self, participant: ParticipantId, receiving: bool) {
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        member.receiving = receiving;
        self.pause_or_resume(participant);
    }

    /// What was allowed before stays negotiated, so that a right given back takes no renegotiation.
    pub(super) fn set_rights(&mut self, participant: ParticipantId, may_subscribe: bool, may_send_data: bool) {
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        member.may_send_data = may_send_data;
        if std::mem::replace(&mut member.may_subscribe, may_subscribe) == may_subscribe {
            return;
        }
        self.pause_or_resume(participant);
        if may_subscribe {
            self.offer_all_tracks(participant);
        }
    }

    /// Brings what is sent to a participant up to what they want and may receive.
    fn pause_or_resume(&mut self, participant: ParticipantId) {
        let Some(member) = self.members.get(&participant) else {
            return;
        };
        let Some(seat) = member.seat else { return };
        let viewed = member.view.iter().flat_map(|view| view.consumers.values().copied());
        let subscribed = member.subscribe.iter().flat_map(|it| &it.consumers);
        let subscribed = subscribed.filter(|(_, it)| it.started).map(|(id, it)| (*id, it.track));
        for (consumer, track) in viewed.chain(subscribed) {
            let paused = !member.receives(track);
            let pause = Command::PauseConsumer { consumer, paused };
            self.effects.commands.push((seat.worker, pause));
        }
    }

    /// Puts a track into a participant's next offer.
    pub(super) fn add_consumer(&mut self, participant: ParticipantId, track: TrackId) {
        let Some(producer) = self.tracks.get(&track).and_then(|id| self.producers.get(id)) else {
            return;
        };
        let Some(codec) = producer.published.parameters.codecs.first().cloned() else {
            return;
        };
        let subscribed = SubscribeTrack {
            consumer: ConsumerId((self.setting.next_id)()),
            kind: producer.published.parameters.kind,
            codec,
            stream_id: producer.participant.to_string(),
            track_id: track.to_string(),
            extensions: producer.published.parameters.extensions,
            // Everything of one publisher is to be played in sync.
            cname: producer.participant.to_string(),
        };
        // Who waits for a seat is offered everything with it.
        if !self
            .members
            .get(&participant)
            .is_some_and(|m| m.may_subscribe && !m.waits)
        {
            return;
        }
        let seat = match self.seat(participant) {
            Ok(seat) => seat,
            Err(refusal) => return self.let_wait(participant, refusal),
        };
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        let setting = &mut self.setting;
        let subscribing = member.subscribe.get_or_insert_with(|| {
            let transport = TransportId((setting.next_id)());
            let ice = (setting.credentials)();
            self.transports.insert(transport, (participant, Target::Subscribe));
            let open = Command::OpenTransport {
                router: seat.router,
                transport,
                local: ice.clone(),
            };
            self.effects.commands.push((seat.worker, open));
            let session = SubscribeSession::new(setting.local_description(seat, ice), setting.policy.clone());
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
        let consumer = subscribed.consumer;
        let added = subscribing.session.add(subscribed);
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

    pub(super) fn offer_where_wanted(&mut self) {
        let mut ids: Vec<_> = self.members.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.offer_if_wanted(id);
        }
    }

    /// Withdraws the offer that waits and makes one of what there is now.
    pub(super) fn offer_again(&mut self, participant: ParticipantId) {
        let Some(subscribing) = self.members.get_mut(&participant).and_then(|m| m.subscribe.as_mut()) else {
            return;
        };
        if std::mem::take(&mut subscribing.outstanding) {
            subscribing.session.abandon();
        }
        subscribing.session.retry();
        self.offer_if_wanted(participant);
    }

    pub(super) fn offer_if_wanted(&mut self, participant: ParticipantId) {
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
        self.offers += 1;
        subscribing.offer = self.offers;
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

    pub(super) fn subscribe_answer(&mut self, participant: ParticipantId, sdp: &str) -> Result<(), AnswerError> {
        let member = self.members.get_mut(&participant).ok_or(AnswerError::NotAttached)?;
        let seat = member.seat.ok_or(NegotiateError::NoOffer)?;
        let subscribing = member.subscribe.as_mut().ok_or(NegotiateError::NoOffer)?;
        let answer = subscribing.session.answer(sdp)?;
        subscribing.outstanding = false;
        let transport = subscribing.transport;
        if let Some(connect) = answer.connect {
            let connect = Command::ConnectTransport {
                transport,
                local: connect.local,
                remote: connect.remote,
                dtls: connect.dtls,
            };
            self.effects.commands.push((seat.worker, connect));
        }
        let mut ended = Vec::new();
        for (consumer, reason) in answer.rejected {
            let Some(gone) = subscribing.consumers.remove(&consumer) else {
                continue;
            };
            ended.extend(gone.started.then_some(gone.track));
            let close = Command::CloseConsumer { consumer };
            self.effects.commands.push((seat.worker, close));
            let code = if reason.code() == "no_common_codec" {
                ErrorCode::NoCommonCodec
            } else {
                ErrorCode::BadSdp
            };
            let refusal = Refusal::new(code, format!("track {} was not accepted: {reason}", gone.track));
            self.effects.events.push(SfuEvent::Failed { participant, refusal });
        }
        let mut started = Vec::with_capacity(answer.started.len());
        for (consumer, parameters) in answer.started {
            let Some(consumption) = subscribing.consumers.get_mut(&consumer) else {
                continue;
            };
            let Some(producer) = self.tracks.get(&consumption.track) else {
                continue;
            };
            consumption.started = true;
            started.push(Beginning {
                transport,
                producer: *producer,
                consumer,
                track: consumption.track,
                parameters,
            });
        }
        for beginning in started {
            self.begin(participant, seat, beginning);
        }
        self.discount_consumers(seat, ended);
        Ok(())
    }

    /// Lets a track go to a participant, after it was brought to their seat.
    pub(super) fn begin(&mut self, participant: ParticipantId, seat: Seat, beginning: Beginning) {
        let Beginning {
            transport,
            producer,
            consumer,
            track,
            parameters,
        } = beginning;
        self.pipe(producer, seat);
        self.count_consumer(producer, seat);
        let Some(member) = self.members.get(&participant) else {
            return;
        };
        let is_video = parameters.kind == MediaKind::Video;
        let consume = Command::Consume {
            transport,
            producer,
            consumer,
            parameters,
            paused: !member.receives(track),
        };
        self.effects.commands.push((seat.worker, consume));
        let wished = member
            .preference(track)
            .filter(|wished| *wished != Preference::default());
        if let Some(preference) = wished.filter(|_| is_video) {
            let prefer = Command::PreferLayers { consumer, preference };
            self.effects.commands.push((seat.worker, prefer));
        }
    }

    /// Drops the subscribe connection and offers everything over a new one.
    pub(super) fn renew_subscription(&mut self, participant: ParticipantId) {
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        if let (Some(seat), Some(subscribing)) = (member.seat, member.subscribe.take()) {
            self.close_transport(seat, subscribing.transport);
            self.discount_consumers(seat, subscribing.sent());
        }
        self.offer_all_tracks(participant);
    }
}
