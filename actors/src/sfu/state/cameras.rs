//! Which cameras go to whom, where members receive those of the last speakers only.
//!
//! The others' cameras stay negotiated and are paused, so that a switch takes a key frame and no negotiation. Who spoke last is kept in
//! order: a newcomer to the first N puts out whoever spoke longest ago, and nothing changes while those who speak are among
//! them. Short noises and pauses are sorted out before, where speakers are told. Screens, sound and what was asked for by name always
//! go.

use super::*;

impl SfuState {
    /// These speak now, loudest first.
    pub(super) fn spoke(&mut self, speakers: &[ProducerId]) {
        let mut changed = false;
        for speaker in speakers.iter().rev() {
            let Some(producer) = self.producers.get(speaker) else {
                continue;
            };
            let at = self.floor.iter().position(|other| *other == producer.participant);
            if let Some(at) = at.filter(|at| *at > 0) {
                self.floor[..=at].rotate_right(1);
                changed = true;
            }
        }
        if changed {
            self.select_cameras();
        }
    }

    /// The room's own limits.
    pub(super) fn limit(&mut self, last_n: u32, audio_last_n: u32) {
        self.last_n = last_n;
        self.audio_last_n = audio_last_n;
        self.limit_voices();
        self.select_cameras();
    }

    /// Tells the engines how many voices are heard. They hear the same, and choose alike.
    fn limit_voices(&mut self) {
        let seats: Vec<Seat> = self.seats().iter().map(|taken| taken.seat).collect();
        for seat in seats {
            self.limit_voices_at(seat);
        }
    }

    pub(super) fn limit_voices_at(&mut self, seat: Seat) {
        let limit = Command::LimitVoices {
            router: seat.router,
            loudest: usize::try_from(self.audio_last_n).ok().filter(|loudest| *loudest > 0),
        };
        self.effects.commands.push((seat.worker, limit));
    }

    pub(super) fn set_last_n(&mut self, participant: ParticipantId, last_n: Option<u32>) {
        if let Some(member) = self.members.get_mut(&participant) {
            member.last_n = last_n;
            self.select_cameras_for(participant);
        }
    }

    /// Works out anew what everybody receives.
    pub(super) fn select_cameras(&mut self) {
        let mut ids: Vec<_> = self.members.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.select_cameras_for(id);
        }
    }

    /// Works out anew which cameras a participant receives, and pauses and resumes them.
    pub(super) fn select_cameras_for(&mut self, receiver: ParticipantId) {
        let Some(member) = self.members.get(&receiver) else {
            return;
        };
        let count = member.last_n.unwrap_or(self.last_n);
        let limited = count > 0 && member.policy == SubscribePolicy::Auto;
        if !limited && member.cameras.is_none() {
            return;
        }
        let (selected, held_back) = if limited {
            self.cameras_for(receiver, member, count)
        } else {
            (Vec::new(), HashSet::new())
        };
        let told = limited.then_some(selected);
        let Some(member) = self.members.get_mut(&receiver) else {
            return;
        };
        let before = std::mem::replace(&mut member.held_back, held_back);
        let mut changed: Vec<TrackId> = before.symmetric_difference(&member.held_back).copied().collect();
        changed.sort_unstable();
        for track in changed {
            let consumer = member.subscribe.as_ref().and_then(|it| it.consumer_of(track));
            if let (Some((consumer, Consumption { started: true, .. })), Some(seat)) = (consumer, member.seat) {
                let paused = !member.receives(track);
                let pause = Command::PauseConsumer { consumer, paused };
                self.effects.commands.push((seat.worker, pause));
            }
        }
        if member.cameras != told {
            member.cameras.clone_from(&told);
            self.effects.events.push(SfuEvent::CamerasSelected {
                participant: receiver,
                tracks: told,
            });
        }
    }

    /// The cameras that a receiver gets of those nobody asked for by name, and the others. A camera that is off takes no place.
    fn cameras_for(&self, receiver: ParticipantId, member: &Member, count: u32) -> (Vec<TrackId>, HashSet<TrackId>) {
        let mut cameras: HashMap<ParticipantId, Vec<TrackId>> = HashMap::new();
        for producer in self.producers.values() {
            let track = &producer.published.track;
            let counts = track.source == Source::Camera
                && track.kind == TrackKind::Video
                && !producer.paused
                && !member.wishes.contains_key(&track.track);
            if counts && producer.participant != receiver {
                cameras.entry(producer.participant).or_default().push(track.track);
            }
        }
        let places = usize::try_from(count).unwrap_or(usize::MAX);
        let speakers = self.floor.iter().filter_map(|speaker| cameras.remove(speaker));
        let mut selected: Vec<TrackId> = speakers.take(places).flatten().collect();
        selected.sort_unstable();
        let held_back = cameras.into_values().flatten().collect();
        (selected, held_back)
    }
}
