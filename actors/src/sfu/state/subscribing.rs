//! What participants receive: offers made, answers taken, wishes and holds.

use super::*;

impl SfuState {
    pub(super) fn offer_all_tracks(&mut self, participant: ParticipantId) {
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
                if let Some(preference) = preference.filter(|_| is_video) {
                    self.effects
                        .commands
                        .push(Command::PreferLayers { consumer, preference });
                }
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
        for (consumer, track) in member.view.iter().flat_map(|view| view.consumers.values()) {
            self.effects.commands.push(Command::PauseConsumer {
                consumer: *consumer,
                paused: !member.receives(*track),
            });
        }
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
    pub(super) fn add_consumer(&mut self, participant: ParticipantId, track: TrackId) {
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

    pub(super) fn subscribe_answer(&mut self, participant: ParticipantId, sdp: &str) -> Result<(), AnswerError> {
        let member = self.members.get_mut(&participant).ok_or(AnswerError::NotAttached)?;
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
        let mut started = Vec::with_capacity(answer.started.len());
        for (consumer, parameters) in answer.started {
            let Some(consumption) = subscribing.consumers.get_mut(&consumer) else {
                continue;
            };
            let Some(producer) = self.tracks.get(&consumption.track) else {
                continue;
            };
            consumption.started = true;
            started.push((consumer, *producer, consumption.track, parameters));
        }
        let transport = subscribing.transport;
        for (consumer, producer, track, parameters) in started {
            let kind = parameters.kind;
            self.effects.commands.push(Command::Consume {
                transport,
                producer,
                consumer,
                parameters,
                paused: !member.receives(track),
            });
            let wished = member
                .preference(track)
                .filter(|wished| *wished != Preference::default());
            if let Some(preference) = wished.filter(|_| kind == MediaKind::Video) {
                self.effects
                    .commands
                    .push(Command::PreferLayers { consumer, preference });
            }
        }
        Ok(())
    }

    /// Drops the subscribe connection and offers everything over a new one.
    pub(super) fn renew_subscription(&mut self, participant: ParticipantId) {
        let Some(member) = self.members.get_mut(&participant) else {
            return;
        };
        if let Some(subscribing) = member.subscribe.take() {
            self.close_transport(subscribing.transport);
        }
        self.offer_all_tracks(participant);
    }
}
