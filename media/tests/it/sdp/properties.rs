//! What holds for any text.

use std::collections::HashSet;
use std::io::Cursor;

use caside_media::sdp::model::Description;
use caside_media::sdp::parse::{MAX_BYTES, MAX_FORMATS, MAX_LINE_BYTES, MAX_MEDIA};
use caside_media::sdp::{CodecPolicy, SdpError, parse};
use proptest::prelude::*;
use rtc_sdp::SessionDescription;

use super::*;

/// A change to a description's lines; places are taken modulo their number.
#[derive(Debug, Clone)]
enum Mutation {
    Delete(usize),
    Duplicate(usize),
    Swap(usize, usize),
    Insert(usize, String),
    Truncate(usize, usize),
    Splice(usize, usize, String),
    Graft(usize, usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = 0..4096_usize;
    prop_oneof![
        place.clone().prop_map(Mutation::Delete),
        place.clone().prop_map(Mutation::Duplicate),
        (place.clone(), place.clone()).prop_map(|(a, b)| Mutation::Swap(a, b)),
        (place.clone(), attribute()).prop_map(|(at, line)| Mutation::Insert(at, line)),
        (place.clone(), 0..80_usize).prop_map(|(at, length)| Mutation::Truncate(at, length)),
        (place.clone(), 0..80_usize, "\\PC{0,6}").prop_map(|(at, column, text)| Mutation::Splice(at, column, text)),
        (place.clone(), 0..ALL.len(), place).prop_map(|(at, from, line)| Mutation::Graft(at, from, line)),
    ]
}

/// A line that is almost one.
fn attribute() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "mid",
        "extmap",
        "rtpmap",
        "fmtp",
        "rtcp-fb",
        "ssrc",
        "ssrc-group",
        "msid",
        "rid",
        "simulcast",
        "candidate",
        "fingerprint",
        "setup",
        "ice-ufrag",
        "ice-pwd",
        "group",
        "sctp-port",
        "max-message-size",
        "bundle-only",
        "inactive",
        "sendonly",
        "extmap-allow-mixed",
    ]);
    prop_oneof![
        (name, "[ -~]{0,24}").prop_map(|(name, value)| format!("a={name}:{value}")),
        "[a-z]=[ -~]{0,24}",
        "m=(audio|video|application|x) [0-9]{1,6} (UDP/TLS/RTP/SAVPF|UDP/DTLS/SCTP|x)( [0-9a-z]{1,4}){0,5}",
    ]
}

fn mutate(sdp: &str, mutations: &[Mutation]) -> String {
    let mut lines: Vec<String> = sdp.lines().map(str::to_owned).collect();
    for mutation in mutations {
        if lines.is_empty() {
            break;
        }
        let count = lines.len();
        let column =
            |line: &str, column: usize| line.char_indices().map(|(at, _)| at).nth(column).unwrap_or(line.len());
        match mutation {
            Mutation::Delete(at) => drop(lines.remove(at % count)),
            Mutation::Duplicate(at) => lines.insert(at % count, lines[at % count].clone()),
            Mutation::Swap(a, b) => lines.swap(a % count, b % count),
            Mutation::Insert(at, line) => lines.insert(at % count, line.clone()),
            Mutation::Truncate(at, length) => {
                let line = &mut lines[at % count];
                line.truncate(column(line, *length));
            }
            Mutation::Splice(at, place, text) => {
                let line = &mut lines[at % count];
                line.insert_str(column(line, *place), text);
            }
            Mutation::Graft(at, from, line) => {
                let other: Vec<&str> = ALL[*from].lines().collect();
                lines.insert(at % count, other[line % other.len()].to_owned());
            }
        }
    }
    lines.join("\r\n")
}

/// What has to hold of a description of ours.
fn check_own(text: &str) -> Description {
    let description = parse(text).expect("our own text parses");
    assert_eq!(description.to_string(), text, "our own text is canonical");
    let mids: Vec<&String> = description
        .media
        .iter()
        .filter_map(|media| media.mid.as_ref())
        .collect();
    assert_eq!(mids.iter().collect::<HashSet<_>>().len(), mids.len(), "mids are unique");
    let bundle: Vec<&String> = description.bundles.iter().flatten().collect();
    for media in &description.media {
        let bundled = media.mid.as_ref().is_some_and(|mid| bundle.contains(&mid));
        assert!(!(media.is_rejected() && bundled), "a rejected m-line is not bundled");
        assert_eq!(media.transport.credentials().is_some(), !media.is_rejected());
    }
    // Another implementation reads it too, if it knows the kinds of m-lines.
    let known = |media: &Media| media.media.kind().is_some() && media.is_secure_rtp() || media.is_data_channel();
    if !description.media.iter().all(known) {
        return description;
    }
    let theirs = SessionDescription::unmarshal(&mut Cursor::new(text)).expect("rtc-sdp reads it");
    assert_eq!(theirs.media_descriptions.len(), description.media.len());
    description
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}(\r?\n\\PC{0,40}){0,20}") {
        drop(parse(&text));
        drop(publish(&text));
    }

    #[test]
    fn what_is_read_is_written_and_read_the_same(
        fixture in 0..ALL.len(), mutations in prop::collection::vec(mutation(), 0..8),
    ) {
        if let Ok(description) = parse(&mutate(ALL[fixture], &mutations)) {
            prop_assert_eq!(parse(&description.to_string()), Ok(description));
        }
    }

    #[test]
    fn an_answer_has_the_offers_lines(
        first in 0..ALL.len(),
        second in 0..ALL.len(),
        mutations in prop::collection::vec(mutation(), 0..6),
        simulcast: bool,
    ) {
        let mut publisher = Publisher::new(CodecPolicy { simulcast, ..CodecPolicy::default() });
        drop(publisher.offer(ALL[first]));
        for offer in [mutate(ALL[first], &mutations), mutate(ALL[second], &mutations)] {
            let Ok(result) = publisher.offer(&offer) else { continue };
            let (answer, offer) = (check_own(&result.sdp), parse(&offer).unwrap());
            prop_assert_eq!(answer.media.len(), offer.media.len());
            for (ours, theirs) in answer.media.iter().zip(&offer.media) {
                prop_assert_eq!((&ours.media, &ours.mid), (&theirs.media, &theirs.mid));
                let offered = payload_types(theirs);
                prop_assert!(payload_types(ours).iter().all(|number| offered.contains(number)));
            }
            for (mid, producer, parameters) in result.added.iter().chain(&result.updated) {
                prop_assert_eq!(result.tracks.get(mid), Some(producer));
                prop_assert!(!parameters.codecs.is_empty() && !parameters.encodings.is_empty());
                prop_assert!(mid.len() <= 16);
            }
        }
    }

    #[test]
    fn no_answer_breaks_a_subscribe_session(
        tracks in prop::collection::vec(any::<bool>(), 1..6),
        mutations in prop::collection::vec(mutation(), 0..6),
        remove in 0..6_u64,
    ) {
        let mut session = subscribe::session_of(&tracks);
        for _ in 0..3 {
            let Some(offer) = session.offer() else { break };
            let offered = check_own(&offer.sdp);
            let answer = subscribe::accept(&offered).to_string();
            if let Ok(result) = session.answer(&mutate(&answer, &mutations)) {
                prop_assert!(result.started.iter().all(|(_, parameters)| !parameters.mid.is_empty()));
            } else {
                prop_assert!(session.answer(&answer).is_ok(), "the offer still waits");
            }
            session.remove(caside_media::parameters::ConsumerId(remove));
        }
    }
}

#[test]
fn every_fixture_survives_a_round_trip() {
    for text in ALL.into_iter().chain(CHROMIUM_SESSION) {
        let description = parse(text).unwrap();
        assert_eq!(parse(&description.to_string()).unwrap(), description);
    }
}

#[test]
fn sizes_are_bounded() {
    let head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
    let line = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n";
    let formats = |count: usize| (0..count).map(|number| format!(" {number}")).collect::<String>();

    assert_eq!(
        parse(&format!("{head}{}", line.repeat(MAX_MEDIA))).unwrap().media.len(),
        MAX_MEDIA
    );
    let too_many = parse(&format!("{head}{}", line.repeat(MAX_MEDIA + 1)));
    assert_eq!(
        too_many,
        Err(SdpError::TooMany {
            line: 5 + MAX_MEDIA,
            what: "m-lines",
            limit: MAX_MEDIA
        })
    );

    assert!(parse(&format!("{head}m=audio 9 RTP/SAVPF{}\r\n", formats(MAX_FORMATS))).is_ok());
    let too_many = parse(&format!("{head}m=audio 9 RTP/SAVPF{}\r\n", formats(MAX_FORMATS + 1)));
    assert_eq!(
        too_many,
        Err(SdpError::TooMany {
            line: 5,
            what: "payload types",
            limit: MAX_FORMATS
        })
    );

    let long = format!("{head}a=x:{}\r\n", "y".repeat(MAX_LINE_BYTES - 4));
    assert!(parse(&long).is_ok());
    assert_eq!(
        parse(&long.replace("a=x:", "a=x:y")),
        Err(SdpError::LineTooLong { line: 5 })
    );

    let bytes = MAX_BYTES + 1;
    assert_eq!(parse(&" ".repeat(bytes)), Err(SdpError::TooLong { bytes }));
    for repeated in [
        "a=ssrc-group:FID 1 2\r\n",
        "a=extmap:1 urn:x\r\n",
        "a=rid:a send\r\n",
        "b=AS:1\r\n",
    ] {
        assert!(matches!(
            parse(&format!("{head}{line}{}", repeated.repeat(65))),
            Err(SdpError::TooMany { .. })
        ));
    }
    let candidates = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n".repeat(500);
    assert_eq!(
        parse(&format!("{head}{line}{candidates}")).unwrap().media[0]
            .candidates
            .len(),
        64
    );
}

#[test]
fn a_line_break_inside_of_a_line_is_refused() {
    for text in ["a=mid:0\ra=ice-lite", "a=fmtp:111 x\u{0}", "a=msid:a\u{b} b"] {
        let sdp = CHROMIUM_CAMERA.replace("a=mid:0", text);
        assert!(
            matches!(parse(&sdp), Err(SdpError::Malformed { what: "character", .. })),
            "{text:?}"
        );
    }
    let bare_line_feeds = CHROMIUM_CAMERA.replace("\r\n", "\n");
    assert_eq!(parse(&bare_line_feeds), parse(CHROMIUM_CAMERA));
}
