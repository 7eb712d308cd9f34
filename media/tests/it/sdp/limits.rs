//! What a subscribe connection holds, and what it refuses to hold.

use caside_media::parameters::{CodecKind, ConsumerId, MediaKind};
use caside_media::sdp::model::{Description, RtpCodec};
use caside_media::sdp::{AddTrackError, CodecPolicy, SubscribeSession, SubscribeTrack, parse};

use super::subscribe::{H264, accept, offer, session, track};
use super::{local, with_lines};

/// The offer without its SSRCs: with them, a large one is longer than what we read ourselves.
fn large_offer(session: &mut SubscribeSession) -> Description {
    let sdp = session.offer().expect("something to offer").sdp;
    parse(&with_lines(&sdp, "a=ssrc", "")).unwrap()
}

#[test]
fn one_payload_type_means_one_codec_on_all_lines() {
    let mut session = session(&[
        track(1, CodecKind::Opus, "minptime=10;useinbandfec=1"),
        track(2, CodecKind::Opus, "stereo=1;useinbandfec=1"),
        track(3, CodecKind::Opus, "useinbandfec=1;minptime=20"),
        track(4, CodecKind::Vp8, "max-fs=3600"),
        track(5, CodecKind::Vp8, ""),
        track(6, CodecKind::Vp9, "profile-id=0"),
        track(7, CodecKind::Vp9, "profile-id=2"),
        track(8, CodecKind::H264, H264),
        track(9, CodecKind::H264, "packetization-mode=1;profile-level-id=42e034"),
        track(10, CodecKind::H264, "profile-level-id=640028"),
        track(11, CodecKind::Av1, "profile=0;level-idx=5;tier=0"),
    ]);
    let offer = offer(&mut session);
    let mut meanings: Vec<&RtpCodec> = Vec::new();
    for codec in offer.media.iter().flat_map(|media| &media.codecs) {
        assert!((96..=127).contains(&codec.payload_type.0), "{codec:?}");
        match meanings.iter().find(|other| other.payload_type == codec.payload_type) {
            Some(other) => assert_eq!(*other, codec),
            None => meanings.push(codec),
        }
    }
    assert_eq!(
        offer.media[0].codecs, offer.media[2].codecs,
        "one configuration, spelt in two ways"
    );
    assert_ne!(
        offer.media[0].codecs[0].payload_type,
        offer.media[1].codecs[0].payload_type
    );
    assert_eq!(
        offer.media[1].codecs[0].fmtp,
        "minptime=10;stereo=1;sprop-stereo=1;useinbandfec=1"
    );
    assert_ne!(
        offer.media[7].codecs[0].payload_type,
        offer.media[8].codecs[0].payload_type
    );

    let mut ssrcs: Vec<u32> = offer
        .media
        .iter()
        .flat_map(|media| &media.sources)
        .map(|source| source.ssrc.0)
        .collect();
    let count = ssrcs.len();
    ssrcs.sort_unstable();
    ssrcs.dedup();
    assert_eq!((ssrcs.len(), count), (19, 19));
}

#[test]
fn tracks_that_cannot_be_offered_are_refused() {
    let mut session = session(&[track(1, CodecKind::Opus, "")]);
    assert_eq!(session.add(track(1, CodecKind::Vp8, "")), Err(AddTrackError::Duplicate));
    assert_eq!(
        session.add(track(2, CodecKind::Vp9, "profile-id=1")),
        Err(AddTrackError::PayloadType)
    );
    assert_eq!(
        session.add(SubscribeTrack {
            kind: MediaKind::Audio,
            ..track(2, CodecKind::Vp8, "")
        }),
        Err(AddTrackError::PayloadType)
    );
    for bad in ["", "a b", "a\r\na=ice-ufrag:x", "x".repeat(65).as_str(), "ä"] {
        let bad = bad.to_owned();
        let with_stream = SubscribeTrack {
            stream_id: bad.clone(),
            ..track(2, CodecKind::Vp8, "")
        };
        let with_track = SubscribeTrack {
            track_id: bad.clone(),
            ..track(2, CodecKind::Vp8, "")
        };
        assert_eq!(session.add(with_stream), Err(AddTrackError::Identifier), "{bad:?}");
        assert_eq!(session.add(with_track), Err(AddTrackError::Identifier), "{bad:?}");
    }
    let bad_cname = SubscribeTrack {
        cname: "a\nb".to_owned(),
        ..track(2, CodecKind::Vp8, "")
    };
    assert_eq!(session.add(bad_cname), Err(AddTrackError::Identifier));
}

#[test]
fn no_more_is_offered_than_a_64_kib_answer_can_accept() {
    let mut session = session(&[]);
    let mut count = 0;
    let kinds = [CodecKind::Opus, CodecKind::Vp8];
    let refused = loop {
        match session.add(track(count, kinds[count as usize % 2], "")) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AddTrackError::TooMany);
    assert!(
        (90..=127).contains(&count),
        "a room of 46 with sound and picture fits: {count}"
    );
    let full = large_offer(&mut session);
    let result = session.answer(&accept(&full).to_string()).unwrap();
    assert_eq!(result.started.len(), count as usize);

    // Everything is replaced at once: what finds no room beside the old waits for the old to be gone.
    (0..count).for_each(|id| session.remove(ConsumerId(id)));
    let next = |id: u64| id + 1000;
    (0..count).for_each(|id| session.add(track(next(id), kinds[id as usize % 2], "")).unwrap());
    let second = large_offer(&mut session);
    let first_part = session.answer(&accept(&second).to_string()).unwrap();
    assert!(second.media.len() <= full.media.len() + 10);
    assert_eq!(first_part.removed.len(), count as usize);
    assert!(session.wants_offer());
    let third = large_offer(&mut session);
    let second_part = session.answer(&accept(&third).to_string()).unwrap();
    assert_eq!(first_part.started.len() + second_part.started.len(), count as usize);
}

#[test]
fn bandwidth_feedback_is_asked_for_only_if_the_engine_acts_on_it() {
    let described = |policy: CodecPolicy, kind| {
        let mut session = SubscribeSession::new(local(), policy);
        session.add(track(1, kind, "")).unwrap();
        let media = offer(&mut session).media.remove(0);
        let ids: Vec<u8> = media.extensions.iter().map(|extension| extension.id).collect();
        (media.codecs[0].feedback.clone(), ids)
    };
    let with = |transport_cc, remb| {
        let mut policy = CodecPolicy::default();
        policy.subscribe_feedback.transport_cc = transport_cc;
        policy.subscribe_feedback.remb = remb;
        policy
    };
    let (feedback, ids) = described(CodecPolicy::default(), CodecKind::Vp8);
    assert_eq!(feedback, ["transport-cc", "ccm fir", "nack", "nack pli"]);
    assert_eq!(ids, [3, 4, 5]);
    let (feedback, ids) = described(with(true, true), CodecKind::Vp8);
    assert_eq!(feedback, ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"]);
    assert_eq!(ids, [2, 3, 4, 5]);
    let (feedback, ids) = described(with(false, false), CodecKind::Vp8);
    assert_eq!(feedback, ["ccm fir", "nack", "nack pli"]);
    assert_eq!(ids, [4, 5]);
    // Sound is never held back.
    let (feedback, ids) = described(CodecPolicy::default(), CodecKind::Opus);
    assert!(!feedback.contains(&"transport-cc".to_owned()), "{feedback:?}");
    assert_eq!(ids, [1, 4]);
}
