//! Offers and answers: one at a time, and anew where they were lost, too late or of another connection.

use super::*;

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
