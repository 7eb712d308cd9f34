//! Offers of publishing clients.

use caside_media::parameters::{CodecKind, DtlsRole, Feedback, MediaKind, PayloadType, ProducerId, Ssrc};
use caside_media::sdp::model::{Bandwidth, Direction, MediaType, Setup};
use caside_media::sdp::{CodecPolicy, NegotiateError, Rejection, SdpError, parse};

use super::*;

const ALL_FEEDBACK: Feedback = Feedback {
    nack: true,
    pli: true,
    fir: true,
    transport_cc: true,
    remb: true,
};

#[test]
fn chromium_publishes_camera_and_microphone() {
    let result = publish(CHROMIUM_CAMERA).unwrap();
    let offer = parse(CHROMIUM_CAMERA).unwrap();

    let [(audio_mid, audio_id, audio), (video_mid, video_id, video)] = result.added.as_slice() else {
        panic!("two tracks: {:?}", result.added);
    };
    assert_eq!((audio_mid.as_str(), video_mid.as_str()), ("0", "1"));
    assert_eq!((audio.kind, video.kind), (MediaKind::Audio, MediaKind::Video));
    assert_eq!(result.tracks.get("0"), Some(audio_id));
    assert_eq!(result.tracks.get("1"), Some(video_id));

    let opus = &audio.codecs[0];
    assert_eq!(
        (opus.kind, opus.payload_type, opus.clock_rate, opus.channels),
        (CodecKind::Opus, PayloadType(111), 48_000, 2)
    );
    assert_eq!(opus.fmtp, "minptime=10;useinbandfec=1");
    assert_eq!(
        (opus.rtx, audio.codecs.len()),
        (None, 1),
        "RED, G.722, PCM, CN and tones are not taken"
    );

    let vp8 = &video.codecs[0];
    assert_eq!(
        (vp8.kind, vp8.payload_type, vp8.rtx),
        (CodecKind::Vp8, PayloadType(96), Some(PayloadType(97)))
    );
    assert!(vp8.feedback.nack && vp8.feedback.pli && vp8.feedback.fir && vp8.feedback.transport_cc);
    assert!(!vp8.feedback.remb, "transport-wide feedback serves the same end");

    let groups = &offer.media[1].source_groups[0].ssrcs;
    assert_eq!(video.encodings.len(), 1);
    assert_eq!(
        (video.encodings[0].ssrc, video.encodings[0].rtx_ssrc),
        (Some(groups[0]), Some(groups[1]))
    );
    assert_eq!(video.encodings[0].rid, None);

    assert_eq!(
        (
            audio.extensions.audio_level,
            audio.extensions.abs_send_time,
            audio.extensions.mid
        ),
        (Some(1), Some(2), Some(4))
    );
    assert_eq!(
        (
            video.extensions.video_orientation,
            video.extensions.mid,
            video.extensions.rid
        ),
        (Some(13), Some(4), Some(10))
    );
    assert_eq!(video.extensions.audio_level, None);
    assert_eq!(video.extensions.transport_cc, Some(3));

    assert_eq!(result.connect.remote, offer.media[0].transport.credentials());
    assert_eq!(result.connect.dtls.role, DtlsRole::Server);
    assert_eq!(result.connect.dtls.fingerprints, offer.media[0].transport.fingerprints);
    assert_eq!(result.connect.local, None);
    assert!(!result.data_channel);
}

#[test]
fn an_answer_is_lite_passive_bundled_and_complete() {
    let answer = answer(CHROMIUM_CAMERA);
    assert!(answer.ice_lite);
    assert_eq!(answer.bundles, [["0", "1"]]);
    assert!(answer.extmap_allow_mixed);
    for media in &answer.media {
        assert_eq!(media.transport.setup, Some(Setup::Passive));
        assert_eq!(media.transport.credentials(), Some(credentials("first")));
        assert_eq!(media.transport.fingerprints, [local().fingerprint]);
        assert_eq!(media.direction, Direction::RecvOnly);
        assert!(media.rtcp_mux && media.rtcp_rsize);
        assert_eq!((media.port, media.address), (7000, Some("192.0.2.1".parse().unwrap())));
        assert!(media.sources.is_empty() && media.msids.is_empty());
    }
    assert_eq!(answer.media[0].candidates, local().candidates);
    assert!(answer.media[0].end_of_candidates);
}

#[test]
fn every_client_is_answered() {
    use CodecKind::{Av1, H264, Opus, Vp8, Vp9};
    let video_and_audio = |kinds: &[&[CodecKind]]| kinds.iter().map(|kinds| kinds.to_vec()).collect::<Vec<_>>();
    for (name, offer, expected, data) in [
        (
            "chromium",
            CHROMIUM_SENDRECV_DATA,
            video_and_audio(&[&[Opus], &[Vp8, H264, Av1, Vp9]]),
            true,
        ),
        (
            "screen",
            CHROMIUM_SCREEN,
            video_and_audio(&[&[Opus], &[Vp8, H264, Av1, Vp9], &[Vp8, H264, Av1, Vp9]]),
            false,
        ),
        ("aiortc", AIORTC, video_and_audio(&[&[Opus], &[Vp8, H264]]), true),
        (
            "firefox",
            FIREFOX,
            video_and_audio(&[&[Opus], &[Vp8, Vp9, H264, Av1], &[Vp8]]),
            false,
        ),
        ("safari", SAFARI, video_and_audio(&[&[Opus], &[H264, Vp8, Vp9]]), false),
        ("gstreamer", GSTREAMER, video_and_audio(&[&[H264], &[Opus]]), false),
        (
            "webrtc-rs",
            WEBRTC_RS,
            video_and_audio(&[&[Vp8, Vp9, H264], &[Opus]]),
            false,
        ),
    ] {
        let result = publish(offer).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(kinds(&result), expected, "{name}");
        assert_eq!(result.data_channel, data, "{name}");
        let answer = parse(&result.sdp).unwrap();
        let offer = parse(offer).unwrap();
        assert_eq!(answer.media.len(), offer.media.len(), "{name}");
        for (ours, theirs) in answer.media.iter().zip(&offer.media) {
            assert_eq!(
                (&ours.media, &ours.mid, &ours.protocol),
                (&theirs.media, &theirs.mid, &theirs.protocol),
                "{name}"
            );
            assert!(ours.port != 0, "{name}");
            let offered = payload_types(theirs);
            assert!(
                payload_types(ours).iter().all(|number| offered.contains(number)),
                "{name}"
            );
        }
    }
}

#[test]
fn the_baseline_of_h264_goes_before_safaris_high_profile() {
    let result = publish(SAFARI).unwrap();
    let codecs = &result.added[1].2.codecs;
    assert_eq!(codecs[0].payload_type, PayloadType(102));
    assert_eq!(
        codecs[0].fmtp,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
    );
    assert_eq!(codecs[1].payload_type, PayloadType(96), "the rest in Safari's order");
}

#[test]
fn a_rooms_preferred_codec_goes_first_and_others_can_be_left_out() {
    let policy = CodecPolicy {
        allowed: vec![CodecKind::Opus, CodecKind::Vp9, CodecKind::H264],
        preferred: vec![CodecKind::Vp9],
        ..CodecPolicy::default()
    };
    let result = Publisher::new(policy).offer(FIREFOX).unwrap();
    assert_eq!(kinds(&result)[1], [CodecKind::Vp9, CodecKind::H264]);
    let answer = parse(&result.sdp).unwrap();
    assert_eq!(
        payload_types(&answer.media[1])[..2],
        [121, 125],
        "with its retransmissions beside it"
    );
    assert_eq!(answer.media[2].port, 0, "a line with VP8 alone is rejected");
    assert_eq!(answer.bundles, [["0", "1"]]);
}

#[test]
fn feedback_and_its_extension_are_agreed_only_if_the_engine_handles_them() {
    let none = CodecPolicy {
        feedback: Feedback::default(),
        ..CodecPolicy::default()
    };
    let result = Publisher::new(none).offer(CHROMIUM_CAMERA).unwrap();
    let video = &result.added[1].2;
    assert_eq!(
        (video.codecs[0].feedback, video.codecs[0].rtx),
        (Feedback::default(), None),
        "no rtx without NACK"
    );
    assert_eq!(video.extensions.transport_cc, None);
    assert!(!result.sdp.contains("rtcp-fb") && !result.sdp.contains("transport-wide"));

    let all = CodecPolicy {
        feedback: ALL_FEEDBACK,
        ..CodecPolicy::default()
    };
    let result = Publisher::new(all).offer(CHROMIUM_CAMERA).unwrap();
    assert_eq!(result.added[1].2.codecs[0].feedback, ALL_FEEDBACK);
    assert!(result.added[0].2.codecs[0].feedback.transport_cc, "sound too");
}

#[test]
fn a_bitrate_cap_is_told_in_both_units() {
    let policy = CodecPolicy {
        max_video_bitrate_bps: Some(1_500_500),
        ..CodecPolicy::default()
    };
    let result = Publisher::new(policy).offer(CHROMIUM_CAMERA).unwrap();
    let answer = parse(&result.sdp).unwrap();
    assert!(answer.media[0].bandwidth.is_empty());
    let cap = [
        Bandwidth::ApplicationSpecific(1501),
        Bandwidth::TransportIndependent(1_500_500),
    ];
    assert_eq!(answer.media[1].bandwidth, cap);
}

#[test]
fn simulcast_is_answered_only_if_the_policy_has_it() {
    let policy = CodecPolicy {
        simulcast: false,
        ..CodecPolicy::default()
    };
    let plain = Publisher::new(policy).offer(CHROMIUM_SIMULCAST).unwrap();
    assert_eq!(plain.added[1].2.encodings.len(), 1);
    assert!(!plain.sdp.contains("simulcast") && !plain.sdp.contains("a=rid"));

    let result = publish(CHROMIUM_SIMULCAST).unwrap();
    let rids: Vec<_> = result.added[1]
        .2
        .encodings
        .iter()
        .map(|encoding| encoding.rid.as_deref())
        .collect();
    assert_eq!(rids, [Some("q"), Some("h"), Some("f")]);
    assert!(result.sdp.contains("a=simulcast:recv q;h;f\r\n"));
    assert!(result.sdp.contains("a=rid:h recv\r\n"));
}

#[test]
fn encodings_are_lowest_first_whatever_the_order_of_usual_names() {
    let order = |offer: &str| {
        let result = publish(offer).unwrap();
        let encodings = result.added[1].2.encodings.iter();
        encodings
            .filter_map(|encoding| encoding.rid.clone())
            .collect::<Vec<_>>()
    };
    let simulcast = "a=simulcast:send q;h;f";
    assert!(CHROMIUM_SIMULCAST.contains(simulcast));
    let reversed = CHROMIUM_SIMULCAST.replace(simulcast, "a=simulcast:send f;h;q");
    assert_eq!(order(&reversed), ["q", "h", "f"]);
    let own = CHROMIUM_SIMULCAST
        .replace("q;h;f", "x;h;f")
        .replace("a=rid:q", "a=rid:x");
    assert_eq!(
        order(&own),
        ["x", "h", "f"],
        "names of the client's own mean nothing to us"
    );
}

#[test]
fn firefox_names_its_certificate_at_session_level_and_bundles_by_port_zero() {
    let result = publish(FIREFOX).unwrap();
    assert_eq!(
        result.connect.remote.as_ref().map(|ice| ice.ufrag.as_str()),
        Some("3f1c9a7e")
    );
    assert_eq!(result.connect.dtls.fingerprints.len(), 1);
    assert_eq!(result.tracks.len(), 3);
    assert_eq!(
        result.added[0].2.codecs[0].fmtp,
        "maxplaybackrate=48000;stereo=1;useinbandfec=1"
    );
    assert_eq!(
        result.added[1].2.codecs[0].fmtp, "",
        "a receiver's limits are not ours to repeat"
    );
    assert_eq!(result.added[2].2.encodings[0].ssrc, Some(Ssrc(40_102_030)));
}

#[test]
fn a_session_goes_on_over_many_offers() {
    let mut publisher = Publisher::new(CodecPolicy::default());
    let mids = |list: &[(String, ProducerId)]| list.iter().map(|(mid, _)| mid.clone()).collect::<Vec<_>>();
    let [camera, screen, data, stopped, inactive, again, recycled, restart] =
        CHROMIUM_SESSION.map(|offer| publisher.offer(offer).unwrap());

    assert_eq!(camera.tracks.len(), 2);
    assert_eq!(screen.added.len(), 1);
    assert_eq!(screen.added[0].0, "2");
    assert!(screen.removed.is_empty() && screen.updated.is_empty());
    assert!(!screen.data_channel && data.data_channel && data.added.is_empty());

    assert_eq!(mids(&stopped.removed), ["2"]);
    let answer = parse(&stopped.sdp).unwrap();
    assert_eq!((answer.media[2].port, answer.media.len()), (0, 4));
    assert_eq!(answer.bundles, [["0", "1", "3"]]);

    assert_eq!(mids(&inactive.removed), ["1"]);
    let answer = parse(&inactive.sdp).unwrap();
    assert_eq!(
        (answer.media[1].port, answer.media[1].direction),
        (7000, Direction::Inactive)
    );

    assert_eq!(again.added.len(), 1);
    assert_ne!(
        again.added[0].1, camera.tracks["1"],
        "a track that ended does not come back"
    );

    assert_eq!(recycled.added[0].0, "4", "in the place of the stopped one");
    assert_eq!(parse(&recycled.sdp).unwrap().media[2].mid.as_deref(), Some("4"));

    assert_eq!(restart.connect.local, Some(credentials("restarted")));
    assert_ne!(restart.connect.remote, camera.connect.remote);
    assert_eq!(restart.connect.dtls, camera.connect.dtls);
    let answer = parse(&restart.sdp).unwrap();
    assert!(
        answer
            .media
            .iter()
            .all(|media| media.transport.credentials() == Some(credentials("restarted")))
    );
    assert!(restart.added.is_empty() && restart.removed.is_empty());
    assert_eq!(recycled.tracks, restart.tracks);
    for unchanged in [&camera, &screen, &data, &stopped, &inactive, &again, &recycled] {
        assert_eq!(unchanged.connect.local, None);
    }
    let version = |answer: &PublishAnswer| parse(&answer.sdp).unwrap().session_version;
    assert!(version(&restart) > version(&camera));
}

#[test]
fn new_parameters_on_a_running_track_update_it() {
    let mut publisher = Publisher::new(CodecPolicy::default());
    let first = publisher.offer(CHROMIUM_CAMERA).unwrap();
    let changed = with_lines(CHROMIUM_CAMERA, "a=rtpmap:97 rtx", "");
    let second = publisher.offer(&changed).unwrap();
    assert_eq!(second.updated.len(), 1);
    let (mid, producer, parameters) = &second.updated[0];
    assert_eq!((mid.as_str(), producer), ("1", &first.tracks["1"]));
    assert_eq!(parameters.codecs[0].rtx, None);
    assert!(second.added.is_empty() && second.removed.is_empty());
}

#[test]
fn lines_that_only_receive_are_answered_inactive() {
    let result = publish(CHROMIUM_RECVONLY).unwrap();
    assert!(result.added.is_empty() && result.tracks.is_empty());
    let answer = parse(&result.sdp).unwrap();
    assert!(
        answer
            .media
            .iter()
            .all(|media| media.direction == Direction::Inactive && media.port != 0)
    );
}

#[test]
fn a_client_that_must_be_the_dtls_server_is_obeyed() {
    let offer = with_lines(CHROMIUM_CAMERA, "a=setup:", "a=setup:passive");
    let result = publish(&offer).unwrap();
    assert_eq!(result.connect.dtls.role, DtlsRole::Client);
    assert!(result.sdp.contains("a=setup:active\r\n"));
}

#[test]
fn fingerprints_of_other_algorithms_do_not_disturb() {
    let sha1 = "a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB";
    let first = CHROMIUM_CAMERA.replace("a=fingerprint:sha-256", &format!("{sha1}\r\na=fingerprint:SHA-256"));
    assert_eq!(publish(&first).unwrap().connect.dtls.fingerprints.len(), 1);
    assert_eq!(publish(AIORTC).unwrap().connect.dtls.fingerprints.len(), 3);

    let only = with_lines(CHROMIUM_CAMERA, "a=fingerprint:", sha1);
    assert_eq!(publish(&only).unwrap_err(), NegotiateError::MissingFingerprint);
}

#[test]
fn a_rejected_line_has_port_zero_and_leaves_the_bundle() {
    // Sound in G.711 alone.
    let offer = CHROMIUM_CAMERA.replace("SAVPF 111 63 9 0 8 13 110 126", "SAVPF 0 8");
    let result = publish(&offer).unwrap();
    let answer = parse(&result.sdp).unwrap();
    assert_eq!((answer.media[0].port, answer.media[0].mid.as_deref()), (0, Some("0")));
    assert_eq!(payload_types(&answer.media[0]), [0, 8]);
    assert_eq!(answer.bundles, [["1"]]);
    assert_eq!(answer.media[1].candidates.len(), 3, "the tagged line is now the second");
    assert_eq!(result.tracks.keys().collect::<Vec<_>>(), ["1"]);
}

#[test]
fn without_a_bundle_one_line_is_taken() {
    let offer = with_lines(CHROMIUM_CAMERA, "a=group:", "");
    let result = publish(&offer).unwrap();
    assert_eq!(result.tracks.keys().collect::<Vec<_>>(), ["0"]);
    let answer = parse(&result.sdp).unwrap();
    assert!(answer.bundles.is_empty());
    assert_eq!((answer.media[0].port, answer.media[1].port), (7000, 0));
}

#[test]
fn lines_without_mids_are_named_for_our_own_use() {
    let offer = with_lines(&with_lines(CHROMIUM_CAMERA, "a=group:", ""), "a=mid:", "");
    let result = publish(&offer).unwrap();
    assert_eq!(result.tracks.keys().collect::<Vec<_>>(), ["0"]);
    assert!(!result.sdp.contains("a=mid:"));
    assert!(result.sdp.contains("a=candidate:"));
}

#[test]
fn what_cannot_be_answered_is_refused_with_its_code() {
    let audio = "SAVPF 111 63 9 0 8 13 110 126";
    let video = "SAVPF 96 97 102 103 104 107 108 109 114 115 116 117 39 40 45 46 98 99 100 101 118 119 120";
    let no_codec = CHROMIUM_CAMERA.replace(audio, "SAVPF 0").replace(video, "SAVPF 118");
    assert_ne!(
        no_codec,
        CHROMIUM_CAMERA.replace(audio, "SAVPF 0"),
        "the fixture has this m-line"
    );
    for (offer, error, code) in [
        (no_codec, NegotiateError::NoCommonCodec, "no_common_codec"),
        (
            with_lines(CHROMIUM_CAMERA, "a=rtcp-mux", ""),
            NegotiateError::NoUsableMedia {
                reason: Rejection::RtcpMuxRequired,
            },
            "bad_sdp",
        ),
        (
            CHROMIUM_CAMERA.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
            NegotiateError::NoUsableMedia {
                reason: Rejection::UnsupportedProtocol,
            },
            "bad_sdp",
        ),
        (
            with_lines(CHROMIUM_CAMERA, "a=ice-ufrag", ""),
            NegotiateError::MissingIceCredentials,
            "bad_sdp",
        ),
        (
            with_lines(CHROMIUM_CAMERA, "a=fingerprint", ""),
            NegotiateError::MissingFingerprint,
            "bad_sdp",
        ),
        (
            with_lines(CHROMIUM_CAMERA, "a=setup", "a=setup:holdconn"),
            NegotiateError::Setup,
            "bad_sdp",
        ),
        (
            with_lines(CHROMIUM_CAMERA, "a=mid", "a=mid:0"),
            NegotiateError::DuplicateMid { mid: "0".to_owned() },
            "bad_sdp",
        ),
        (
            CHROMIUM_CAMERA.replace("a=extmap:13 ", "a=extmap:1 "),
            NegotiateError::ExtensionConflict { id: 1 },
            "bad_sdp",
        ),
        (
            "".to_owned(),
            NegotiateError::Syntax(SdpError::Malformed {
                line: 0,
                what: "session",
            }),
            "bad_sdp",
        ),
    ] {
        let refused = publish(&offer).unwrap_err();
        assert_eq!(refused, error);
        assert_eq!(refused.code(), code);
    }
}

#[test]
fn a_refused_offer_changes_nothing() {
    let mut publisher = Publisher::new(CodecPolicy::default());
    let before = publisher.offer(CHROMIUM_SESSION[2]).unwrap();
    assert_eq!(
        publisher.offer(CHROMIUM_SESSION[0]).unwrap_err(),
        NegotiateError::MediaCount { expected: 4, found: 2 },
        "m-lines never vanish"
    );
    let other_certificate = CHROMIUM_SESSION[2].replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 00:");
    let other_certificate = with_lines(
        &other_certificate,
        "a=fingerprint:",
        include_str!("../../fixtures/sdp/firefox_publish.sdp")
            .lines()
            .find(|line| line.starts_with("a=fingerprint"))
            .unwrap(),
    );
    assert_eq!(
        publisher.offer(&other_certificate).unwrap_err(),
        NegotiateError::CertificateChanged
    );
    let role = with_lines(CHROMIUM_SESSION[2], "a=setup:", "a=setup:passive");
    assert_eq!(publisher.offer(&role).unwrap_err(), NegotiateError::Setup);

    let after = publisher.offer(CHROMIUM_SESSION[2]).unwrap();
    assert_eq!((after.added.len(), after.updated.len(), after.removed.len()), (0, 0, 0));
    assert_eq!((after.tracks, after.connect), (before.tracks, before.connect));
}

#[test]
fn unknown_media_is_rejected_beside_what_is_taken() {
    let offer = format!("{CHROMIUM_CAMERA}m=text 9 UDP/TLS/RTP/SAVPF 98\r\nc=IN IP4 0.0.0.0\r\na=mid:9\r\n");
    let answer = answer(&offer);
    assert_eq!(answer.media[2].media, MediaType::Other("text".to_owned()));
    assert_eq!(answer.media[2].port, 0);
}
