//! What receivers wish for and may have, and what publishers hear of it.

use caside_media::layers::{Preference, Quality};
use caside_protocol::client::{Subscribe, SubscribeQuality};

use super::*;

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
