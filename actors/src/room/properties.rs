//! Whatever happens in whatever order, a room keeps its invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use caside_protocol::view::{Mode, TrackKind};
use caside_protocol::{Grants, ParticipantId, Role};
use caside_store::JournalEntry;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::command::Command;
use super::trial::{Trial, participant, published, room, track};
use crate::ports::RecorderEvent;
use crate::sfu::SfuEvent;

/// Users that come and go; each stay has an id of its own.
const SEATS: usize = 5;
const CAPACITY: u32 = 4;

#[derive(Debug, Clone)]
enum Step {
    Join(usize, Option<Role>, Grants),
    Leave(usize),
    Drop(usize),
    /// With this many events fewer than were sent.
    Resume(usize, u64),
    Gone(usize),
    Pass(u64),
    Ask(usize, Ask),
    /// The SFU answers the oldest request it has.
    Answer(bool),
    Unpublish(usize),
    SfuLost,
    RecorderStarted(bool),
    RecorderFailed,
    Close(bool),
}

#[derive(Debug, Clone, Copy)]
enum Ask {
    Offer,
    StartAnew,
    Mute(bool),
    Hold(bool),
    Chat,
    Kick(usize),
    SetRole(usize, Role),
    Lock(bool),
    Record(bool),
    EndCall,
    Hangup,
}

fn role() -> impl Strategy<Value = Role> {
    select(vec![Role::Viewer, Role::Participant, Role::Moderator, Role::Host])
}

fn grants() -> impl Strategy<Value = Grants> {
    (any::<Option<bool>>(), any::<Option<bool>>(), any::<Option<bool>>()).prop_map(|(publish, data, moderate)| Grants {
        publish,
        data,
        moderate,
        ..Grants::default()
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let seat = 0..SEATS;
    prop_oneof![
        4 => Just(Ask::Offer),
        1 => Just(Ask::StartAnew),
        2 => any::<bool>().prop_map(Ask::Mute),
        2 => any::<bool>().prop_map(Ask::Hold),
        4 => Just(Ask::Chat),
        1 => seat.clone().prop_map(Ask::Kick),
        2 => (seat, role()).prop_map(|(seat, role)| Ask::SetRole(seat, role)),
        1 => any::<bool>().prop_map(Ask::Lock),
        2 => any::<bool>().prop_map(Ask::Record),
        1 => Just(Ask::EndCall),
        1 => Just(Ask::Hangup),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let seat = 0..SEATS;
    prop_oneof![
        6 => (seat.clone(), proptest::option::weighted(0.4, role()), grants())
            .prop_map(|(seat, role, grants)| Step::Join(seat, role, grants)),
        2 => seat.clone().prop_map(Step::Leave),
        3 => seat.clone().prop_map(Step::Drop),
        4 => (seat.clone(), 0..8u64).prop_map(|(seat, back)| Step::Resume(seat, back)),
        1 => seat.clone().prop_map(Step::Gone),
        2 => (1..20u64).prop_map(Step::Pass),
        12 => (seat.clone(), ask()).prop_map(|(seat, ask)| Step::Ask(seat, ask)),
        4 => any::<bool>().prop_map(Step::Answer),
        1 => seat.prop_map(Step::Unpublish),
        1 => Just(Step::SfuLost),
        3 => any::<bool>().prop_map(Step::RecorderStarted),
        1 => Just(Step::RecorderFailed),
        1 => any::<bool>().prop_map(Step::Close),
    ]
}

/// The room with what the test itself knows of it.
struct World {
    trial: Trial,
    /// Who sits where.
    seats: BTreeMap<usize, ParticipantId>,
    stays: u128,
    tracks: u128,
    answered: usize,
    recorders_answered: usize,
    /// Of each participant, the number of the last event that went out.
    last_seq: BTreeMap<ParticipantId, u64>,
}

impl World {
    fn new(mode: Mode) -> Self {
        let trial = Trial::with(room(mode), |setup| setup.max_size = CAPACITY);
        Self {
            trial,
            seats: BTreeMap::new(),
            stays: 0,
            tracks: 0,
            answered: 0,
            recorders_answered: 0,
            last_seq: BTreeMap::new(),
        }
    }

    /// Whoever sits there; a stranger when nobody does, as for a message that comes too late.
    fn at(&self, seat: usize) -> ParticipantId {
        self.seats.get(&seat).copied().unwrap_or_else(|| participant(u128::MAX))
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Join(seat, role, grants) => {
                if !self.seats.contains_key(seat) {
                    self.stays += 1;
                    let name = ["ada", "bob", "cyd", "dan", "eve"][*seat];
                    self.trial.join_as(self.stays, name, *role, *grants);
                    self.seats.insert(*seat, participant(self.stays));
                }
            }
            Step::Leave(seat) => {
                let participant = self.at(*seat);
                self.trial.apply(Command::Leave {
                    participant,
                    reply: None,
                });
            }
            Step::Drop(seat) => {
                let participant = self.at(*seat);
                self.trial.apply(Command::Lost { participant });
            }
            Step::Resume(seat, back) => self.resume(self.at(*seat), *back),
            Step::Gone(seat) => {
                let participant = self.at(*seat);
                self.trial.apply(Command::Gone { participant });
            }
            Step::Pass(seconds) => self.trial.pass(Duration::from_secs(*seconds)),
            Step::Ask(seat, ask) => self.ask(self.at(*seat), *ask),
            Step::Answer(well) => self.answer(*well),
            Step::Unpublish(seat) => {
                let participant = self.at(*seat);
                let view = self.trial.state.view();
                let tracks = view.participants.iter().find(|p| p.participant_id == participant);
                let tracks = tracks
                    .map(|p| p.tracks.iter().map(|t| t.track).collect())
                    .unwrap_or_default();
                self.trial
                    .apply(Command::Sfu(SfuEvent::Unpublished { participant, tracks }));
            }
            Step::SfuLost => {
                self.trial.attached.clear();
                self.trial.apply(Command::SfuLost);
            }
            Step::RecorderStarted(well) => {
                if let Some(recording) = self.trial.recorders_started.get(self.recorders_answered).copied() {
                    self.recorders_answered += 1;
                    let failure = (!well).then(|| "disk full".to_owned());
                    self.trial.apply(Command::RecorderStarted { recording, failure });
                }
            }
            Step::RecorderFailed => {
                if let Some(recording) = self.trial.recorders_started.last().copied() {
                    let event = RecorderEvent::Failed {
                        reason: "disk full".to_owned(),
                    };
                    self.trial.apply(Command::Recorder { recording, event });
                }
            }
            Step::Close(tell) => self.trial.apply(Command::Close { tell: *tell }),
        }
        let refused: BTreeSet<ParticipantId> = self.trial.refused.iter().map(|(id, _)| *id).collect();
        let released: BTreeSet<ParticipantId> = self.trial.released.iter().map(|(id, _)| *id).collect();
        self.check(&released);
        self.seats
            .retain(|_, id| !released.contains(id) && !refused.contains(id));
    }

    fn resume(&mut self, participant: ParticipantId, back: u64) {
        let last = self.last_seq.get(&participant).copied().unwrap_or(0);
        let before = self.trial.resumed.len();
        let last_seq = last.saturating_sub(back);
        self.trial.apply(Command::Resume { participant, last_seq });
        if self.trial.resumed.len() > before {
            let (reset, events) = self.trial.resumed[before].clone().expect("it was sent");
            // What was seen before is forgotten, so that an older number brings the room as it is.
            let want: Vec<u64> = (last_seq + 1..=last).collect();
            assert!(
                reset && events.is_empty() || events == want,
                "resume from {last_seq}: {events:?}"
            );
        }
    }

    fn ask(&mut self, who: ParticipantId, ask: Ask) {
        let view = self.trial.state.view();
        let own = view
            .participants
            .iter()
            .find(|p| p.participant_id == who)
            .and_then(|p| p.tracks.first());
        let track = own.map_or_else(|| track(0), |t| t.track).to_string();
        let (kind, payload) = match ask {
            Ask::Offer => ("offer", json!({ "sdp": "v=0" })),
            Ask::StartAnew => ("offer", json!({ "target": "subscribe" })),
            Ask::Mute(true) => ("mute", json!({ "track": track })),
            Ask::Mute(false) => ("unmute", json!({ "track": track })),
            Ask::Hold(true) => ("hold", json!({})),
            Ask::Hold(false) => ("unhold", json!({})),
            Ask::Chat => ("chat", json!({ "text": "hi" })),
            Ask::Kick(seat) => ("kick", json!({ "participant_id": self.at(seat).to_string() })),
            Ask::SetRole(seat, role) => (
                "set-role",
                json!({ "participant_id": self.at(seat).to_string(), "role": role }),
            ),
            Ask::Lock(true) => ("lock", json!({})),
            Ask::Lock(false) => ("unlock", json!({})),
            Ask::Record(true) => ("start-recording", json!({})),
            Ask::Record(false) => ("stop-recording", json!({})),
            Ask::EndCall => ("end-call", json!({})),
            Ask::Hangup => ("hangup", json!({})),
        };
        let roles = |trial: &Trial| -> BTreeMap<ParticipantId, Role> {
            trial
                .state
                .view()
                .participants
                .iter()
                .map(|p| (p.participant_id, p.role))
                .collect()
        };
        let before = roles(&self.trial);
        let outcome = self.trial.outcome(who, kind, &payload);
        if let Ask::Kick(seat) | Ask::SetRole(seat, _) = ask
            && outcome == "ok"
        {
            let target = self.at(seat);
            assert!(before[&target] <= before[&who], "{who} touched a higher role");
            let given = roles(&self.trial).get(&target).copied();
            assert!(
                given.is_none_or(|given| given <= before[&who]),
                "{who} gave a role above their own"
            );
        }
    }

    fn answer(&mut self, well: bool) {
        let Some(request) = self.trial.sfu_requests.get(self.answered).copied() else {
            return;
        };
        self.answered += 1;
        self.tracks += 1;
        let Some(pending) = self.trial.state.pending.get(&request) else {
            return;
        };
        let participant = pending.participant;
        let published = published(participant, track(self.tracks), TrackKind::Audio);
        let refusal = caside_protocol::error::Refusal::new(caside_protocol::ErrorCode::BadSdp, "no");
        self.trial.apply(Command::Sfu(SfuEvent::PublishAnswered {
            participant,
            request,
            result: if well {
                Ok(("v=0".to_owned(), BTreeMap::new()))
            } else {
                Err(refusal)
            },
            published: if well { vec![published] } else { Vec::new() },
            unpublished: Vec::new(),
        }));
    }

    fn check(&mut self, released: &BTreeSet<ParticipantId>) {
        let view = self.trial.state.view();
        let inside: BTreeSet<ParticipantId> = view.participants.iter().map(|p| p.participant_id).collect();
        assert!(inside.len() <= CAPACITY as usize, "over capacity");
        assert!(inside.is_disjoint(released), "released and inside");
        assert_eq!(
            view.call_id.is_some(),
            !inside.is_empty(),
            "a call while somebody is here, and only then"
        );
        let attached = if self.trial.state.sfu {
            // Those who were told that media moves are when they begin anew.
            let begun = self.trial.state.participants.values().filter(|p| p.to_begin.is_none());
            begun.map(|p| p.id).collect()
        } else {
            BTreeSet::new()
        };
        assert_eq!(
            self.trial.attached, attached,
            "attached to the SFU, if there is one, are those inside who have begun"
        );
        for (participant, told) in &mut self.trial.told {
            for (seq, _) in std::mem::take(told) {
                let last = self.last_seq.entry(*participant).or_default();
                assert_eq!(seq, *last + 1, "events of {participant} are numbered without a gap");
                *last = seq;
            }
        }
        for pending in self.trial.state.pending.values() {
            assert!(inside.contains(&pending.participant), "somebody gone waits for the SFU");
        }
        let ended = self
            .trial
            .journal
            .iter()
            .filter(|e| matches!(e, JournalEntry::CallEnded { .. }))
            .count();
        let begun = self
            .trial
            .journal
            .iter()
            .filter(|e| matches!(e, JournalEntry::CallStarted(_)))
            .count();
        assert_eq!(begun - ended, usize::from(!inside.is_empty()), "calls begun and ended");
        let joins = self
            .trial
            .journal
            .iter()
            .filter(|e| matches!(e, JournalEntry::ParticipantJoined(_)))
            .count();
        let leaves = self
            .trial
            .journal
            .iter()
            .filter(|e| matches!(e, JournalEntry::ParticipantLeft { .. }))
            .count();
        assert_eq!(joins - leaves, inside.len(), "stays begun and ended");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_keeps_the_invariants(
        mode in select(vec![Mode::Sfu, Mode::P2p, Mode::Auto]),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(mode);
        for step in &steps {
            world.run(step);
        }
        world.trial.apply(Command::Close { tell: false });
        prop_assert!(world.trial.state.is_empty());
        prop_assert!(world.trial.state.pending.is_empty());
        prop_assert_eq!(world.trial.state.next_deadline(), None);
        prop_assert!(!world.trial.state.sfu || world.trial.attached.is_empty());
    }
}
