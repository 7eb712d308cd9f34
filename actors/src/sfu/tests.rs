//! The SFU's decisions, with the offers of real clients.

mod seats;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use caside_media::control::{CloseReason, Command, EventKind};
use caside_media::layers::{Preference, Quality};
use caside_media::parameters::{Fingerprint, IceCredentials, TransportId};
use caside_media::sdp::{Candidate, CandidateTransport, CodecPolicy};
use caside_protocol::client::{Subscribe, SubscribePolicy, SubscribeQuality, Target};
use caside_protocol::{ErrorCode, ParticipantId, TrackId};

use super::command::{SfuCommand, SfuEvent};
use super::state::{Effects, Setting, SfuState};
use crate::media_worker::WorkerLoad;

mod cameras;

const OFFER: &str = include_str!("../../../media/tests/fixtures/sdp/chromium_camera.sdp");
const SIMULCAST: &str = include_str!("../../../media/tests/fixtures/sdp/chromium_simulcast.sdp");

fn state() -> SfuState {
    state_on(Arc::new(Mutex::new(vec![IDLE])))
}

const IDLE: WorkerLoad = WorkerLoad {
    busy: 0.0,
    packets_per_second: 0,
    pressure: 0,
    participants: 0,
    rooms: 0,
    max_participants: 100,
};

/// An SFU on workers that have so much to do.
fn state_on(loads: Arc<Mutex<Vec<WorkerLoad>>>) -> SfuState {
    let mut next = 0;
    let mut ufrag = 0;
    let workers = loads.lock().unwrap().len();
    SfuState::new(Setting {
        candidates: (40_000..)
            .take(workers)
            .map(|port| {
                vec![Candidate {
                    address: (Ipv4Addr::LOCALHOST, port).into(),
                    transport: CandidateTransport::Udp,
                }]
            })
            .collect(),
        loads: Box::new(move || loads.lock().unwrap().clone()),
        fingerprint: Fingerprint {
            algorithm: "sha-256".to_owned(),
            digest: vec![7; 32],
        },
        policy: CodecPolicy::default(),
        next_id: Box::new(move || {
            next += 1;
            next
        }),
        credentials: Box::new(move || {
            ufrag += 1;
            IceCredentials {
                ufrag: format!("ours{ufrag:04}"),
                pwd: "p".repeat(24),
            }
        }),
    })
}

fn attach(state: &mut SfuState, subscribe: SubscribePolicy) -> ParticipantId {
    let participant = ParticipantId::new();
    state.apply(SfuCommand::Attach {
        participant,
        subscribe,
        last_n: None,
        may_subscribe: true,
        may_send_data: true,
    });
    participant
}

fn publish(state: &mut SfuState, participant: ParticipantId, sdp: &str) -> Effects {
    let (request, sdp, sources) = (1, sdp.to_owned(), BTreeMap::new());
    state.apply(SfuCommand::PublishOffer {
        participant,
        request,
        sdp,
        sources,
    })
}

fn published(effects: &Effects) -> Vec<TrackId> {
    let tracks = effects.events.iter().find_map(|e| match e {
        SfuEvent::PublishAnswered { result, published, .. } => {
            result.as_ref().unwrap();
            Some(published.iter().map(|p| p.track.track).collect())
        }
        _ => None,
    });
    tracks.unwrap()
}

/// The offers made, by participant.
fn offers(effects: &Effects) -> Vec<(ParticipantId, String, Vec<TrackId>)> {
    let offer = |e: &SfuEvent| match e {
        SfuEvent::SubscribeOffer {
            participant,
            sdp,
            tracks,
        } => Some((*participant, sdp.clone(), tracks.values().map(|t| t.track).collect())),
        _ => None,
    };
    effects.events.iter().filter_map(offer).collect()
}

/// A client's answer that takes everything; `identity` is its certificate.
fn answer_to(offer: &str, identity: &str) -> String {
    let mut answer = String::new();
    for line in offer.lines() {
        let line = match line {
            "a=sendonly" => "a=recvonly".to_owned(),
            "a=ice-lite" | "a=end-of-candidates" => continue,
            _ if ["a=ssrc", "a=msid", "a=candidate"].iter().any(|p| line.starts_with(p)) => continue,
            _ if line.starts_with("a=setup:") => "a=setup:active".to_owned(),
            _ if line.starts_with("a=ice-ufrag:") => "a=ice-ufrag:them".to_owned(),
            _ if line.starts_with("a=ice-pwd:") => format!("a=ice-pwd:{}", "q".repeat(24)),
            _ if line.starts_with("a=fingerprint:") => format!("a=fingerprint:sha-256 {}", [identity; 32].join(":")),
            other => other.to_owned(),
        };
        answer.push_str(&line);
        answer.push_str("\r\n");
    }
    answer
}

fn answer(state: &mut SfuState, participant: ParticipantId, sdp: String) -> Effects {
    state.apply(SfuCommand::SubscribeAnswer {
        participant,
        request: 2,
        sdp,
    })
}

/// What the engines are told, whichever.
fn orders(effects: &Effects) -> impl Iterator<Item = &Command> {
    effects.commands.iter().map(|(_, command)| command)
}

/// Takes an event of the first engine.
fn media(state: &mut SfuState, event: EventKind) -> Effects {
    let router = state.seats()[0].seat.router;
    state.media(router, event)
}

fn consumed(effects: &Effects) -> Vec<bool> {
    let paused = |c: &Command| match c {
        Command::Consume { paused, .. } => Some(*paused),
        _ => None,
    };
    orders(effects).filter_map(paused).collect()
}

fn transport_of(effects: &Effects) -> TransportId {
    let opened = orders(effects).find_map(|c| match c {
        Command::OpenTransport { transport, .. } => Some(*transport),
        _ => None,
    });
    opened.unwrap()
}

#[test]
fn a_publishers_tracks_are_offered_to_the_others_and_sent_once_answered() {
    let mut state = state();
    let (ada, grace) = (
        attach(&mut state, SubscribePolicy::Auto),
        attach(&mut state, SubscribePolicy::Auto),
    );
    let effects = publish(&mut state, ada, OFFER);
    let tracks = published(&effects);
    assert_eq!(tracks.len(), 2);
    let offered = offers(&effects);
    assert_eq!(offered.len(), 1, "not to the publisher");
    assert_eq!(offered[0].0, grace);
    assert_eq!(offered[0].2, tracks);
    assert!(consumed(&effects).is_empty(), "nothing is sent before the answer");
    let effects = answer(&mut state, grace, answer_to(&offered[0].1, "AB"));
    assert_eq!(consumed(&effects), [false, false]);
    assert!(orders(&effects).any(|c| matches!(c, Command::ConnectTransport { .. })));
}

#[test]
fn a_late_joiner_is_offered_what_is_there() {
    let mut state = state();
    let ada = attach(&mut state, SubscribePolicy::Auto);
    publish(&mut state, ada, OFFER);
    let participant = ParticipantId::new();
    let effects = state.apply(SfuCommand::Attach {
        participant,
        subscribe: SubscribePolicy::Auto,
        last_n: None,
        may_subscribe: true,
        may_send_data: true,
    });
    assert_eq!(offers(&effects)[0].2.len(), 2);
    let viewer = ParticipantId::new();
    let effects = state.apply(SfuCommand::Attach {
        participant: viewer,
        subscribe: SubscribePolicy::Auto,
        last_n: None,
        may_subscribe: false,
        may_send_data: true,
    });
    assert!(offers(&effects).is_empty(), "not to somebody who may not receive");
}

#[test]
fn no_second_offer_goes_out_before_the_first_is_answered() {
    let mut state = state();
    let grace = attach(&mut state, SubscribePolicy::Auto);
    let (ada, edsger) = (
        attach(&mut state, SubscribePolicy::Manual),
        attach(&mut state, SubscribePolicy::Manual),
    );
    let first = offers(&publish(&mut state, ada, OFFER));
    let effects = publish(&mut state, edsger, OFFER);
    assert!(offers(&effects).is_empty());
    let effects = answer(&mut state, grace, answer_to(&first[0].1, "AB"));
    assert_eq!(
        offers(&effects)[0].2.len(),
        4,
        "what came in the meantime is offered then"
    );
}

#[test]
fn an_unanswered_offer_is_given_up_and_made_anew_on_the_next_change() {
    let mut state = state();
    let grace = attach(&mut state, SubscribePolicy::Auto);
    let ada = attach(&mut state, SubscribePolicy::Manual);
    let effects = publish(&mut state, ada, OFFER);
    let [(participant, number)] = effects.timers[..] else {
        panic!("one timer")
    };
    assert_eq!(participant, grace);
    assert!(
        state.offer_timed_out(grace, number - 1).events.is_empty(),
        "a timer of another offer"
    );
    let effects = state.offer_timed_out(grace, number);
    let timeout =
        |e: &SfuEvent| matches!(e, SfuEvent::Failed { refusal, .. } if refusal.code == ErrorCode::NegotiationTimeout);
    assert!(effects.events.iter().any(timeout));
    let edsger = attach(&mut state, SubscribePolicy::Manual);
    assert_eq!(offers(&publish(&mut state, edsger, OFFER))[0].2.len(), 4);
}

#[test]
fn leaving_takes_the_tracks_from_everybody() {
    let mut state = state();
    let grace = attach(&mut state, SubscribePolicy::Auto);
    let ada = attach(&mut state, SubscribePolicy::Auto);
    let offered = offers(&publish(&mut state, ada, OFFER));
    answer(&mut state, grace, answer_to(&offered[0].1, "AB"));
    let effects = state.apply(SfuCommand::Detach { participant: ada });
    let closed = orders(&effects)
        .filter(|c| matches!(c, Command::CloseConsumer { .. }))
        .count();
    assert_eq!(closed, 2);
    assert!(orders(&effects).any(|c| matches!(c, Command::CloseTransport { .. })));
    assert!(offers(&effects)[0].2.is_empty(), "the m-lines become inactive");
}

#[test]
fn another_peer_connection_replaces_the_one_before() {
    let mut state = state();
    let ada = attach(&mut state, SubscribePolicy::Auto);
    let before = published(&publish(&mut state, ada, OFFER));
    let origin = OFFER.lines().find(|l| l.starts_with("o=")).unwrap();
    let fresh = OFFER.replace(origin, "o=- 4242424242 2 IN IP4 127.0.0.1");
    let effects = publish(&mut state, ada, &fresh);
    assert_eq!(published(&effects).len(), 2);
    let gone = effects.events.iter().find_map(|e| match e {
        SfuEvent::PublishAnswered { unpublished, .. } => Some(unpublished.clone()),
        _ => None,
    });
    assert_eq!(gone.unwrap(), before);
    assert!(orders(&effects).any(|c| matches!(c, Command::CloseTransport { .. })));
}

#[test]
fn an_answer_from_another_peer_connection_is_met_with_a_new_offer() {
    let mut state = state();
    let grace = attach(&mut state, SubscribePolicy::Auto);
    let ada = attach(&mut state, SubscribePolicy::Manual);
    let offered = offers(&publish(&mut state, ada, OFFER));
    answer(&mut state, grace, answer_to(&offered[0].1, "AB"));
    let edsger = attach(&mut state, SubscribePolicy::Manual);
    let offered = offers(&publish(&mut state, edsger, OFFER));
    let effects = answer(&mut state, grace, answer_to(&offered[0].1, "CD"));
    let renewed = offers(&effects);
    assert_eq!(renewed[0].2.len(), 4);
    let ufrag = |sdp: &str| sdp.lines().find(|l| l.starts_with("a=ice-ufrag:")).unwrap().to_owned();
    assert_ne!(ufrag(&renewed[0].1), ufrag(&offered[0].1));
}

#[test]
fn a_closed_connection_is_told_and_a_subscriber_offered_another() {
    let mut state = state();
    let grace = attach(&mut state, SubscribePolicy::Auto);
    let ada = attach(&mut state, SubscribePolicy::Manual);
    let effects = publish(&mut state, ada, OFFER);
    let tracks = published(&effects);
    let publishing = transport_of(&effects);
    let offered = offers(&effects);
    let effects = answer(&mut state, grace, answer_to(&offered[0].1, "AB"));
    let subscribing = orders(&effects).find_map(|c| match c {
        Command::ConnectTransport { transport, .. } => Some(*transport),
        _ => None,
    });
    let reason = CloseReason::ConsentExpired;
    let effects = media(
        &mut state,
        EventKind::TransportClosed {
            transport: subscribing.unwrap(),
            reason,
        },
    );
    assert_eq!(offers(&effects)[0].2, tracks);
    let effects = media(
        &mut state,
        EventKind::TransportClosed {
            transport: publishing,
            reason,
        },
    );
    let told = effects.events.iter().any(|e| {
        matches!(e, SfuEvent::Disconnected { participant, target: Target::Publish, cause: "consent_expired" } if *participant == ada)
    });
    assert!(told);
    let gone = effects.events.iter().find_map(|e| match e {
        SfuEvent::Unpublished { tracks, .. } => Some(tracks.clone()),
        _ => None,
    });
    assert_eq!(gone.unwrap(), tracks);
}

#[test]
fn wishes_decide_what_is_sent() {
    let mut state = state();
    let grace = attach(&mut state, SubscribePolicy::Manual);
    let ada = attach(&mut state, SubscribePolicy::Manual);
    let tracks = published(&publish(&mut state, ada, OFFER));
    let wish = |track, quality| Subscribe {
        track,
        quality,
        max_width: None,
        max_height: None,
    };
    let subscribe = |quality| SfuCommand::Subscribe {
        participant: grace,
        wish: wish(tracks[1], quality),
    };
    assert!(offers(&state.apply(subscribe(SubscribeQuality::Off))).is_empty());
    let offered = offers(&state.apply(subscribe(SubscribeQuality::High)));
    assert_eq!(offered[0].2, [tracks[1]]);
    assert_eq!(
        consumed(&answer(&mut state, grace, answer_to(&offered[0].1, "AB"))),
        [false]
    );
    let effects = state.apply(subscribe(SubscribeQuality::Off));
    assert!(matches!(
        effects.commands[..],
        [(_, Command::PauseConsumer { paused: true, .. })]
    ));
    let effects = state.apply(SfuCommand::SetReceiving {
        participant: grace,
        receiving: false,
    });
    assert!(matches!(
        effects.commands[..],
        [(_, Command::PauseConsumer { paused: true, .. })]
    ));
    state.apply(subscribe(SubscribeQuality::High));
    let effects = state.apply(SfuCommand::SetReceiving {
        participant: grace,
        receiving: true,
    });
    assert!(matches!(
        effects.commands[..],
        [(_, Command::PauseConsumer { paused: false, .. })]
    ));
}

#[test]
fn how_good_a_track_is_to_be_goes_to_the_engine() {
    let mut state = state();
    let grace = attach(&mut state, SubscribePolicy::Auto);
    let ada = attach(&mut state, SubscribePolicy::Manual);
    let effects = publish(&mut state, ada, SIMULCAST);
    let tracks = published(&effects);
    let offered = offers(&effects);
    let subscribe = |state: &mut SfuState, quality, max_width| {
        let wish = Subscribe {
            track: tracks[1],
            quality,
            max_width,
            max_height: None,
        };
        let participant = grace;
        let effects = state.apply(SfuCommand::Subscribe { participant, wish });
        preferences(&effects)
    };
    assert_eq!(subscribe(&mut state, SubscribeQuality::Low, Some(1_000_000)), []);
    let effects = answer(&mut state, grace, answer_to(&offered[0].1, "AB"));
    let low = Preference {
        quality: Quality::Low,
        max_width: Some(u16::MAX),
        max_height: None,
    };
    assert_eq!(preferences(&effects), [low], "once it is received");
    assert_eq!(
        subscribe(&mut state, SubscribeQuality::High, None),
        [Preference::default()]
    );
    assert_eq!(subscribe(&mut state, SubscribeQuality::Off, None), []);
}

fn preferences(effects: &Effects) -> Vec<Preference> {
    let preferences = orders(effects).filter_map(|command| match command {
        Command::PreferLayers { preference, .. } => Some(*preference),
        _ => None,
    });
    preferences.collect()
}

#[test]
fn a_publisher_hears_which_encodings_are_wanted() {
    let mut state = state();
    let ada = attach(&mut state, SubscribePolicy::Manual);
    let effects = publish(&mut state, ada, SIMULCAST);
    let tracks = published(&effects);
    let producers: Vec<_> = orders(&effects)
        .filter_map(|command| match command {
            Command::Produce { producer, .. } => Some(*producer),
            _ => None,
        })
        .collect();
    let mut wanted = |producer, highest| media(&mut state, EventKind::EncodingsWanted { producer, highest }).events;
    let events = wanted(producers[1], 1);
    let [
        SfuEvent::EncodingsWanted {
            participant,
            track,
            layers,
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*participant, *track), (ada, tracks[1]));
    let layers: Vec<_> = layers.iter().map(|layer| (layer.rid.as_str(), layer.active)).collect();
    assert_eq!(layers, [("q", true), ("h", true), ("f", false)]);
    assert!(
        wanted(producers[0], 0).is_empty(),
        "one without names cannot be told of"
    );
}

#[test]
fn nonsense_is_refused_with_its_code_and_changes_nothing() {
    let mut state = state();
    let ada = attach(&mut state, SubscribePolicy::Auto);
    for (sdp, code) in [("", ErrorCode::BadSdp), ("v=0\r\n", ErrorCode::BadSdp)] {
        let effects = publish(&mut state, ada, sdp);
        let refused = effects
            .events
            .iter()
            .any(|e| matches!(e, SfuEvent::PublishAnswered { result: Err(r), .. } if r.code == code));
        assert!(refused, "{sdp:?}");
        assert!(effects.commands.is_empty());
    }
    let effects = publish(&mut state, ParticipantId::new(), OFFER);
    assert!(effects.commands.is_empty(), "an offer of a stranger");
    let effects = answer(&mut state, ada, "v=0\r\n".to_owned());
    assert!(
        effects
            .events
            .iter()
            .any(|e| matches!(e, SfuEvent::SubscribeAnswered { result: Err(_), .. }))
    );
}

#[test]
fn rights_are_given_and_taken_without_a_new_connection() {
    let mut state = state();
    let (ada, grace) = (
        attach(&mut state, SubscribePolicy::Auto),
        attach(&mut state, SubscribePolicy::Auto),
    );
    let first = publish(&mut state, ada, OFFER);
    let offered = offers(&first);
    answer(&mut state, grace, answer_to(&offered[0].1, "AB"));
    let rights = |may_subscribe| SfuCommand::SetRights {
        participant: grace,
        may_subscribe,
        may_send_data: true,
    };
    let paused = |effects: &Effects| -> Vec<bool> {
        let pause = |c: &Command| match c {
            Command::PauseConsumer { paused, .. } => Some(*paused),
            _ => None,
        };
        orders(effects).filter_map(pause).collect()
    };
    assert_eq!(paused(&state.apply(rights(false))), [true, true]);
    // Neither the end of a hold nor another publisher's track gets past it.
    let held = |receiving| SfuCommand::SetReceiving {
        participant: grace,
        receiving,
    };
    state.apply(held(false));
    assert_eq!(paused(&state.apply(held(true))), [true, true]);
    let eve = attach(&mut state, SubscribePolicy::Auto);
    let to_grace = |effects: &Effects| offers(effects).into_iter().find(|(to, ..)| *to == grace);
    assert!(to_grace(&publish(&mut state, eve, OFFER)).is_none());
    let effects = state.apply(rights(true));
    assert_eq!(paused(&effects), [false, false]);
    let (_, _, tracks) = to_grace(&effects).expect("what was published meanwhile is offered");
    assert_eq!(tracks.len(), 4);
    assert!(state.apply(rights(true)).commands.is_empty());
}

#[test]
fn an_offer_that_got_lost_or_timed_out_is_made_anew_for_who_comes_back() {
    let mut state = state();
    let (ada, grace) = (
        attach(&mut state, SubscribePolicy::Auto),
        attach(&mut state, SubscribePolicy::Auto),
    );
    let again = SfuCommand::OfferAgain { participant: grace };
    assert!(state.apply(again).events.is_empty(), "there is nothing to offer");
    let first = offers(&publish(&mut state, ada, OFFER));
    let lost = offers(&state.apply(SfuCommand::OfferAgain { participant: grace }));
    assert_eq!(lost[0].2, first[0].2);
    state.offer_timed_out(grace, 2);
    let late = offers(&state.apply(SfuCommand::OfferAgain { participant: grace }));
    assert_eq!(late[0].2, first[0].2);
    assert_eq!(
        consumed(&answer(&mut state, grace, answer_to(&late[0].1, "AB"))).len(),
        2
    );
    let again = SfuCommand::OfferAgain { participant: grace };
    assert!(state.apply(again).events.is_empty(), "it was answered");
}

const VIEW: &str = include_str!("../../../media/tests/fixtures/sdp/chromium_recvonly.sdp");

fn watch(state: &mut SfuState, viewer: ParticipantId, publisher: ParticipantId) -> Effects {
    state.apply(SfuCommand::Watch {
        participant: viewer,
        request: 3,
        publisher,
        sdp: VIEW.to_owned(),
    })
}

fn watched(effects: &Effects) -> Result<usize, ErrorCode> {
    let answer = |e: &SfuEvent| match e {
        SfuEvent::WatchAnswered { result, .. } => {
            Some(result.as_ref().map(|(_, tracks)| tracks.len()).map_err(|r| r.code))
        }
        _ => None,
    };
    effects.events.iter().find_map(answer).unwrap()
}

#[test]
fn a_viewer_is_sent_what_is_published_now_and_later_without_another_offer() {
    let mut state = state();
    let ada = attach(&mut state, SubscribePolicy::Manual);
    let eve = attach(&mut state, SubscribePolicy::Manual);
    let tracks = published(&publish(&mut state, ada, OFFER));
    let effects = watch(&mut state, eve, ada);
    assert_eq!(watched(&effects), Ok(tracks.len()));
    assert_eq!(consumed(&effects), vec![false; tracks.len()]);
    assert!(offers(&effects).is_empty());

    // The publisher comes back on another connection: their tracks take the old ones' places.
    let other = OFFER.replacen("o=- ", "o=- 1", 1);
    let effects = publish(&mut state, ada, &other);
    let closed = |c: &&Command| matches!(c, Command::CloseConsumer { .. });
    assert_eq!(orders(&effects).filter(closed).count(), tracks.len());
    assert_eq!(consumed(&effects).len(), tracks.len());

    let rights = SfuCommand::SetRights {
        participant: eve,
        may_subscribe: false,
        may_send_data: false,
    };
    let effects = state.apply(rights);
    let paused = |c: &&Command| matches!(c, Command::PauseConsumer { paused: true, .. });
    assert_eq!(orders(&effects).filter(paused).count(), tracks.len());
    let effects = state.apply(SfuCommand::Detach { participant: eve });
    assert!(matches!(
        effects.commands.as_slice(),
        [(_, Command::CloseTransport { .. })]
    ));
}

#[test]
fn a_viewers_connection_that_closes_is_told_and_not_offered_anew() {
    let mut state = state();
    let ada = attach(&mut state, SubscribePolicy::Manual);
    let eve = attach(&mut state, SubscribePolicy::Manual);
    publish(&mut state, ada, OFFER);
    let effects = watch(&mut state, eve, ada);
    let transport = orders(&effects).find_map(|c| match c {
        Command::OpenTransport { transport, .. } => Some(*transport),
        _ => None,
    });
    let reason = CloseReason::ConsentExpired;
    let transport = transport.unwrap();
    let effects = media(&mut state, EventKind::TransportClosed { transport, reason });
    assert!(effects.commands.is_empty());
    let told = |e: &SfuEvent| matches!(e, SfuEvent::Disconnected { participant, target: Target::Subscribe, .. } if *participant == eve);
    assert!(effects.events.iter().any(told));
    assert_eq!(effects.events.len(), 1);
}
