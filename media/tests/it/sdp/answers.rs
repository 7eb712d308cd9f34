//! Answers that do not simply take everything.

use caside_media::parameters::{CodecKind, ConsumerId, DtlsRole, PayloadType};
use caside_media::sdp::model::{Description, Direction, MediaType, Setup, TransportAttributes};
use caside_media::sdp::{CodecPolicy, NegotiateError, Rejection, SubscribeSession};

use super::subscribe::{H264, accept, offer, reject, round, session, started, track};
use super::{credentials, local};

#[test]
fn a_line_rejected_for_its_codec_is_recycled_under_a_new_mid() {
    let mut session = session(&[track(1, CodecKind::Opus, ""), track(2, CodecKind::Av1, "")]);
    let first = offer(&mut session);
    let mut answer = accept(&first);
    reject(&mut answer, 1);
    let result = session.answer(&answer.to_string()).unwrap();
    assert_eq!(
        (started(&result), result.rejected),
        (vec![1], vec![(ConsumerId(2), Rejection::NoCommonCodec)])
    );
    assert!(!session.wants_offer(), "the client knows that it is rejected");

    session.add(track(3, CodecKind::Opus, "")).unwrap();
    let (second, result) = round(&mut session);
    assert_eq!((second.media.len(), second.media[1].mid.as_deref()), (2, Some("2")));
    assert_eq!(second.media[1].media, MediaType::Audio);
    assert_eq!(started(&result), [3]);
}

#[test]
fn a_client_that_answers_no_codec_of_ours_is_not_sent_any() {
    let mut session = session(&[
        track(1, CodecKind::Vp9, "profile-id=2"),
        track(2, CodecKind::H264, H264),
    ]);
    let offered = offer(&mut session);
    let mut answer = accept(&offered);
    answer.media[0].codecs[0].fmtp = "profile-id=0".to_owned();
    answer.media[1].codecs[0].fmtp = "profile-level-id=42e01f;packetization-mode=0".to_owned();
    let result = session.answer(&answer.to_string()).unwrap();
    let rejected = [
        (ConsumerId(1), Rejection::NoCommonCodec),
        (ConsumerId(2), Rejection::NoCommonCodec),
    ];
    assert_eq!((started(&result), result.rejected), (vec![], rejected.to_vec()));
    assert!(session.wants_offer(), "the lines are still open on the client's side");
    assert!(
        offer(&mut session)
            .media
            .iter()
            .all(|media| media.direction == Direction::Inactive)
    );
}

#[test]
fn an_answer_in_other_numbers_and_another_level_is_understood() {
    let mut session = session(&[track(1, CodecKind::H264, H264)]);
    let mut answer = accept(&offer(&mut session));
    let codecs = &mut answer.media[0].codecs;
    codecs[0].payload_type = PayloadType(126);
    codecs[0].fmtp = "profile-level-id=42E034;packetization-mode=1".to_owned();
    codecs[1].payload_type = PayloadType(127);
    codecs[1].fmtp = "apt=126".to_owned();
    let result = session.answer(&answer.to_string()).unwrap();
    let codec = &result.started[0].1.codec;
    assert_eq!(
        (codec.payload_type, codec.rtx),
        (PayloadType(126), Some(PayloadType(127)))
    );
}

#[test]
fn a_client_can_refuse_a_track_and_stop_one() {
    let mut session = session(&[
        track(1, CodecKind::Opus, ""),
        track(2, CodecKind::Vp8, ""),
        track(3, CodecKind::Vp8, ""),
    ]);
    let mut answer = accept(&offer(&mut session));
    answer.media[1].direction = Direction::Inactive;
    let result = session.answer(&answer.to_string()).unwrap();
    assert_eq!(
        (started(&result), result.rejected),
        (vec![1, 3], vec![(ConsumerId(2), Rejection::Refused)])
    );

    session.add(track(4, CodecKind::Opus, "")).unwrap();
    let mut answer = accept(&offer(&mut session));
    reject(&mut answer, 2);
    let result = session.answer(&answer.to_string()).unwrap();
    assert_eq!(
        (started(&result), result.rejected),
        (vec![4], vec![(ConsumerId(3), Rejection::Refused)])
    );
}

#[test]
fn a_line_outside_of_the_bundle_or_without_rtcp_mux_is_closed() {
    let mut session = session(&[
        track(1, CodecKind::Opus, ""),
        track(2, CodecKind::Vp8, ""),
        track(3, CodecKind::Vp8, ""),
    ]);
    let mut answer = accept(&offer(&mut session));
    answer.bundles = vec![vec!["0".to_owned(), "2".to_owned()]];
    answer.media[2].rtcp_mux = false;
    let result = session.answer(&answer.to_string()).unwrap();
    let rejected = [
        (ConsumerId(2), Rejection::NotBundled),
        (ConsumerId(3), Rejection::RtcpMuxRequired),
    ];
    assert_eq!((started(&result), result.rejected), (vec![1], rejected.to_vec()));
    let next = offer(&mut session);
    assert_eq!(
        (next.media[1].direction, next.media[2].direction),
        (Direction::Inactive, Direction::Inactive)
    );
}

#[test]
fn a_client_that_rejects_everything_has_no_transport() {
    let mut session = session(&[track(1, CodecKind::Vp8, "")]);
    let mut answer = accept(&offer(&mut session));
    reject(&mut answer, 0);
    answer.media[0].transport = TransportAttributes::default();
    let result = session.answer(&answer.to_string()).unwrap();
    assert_eq!(result.connect, None);
    assert_eq!(result.rejected.len(), 1);
}

#[test]
fn a_client_may_choose_to_be_the_dtls_server_once() {
    let mut session = session(&[track(1, CodecKind::Vp8, "")]);
    let mut answer = accept(&offer(&mut session));
    answer.media[0].transport.setup = Some(Setup::Passive);
    let result = session.answer(&answer.to_string()).unwrap();
    assert_eq!(result.connect.unwrap().dtls.role, DtlsRole::Client);

    session.add(track(2, CodecKind::Opus, "")).unwrap();
    let offered = offer(&mut session);
    let active = accept(&offered);
    assert_eq!(session.answer(&active.to_string()).unwrap_err(), NegotiateError::Setup);
    let mut passive = active;
    passive
        .media
        .iter_mut()
        .for_each(|media| media.transport.setup = Some(Setup::Passive));
    assert_eq!(
        started(&session.answer(&passive.to_string()).unwrap()),
        [2],
        "the offer still waited"
    );
}

#[test]
fn what_is_no_answer_to_our_offer_is_refused_and_the_offer_waits() {
    let mut session = session(&[track(1, CodecKind::Opus, ""), track(2, CodecKind::Vp8, "")]);
    assert_eq!(session.answer("v=0").unwrap_err(), NegotiateError::NoOffer);
    let good = accept(&offer(&mut session));
    let with = |change: &dyn Fn(&mut Description)| {
        let mut answer = good.clone();
        change(&mut answer);
        answer.to_string()
    };
    for (answer, error) in [
        (
            with(&|answer| drop(answer.media.pop())),
            NegotiateError::MediaCount { expected: 2, found: 1 },
        ),
        (
            with(&|answer| answer.media.swap(0, 1)),
            NegotiateError::MediaMismatch { index: 0 },
        ),
        (
            with(&|answer| answer.media[1].mid = Some("7".to_owned())),
            NegotiateError::MediaMismatch { index: 1 },
        ),
        (
            with(&|answer| answer.media[1].media = MediaType::Audio),
            NegotiateError::MediaMismatch { index: 1 },
        ),
        (
            with(&|answer| answer.media.iter_mut().for_each(|media| media.transport.setup = None)),
            NegotiateError::Setup,
        ),
        (
            with(&|answer| answer.media.iter_mut().for_each(|media| media.transport.ice_pwd = None)),
            NegotiateError::MissingIceCredentials,
        ),
        (
            with(&|answer| {
                answer
                    .media
                    .iter_mut()
                    .for_each(|media| media.transport.fingerprints.clear())
            }),
            NegotiateError::MissingFingerprint,
        ),
    ] {
        assert_eq!(session.answer(&answer).unwrap_err(), error);
        assert!(!session.wants_offer());
    }
    assert_eq!(started(&session.answer(&good.to_string()).unwrap()), [1, 2]);
}

#[test]
fn an_abandoned_offer_is_made_anew_on_the_next_change() {
    let mut session = session(&[track(1, CodecKind::Opus, "")]);
    let first = offer(&mut session);
    session.abandon();
    assert!(!session.wants_offer(), "nothing changed");
    assert_eq!(
        session.answer(&accept(&first).to_string()).unwrap_err(),
        NegotiateError::NoOffer
    );

    session.remove(ConsumerId(50));
    assert!(!session.wants_offer(), "still nothing");
    session.add(track(2, CodecKind::Vp8, "")).unwrap();
    let (second, result) = round(&mut session);
    assert_eq!(second.media[0].sources, first.media[0].sources);
    assert_eq!(started(&result), [1, 2]);
}

#[test]
fn ice_restarts_with_the_next_offer() {
    let mut session = session(&[track(1, CodecKind::Opus, "")]);
    round(&mut session);
    session.restart_ice(credentials("second"));
    assert!(session.wants_offer());
    let offered = offer(&mut session);
    assert_eq!(offered.media[0].transport.credentials(), Some(credentials("second")));
    // Lost on the way; the restart is not.
    session.abandon();
    session.add(track(2, CodecKind::Opus, "")).unwrap();
    let (again, result) = round(&mut session);
    assert_eq!(again.media[1].transport.credentials(), Some(credentials("second")));
    assert_eq!(result.connect.unwrap().local, Some(credentials("second")));

    session.add(track(3, CodecKind::Opus, "")).unwrap();
    assert_eq!(round(&mut session).1.connect.unwrap().local, None);
}

#[test]
fn a_data_channel_is_offered_when_the_policy_has_it() {
    let policy = CodecPolicy {
        data_on_subscribe: true,
        ..CodecPolicy::default()
    };
    let mut session = SubscribeSession::new(local(), policy);
    assert!(session.wants_offer());
    let (first, result) = round(&mut session);
    assert!(result.data_channel && first.media[0].is_data_channel());
    assert_eq!(
        (first.media[0].sctp_port, first.media[0].max_message_size),
        (Some(5000), Some(65_536))
    );

    session.add(track(1, CodecKind::Opus, "")).unwrap();
    let offered = offer(&mut session);
    let mut answer = accept(&offered);
    reject(&mut answer, 0);
    let result = session.answer(&answer.to_string()).unwrap();
    assert!(!result.data_channel);
    assert_eq!(started(&result), [1]);
    assert!(!session.wants_offer(), "a refused data channel is not offered again");
}
