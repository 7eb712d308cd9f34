//! The SFU's decisions, with the offers of real clients.

mod cameras;
mod negotiation;
mod seats;
mod viewers;
mod wishes;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use caside_media::control::{CloseReason, Command, EventKind};
use caside_media::parameters::{Fingerprint, IceCredentials, TransportId};
use caside_media::sdp::{Candidate, CandidateTransport, CodecPolicy};
use caside_protocol::client::{SubscribePolicy, Target};
use caside_protocol::{ErrorCode, ParticipantId, TrackId};

use super::command::{SfuCommand, SfuEvent};
use super::state::{Effects, Setting, SfuState};
use crate::media_worker::WorkerLoad;

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
        reached: Arc::default(),
    })
}

fn attach(state: &mut SfuState, subscribe: SubscribePolicy) -> ParticipantId {
    attached(state, subscribe).0
}

/// Somebody who may receive, and what follows from their coming.
fn attached(state: &mut SfuState, subscribe: SubscribePolicy) -> (ParticipantId, Effects) {
    let participant = ParticipantId::new();
    let effects = state.apply(SfuCommand::Attach {
        participant,
        subscribe,
        last_n: None,
        may_subscribe: true,
        may_send_data: true,
    });
    (participant, effects)
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
    let (_, effects) = attached(&mut state, SubscribePolicy::Auto);
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
