//! Which cameras go to whom.

use caside_media::parameters::{ConsumerId, MediaKind, ProducerId};
use caside_protocol::client::{Subscribe, SubscribeQuality, TrackSource};
use caside_protocol::view::Source;

use super::*;

/// Somebody with a camera and a microphone.
struct Publisher {
    participant: ParticipantId,
    microphone: ProducerId,
    camera: TrackId,
}

/// A room of publishers, and one receiver who is sent what the room and they themselves say.
struct Meeting {
    state: SfuState,
    publishers: Vec<Publisher>,
    receiver: ParticipantId,
    /// The camera that each of the receiver's consumers carries, and whether it is paused.
    consumers: BTreeMap<ConsumerId, (TrackId, bool)>,
    producers: BTreeMap<ProducerId, TrackId>,
    /// What the receiver was told last.
    told: Option<Option<Vec<TrackId>>>,
    /// Events of that kind so far.
    tellings: usize,
}

impl Meeting {
    fn new(publishers: usize, room: u32, own: Option<u32>) -> Self {
        let mut state = state();
        state.apply(SfuCommand::Limit {
            last_n: room,
            audio_last_n: 0,
        });
        let receiver = ParticipantId::new();
        state.apply(SfuCommand::Attach {
            participant: receiver,
            subscribe: SubscribePolicy::Auto,
            last_n: own,
            may_subscribe: true,
            may_send_data: true,
        });
        let mut meeting = Self {
            state,
            publishers: Vec::new(),
            receiver,
            consumers: BTreeMap::new(),
            producers: BTreeMap::new(),
            told: None,
            tellings: 0,
        };
        for _ in 0..publishers {
            meeting.come(Source::Camera);
        }
        meeting
    }

    /// Somebody comes and publishes; the receiver accepts.
    fn come(&mut self, source: Source) {
        let participant = attach(&mut self.state, SubscribePolicy::Manual);
        let said = TrackSource {
            source: Some(source),
            label: None,
            encryption: None,
            track: None,
        };
        let effects = self.state.apply(SfuCommand::PublishOffer {
            participant,
            request: 1,
            sdp: OFFER.to_owned(),
            sources: (0..4).map(|mid| (mid.to_string(), said.clone())).collect(),
        });
        let tracks = published(&effects);
        let produced = orders(&effects).filter_map(|command| match command {
            Command::Produce {
                producer, parameters, ..
            } => Some((*producer, parameters.kind)),
            _ => None,
        });
        let produced: Vec<_> = produced.zip(tracks).collect();
        let of = |kind| produced.iter().find(|((_, of), _)| *of == kind).copied().unwrap();
        let ((microphone, _), _) = of(MediaKind::Audio);
        let (_, camera) = of(MediaKind::Video);
        self.producers
            .extend(produced.iter().map(|((producer, _), track)| (*producer, *track)));
        self.publishers.push(Publisher {
            participant,
            microphone,
            camera,
        });
        let offer = offers(&effects).into_iter().find(|(to, ..)| *to == self.receiver);
        self.take(effects);
        if let Some((_, sdp, _)) = offer {
            let effects = answer(&mut self.state, self.receiver, answer_to(&sdp, "AB"));
            self.take(effects);
        }
    }

    fn take(&mut self, effects: Effects) {
        for (_, command) in effects.commands {
            match command {
                Command::Consume {
                    consumer,
                    producer,
                    paused,
                    ..
                } => {
                    self.consumers.insert(consumer, (self.producers[&producer], paused));
                }
                Command::PauseConsumer { consumer, paused } => self.consumers.get_mut(&consumer).unwrap().1 = paused,
                Command::CloseConsumer { consumer } => {
                    self.consumers.remove(&consumer);
                }
                _ => {}
            }
        }
        for event in effects.events {
            if let SfuEvent::CamerasSelected { participant, tracks } = event {
                assert_eq!(participant, self.receiver);
                self.told = Some(tracks);
                self.tellings += 1;
            }
        }
    }

    fn apply(&mut self, command: SfuCommand) {
        let effects = self.state.apply(command);
        assert!(offers(&effects).is_empty(), "a switch needs no negotiation");
        self.take(effects);
    }

    fn speak(&mut self, speakers: &[usize]) {
        let producers = speakers.iter().map(|n| self.publishers[*n].microphone).collect();
        let effects = media(&mut self.state, EventKind::ActiveSpeakers { producers });
        assert!(offers(&effects).is_empty(), "a switch needs no negotiation");
        self.take(effects);
    }

    fn wish(&mut self, publisher: usize, quality: SubscribeQuality) {
        let wish = Subscribe {
            track: self.publishers[publisher].camera,
            quality,
            max_width: None,
            max_height: None,
        };
        let participant = self.receiver;
        self.apply(SfuCommand::Subscribe { participant, wish });
    }

    /// Whose cameras go to the receiver, and that all sound does.
    fn seen(&self) -> Vec<usize> {
        let goes = |track: TrackId| self.consumers.values().any(|(of, paused)| *of == track && !paused);
        let sound = |publisher: &&Publisher| goes(self.producers[&publisher.microphone]);
        assert_eq!(self.publishers.iter().filter(sound).count(), self.publishers.len());
        let seen = self.publishers.iter().enumerate();
        seen.filter(|(_, publisher)| goes(publisher.camera))
            .map(|(n, _)| n)
            .collect()
    }

    fn told(&self) -> Vec<usize> {
        let told = self.told.clone().flatten().expect("a limit");
        let place = |track: &TrackId| self.publishers.iter().position(|it| it.camera == *track).unwrap();
        told.iter().map(place).collect()
    }
}

#[test]
fn the_last_speakers_cameras_go_and_the_others_wait_in_place() {
    let mut meeting = Meeting::new(5, 2, None);
    assert_eq!(meeting.seen(), [0, 1], "before anybody speaks, who came first");
    let cases: [(&[usize], &[usize]); 6] = [
        (&[3], &[0, 3]),
        // Who is seen already changes nothing.
        (&[0], &[0, 3]),
        (&[0, 3], &[0, 3]),
        (&[], &[0, 3]),
        (&[4], &[0, 4]),
        // More at once than there are places: the loudest.
        (&[2, 1, 3], &[1, 2]),
    ];
    for (speakers, seen) in cases {
        let (before, tellings) = (meeting.told(), meeting.tellings);
        meeting.speak(speakers);
        assert_eq!(
            (meeting.seen(), meeting.told()),
            (seen.to_vec(), seen.to_vec()),
            "{speakers:?}"
        );
        let told = meeting.tellings - tellings;
        assert_eq!(told, usize::from(before != seen), "told on change: {speakers:?}");
    }
}

#[test]
fn a_receivers_own_number_goes_before_the_rooms() {
    assert_eq!(Meeting::new(4, 1, Some(3)).seen(), [0, 1, 2]);
    let mut meeting = Meeting::new(4, 1, Some(0));
    assert_eq!((meeting.seen(), meeting.told.clone()), (vec![0, 1, 2, 3], None));
    let participant = meeting.receiver;
    for (last_n, seen) in [(Some(2), vec![0, 1]), (None, vec![0]), (Some(9), vec![0, 1, 2, 3])] {
        meeting.apply(SfuCommand::SetLastN { participant, last_n });
        assert_eq!(meeting.seen(), seen, "{last_n:?}");
    }
    meeting.apply(SfuCommand::SetLastN {
        participant,
        last_n: None,
    });
    meeting.apply(SfuCommand::Limit {
        last_n: 0,
        audio_last_n: 0,
    });
    assert_eq!((meeting.seen(), meeting.told), (vec![0, 1, 2, 3], Some(None)));
}

#[test]
fn what_was_asked_for_by_name_goes_in_any_case_and_takes_no_place() {
    let mut meeting = Meeting::new(4, 1, None);
    assert_eq!(meeting.seen(), [0]);
    meeting.wish(2, SubscribeQuality::Low);
    assert_eq!(meeting.seen(), [0, 2]);
    meeting.speak(&[3]);
    assert_eq!(meeting.seen(), [2, 3]);
    meeting.wish(3, SubscribeQuality::Off);
    assert_eq!(meeting.seen(), [0, 2], "the place is the next one's");
}

#[test]
fn screens_go_in_any_case() {
    let mut meeting = Meeting::new(2, 1, None);
    meeting.come(Source::Screen);
    assert_eq!(meeting.seen(), [0, 2]);
}

#[test]
fn a_camera_that_is_off_or_gone_takes_no_place() {
    let mut meeting = Meeting::new(3, 1, None);
    let track = meeting.publishers[0].camera;
    meeting.apply(SfuCommand::SetPaused { track, paused: true });
    assert_eq!(meeting.told(), [1]);
    meeting.apply(SfuCommand::SetPaused { track, paused: false });
    assert_eq!(meeting.told(), [0]);
    let tellings = meeting.tellings;
    meeting.speak(&[0]);
    assert_eq!(meeting.tellings, tellings, "nothing changed");
    let participant = meeting.publishers.remove(0).participant;
    let effects = meeting.state.apply(SfuCommand::Detach { participant });
    meeting.take(effects);
    assert_eq!(meeting.seen(), [0], "the second is the first now");
}

#[test]
fn holds_and_rights_are_not_got_around_by_speaking() {
    let mut meeting = Meeting::new(3, 1, None);
    let participant = meeting.receiver;
    let held = |receiving| SfuCommand::SetReceiving { participant, receiving };
    meeting.apply(held(false));
    meeting.speak(&[2]);
    assert!(meeting.consumers.values().all(|(_, paused)| *paused));
    meeting.apply(held(true));
    assert_eq!(meeting.seen(), [2]);
}

#[test]
fn the_number_of_voices_is_the_engines_business_and_told_anew_to_a_new_one() {
    let mut state = state();
    let limit = |effects: &Effects| {
        let loudest = |command: &Command| match command {
            Command::LimitVoices { loudest, .. } => Some(*loudest),
            _ => None,
        };
        orders(effects).find_map(loudest)
    };
    let order = |audio_last_n| SfuCommand::Limit {
        last_n: 0,
        audio_last_n,
    };
    assert_eq!(limit(&state.apply(order(2))), None, "there is no engine yet");
    let ada = attach(&mut state, SubscribePolicy::Manual);
    assert_eq!(limit(&publish(&mut state, ada, OFFER)), Some(Some(2)));
    let router = state.seats()[0].seat.router;
    assert_eq!(limit(&state.apply(order(3))), Some(Some(3)));
    assert_eq!(limit(&state.restarted(router)), Some(Some(3)));
    assert_eq!(limit(&state.apply(order(0))), Some(None));
    assert_eq!(limit(&state.restarted(router)), None);
}
