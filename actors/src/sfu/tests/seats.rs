//! Rooms on several workers.

use caside_media::parameters::{ProducerId, RouterId};
use caside_protocol::client::TrackSource;
use caside_protocol::view::Source;
use serde_json::json;

use super::viewers::{watch, watched};
use super::*;
use crate::observed::Asked;

type Loads = Arc<Mutex<Vec<WorkerLoad>>>;

/// An SFU on two workers, the first of which has time until it is told otherwise.
fn two() -> (SfuState, Loads) {
    let loads: Loads = Arc::new(Mutex::new(vec![IDLE; 2]));
    (state_on(loads.clone()), loads)
}

fn busy(loads: &Loads, shares: &[f64]) {
    for (load, share) in loads.lock().unwrap().iter_mut().zip(shares) {
        load.busy = *share;
    }
}

/// What each worker is told, in a word and the number it is about.
fn told(effects: &Effects) -> Vec<(usize, &'static str, u64)> {
    let word = |command: &Command| match command {
        Command::OpenTransport { router, .. } => Some(("open", router.0)),
        Command::Produce { producer, .. } => Some(("produce", producer.0)),
        Command::Pipe { producer, .. } => Some(("pipe", producer.0)),
        Command::Unpipe { producer, .. } => Some(("unpipe", producer.0)),
        Command::ProducePiped { producer, .. } => Some(("stand in", producer.0)),
        Command::Consume { producer, .. } => Some(("consume", producer.0)),
        Command::CloseProducer { producer } => Some(("end", producer.0)),
        Command::PauseProducer { producer, .. } => Some(("pause", producer.0)),
        Command::UpdateProducer { producer, .. } => Some(("update", producer.0)),
        Command::DescribeProducer { producer, .. } => Some(("describe", producer.0)),
        _ => None,
    };
    let words = effects.commands.iter().filter_map(|(worker, command)| {
        let (word, about) = word(command)?;
        Some((*worker, word, about))
    });
    words.collect()
}

fn producers(effects: &Effects) -> [ProducerId; 2] {
    let produced: Vec<_> = orders(effects)
        .filter_map(|command| match command {
            Command::Produce { producer, .. } => Some(*producer),
            _ => None,
        })
        .collect();
    produced[..].try_into().unwrap()
}

fn routers(state: &SfuState) -> Vec<(usize, RouterId, usize)> {
    let seats = state.seats().iter();
    seats
        .map(|taken| (taken.seat.worker, taken.seat.router, taken.participants))
        .collect()
}

/// Ada publishes on the first worker; Grace, who came when it was busy, receives on the second.
struct Spread {
    state: SfuState,
    loads: Loads,
    ada: ParticipantId,
    grace: ParticipantId,
    audio: ProducerId,
    video: ProducerId,
    tracks: Vec<TrackId>,
    /// Grace's connection.
    subscribing: TransportId,
}

fn spread(offer: &str) -> Spread {
    let (mut state, loads) = two();
    let ada = attach(&mut state, SubscribePolicy::Auto);
    let first = publish(&mut state, ada, offer);
    let [audio, video] = producers(&first);
    busy(&loads, &[0.75, 0.1]);
    let (grace, effects) = attached(&mut state, SubscribePolicy::Auto);
    let seats = routers(&state);
    assert_eq!(
        told(&effects),
        [
            (0, "pipe", audio.0),
            (1, "stand in", audio.0),
            (1, "open", seats[1].1.0),
        ],
        "sound goes wherever the room is"
    );
    let subscribing = transport_of(&effects);
    let offered = offers(&effects);
    assert!(offered[0].1.contains(" 40001 typ host"), "the second worker's port");
    let effects = answer(&mut state, grace, answer_to(&offered[0].1, "AB"));
    let mut expected = vec![
        (1, "consume", audio.0),
        (0, "pipe", video.0),
        (1, "stand in", video.0),
        (1, "consume", video.0),
    ];
    let mut came = told(&effects);
    came.sort_unstable();
    expected.sort_unstable();
    assert_eq!(came, expected, "a picture where it is received");
    Spread {
        state,
        loads,
        ada,
        grace,
        audio,
        video,
        tracks: published(&first),
        subscribing,
    }
}

#[test]
fn a_room_stays_on_one_worker_while_that_has_time() {
    let (mut state, _) = two();
    let ada = attach(&mut state, SubscribePolicy::Auto);
    assert!(state.seats().is_empty(), "nobody needs a worker before there is media");
    let effects = publish(&mut state, ada, OFFER);
    for _ in 0..3 {
        attach(&mut state, SubscribePolicy::Auto);
    }
    assert_eq!(routers(&state)[0].2, 4);
    assert!(effects.commands.iter().all(|(worker, _)| *worker == 0));
    assert_eq!(state.seats().len(), 1);
}

#[test]
fn all_connections_of_a_participant_are_on_one_worker() {
    let mut spread = spread(OFFER);
    // The second worker is busy by now as well; who has a seat keeps it.
    busy(&spread.loads, &[0.1, 0.9]);
    let effects = publish(&mut spread.state, spread.grace, OFFER);
    let opened = effects
        .commands
        .iter()
        .find(|(_, command)| matches!(command, Command::OpenTransport { .. }));
    assert_eq!(opened.unwrap().0, 1);
    let [audio, _] = producers(&effects);
    let piped: Vec<_> = told(&effects)
        .into_iter()
        .filter(|(_, word, _)| *word == "pipe")
        .collect();
    assert_eq!(piped, [(1, "pipe", audio.0)], "the other way");
    let to_ada = offers(&effects).into_iter().find(|(to, ..)| *to == spread.ada).unwrap();
    assert!(to_ada.1.contains(" 40000 typ host"));
}

#[test]
fn who_comes_when_every_worker_is_full_is_refused_and_may_try_again() {
    let mut spread = spread(OFFER);
    busy(&spread.loads, &[0.9, 0.86]);
    let (late, effects) = attached(&mut spread.state, SubscribePolicy::Auto);
    let refusals = |effects: &Effects| -> Vec<(ParticipantId, ErrorCode)> {
        let refusal = |event: &SfuEvent| match event {
            SfuEvent::Failed { participant, refusal } => Some((*participant, refusal.code)),
            _ => None,
        };
        effects.events.iter().filter_map(refusal).collect()
    };
    assert_eq!(refusals(&effects), [(late, ErrorCode::Overloaded)], "once");
    assert!(effects.commands.is_empty());
    let effects = publish(&mut spread.state, late, OFFER);
    let refused = |event: &SfuEvent| matches!(event, SfuEvent::PublishAnswered { result: Err(refusal), .. } if refusal.code == ErrorCode::Overloaded);
    assert!(effects.events.iter().any(refused));
    assert_eq!(
        watched(&watch(&mut spread.state, late, spread.ada)),
        Err(ErrorCode::Overloaded)
    );
    // Those who are in are served as before.
    let effects = publish(&mut spread.state, spread.grace, OFFER);
    assert!(refusals(&effects).is_empty(), "it was told already");
    busy(&spread.loads, &[0.9, 0.5]);
    let effects = publish(&mut spread.state, late, OFFER);
    assert_eq!(published(&effects).len(), 2);
    let all = SfuCommand::Attach {
        participant: late,
        subscribe: SubscribePolicy::Auto,
        may_subscribe: true,
        may_send_data: true,
        last_n: None,
    };
    assert_eq!(offers(&spread.state.apply(all))[0].2.len(), 4);
}

#[test]
fn who_waits_for_a_seat_gets_one_when_there_is_one_in_the_order_of_coming() {
    let mut spread = spread(OFFER);
    busy(&spread.loads, &[0.9, 0.9]);
    let (first, effects) = attached(&mut spread.state, SubscribePolicy::Auto);
    assert!(effects.look_for_seats, "{effects:?}");
    let mut waiting = vec![first];
    for _ in 0..11 {
        let (participant, effects) = attached(&mut spread.state, SubscribePolicy::Auto);
        assert!(!effects.look_for_seats, "one look is for all");
        waiting.push(participant);
    }
    let still_full = spread.state.seat_who_waits();
    assert!(still_full.events.is_empty(), "they were told: {:?}", still_full.events);
    assert!(still_full.look_for_seats);
    // Who leaves waits no more.
    let gone = waiting.remove(1);
    spread.state.apply(SfuCommand::Detach { participant: gone });
    busy(&spread.loads, &[0.9, 0.5]);
    let mut seated = Vec::new();
    for looked in [8, 3] {
        let effects = spread.state.seat_who_waits();
        let offered = offers(&effects);
        assert!(offered.iter().all(|(.., tracks)| tracks.len() == 2));
        assert_eq!(offered.len(), looked, "a few at a time");
        assert_eq!(effects.look_for_seats, seated.is_empty(), "until nobody waits");
        seated.extend(offered.into_iter().map(|(to, ..)| to));
    }
    assert_eq!(seated, waiting);
    assert!(
        attached(&mut spread.state, SubscribePolicy::Auto)
            .1
            .events
            .iter()
            .all(|event| !matches!(event, SfuEvent::Failed { .. }))
    );
}

#[test]
fn who_waits_gets_all_tracks_with_the_seat_and_holds_up_nobody_who_may() {
    let mut spread = spread(OFFER);
    busy(&spread.loads, &[0.9, 0.9]);
    let (barred, _) = attached(&mut spread.state, SubscribePolicy::Auto);
    let (late, _) = attached(&mut spread.state, SubscribePolicy::Auto);
    spread.state.apply(SfuCommand::SetRights {
        participant: barred,
        may_subscribe: false,
        may_send_data: true,
    });
    busy(&spread.loads, &[0.5, 0.5]);
    // A track that comes when there is room again is no way around those before it.
    let effects = publish(&mut spread.state, spread.grace, OFFER);
    assert!(offers(&effects).iter().all(|(to, ..)| *to == spread.ada));
    let effects = spread.state.seat_who_waits();
    let offered: Vec<_> = offers(&effects)
        .into_iter()
        .map(|(to, _, tracks)| (to, tracks.len()))
        .collect();
    assert_eq!(offered, [(late, 4)]);
    assert!(!effects.look_for_seats);
}

#[test]
fn who_waits_for_what_is_gone_waits_no_more() {
    let mut spread = spread(OFFER);
    busy(&spread.loads, &[0.9, 0.9]);
    attached(&mut spread.state, SubscribePolicy::Auto);
    let participant = spread.ada;
    spread.state.apply(SfuCommand::Detach { participant });
    let effects = spread.state.seat_who_waits();
    assert!(!effects.look_for_seats);
    assert!(effects.events.is_empty() && effects.commands.is_empty());
}

#[test]
fn what_happens_to_a_track_happens_wherever_it_is() {
    let mut spread = spread(OFFER);
    let (track, paused) = (spread.tracks[1], true);
    let effects = spread.state.apply(SfuCommand::SetPaused { track, paused });
    assert_eq!(
        told(&effects),
        [(0, "pause", spread.video.0), (1, "pause", spread.video.0)]
    );
    // A seat that comes later hears of it; a renegotiation reaches all.
    let effects = publish(&mut spread.state, spread.ada, OFFER);
    let updated: Vec<_> = told(&effects)
        .into_iter()
        .filter(|(_, word, _)| *word == "update")
        .collect();
    assert!(updated.is_empty() || updated.len() == 4, "{updated:?}");
    spread.state.apply(SfuCommand::Detach {
        participant: spread.grace,
    });
    let (participant, effects) = attached(&mut spread.state, SubscribePolicy::Auto);
    let offered = offers(&effects);
    let effects = answer(&mut spread.state, participant, answer_to(&offered[0].1, "AB"));
    assert!(
        told(&effects).contains(&(1, "pause", spread.video.0)),
        "it stands in paused"
    );
}

#[test]
fn a_screen_is_known_as_one_at_every_seat() {
    let (mut state, loads) = two();
    let ada = attach(&mut state, SubscribePolicy::Auto);
    let screen = TrackSource {
        source: Some(Source::Screen),
        label: None,
        encryption: None,
        track: None,
    };
    let mid = OFFER
        .lines()
        .filter_map(|line| line.strip_prefix("a=mid:"))
        .nth(1)
        .unwrap();
    let effects = state.apply(SfuCommand::PublishOffer {
        participant: ada,
        request: 1,
        sdp: OFFER.to_owned(),
        sources: BTreeMap::from([(mid.to_owned(), screen)]),
    });
    let [_, video] = producers(&effects);
    assert!(told(&effects).contains(&(0, "describe", video.0)));
    busy(&loads, &[0.8, 0.1]);
    let (participant, effects) = attached(&mut state, SubscribePolicy::Auto);
    let offered = offers(&effects);
    let effects = answer(&mut state, participant, answer_to(&offered[0].1, "AB"));
    assert!(told(&effects).contains(&(1, "describe", video.0)));
}

#[test]
fn a_track_that_ends_is_taken_from_every_seat() {
    let mut spread = spread(OFFER);
    let effects = spread.state.apply(SfuCommand::Detach {
        participant: spread.ada,
    });
    let ended: Vec<_> = told(&effects)
        .into_iter()
        .filter(|(_, word, _)| *word == "end")
        .collect();
    assert_eq!(ended, [(1, "end", spread.audio.0), (1, "end", spread.video.0)]);
    assert_eq!(
        routers(&spread.state).len(),
        1,
        "the first worker is of no use any more"
    );
    assert_eq!(routers(&spread.state)[0].0, 1);
}

#[test]
fn a_seat_that_is_left_takes_its_pipes_along() {
    let mut spread = spread(OFFER);
    let effects = spread.state.apply(SfuCommand::Detach {
        participant: spread.grace,
    });
    let mut came = told(&effects);
    came.retain(|(_, word, _)| *word == "unpipe");
    came.sort_unstable();
    assert_eq!(came, [(0, "unpipe", spread.audio.0), (0, "unpipe", spread.video.0)]);
    assert_eq!(routers(&spread.state).len(), 1);
    // Another who comes gets another router there: the one before may not be closed yet.
    let before = routers(&spread.state)[0].1;
    attach(&mut spread.state, SubscribePolicy::Auto);
    let seats = routers(&spread.state);
    assert_eq!((seats.len(), seats[1].0), (2, 1));
    assert_ne!(seats[1].1, before);
}

#[test]
fn a_picture_that_nobody_receives_at_a_seat_is_not_brought_there() {
    let mut spread = spread(OFFER);
    let participant = attach(&mut spread.state, SubscribePolicy::Manual);
    publish(&mut spread.state, participant, OFFER);
    assert_eq!(routers(&spread.state)[1].2, 2);
    let seats = routers(&spread.state);
    let transport = spread.subscribing;
    let reason = CloseReason::ConsentExpired;
    let closed = EventKind::TransportClosed { transport, reason };
    let effects = spread.state.media(seats[1].1, closed);
    let mut came = told(&effects);
    came.retain(|(_, word, _)| ["unpipe", "end"].contains(word));
    assert_eq!(
        came,
        [(0, "unpipe", spread.video.0), (1, "end", spread.video.0)],
        "sound stays: it says who speaks"
    );
}

#[test]
fn an_engine_that_is_lost_costs_its_own_participants_their_connections() {
    let mut spread = spread(OFFER);
    let seats = routers(&spread.state);
    let effects = spread.state.restarted(seats[1].1);
    let lost: Vec<_> = effects
        .events
        .iter()
        .filter_map(|event| match event {
            SfuEvent::Disconnected { participant, .. } => Some(*participant),
            _ => None,
        })
        .collect();
    assert_eq!(lost, [spread.grace]);
    let mut came = told(&effects);
    came.sort_unstable();
    let (audio, video) = (spread.audio.0, spread.video.0);
    let expected = [
        (0, "pipe", audio),
        (0, "unpipe", audio),
        (0, "unpipe", video),
        (1, "open", seats[1].1.0),
        (1, "stand in", audio),
    ];
    assert_eq!(
        came, expected,
        "the empty engine is told what it needs, the other to begin anew"
    );
    let offered = offers(&effects);
    let effects = answer(&mut spread.state, spread.grace, answer_to(&offered[0].1, "AB"));
    assert!(told(&effects).contains(&(1, "stand in", video)));

    // The publisher's engine: the tracks end, and what stood for them.
    let effects = spread.state.restarted(seats[0].1);
    let ended: Vec<_> = told(&effects)
        .into_iter()
        .filter(|(_, word, _)| *word == "end")
        .collect();
    assert_eq!(ended, [(1, "end", audio), (1, "end", video)]);
    assert!(
        effects.commands.iter().all(|(worker, _)| *worker == 1),
        "it has none of that"
    );
    assert!(spread.state.restarted(RouterId(999)).commands.is_empty());
}

#[test]
fn a_publisher_sends_what_somebody_wants_at_whichever_seat() {
    let mut spread = spread(SIMULCAST);
    let seats = routers(&spread.state);
    let video = spread.video;
    let mut wanted = |seat: usize, highest| -> Vec<Vec<bool>> {
        let told = EventKind::EncodingsWanted {
            producer: video,
            highest,
        };
        let effects = spread.state.media(seats[seat].1, told);
        let layers = effects.events.iter().filter_map(|event| match event {
            SfuEvent::EncodingsWanted { layers, .. } => Some(layers.iter().map(|layer| layer.active).collect()),
            _ => None,
        });
        layers.collect()
    };
    assert!(wanted(0, 0).is_empty(), "the other has not said yet");
    assert_eq!(wanted(1, 1), [[true, true, false]]);
    assert_eq!(wanted(0, 2), [[true, true, true]]);
    assert!(wanted(1, 0).is_empty());
    assert_eq!(wanted(0, 0), [[true, false, false]]);
    assert_eq!(wanted(1, 2), [[true, true, true]]);
    // Who wanted it is gone.
    let effects = spread.state.apply(SfuCommand::Detach {
        participant: spread.grace,
    });
    assert!(
        effects
            .events
            .iter()
            .any(|event| matches!(event, SfuEvent::EncodingsWanted { .. }))
    );
}

#[test]
fn who_speaks_is_told_once() {
    let mut spread = spread(OFFER);
    let seats = routers(&spread.state);
    let heard = |state: &mut SfuState, seat: usize, producers: &[ProducerId]| -> Vec<Vec<TrackId>> {
        let producers = producers.to_vec();
        let effects = state.media(seats[seat].1, EventKind::ActiveSpeakers { producers });
        speakers(&effects)
    };
    let (audio, track) = (spread.audio, spread.tracks[0]);
    assert!(heard(&mut spread.state, 1, &[audio]).is_empty());
    assert_eq!(heard(&mut spread.state, 0, &[audio]), [[track]]);
    assert_eq!(heard(&mut spread.state, 0, &[]), [Vec::<TrackId>::new()]);
    assert!(heard(&mut spread.state, 1, &[]).is_empty());
    // When the first seat is gone, the next one's word counts.
    let effects = publish(&mut spread.state, spread.grace, OFFER);
    let ([audio, _], track) = (producers(&effects), published(&effects)[0]);
    assert!(heard(&mut spread.state, 1, &[audio]).is_empty());
    let effects = spread.state.apply(SfuCommand::Detach {
        participant: spread.ada,
    });
    assert_eq!(speakers(&effects), [[track]]);
}

fn speakers(effects: &Effects) -> Vec<Vec<TrackId>> {
    let speakers = effects.events.iter().filter_map(|event| match event {
        SfuEvent::ActiveSpeakers { tracks } => Some(tracks.clone()),
        _ => None,
    });
    speakers.collect()
}

#[test]
fn taps_data_and_statistics_go_where_they_belong() {
    let mut spread = spread(OFFER);
    let request = |participant| SfuCommand::Stats {
        participant,
        request: 5,
    };
    let asked = |effects: &Effects| -> Vec<(usize, RouterId)> {
        let asked = effects.commands.iter().filter_map(|(worker, command)| match command {
            Command::Stats { router, .. } => Some((*worker, *router)),
            _ => None,
        });
        asked.collect()
    };
    let seats = routers(&spread.state);
    assert_eq!(asked(&spread.state.apply(request(spread.ada))), [(0, seats[0].1)]);
    assert_eq!(asked(&spread.state.apply(request(spread.grace))), [(1, seats[1].1)]);
    let idle = attach(&mut spread.state, SubscribePolicy::Manual);
    let effects = spread.state.apply(request(idle));
    let empty = |event: &SfuEvent| matches!(event, SfuEvent::Stats { request: 5, stats } if stats["connections"] == serde_json::json!([]));
    assert!(effects.commands.is_empty() && effects.events.iter().any(empty));
    let effects = spread.state.apply(SfuCommand::RequestKeyFrame {
        track: spread.tracks[1],
    });
    assert!(matches!(effects.commands[..], [(0, Command::RequestKeyFrame { .. })]));
}

#[test]
fn an_operator_is_answered_when_every_worker_has_measured() {
    let mut spread = spread(OFFER);
    let (asked, short) = Asked::for_test(false);
    assert!(spread.state.inspect(asked).commands.is_empty());
    let short = short.borrow().clone().unwrap();
    assert_eq!((&short["members"], &short["workers"]), (&json!(2), &json!([0, 1])));
    assert_eq!(short["named"][0]["publishes"], 2);

    let (asked, answer) = Asked::for_test(true);
    let effects = spread.state.inspect(asked);
    let requests: Vec<(RouterId, u64)> = orders(&effects)
        .filter_map(|command| match command {
            Command::Stats { router, request } => Some((*router, *request)),
            _ => None,
        })
        .collect();
    assert_eq!(requests.len(), 2);
    for (router, request) in requests {
        assert!(answer.borrow().is_none());
        let transports = Vec::new();
        let measured = spread.state.media(router, EventKind::Stats { request, transports });
        assert!(measured.events.is_empty());
    }
    let full = answer.borrow().clone().unwrap();
    assert_eq!(full["truncated"], false);
    for (who, worker) in [(spread.ada, 0), (spread.grace, 1)] {
        let member = &full["members"][who.to_string()];
        assert_eq!(
            (&member["worker"], &member["connections"]),
            (&json!(worker), &json!([]))
        );
    }

    // Of very many operators the first is given up, not kept waiting.
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (asked, answer) = Asked::for_test(true);
            spread.state.inspect(asked);
            answer
        })
        .collect();
    let given_up = waiting.iter().filter(|answer| answer.has_changed().is_err()).count();
    assert_eq!(given_up, 12);
}
