//! Whatever a client misses, after its resume it knows the room as it is.

use std::collections::BTreeMap;

use caside_protocol::ParticipantId;
use caside_protocol::node::Resumption;
use caside_protocol::server::{ServerMessage as M, SfuOffer};
use caside_protocol::view::{Participant, Track};
use proptest::prelude::*;

use super::*;

/// What a client knows.
#[derive(Debug, Clone, PartialEq, Default)]
struct Known {
    locked: bool,
    role: Option<Role>,
    own: Vec<Track>,
    others: BTreeMap<ParticipantId, (Role, Vec<Track>)>,
    /// Descriptions answered and moves made.
    answered: Vec<String>,
    moves: usize,
}

fn others(participants: &[Participant]) -> BTreeMap<ParticipantId, (Role, Vec<Track>)> {
    let one = |p: &Participant| (p.participant_id, (p.role, p.tracks.clone()));
    participants.iter().map(one).collect()
}

/// A client as `docs/protocol.md` asks for: events in order, a reset taken for the truth.
struct Reader {
    id: ParticipantId,
    seen: u64,
    resync: bool,
    known: Known,
}

impl Reader {
    fn event(&mut self, seq: u64, message: &M) {
        assert!(
            seq == self.seen + 1 || self.resync && seq > self.seen,
            "a gap: {seq} after {}",
            self.seen
        );
        (self.seen, self.resync) = (seq, false);
        match message {
            M::RoomUpdated(room) => self.known.locked = room.locked,
            M::RoleChanged(changed) => self.known.role = Some(changed.role),
            M::PeerJoined(p) | M::PeerUpdated(p) => {
                self.known.others.insert(p.participant_id, (p.role, p.tracks.clone()));
            }
            M::PeerLeft(left) => {
                self.known.others.remove(&left.participant_id);
            }
            M::TrackPublished(track) | M::TrackUpdated(track) => {
                let tracks = self.tracks_of(track.participant_id);
                tracks.retain(|t| t.track != track.track);
                tracks.push(track.clone());
            }
            M::TrackUnpublished(gone) => self.tracks_of(gone.participant_id).retain(|t| t.track != gone.track),
            M::Offer(SfuOffer { sdp, .. }) => self.known.answered.push(sdp.clone()),
            M::RoomMoved(_) => self.known.moves += 1,
            _ => {}
        }
    }

    fn tracks_of(&mut self, owner: ParticipantId) -> &mut Vec<Track> {
        if owner == self.id {
            return &mut self.known.own;
        }
        &mut self.known.others.get_mut(&owner).expect("somebody known").1
    }

    fn resumed(&mut self, resumption: &Resumption) {
        if let Some(reset) = &resumption.reset {
            let (room, you) = &**reset;
            assert!(resumption.events.is_empty());
            self.resync = true;
            self.known.locked = room.locked;
            self.known.role = Some(you.role);
            self.known.own = you.tracks.clone();
            self.known.others = others(&room.participants);
        }
        for (seq, message) in &resumption.events {
            self.event(*seq, message);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Chat(usize),
    Lock(bool),
    RoleOfReader(Role),
    RoleOfBob(Role),
    Publish,
    MuteReader,
    EveComes,
    EveGoes,
    Offer,
    SfuLost,
    /// The socket drops with this many events on the way.
    Drop(usize),
    /// After this time.
    Resume(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let role = || proptest::sample::select(vec![Role::Viewer, Role::Participant, Role::Moderator]);
    prop_oneof![
        3 => (1..200usize).prop_map(Step::Chat),
        2 => any::<bool>().prop_map(Step::Lock),
        2 => role().prop_map(Step::RoleOfReader),
        2 => role().prop_map(Step::RoleOfBob),
        2 => Just(Step::Publish),
        1 => Just(Step::MuteReader),
        1 => Just(Step::EveComes),
        1 => Just(Step::EveGoes),
        2 => Just(Step::Offer),
        1 => Just(Step::SfuLost),
        4 => (0..20usize).prop_map(Step::Drop),
        4 => (0..14u64).prop_map(Step::Resume),
    ]
}

/// A room with its host, another who publishes, and the reader.
struct Scene {
    trial: Trial,
    reader: Reader,
    connected: bool,
    tracks: u128,
    eves: u128,
    offers: usize,
    moves: usize,
}

impl Scene {
    fn new() -> Self {
        let mut trial = Trial::new(room(Mode::Sfu));
        for (n, name) in [(1, "ada"), (2, "bob"), (3, "reader")] {
            trial.join(n, name);
        }
        trial.publish(participant(3), track(900), TrackKind::Audio);
        let id = participant(3);
        let view = trial.state.view();
        let known = Known {
            role: Some(Role::Participant),
            own: view.participants[2].tracks.clone(),
            others: others(&view.participants[..2]),
            ..Known::default()
        };
        trial.told.clear();
        for n in 1..=3 {
            trial.told.insert(participant(n), Vec::new());
        }
        let reader = Reader {
            id,
            seen: 0,
            resync: true,
            known,
        };
        Self {
            trial,
            reader,
            connected: true,
            tracks: 0,
            eves: 10,
            offers: 0,
            moves: 0,
        }
    }

    fn role(&mut self, n: u128, role: Role) {
        let payload = json!({ "participant_id": participant(n).to_string(), "role": role });
        assert_eq!(self.trial.outcome(participant(1), "set-role", &payload), "ok");
    }

    fn run(&mut self, step: &Step) {
        let (ada, bob, reader) = (participant(1), participant(2), participant(3));
        // What the step before brought is on the way while the socket may drop.
        if self.connected && !matches!(step, Step::Drop(_)) {
            self.read();
        }
        match step {
            Step::Chat(n) => {
                for _ in 0..*n {
                    self.trial.outcome(ada, "chat", &json!({ "text": "hi" }));
                }
            }
            Step::Lock(locked) => {
                self.trial
                    .outcome(ada, if *locked { "lock" } else { "unlock" }, &json!({}));
            }
            Step::RoleOfReader(role) => self.role(3, *role),
            Step::RoleOfBob(role) => self.role(2, *role),
            Step::Publish => {
                self.tracks += 1;
                self.role(2, Role::Participant);
                self.trial.publish(bob, track(self.tracks), TrackKind::Video);
            }
            Step::MuteReader => {
                let payload = json!({ "participant_id": reader.to_string() });
                self.trial.outcome(ada, "mute-participant", &payload);
            }
            Step::EveComes => {
                self.eves += 1;
                self.trial.join(self.eves, "eve");
            }
            Step::EveGoes => self.trial.apply(Command::Leave {
                participant: participant(self.eves),
                reply: None,
            }),
            Step::Offer => {
                self.offers += 1;
                self.trial.apply(Command::Sfu(SfuEvent::SubscribeOffer {
                    participant: reader,
                    sdp: self.offers.to_string(),
                    tracks: BTreeMap::new(),
                }));
            }
            Step::SfuLost => {
                if self.trial.state.sfu {
                    self.moves += 1;
                }
                self.trial.attached.clear();
                self.trial.apply(Command::SfuLost);
            }
            Step::Drop(unread) => {
                if self.connected {
                    self.connected = false;
                    let told = self.trial.told.get_mut(&reader).unwrap();
                    told.truncate(told.len().saturating_sub(*unread));
                    self.read();
                    self.trial.apply(Command::Lost { participant: reader });
                }
            }
            Step::Resume(after_s) => {
                self.resume(*after_s);
                self.check();
            }
        }
    }

    /// Takes what came over the socket.
    fn read(&mut self) {
        let told = self.trial.told.get_mut(&self.reader.id).map(std::mem::take);
        for (seq, message) in told.into_iter().flatten() {
            self.reader.event(seq, &message);
        }
    }

    fn resume(&mut self, after_s: u64) {
        if self.connected {
            return;
        }
        self.trial.clock += Duration::from_secs(after_s);
        self.trial.told.insert(self.reader.id, Vec::new());
        self.trial.sfu_orders.clear();
        let (participant, last_seq) = (self.reader.id, self.reader.seen);
        self.trial.apply(Command::Resume { participant, last_seq });
        let resumption = self.trial.resumptions.pop().expect("the room has it");
        self.reader.resumed(&resumption);
        self.connected = true;
        self.read();
        let missed_offer = self.reader.known.answered.len() < self.offers;
        if missed_offer && self.trial.state.sfu {
            assert_eq!(
                self.trial.sfu_orders,
                ["offeragain"],
                "an offer that nobody has is made anew"
            );
        }
        // Made anew it says what all before it said.
        self.reader.known.answered = (1..=self.offers).map(|n| n.to_string()).collect();
    }

    fn check(&self) {
        let view = self.trial.state.view();
        let own = view
            .participants
            .iter()
            .find(|p| p.participant_id == self.reader.id)
            .expect("inside");
        let mut rest = view.participants.clone();
        rest.retain(|p| p.participant_id != self.reader.id);
        let known = &self.reader.known;
        assert_eq!(known.locked, view.locked);
        assert_eq!(known.role, Some(own.role));
        assert_eq!(known.own, own.tracks);
        assert_eq!(known.others, others(&rest));
        assert_eq!(known.moves > 0, self.moves > 0, "who missed a move is told of it");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_a_resume_a_client_knows_the_room_as_it_is(steps in proptest::collection::vec(step(), 1..60)) {
        let mut scene = Scene::new();
        for step in &steps {
            scene.run(step);
        }
        scene.resume(14);
        scene.read();
        scene.check();
    }
}
