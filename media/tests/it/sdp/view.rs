//! Viewers: they offer, we answer with what we send.

use caside_media::parameters::{Codec, CodecKind, Feedback, MediaKind, PayloadType};
use caside_media::sdp::model::Direction;
use caside_media::sdp::{NegotiateError, ViewAnswer, ViewSession};

use super::*;

/// The Chromium fixture that receives only.
fn session() -> ViewSession {
    ViewSession::new(local(), CodecPolicy::default(), "ada".to_owned())
}

fn offer(session: &mut ViewSession, sdp: &str, preferred: &[Codec]) -> Result<ViewAnswer, NegotiateError> {
    session.offer(sdp, preferred, &mut || credentials("restarted"))
}

fn codec(kind: CodecKind, fmtp: &str) -> Codec {
    Codec {
        kind,
        payload_type: PayloadType(35),
        clock_rate: 90_000,
        channels: 0,
        fmtp: fmtp.to_owned(),
        feedback: Feedback::default(),
        rtx: None,
        red: None,
    }
}

#[test]
fn what_the_client_receives_on_is_sent_on_with_every_common_codec() {
    let mut session = session();
    let text = offer(&mut session, CHROMIUM_RECVONLY, &[]).unwrap().sdp;
    let answer = parse(&text).unwrap();
    let offered = parse(CHROMIUM_RECVONLY).unwrap();
    assert_eq!(answer.media.len(), offered.media.len());
    assert!(answer.ice_lite);
    let mut ssrcs = Vec::new();
    for (media, theirs) in answer.media.iter().zip(&offered.media) {
        assert_eq!((&media.mid, media.direction), (&theirs.mid, Direction::SendOnly));
        assert_eq!(media.msids[0].0, "ada");
        assert!(!media.is_rejected() && !media.codecs.is_empty());
        assert!(
            media
                .codecs
                .iter()
                .all(|codec| payload_types(theirs).contains(&codec.payload_type.0))
        );
        ssrcs.extend(media.sources.iter().map(|source| source.ssrc));
    }
    let count = ssrcs.len();
    ssrcs.sort_unstable();
    ssrcs.dedup();
    assert_eq!(ssrcs.len(), count, "every stream has its own");
    let kinds: Vec<_> = session.slots().map(|(_, kind)| kind).collect();
    assert!(kinds.contains(&MediaKind::Audio) && kinds.contains(&MediaKind::Video));
}

#[test]
fn any_agreed_codec_can_be_sent_and_the_one_that_is_sent_comes_first() {
    let h264 = codec(
        CodecKind::H264,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    );
    let mut session = session();
    let text = offer(&mut session, CHROMIUM_RECVONLY, std::slice::from_ref(&h264))
        .unwrap()
        .sdp;
    let answer = parse(&text).unwrap();
    let video = answer
        .media
        .iter()
        .find(|media| media.media.kind() == Some(MediaKind::Video))
        .unwrap();
    assert_eq!(video.codecs[0].name, "H264");
    let mid = video.mid.clone().unwrap();
    let first = session.parameters(&mid, &h264).unwrap();
    assert_eq!(first.codec.payload_type, video.codecs[0].payload_type);
    for other in [
        codec(CodecKind::Vp8, ""),
        codec(CodecKind::Vp9, "profile-id=0"),
        codec(CodecKind::Av1, ""),
    ] {
        let parameters = session.parameters(&mid, &other).unwrap();
        assert_eq!((parameters.ssrc, parameters.codec.kind), (first.ssrc, other.kind));
        assert_eq!(parameters.cname, "ada");
    }
    assert_eq!(session.parameters(&mid, &codec(CodecKind::Opus, "")), None);
    assert_eq!(session.parameters("nowhere", &h264), None);
}

#[test]
fn a_later_offer_keeps_the_streams_and_may_restart_ice() {
    let mut session = session();
    let first = offer(&mut session, CHROMIUM_RECVONLY, &[]).unwrap();
    assert_eq!(first.connect.local, None);
    let again = offer(&mut session, CHROMIUM_RECVONLY, &[]).unwrap();
    assert_eq!(again.connect.local, None);
    let restarted = with_lines(CHROMIUM_RECVONLY, "a=ice-ufrag:", "a=ice-ufrag:another");
    let restarted = offer(&mut session, &restarted, &[]).unwrap();
    assert_eq!(restarted.connect.local, Some(credentials("restarted")));
    let sources = |text: &str| -> Vec<_> {
        let answer = parse(text).unwrap();
        answer.media.iter().flat_map(|media| media.sources.clone()).collect()
    };
    assert_eq!(sources(&first.sdp), sources(&restarted.sdp));
    assert!(
        restarted
            .sdp
            .contains(&format!("a=ice-ufrag:{}", credentials("restarted").ufrag))
    );
}

#[test]
fn what_only_sends_or_has_no_codec_is_refused() {
    let refused = |sdp: &str| offer(&mut session(), sdp, &[]).unwrap_err();
    let sending = CHROMIUM_RECVONLY.replace("a=recvonly", "a=sendonly");
    assert!(matches!(refused(&sending), NegotiateError::NoUsableMedia { .. }));
    let strange = CHROMIUM_RECVONLY.replace("opus/", "G722/");
    let strange = ["VP8/", "VP9/", "H264/", "AV1/"]
        .iter()
        .fold(strange, |sdp, name| sdp.replace(name, "H261/"));
    assert_eq!(refused(&strange), NegotiateError::NoCommonCodec);
    assert!(matches!(refused("v=0"), NegotiateError::Syntax(_)));
    let mut session = session();
    offer(&mut session, CHROMIUM_RECVONLY, &[]).unwrap();
    let slots = session.slots().count();
    assert!(offer(&mut session, "v=0", &[]).is_err());
    assert_eq!(session.slots().count(), slots, "as before");
}

#[test]
fn offers_of_every_client_are_answered_or_refused() {
    for sdp in ALL {
        if let Ok(answer) = offer(&mut session(), sdp, &[]) {
            let read = parse(&answer.sdp).unwrap();
            assert!(
                read.media
                    .iter()
                    .all(|media| media.is_rejected() || media.direction == Direction::SendOnly)
            );
        }
    }
}
