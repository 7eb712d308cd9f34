//! What viewers are sent: one participant's tracks over a connection that the viewer offered (WHEP).

use caside_media::parameters::Codec;
use caside_media::sdp::ViewSession;
use caside_protocol::view::Source;

use super::subscribing::Beginning;
use super::*;
use crate::sfu::member::Viewing;

impl SfuState {
    /// Answers a viewer's offer. Another `<sess-id>` than before is another peer connection, which replaces the one before.
    pub(super) fn watch(
        &mut self,
        participant: ParticipantId,
        publisher: ParticipantId,
        sdp: &str,
    ) -> Result<(String, BTreeMap<String, TrackId>), Refusal> {
        let remote_session = sdp::parse(sdp)
            .map_err(|e| bad_sdp(&NegotiateError::from(e)))?
            .session_id;
        let tracks = self.tracks_of(publisher);
        let preferred: Vec<Codec> = tracks.iter().map(|(_, codec)| codec.clone()).collect();
        let seat = self.seat(participant)?;
        let member = self.members.get_mut(&participant).ok_or_else(not_attached)?;
        let setting = &mut self.setting;
        let mut replaced = Vec::new();
        let same = |view: &&mut Viewing| view.remote_session == remote_session && view.publisher == publisher;
        let answer = match member.view.as_mut().filter(same) {
            Some(view) => {
                let answer = view
                    .session
                    .offer(sdp, &preferred, &mut setting.credentials)
                    .map_err(|e| bad_sdp(&e))?;
                (answer, view.transport)
            }
            None => {
                let ice = (setting.credentials)();
                let local = setting.local_description(seat, ice.clone());
                let mut session = ViewSession::new(local, setting.policy.clone(), publisher.to_string());
                let answer = session
                    .offer(sdp, &preferred, &mut setting.credentials)
                    .map_err(|e| bad_sdp(&e))?;
                let fits = |codec: &Codec| {
                    let mut slots = session.slots();
                    slots.any(|(mid, _)| session.parameters(mid, codec).is_some())
                };
                if !preferred.is_empty() && !preferred.iter().any(fits) {
                    return Err(bad_sdp(&NegotiateError::NoCommonCodec));
                }
                let transport = TransportId((setting.next_id)());
                if let Some(before) = member.view.take() {
                    replaced = before.sent();
                    self.transports.remove(&before.transport);
                    let transport = before.transport;
                    self.effects
                        .commands
                        .push((seat.worker, Command::CloseTransport { transport }));
                }
                self.transports.insert(transport, (participant, Target::Subscribe));
                let open = Command::OpenTransport {
                    router: seat.router,
                    transport,
                    local: ice,
                };
                self.effects.commands.push((seat.worker, open));
                member.view = Some(Viewing {
                    transport,
                    session,
                    remote_session,
                    publisher,
                    consumers: BTreeMap::new(),
                });
                (answer, transport)
            }
        };
        let (answer, transport) = answer;
        let connect = Command::ConnectTransport {
            transport,
            local: answer.connect.local,
            remote: answer.connect.remote,
            dtls: answer.connect.dtls,
        };
        self.effects.commands.push((seat.worker, connect));
        self.show(participant);
        // Afterwards, so that what is shown again stays at the seat.
        self.discount_consumers(seat, replaced);
        let view = self.members.get(&participant).and_then(|member| member.view.as_ref());
        let sent = view.iter().flat_map(|view| &view.consumers);
        let sent = sent.map(|(mid, (_, track))| (mid.clone(), *track)).collect();
        Ok((answer.sdp, sent))
    }

    /// Puts what a participant publishes onto their viewers' free m-lines.
    pub(super) fn show_to_viewers(&mut self, publisher: ParticipantId) {
        let views = |member: &Member| member.view.as_ref().is_some_and(|view| view.publisher == publisher);
        let mut viewers: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| views(member))
            .map(|(id, _)| *id)
            .collect();
        viewers.sort_unstable();
        for viewer in viewers {
            self.show(viewer);
        }
    }

    /// Puts tracks onto the free m-lines of a viewer.
    fn show(&mut self, viewer: ParticipantId) {
        let Some(publisher) = self
            .members
            .get(&viewer)
            .and_then(|it| Some(it.view.as_ref()?.publisher))
        else {
            return;
        };
        for (track, codec) in self.tracks_of(publisher) {
            let Some(member) = self.members.get_mut(&viewer) else {
                return;
            };
            let Some(seat) = member.seat else { return };
            let Some(view) = member.view.as_mut().filter(|view| !view.sends(track)) else {
                continue;
            };
            let Some(producer) = self.tracks.get(&track) else {
                continue;
            };
            let free = view
                .session
                .slots()
                .filter(|(mid, kind)| *kind == codec.kind.media() && !view.consumers.contains_key(*mid))
                .find_map(|(mid, _)| view.session.parameters(mid, &codec));
            let Some(parameters) = free else { continue };
            let consumer = ConsumerId((self.setting.next_id)());
            view.consumers.insert(parameters.mid.clone(), (consumer, track));
            let beginning = Beginning {
                transport: view.transport,
                producer: *producer,
                consumer,
                track,
                parameters,
            };
            self.begin(viewer, seat, beginning);
        }
    }

    /// What a participant publishes, with its codec: a camera before a screen, older tracks before newer ones.
    fn tracks_of(&self, publisher: ParticipantId) -> Vec<(TrackId, Codec)> {
        let rank = |source: Source| match source {
            Source::Camera | Source::Microphone => 0,
            Source::Screen | Source::ScreenAudio => 1,
            Source::File => 2,
        };
        let mut tracks: Vec<_> = self
            .producers
            .iter()
            .filter(|(_, producer)| producer.participant == publisher)
            .map(|(id, producer)| (rank(producer.published.track.source), *id, &producer.published))
            .collect();
        tracks.sort_unstable_by_key(|(rank, id, _)| (*rank, *id));
        tracks
            .into_iter()
            .filter_map(|(.., published)| Some((published.track.track, published.parameters.codecs.first()?.clone())))
            .collect()
    }
}
