//! Session descriptions of clients: reading them, answering their offers, and taking their answers.

use std::collections::HashSet;

use arbitrary::Arbitrary;
use caside_media::parameters::{Codec, ConsumerId, ExtensionIds, Feedback, Fingerprint, PayloadType, ProducerId};
use caside_media::sdp::model::{Description, Direction, Setup, TransportAttributes};
use caside_media::sdp::{
    Candidate, CandidateTransport, CodecPolicy, LocalDescription, PublishSession, SubscribeSession, SubscribeTrack,
    ViewSession, parse,
};

use crate::depacketize::Codec as CodecName;
use crate::input::{Sequence, Text};
use crate::setting::credentials;

/// Our answers have to fit a WebSocket message with room for the envelope, whatever the offer.
const LARGEST_ANSWER: usize = 256 * 1024;

/// What is read can be written and read the same.
pub fn run(text: &str) {
    let Ok(description) = parse(text) else { return };
    assert_eq!(parse(&description.to_string()), Ok(description));
}

/// One Chromium connection, offer after offer.
const SESSION: [&str; 8] = [
    include_str!("../../media/tests/fixtures/sdp/chromium_session_0_camera.sdp"),
    include_str!("../../media/tests/fixtures/sdp/chromium_session_1_screen_added.sdp"),
    include_str!("../../media/tests/fixtures/sdp/chromium_session_2_data_added.sdp"),
    include_str!("../../media/tests/fixtures/sdp/chromium_session_3_screen_stopped.sdp"),
    include_str!("../../media/tests/fixtures/sdp/chromium_session_4_video_inactive.sdp"),
    include_str!("../../media/tests/fixtures/sdp/chromium_session_5_video_again.sdp"),
    include_str!("../../media/tests/fixtures/sdp/chromium_session_6_screen_recycled.sdp"),
    include_str!("../../media/tests/fixtures/sdp/chromium_session_7_ice_restart.sdp"),
];

/// Offers, one after another on one connection, separated by a zero byte. A digit alone is one of the captured ones.
pub fn publish(text: &str) {
    for simulcast in [false, true] {
        let policy = CodecPolicy {
            simulcast,
            ..CodecPolicy::default()
        };
        let mut session = PublishSession::new(local(), policy);
        let mut next = 0;
        for offer in text.split('\0').take(8) {
            let offer = offer
                .parse()
                .ok()
                .and_then(|n: usize| SESSION.get(n))
                .copied()
                .unwrap_or(offer);
            let mut allocate = || {
                next += 1;
                ProducerId(next)
            };
            let Ok(answer) = session.offer(offer, &mut allocate, &mut || credentials("restarted")) else {
                continue;
            };
            let offer = parse(offer).expect("what is answered was read");
            let ours = own(&answer.sdp);
            assert_eq!(ours.media.len(), offer.media.len());
            for (ours, theirs) in ours.media.iter().zip(&offer.media) {
                assert_eq!((&ours.media, &ours.mid), (&theirs.media, &theirs.mid));
                let offered: Vec<PayloadType> = theirs.codecs.iter().map(|codec| codec.payload_type).collect();
                assert!(ours.codecs.iter().all(|codec| offered.contains(&codec.payload_type)));
            }
            for (mid, producer, parameters) in answer.added.iter().chain(&answer.updated) {
                assert_eq!(answer.tracks.get(mid), Some(producer));
                assert!(!parameters.codecs.is_empty() && !parameters.encodings.is_empty() && mid.len() <= 16);
            }
        }
    }
}

/// A viewer's offers, one after another on one connection, separated by a zero byte. A digit alone is one of the captured ones.
pub fn view(text: &str) {
    let mut session = ViewSession::new(local(), CodecPolicy::default(), "viewed".to_owned());
    let sent = [CodecName::Vp8, CodecName::H264, CodecName::Opus].map(|codec| track(1, codec, "").codec);
    for offer in text.split('\0').take(8) {
        let offer = offer
            .parse()
            .ok()
            .and_then(|n: usize| SESSION.get(n))
            .copied()
            .unwrap_or(offer);
        let before: Vec<String> = session.slots().map(|(mid, _)| mid.to_owned()).collect();
        let Ok(answer) = session.offer(offer, &sent, &mut || credentials("restarted")) else {
            let after: Vec<String> = session.slots().map(|(mid, _)| mid.to_owned()).collect();
            assert_eq!(before, after, "a refused offer changes nothing");
            continue;
        };
        let offer = parse(offer).expect("what is answered was read");
        let ours = own(&answer.sdp);
        assert_eq!(ours.media.len(), offer.media.len());
        for (ours, theirs) in ours.media.iter().zip(&offer.media) {
            assert_eq!((&ours.media, &ours.mid), (&theirs.media, &theirs.mid));
            assert!(ours.is_rejected() || ours.direction == Direction::SendOnly);
            let offered: Vec<PayloadType> = theirs.codecs.iter().map(|codec| codec.payload_type).collect();
            assert!(ours.codecs.iter().all(|codec| offered.contains(&codec.payload_type)));
        }
        let ssrcs = ours.media.iter().flat_map(|media| &media.sources).map(|source| source.ssrc);
        let ssrcs: Vec<_> = ssrcs.collect();
        assert_eq!(ssrcs.iter().collect::<HashSet<_>>().len(), ssrcs.len(), "streams are told apart");
        let mids: Vec<String> = session.slots().map(|(mid, _)| mid.to_owned()).collect();
        assert!(!mids.is_empty(), "an answer with nothing to send on");
        for (mid, codec) in mids.iter().flat_map(|mid| sent.iter().map(move |codec| (mid, codec))) {
            if let Some(parameters) = session.parameters(mid, codec) {
                assert_eq!(parameters.kind, codec.kind.media());
                assert!(ssrcs.contains(&parameters.ssrc));
            }
        }
    }
}

/// What has to hold of a description of ours.
fn own(text: &str) -> Description {
    assert!(text.len() <= LARGEST_ANSWER, "{} bytes", text.len());
    let description = parse(text).expect("our own text parses");
    assert_eq!(description.to_string(), text, "our own text is canonical");
    let mids: Vec<&String> = description
        .media
        .iter()
        .filter_map(|media| media.mid.as_ref())
        .collect();
    assert_eq!(mids.iter().collect::<HashSet<_>>().len(), mids.len(), "mids are unique");
    description
}

/// A change to a description's lines; places are taken modulo their number.
#[derive(Debug, Arbitrary)]
enum Mutation<'a> {
    Delete(u8),
    Duplicate(u8),
    Swap(u8, u8),
    Insert(u8, Text<'a>),
    Replace(u8, Text<'a>),
    Splice(u8, u8, Text<'a>),
}

/// What happens to a subscribe connection.
#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Add(CodecName, Text<'a>),
    Remove(u8),
    Restart,
    Abandon,
    /// The client's answer, changed.
    Answer(Vec<Mutation<'a>>),
    /// Something else.
    Text(Text<'a>),
}

/// A subscribe connection's life.
#[derive(Debug, Arbitrary)]
pub struct Subscription<'a> {
    steps: Sequence<Step<'a>>,
}

/// Lives it.
pub fn subscribe(input: &Subscription<'_>) {
    let mut session = SubscribeSession::new(
        local(),
        CodecPolicy {
            data_on_subscribe: true,
            ..CodecPolicy::default()
        },
    );
    let (mut ids, mut waiting) = (0, None);
    // Whether only right answers were taken so far: others may have changed the certificate.
    let mut pure = true;
    for step in input.steps.iter().take(64) {
        match step {
            Step::Add(codec, fmtp) => {
                ids += 1;
                // Refused when there are too many, or of too many kinds.
                session.add(track(ids, *codec, fmtp)).ok();
            }
            Step::Remove(id) => session.remove(ConsumerId(u64::from(*id))),
            Step::Restart => session.restart_ice(credentials("again")),
            Step::Abandon => {
                session.abandon();
                waiting = None;
            }
            Step::Answer(mutations) => {
                let Some(offer) = &waiting else { continue };
                let right = accept(offer).to_string();
                match session.answer(&mutate(&right, mutations)) {
                    Ok(answer) => {
                        assert!(answer.started.iter().all(|(_, parameters)| !parameters.mid.is_empty()));
                        pure &= mutations.is_empty();
                        waiting = None;
                    }
                    Err(error) if pure && mutations.is_empty() => {
                        panic!("a right answer was refused: {error}: {right}")
                    }
                    Err(_) => {}
                }
            }
            Step::Text(text) => {
                if session.answer(text).is_ok() {
                    (pure, waiting) = (false, None);
                }
            }
        }
        if let Some(offer) = session.offer() {
            assert!(waiting.is_none(), "a second offer before the first was answered");
            waiting = Some(own(&offer.sdp));
        }
    }
}

fn local() -> LocalDescription {
    LocalDescription {
        ice: credentials("first"),
        fingerprint: Fingerprint {
            algorithm: "sha-256".to_owned(),
            digest: (0..32).collect(),
        },
        candidates: vec![Candidate {
            address: "192.0.2.1:7000".parse().expect("a constant address"),
            transport: CandidateTransport::Udp,
        }],
    }
}

fn track(id: u64, codec: CodecName, fmtp: &str) -> SubscribeTrack {
    let kind = codec.into();
    SubscribeTrack {
        consumer: ConsumerId(id),
        kind: caside_media::parameters::CodecKind::media(kind),
        codec: Codec {
            kind,
            payload_type: PayloadType(35),
            clock_rate: 0,
            channels: 0,
            fmtp: caside_media::sdp::codecs::canonical_fmtp(kind, fmtp),
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
        cname: "cname".to_owned(),
    }
}

/// A client's answer that takes everything.
fn accept(offer: &Description) -> Description {
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

fn mutate(sdp: &str, mutations: &[Mutation<'_>]) -> String {
    let mut lines: Vec<String> = sdp.lines().map(str::to_owned).collect();
    for mutation in mutations {
        let count = lines.len();
        if count == 0 {
            break;
        }
        let at = |place: &u8| usize::from(*place) % count;
        match mutation {
            Mutation::Delete(place) => drop(lines.remove(at(place))),
            Mutation::Duplicate(place) => lines.insert(at(place), lines[at(place)].clone()),
            Mutation::Swap(a, b) => lines.swap(at(a), at(b)),
            Mutation::Insert(place, text) => lines.insert(at(place), text.to_string()),
            Mutation::Replace(place, text) => lines[at(place)] = text.to_string(),
            Mutation::Splice(place, column, text) => {
                let line = &mut lines[at(place)];
                let ends = line.char_indices().map(|(at, _)| at).nth(usize::from(*column));
                line.insert_str(ends.unwrap_or(line.len()), text);
            }
        }
    }
    lines.join("\r\n") + "\r\n"
}
