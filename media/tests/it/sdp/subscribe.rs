//! Our offers, and how clients answer them.

use caside_media::parameters::{
    Codec, CodecKind, ConsumerId, DtlsRole, ExtensionIds, Feedback, MediaKind, PayloadType,
};
use caside_media::sdp::model::{Description, Direction, Setup, TransportAttributes};
use caside_media::sdp::{CodecPolicy, NegotiateError, SubscribeAnswer, SubscribeSession, SubscribeTrack, parse};

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
            red: None,
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

pub(super) fn reject(answer: &mut Description, index: usize) {
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

pub(super) fn started(result: &SubscribeAnswer) -> Vec<u64> {
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
    assert_eq!((extensions(audio), extensions(video)), (vec![1, 4], vec![3, 4, 5]));
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
fn real_clients_answers_start_every_track() {
    for (name, answer) in [
        (
            "chromium",
            include_str!("../../fixtures/sdp/chromium_subscribe_answer.sdp"),
        ),
        ("aiortc", include_str!("../../fixtures/sdp/aiortc_subscribe_answer.sdp")),
    ] {
        let mut session = SubscribeSession::new(
            local(),
            CodecPolicy {
                data_on_subscribe: true,
                ..Default::default()
            },
        );
        let tracks = [
            track(1, CodecKind::Opus, ""),
            track(2, CodecKind::Vp8, ""),
            track(3, CodecKind::H264, H264),
        ];
        tracks.into_iter().for_each(|track| session.add(track).unwrap());
        offer(&mut session);
        let result = session.answer(answer).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (started(&result), result.rejected, result.data_channel),
            (vec![1, 2, 3], vec![], true),
            "{name}"
        );
        assert_eq!(result.connect.unwrap().dtls.role, DtlsRole::Server, "{name}");
        let [(_, audio), (_, vp8), (_, h264)] = result.started.as_slice() else {
            panic!("{name}: three tracks")
        };
        assert_eq!(
            (audio.extensions.mid, audio.extensions.audio_level),
            (Some(4), Some(1)),
            "{name}"
        );
        assert_eq!(
            (vp8.codec.rtx, h264.codec.rtx),
            (Some(PayloadType(97)), Some(PayloadType(103))),
            "{name}"
        );
        assert!(
            vp8.rtx_ssrc.is_some() && vp8.codec.feedback.nack && vp8.codec.feedback.pli,
            "{name}"
        );
    }
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

/// For properties: a session with a track each, sound where `true`.
pub(super) fn session_of(tracks: &[bool]) -> SubscribeSession {
    let kinds = tracks
        .iter()
        .map(|sound| if *sound { CodecKind::Opus } else { CodecKind::Vp8 });
    session(&kinds.zip(0..).map(|(kind, id)| track(id, kind, "")).collect::<Vec<_>>())
}
