//! What participants send: offers answered, tracks announced and withdrawn.

use super::*;

impl SfuState {
    pub(super) fn publish_offer(
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
        self.select_cameras();
        for track in published {
            self.announce(participant, track.track.track);
        }
        self.offer_where_wanted();
    }

    pub(super) fn negotiate_publish(
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
        let seat = self.seat(participant)?;
        let member = self.members.get_mut(&participant).ok_or_else(not_attached)?;
        let setting = &mut self.setting;

        let running = member.publish.as_mut().filter(|p| p.remote_session == remote_session);
        let (answer, fresh) = match running {
            Some(publishing) => (
                encrypted(&mut publishing.session, sources)
                    .offer(sdp, &mut || ProducerId((setting.next_id)()), &mut setting.credentials)
                    .map_err(|e| bad_sdp(&e))?,
                None,
            ),
            None => {
                let ice = (setting.credentials)();
                let local = setting.local_description(seat, ice.clone());
                let mut session = PublishSession::new(local, setting.policy.clone());
                let answer = encrypted(&mut session, sources)
                    .offer(sdp, &mut || ProducerId((setting.next_id)()), &mut setting.credentials)
                    .map_err(|e| bad_sdp(&e))?;
                (answer, Some((session, ice)))
            }
        };
        if let Some((session, local)) = fresh {
            // A new peer connection replaces the one before, with its tracks.
            if let Some(old) = member.publish.take() {
                unpublished.extend(old.tracks.into_values());
                self.transports.remove(&old.transport);
                let transport = old.transport;
                self.effects
                    .commands
                    .push((seat.worker, Command::CloseTransport { transport }));
            }
            let transport = TransportId((setting.next_id)());
            self.transports.insert(transport, (participant, Target::Publish));
            let open = Command::OpenTransport {
                router: seat.router,
                transport,
                local,
            };
            self.effects.commands.push((seat.worker, open));
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
        let connect = Command::ConnectTransport {
            transport,
            local: connect.local,
            remote: connect.remote,
            dtls: connect.dtls,
        };
        self.effects.commands.push((seat.worker, connect));
        for (mid, producer) in removed {
            unpublished.extend(publishing.tracks.remove(&mid));
            self.effects
                .commands
                .push((seat.worker, Command::CloseProducer { producer }));
        }
        for (_, id, parameters) in updated {
            if let Some(producer) = self.producers.get_mut(&id) {
                producer.published.parameters = parameters.clone();
                producer.everywhere(&mut self.effects, || Command::UpdateProducer {
                    producer: id,
                    parameters: parameters.clone(),
                });
            }
        }
        let mut new = Vec::new();
        for (mid, id, parameters) in added {
            let track = track_of(participant, &mid, &parameters, sources);
            publishing.tracks.insert(mid.clone(), track.track);
            self.tracks.insert(track.track, id);
            let content = Content {
                screen: track.source == Source::Screen,
                encrypted: track.encryption.is_some(),
            };
            let info = PublishedTrack {
                track,
                mid,
                parameters: parameters.clone(),
            };
            published.push(info.clone());
            let producer = Producer {
                participant,
                published: info,
                home: seat,
                transport,
                places: seat.places(),
                content,
                paused: false,
                wanted: None,
            };
            self.producers.insert(id, producer);
            let produce = Command::Produce {
                transport,
                producer: id,
                parameters,
            };
            self.effects.commands.push((seat.worker, produce));
            if content != Content::default() {
                let describe = Command::DescribeProducer { producer: id, content };
                self.effects.commands.push((seat.worker, describe));
            }
            new.push(id);
        }
        let tracks = publishing.tracks.clone();
        for producer in new {
            self.pipe_to_all(producer);
        }
        Ok((sdp, tracks))
    }

    /// Puts a new track before everybody who wants it.
    pub(super) fn announce(&mut self, publisher: ParticipantId, track: TrackId) {
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
        self.show_to_viewers(publisher);
    }

    /// Takes an ended track from everybody.
    pub(super) fn withdraw(&mut self, track: TrackId) {
        let producer = self.tracks.remove(&track);
        for member in self.members.values_mut() {
            member.wishes.remove(&track);
            let Some(seat) = member.seat else { continue };
            if let Some(consumer) = member.view.as_mut().and_then(|view| view.take(track)) {
                let close = Command::CloseConsumer { consumer };
                self.effects.commands.push((seat.worker, close));
            }
            let Some(subscribing) = member.subscribe.as_mut() else {
                continue;
            };
            if let Some((consumer, _)) = subscribing.consumer_of(track) {
                subscribing.consumers.remove(&consumer);
                subscribing.session.remove(consumer);
                let close = Command::CloseConsumer { consumer };
                self.effects.commands.push((seat.worker, close));
            }
        }
        let Some((id, producer)) = producer.and_then(|id| Some((id, self.producers.remove(&id)?))) else {
            return;
        };
        self.taps.retain(|_, observed| *observed != id);
        producer.elsewhere(&mut self.effects, || Command::CloseProducer { producer: id });
    }

    pub(super) fn set_paused(&mut self, track: TrackId, paused: bool) {
        let Some(id) = self.tracks.get(&track).copied() else {
            return;
        };
        if let Some(producer) = self.producers.get_mut(&id) {
            producer.paused = paused;
            producer.everywhere(&mut self.effects, || Command::PauseProducer { producer: id, paused });
        }
        self.select_cameras();
    }
}

/// Tells the connection which m-lines its client says are encrypted end to end.
fn encrypted<'s>(session: &'s mut PublishSession, sources: &BTreeMap<String, TrackSource>) -> &'s mut PublishSession {
    for (mid, said) in sources {
        session.set_encrypted(mid, said.encryption.is_some());
    }
    session
}
