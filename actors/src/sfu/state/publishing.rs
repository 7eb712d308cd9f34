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
                encrypted(&mut publishing.session, sources)
                    .offer(sdp, &mut allocate, credentials)
                    .map_err(|e| bad_sdp(&e))?,
                None,
            ),
            None => {
                let ice = credentials();
                let local = local_description(candidates, fingerprint, ice.clone());
                let mut session = PublishSession::new(local, policy.clone());
                let answer = encrypted(&mut session, sources)
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
            self.producers.insert(
                producer,
                Producer {
                    participant,
                    published: info,
                    paused: false,
                },
            );
            self.effects.commands.push(Command::Produce {
                transport,
                producer,
                parameters,
            });
            if content != Content::default() {
                self.effects
                    .commands
                    .push(Command::DescribeProducer { producer, content });
            }
        }
        Ok((sdp, publishing.tracks.clone()))
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
        if let Some(producer) = self.tracks.remove(&track) {
            self.producers.remove(&producer);
        }
        for member in self.members.values_mut() {
            member.wishes.remove(&track);
            if let Some(consumer) = member.view.as_mut().and_then(|view| view.take(track)) {
                self.effects.commands.push(Command::CloseConsumer { consumer });
            }
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

    /// Tells a publisher which encodings somebody watches.
    pub(super) fn encodings_wanted(&mut self, producer: ProducerId, highest: u8) {
        let Some(producer) = self.producers.get(&producer) else {
            return;
        };
        let encodings = &producer.published.parameters.encodings;
        let layers: Option<Vec<_>> = (0u8..=u8::MAX)
            .zip(encodings)
            .map(|(place, encoding)| {
                let rid = encoding.rid.clone()?;
                let active = place <= highest;
                Some(PublishLayer { rid, active })
            })
            .collect();
        if let Some(layers) = layers {
            self.effects.events.push(SfuEvent::EncodingsWanted {
                participant: producer.participant,
                track: producer.published.track.track,
                layers,
            });
        }
    }

    pub(super) fn set_paused(&mut self, track: TrackId, paused: bool) {
        let Some(id) = self.tracks.get(&track).copied() else {
            return;
        };
        self.effects
            .commands
            .push(Command::PauseProducer { producer: id, paused });
        if let Some(producer) = self.producers.get_mut(&id) {
            producer.paused = paused;
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
