//! Our offers, and how clients answer them.

use caside_media::parameters::{
    Codec, CodecKind, ConsumerId, DtlsRole, ExtensionIds, Feedback, MediaKind, PayloadType,
};
use caside_media::sdp::model::{Description, Direction, MediaType, Setup, TransportAttributes};
use caside_media::sdp::{
    CodecPolicy, NegotiateError, Rejection, SubscribeAnswer, SubscribeSession, SubscribeTrack, parse,
};

use super::*;

pub(super) const H264: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

pub(super) fn track(id: u64, kind: CodecKind, fmtp: &str) -> SubscribeTrack {
    SubscribeTrack {
        consumer: ConsumerId(id),
        kind: kind.media(),
        codec: Codec {
            kind,
            payload_type: PayloadType(35),
            clock_rate: 0,
            channels: 0,
            fmtp: fmtp.to_owned(),
            feedback: Feedback::default(),
            rtx: None,
        },
        stream_id: format!("participant-{id}"),
        track_id: format!("track-{id}"),
        extensions: ExtensionIds {
            audio_level: Some(9),
            video_orientation: Some(9),
            ..ExtensionIds::default()
        },
        cname: format!("cname-{id}"),
    }
}

pub(super) fn session(tracks: &[SubscribeTrack]) -> SubscribeSession {
    let mut session = SubscribeSession::new(local(), CodecPolicy::default());
    tracks.iter().for_each(|track| session.add(track.clone()).unwrap());
    session
}

pub(super) fn offer(session: &mut SubscribeSession) -> Description {
    parse(&session.offer().expect("something to offer").sdp).unwrap()
}

/// A client's answer that takes everything.
pub(super) fn accept(offer: &Description) -> Description {
    let mut answer = offer.clone();
    answer.ice_lite = false;
    for media in &mut answer.media {
        if media.is_rejected() {
            continue;
        }
        media.direction = match media.direction {
            Direction::SendOnly => Direction::RecvOnly,
            other => other,
        };
        media.transport = TransportAttributes {
            ice_ufrag: Some("client".to_owned()),
            ice_pwd: Some("client0123456789abcdefghijkl".to_owned()),
            fingerprints: vec![Fingerprint {
                algorithm: "sha-256".to_owned(),
                digest: vec![7; 32],
            }],
            setup: Some(Setup::Active),
        };
        media.candidates.clear();
        media.sources.clear();
        media.source_groups.clear();
        media.msids.clear();
    }
    answer
}

fn reject(answer: &mut Description, index: usize) {
    let media = &mut answer.media[index];
    media.port = 0;
    media.direction = Direction::Inactive;
    let mid = media.mid.clone().unwrap();
    answer
        .bundles
        .iter_mut()
        .for_each(|mids| mids.retain(|other| *other != mid));
}

/// One round in which the client takes everything.
pub(super) fn round(session: &mut SubscribeSession) -> (Description, SubscribeAnswer) {
    let offer = offer(session);
    let result = session.answer(&accept(&offer).to_string()).unwrap();
    (offer, result)
}

fn started(result: &SubscribeAnswer) -> Vec<u64> {
    result.started.iter().map(|(consumer, _)| consumer.0).collect()
}

#[test]
fn an_offer_describes_each_track() {
    let mut session = session(&[
        track(1, CodecKind::Opus, "minptime=10;useinbandfec=1"),
        track(2, CodecKind::Vp8, ""),
    ]);
    assert!(session.wants_offer());
    let made = session.offer().unwrap();
    assert_eq!(
        made.mids,
        [("0".to_owned(), ConsumerId(1)), ("1".to_owned(), ConsumerId(2))]
    );
    let offer = parse(&made.sdp).unwrap();

    assert!(offer.ice_lite && offer.extmap_allow_mixed);
    assert_eq!(offer.bundles, [["0", "1"]]);
    for (media, id) in offer.media.iter().zip(1..) {
        assert_eq!((media.direction, media.port), (Direction::SendOnly, 7000));
        assert_eq!(media.transport.setup, Some(Setup::ActPass));
        assert_eq!(media.transport.credentials(), Some(credentials("first")));
        assert!(media.rtcp_mux && media.rtcp_rsize);
        assert_eq!(media.msids, [(format!("participant-{id}"), format!("track-{id}"))]);
        for source in &media.sources {
            assert_eq!(source.cname, Some(format!("cname-{id}")));
            assert_eq!(source.msid, Some(format!("participant-{id} track-{id}")));
        }
    }
    assert_eq!(offer.media[0].candidates, local().candidates);
    assert!(offer.media[0].end_of_candidates);

    let [audio, video] = offer.media.as_slice() else {
        panic!("two m-lines")
    };
    assert_eq!((payload_types(audio), payload_types(video)), (vec![111], vec![96, 97]));
    assert_eq!((audio.sources.len(), video.sources.len()), (1, 2));
    let ssrcs: Vec<_> = video.sources.iter().map(|source| source.ssrc).collect();
    assert_eq!(
        (video.source_groups[0].semantics.as_str(), &video.source_groups[0].ssrcs),
        ("FID", &ssrcs)
    );

    let extensions = |media: &Media| {
        media
            .extensions
            .iter()
            .map(|extension| extension.id)
            .collect::<Vec<_>>()
    };
    assert_eq!((extensions(audio), extensions(video)), (vec![1, 4], vec![4, 5]));
}

#[test]
fn an_answer_starts_tracks_with_what_was_agreed() {
    let mut session = session(&[track(1, CodecKind::Opus, ""), track(2, CodecKind::H264, H264)]);
    let offer = offer(&mut session);
    let mut answer = accept(&offer);
    // Without retransmissions, full intra requests, or orientation.
    answer.media[1].codecs.truncate(1);
    answer.media[1].codecs[0].feedback = vec!["nack".to_owned(), "nack pli".to_owned(), "other".to_owned()];
    answer.media[1].extensions.retain(|extension| extension.id == 4);
    let result = session.answer(&answer.to_string()).unwrap();

    assert_eq!(started(&result), [1, 2]);
    let (audio, video) = (&result.started[0].1, &result.started[1].1);
    assert_eq!(
        (audio.kind, audio.mid.as_str(), audio.ssrc),
        (MediaKind::Audio, "0", offer.media[0].sources[0].ssrc)
    );
    assert_eq!(
        (
            audio.codec.payload_type,
            audio.extensions.audio_level,
            audio.extensions.mid
        ),
        (PayloadType(111), Some(1), Some(4))
    );
    assert_eq!(
        (video.codec.payload_type, video.codec.fmtp.as_str()),
        (PayloadType(102), H264)
    );
    assert_eq!((video.codec.rtx, video.rtx_ssrc), (None, None));
    assert_eq!(
        video.codec.feedback,
        Feedback {
            nack: true,
            pli: true,
            ..Feedback::default()
        }
    );
    assert_eq!(
        (video.extensions.mid, video.extensions.video_orientation),
        (Some(4), None)
    );
    assert_eq!(video.cname, "cname-2");

    let connect = result.connect.unwrap();
    assert_eq!((connect.dtls.role, connect.local), (DtlsRole::Server, None));
    assert_eq!(connect.remote.map(|ice| ice.ufrag), Some("client".to_owned()));
    assert!(!session.wants_offer() && session.offer().is_none());
}

#[test]
fn a_second_offer_waits_for_the_first_answer() {
    let mut session = session(&[track(1, CodecKind::Opus, "")]);
    let first = offer(&mut session);
    session.add(track(2, CodecKind::Vp8, "")).unwrap();
    assert!(!session.wants_offer() && session.offer().is_none());

    assert_eq!(started(&session.answer(&accept(&first).to_string()).unwrap()), [1]);
    assert!(session.wants_offer());
    let (second, result) = round(&mut session);
    assert_eq!((second.media.len(), started(&result)), (2, vec![2]));
    assert!(second.session_version > first.session_version && second.session_id == first.session_id);
    assert_eq!(
        second.media[0].sources, first.media[0].sources,
        "a track keeps its SSRCs"
    );
    assert_eq!(
        session.answer(&accept(&second).to_string()).unwrap_err(),
        NegotiateError::NoOffer
    );
}

#[test]
fn a_gone_line_is_inactive_and_then_taken_by_the_next_of_its_kind() {
    let mut session = session(&[track(1, CodecKind::Opus, ""), track(2, CodecKind::Vp8, "")]);
    round(&mut session);

    session.remove(ConsumerId(2));
    let (gone, result) = round(&mut session);
    assert_eq!((gone.media.len(), gone.media[1].direction), (2, Direction::Inactive));
    assert!(gone.media[1].port != 0 && gone.media[1].sources.is_empty() && gone.media[1].msids.is_empty());
    assert_eq!(result.removed, [ConsumerId(2)]);
    assert!(!session.wants_offer());

    session.add(track(3, CodecKind::Opus, "")).unwrap();
    let (_, result) = round(&mut session);
    assert_eq!(started(&result), [3]);
    assert_eq!(result.started[0].1.mid, "2", "sound does not take a picture's line");

    session.add(track(4, CodecKind::H264, H264)).unwrap();
    let (reused, result) = round(&mut session);
    assert_eq!(
        (reused.media.len(), started(&result), result.started[0].1.mid.as_str()),
        (3, vec![4], "1")
    );
    assert_eq!(payload_types(&reused.media[1]), [102, 103]);
}

#[test]
fn a_track_is_never_swapped_for_another_in_one_step() {
    let mut session = session(&[track(1, CodecKind::Vp8, "")]);
    round(&mut session);
    session.remove(ConsumerId(1));
    session.add(track(2, CodecKind::Vp8, "")).unwrap();
    let (both, result) = round(&mut session);
    assert_eq!(
        (both.media[0].direction, both.media[1].direction),
        (Direction::Inactive, Direction::SendOnly)
    );
    assert_eq!((started(&result), result.removed), (vec![2], vec![ConsumerId(1)]));
}

#[test]
fn a_track_removed_while_its_offer_is_out_never_starts() {
    let mut session = session(&[track(1, CodecKind::Opus, ""), track(2, CodecKind::Vp8, "")]);
    let first = offer(&mut session);
    session.remove(ConsumerId(2));
    let result = session.answer(&accept(&first).to_string()).unwrap();
    assert_eq!((started(&result), result.removed), (vec![1], vec![]));

    assert!(session.wants_offer());
    let (second, result) = round(&mut session);
    assert_eq!(second.media[1].direction, Direction::Inactive);
    assert_eq!(result.removed, [ConsumerId(2)]);
}

#[test]
fn a_track_removed_before_it_was_offered_leaves_no_trace() {
    let mut session = session(&[track(1, CodecKind::Vp8, "")]);
    session.remove(ConsumerId(1));
    assert!(!session.wants_offer());
    session.remove(ConsumerId(99));
    session.add(track(1, CodecKind::Vp8, "")).unwrap();
    assert_eq!(offer(&mut session).media.len(), 1);
}

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

/// For properties: a session with a track each, sound where `true`.
pub(super) fn session_of(tracks: &[bool]) -> SubscribeSession {
    let kinds = tracks
        .iter()
        .map(|sound| if *sound { CodecKind::Opus } else { CodecKind::Vp8 });
    session(&kinds.zip(0..).map(|(kind, id)| track(id, kind, "")).collect::<Vec<_>>())
}
