//! Viewers (WHEP), who make the offer themselves.

use super::*;

const VIEW: &str = include_str!("../../../../media/tests/fixtures/sdp/chromium_recvonly.sdp");

pub(super) fn watch(state: &mut SfuState, viewer: ParticipantId, publisher: ParticipantId) -> Effects {
    state.apply(SfuCommand::Watch {
        participant: viewer,
        request: 3,
        publisher,
        sdp: VIEW.to_owned(),
    })
}

pub(super) fn watched(effects: &Effects) -> Result<usize, ErrorCode> {
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
