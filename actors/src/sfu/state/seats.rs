//! Seats: on which worker each participant's connections are, and the pipes that this takes.
//!
//! A participant has one seat for all their connections, chosen when the first is made. The first seat of a room on a worker
//! opens a router there, the last one that is left closes it. Sound goes to every worker of the room, so that each knows who
//! speaks; a picture goes where somebody receives it.

use std::collections::BTreeMap;

use caside_media::pipe::Neighbour;

use super::*;
use crate::sfu::placement::place;

/// So many of those who wait for a seat get one at a time: what they take is felt before the next ones are let in.
const SEATED_AT_ONCE: usize = 8;

/// A place for participants of the room on a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sfu) struct Seat {
    /// The worker's index.
    pub(in crate::sfu) worker: usize,
    /// The room's router there, which is never another seat's.
    pub(in crate::sfu) router: RouterId,
}

/// A seat that is taken.
#[derive(Debug)]
pub(in crate::sfu) struct Taken {
    pub(in crate::sfu) seat: Seat,
    /// By so many participants.
    pub(in crate::sfu) participants: usize,
    /// Who speaks, as its engine knows it.
    speakers: Vec<ProducerId>,
}

/// A track at a seat other than its publisher's, or there.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The worker's index.
    worker: usize,
    /// Consumers of the track that were begun there.
    consumers: usize,
    /// The highest encoding that is wanted there; `None` before its engine told.
    wanted: Option<u8>,
}

/// The seats at which a track is, by router; its publisher's among them.
pub(super) type Places = BTreeMap<RouterId, Place>;

impl Seat {
    pub(super) fn places(self) -> Places {
        let place = Place {
            worker: self.worker,
            ..Place::default()
        };
        Places::from([(self.router, place)])
    }
}

impl SfuState {
    /// The seats that are taken, in the order in which they were first.
    pub(in crate::sfu) fn seats(&self) -> &[Taken] {
        &self.seats
    }

    /// A participant's seat; takes one if they have none yet.
    pub(super) fn seat(&mut self, participant: ParticipantId) -> Result<Seat, Refusal> {
        let member = self.members.get(&participant).ok_or_else(not_attached)?;
        if let Some(seat) = member.seat {
            return Ok(seat);
        }
        let own: Vec<usize> = self.seats.iter().map(|taken| taken.seat.worker).collect();
        let worker = place(&(self.setting.loads)(), &own).ok_or_else(|| {
            Refusal::new(
                ErrorCode::Overloaded,
                "every media worker has as much to do as it can; try again later",
            )
        })?;
        let seat = match self.seats.iter_mut().find(|taken| taken.seat.worker == worker) {
            Some(taken) => {
                taken.participants += 1;
                taken.seat
            }
            None => self.open(worker),
        };
        if let Some(member) = self.members.get_mut(&participant) {
            member.seat = Some(seat);
        }
        Ok(seat)
    }

    /// There is no seat for what a participant is to receive. They are told once, and wait for one.
    pub(super) fn let_wait(&mut self, participant: ParticipantId, refusal: Refusal) {
        let member = self.members.get_mut(&participant);
        if member.is_some_and(|member| !std::mem::replace(&mut member.waits, true)) {
            self.effects.events.push(SfuEvent::Failed { participant, refusal });
        }
        self.look_for_seats();
    }

    fn look_for_seats(&mut self) {
        if !std::mem::replace(&mut self.looking_for_seats, true) {
            self.effects.look_for_seats = true;
        }
    }

    /// Gives a few of those who wait for a seat one, if there are any: who came first is first.
    pub(in crate::sfu) fn seat_who_waits(&mut self) -> Effects {
        self.looking_for_seats = false;
        let waits = |participant: &ParticipantId| self.members.get(participant).is_some_and(|member| member.waits);
        let few: Vec<_> = self.floor.iter().copied().filter(waits).take(SEATED_AT_ONCE).collect();
        for participant in few {
            let wanted = self.wanted_tracks(participant);
            // What they waited for may be gone.
            if !wanted.is_empty() && self.seat(participant).is_err() {
                break;
            }
            if let Some(member) = self.members.get_mut(&participant) {
                member.waits = false;
            }
            self.offer_tracks(participant, wanted);
        }
        if self.members.values().any(|member| member.waits) {
            self.look_for_seats();
        }
        std::mem::take(&mut self.effects)
    }

    fn open(&mut self, worker: usize) -> Seat {
        let router = RouterId((self.setting.next_id)());
        let seat = Seat { worker, router };
        self.seats.push(Taken {
            seat,
            participants: 1,
            speakers: Vec::new(),
        });
        if self.audio_last_n > 0 {
            self.limit_voices_at(seat);
        }
        self.pipe_sound(seat);
        seat
    }

    /// Lets a seat hear all sound of the room.
    pub(super) fn pipe_sound(&mut self, seat: Seat) {
        let sound = self.producers.iter().filter(|(_, producer)| producer.is_sound());
        let mut sound: Vec<_> = sound.map(|(id, _)| *id).collect();
        sound.sort_unstable();
        for producer in sound {
            self.pipe(producer, seat);
        }
    }

    /// Lets every other seat hear a new track, if it is sound.
    pub(super) fn pipe_to_all(&mut self, producer: ProducerId) {
        if self.producers.get(&producer).is_some_and(Producer::is_sound) {
            let seats: Vec<Seat> = self.seats.iter().map(|taken| taken.seat).collect();
            for seat in seats {
                self.pipe(producer, seat);
            }
        }
    }

    /// Brings a track to a seat, unless it is there.
    pub(super) fn pipe(&mut self, id: ProducerId, seat: Seat) {
        let Some(producer) = self.producers.get_mut(&id) else {
            return;
        };
        if producer.places.contains_key(&seat.router) {
            return;
        }
        let place = Place {
            worker: seat.worker,
            ..Place::default()
        };
        producer.places.insert(seat.router, place);
        self.tell_encodings(id);
        let Some(producer) = self.producers.get(&id) else {
            return;
        };
        let mut order = |worker, command| self.effects.commands.push((worker, command));
        order(
            producer.home.worker,
            Command::Pipe {
                producer: id,
                to: neighbour(seat.worker),
            },
        );
        order(
            seat.worker,
            Command::ProducePiped {
                router: seat.router,
                producer: id,
                home: neighbour(producer.home.worker),
                publisher: producer.transport,
                parameters: producer.published.parameters.clone(),
            },
        );
        if producer.content != Content::default() {
            let content = producer.content;
            order(seat.worker, Command::DescribeProducer { producer: id, content });
        }
        if producer.paused {
            let paused = true;
            order(seat.worker, Command::PauseProducer { producer: id, paused });
        }
    }

    /// Takes a track from a seat that is not its publisher's. `there`: its engine still has it.
    fn unpipe(&mut self, id: ProducerId, router: RouterId, there: bool) {
        let Some(producer) = self.producers.get_mut(&id).filter(|it| it.home.router != router) else {
            return;
        };
        let Some(place) = producer.places.remove(&router) else {
            return;
        };
        let to = neighbour(place.worker);
        let unpipe = Command::Unpipe { producer: id, to };
        self.effects.commands.push((producer.home.worker, unpipe));
        if there {
            let close = Command::CloseProducer { producer: id };
            self.effects.commands.push((place.worker, close));
        }
        self.tell_encodings(id);
    }

    /// A consumer of a track was begun at a seat.
    pub(super) fn count_consumer(&mut self, producer: ProducerId, seat: Seat) {
        let producer = self.producers.get_mut(&producer);
        if let Some(place) = producer.and_then(|producer| producer.places.get_mut(&seat.router)) {
            place.consumers += 1;
        }
    }

    /// Consumers of these tracks ended at a seat. A picture that nobody receives there any more is not brought there.
    pub(super) fn discount_consumers(&mut self, seat: Seat, tracks: impl IntoIterator<Item = TrackId>) {
        for track in tracks {
            let Some(id) = self.tracks.get(&track).copied() else {
                continue;
            };
            let Some(producer) = self.producers.get_mut(&id) else {
                continue;
            };
            let Some(place) = producer.places.get_mut(&seat.router) else {
                continue;
            };
            place.consumers = place.consumers.saturating_sub(1);
            if place.consumers == 0 && !producer.is_sound() {
                self.unpipe(id, seat.router, true);
            }
        }
    }

    /// A participant gives up their seat.
    pub(super) fn leave_seat(&mut self, seat: Seat) {
        let Some(at) = self.seats.iter().position(|taken| taken.seat == seat) else {
            return;
        };
        let taken = &mut self.seats[at];
        taken.participants = taken.participants.saturating_sub(1);
        if taken.participants > 0 {
            return;
        }
        self.seats.remove(at);
        // Its router is closed with everything there.
        self.unpipe_all(seat);
        if at == 0
            && let Some(first) = self.seats.first()
        {
            let speakers = first.speakers.clone();
            self.spoke(&speakers);
            self.tell_speakers(&speakers);
        }
    }

    fn unpipe_all(&mut self, seat: Seat) {
        let mut producers: Vec<_> = self.producers.keys().copied().collect();
        producers.sort_unstable();
        for producer in producers {
            self.unpipe(producer, seat.router, false);
        }
    }

    /// The engine at a seat was lost, and one that is empty took its place.
    pub(super) fn renew_seat(&mut self, seat: Seat) {
        self.unpipe_all(seat);
        // What was told by the engine that is gone is of no use to the one that came.
        let opens = |command: &Command| matches!(command, Command::OpenTransport { .. });
        self.effects
            .commands
            .retain(|(worker, command)| *worker != seat.worker || opens(command));
        if self.audio_last_n > 0 {
            self.limit_voices_at(seat);
        }
        self.pipe_sound(seat);
    }

    /// An engine found out who speaks. They all hear the same; the word of the first one is what counts.
    pub(super) fn heard(&mut self, router: RouterId, speakers: Vec<ProducerId>) {
        let Some(at) = self.seats.iter().position(|taken| taken.seat.router == router) else {
            return;
        };
        if at == 0 {
            self.spoke(&speakers);
            self.tell_speakers(&speakers);
        }
        self.seats[at].speakers = speakers;
    }

    fn tell_speakers(&mut self, speakers: &[ProducerId]) {
        let producers = speakers.iter().filter_map(|speaker| self.producers.get(speaker));
        let tracks: Vec<_> = producers.map(|producer| producer.published.track.track).collect();
        if self.speakers != tracks {
            self.speakers.clone_from(&tracks);
            self.effects.events.push(SfuEvent::ActiveSpeakers { tracks });
        }
    }

    /// An engine found out which encodings of a track its receivers want.
    pub(super) fn encodings_wanted(&mut self, router: RouterId, id: ProducerId, highest: u8) {
        let producer = self.producers.get_mut(&id);
        if let Some(place) = producer.and_then(|producer| producer.places.get_mut(&router)) {
            place.wanted = Some(highest);
            self.tell_encodings(id);
        }
    }

    /// Tells a publisher which encodings somebody watches, at whichever seat.
    fn tell_encodings(&mut self, id: ProducerId) {
        let Some(producer) = self.producers.get_mut(&id) else {
            return;
        };
        let encodings = &producer.published.parameters.encodings;
        let top = encodings.len().saturating_sub(1).min(usize::from(u8::MAX)) as u8;
        let wanted = producer.places.values().map(|place| place.wanted.unwrap_or(top));
        let highest = wanted.max().unwrap_or(top).min(top);
        if producer.wanted.unwrap_or(top) == highest {
            return;
        }
        producer.wanted = Some(highest);
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
}

fn neighbour(worker: usize) -> Neighbour {
    // There are at most 256 workers.
    Neighbour(u16::try_from(worker).unwrap_or(u16::MAX))
}

impl Producer {
    /// Gives an order about the track wherever it is.
    pub(super) fn everywhere(&self, effects: &mut Effects, mut command: impl FnMut() -> Command) {
        for place in self.places.values() {
            effects.commands.push((place.worker, command()));
        }
    }

    /// Gives an order about the track wherever it is but at its publisher's seat.
    pub(super) fn elsewhere(&self, effects: &mut Effects, mut command: impl FnMut() -> Command) {
        for (router, place) in &self.places {
            if *router != self.home.router {
                effects.commands.push((place.worker, command()));
            }
        }
    }
}
