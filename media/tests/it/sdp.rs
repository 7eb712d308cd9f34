//! SDP: descriptions of real clients in, parameters and descriptions out.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod answers;
mod limits;
mod properties;
mod publish;
mod subscribe;
mod view;

use caside_media::parameters::{CodecKind, Fingerprint, IceCredentials, ProducerId};
use caside_media::sdp::model::{Description, Media};
use caside_media::sdp::{
    Candidate, CandidateTransport, CodecPolicy, LocalDescription, NegotiateError, PublishAnswer, PublishSession, parse,
};

const CHROMIUM_CAMERA: &str = include_str!("../fixtures/sdp/chromium_camera.sdp");
const CHROMIUM_SENDRECV_DATA: &str = include_str!("../fixtures/sdp/chromium_sendrecv_data.sdp");
const CHROMIUM_SCREEN: &str = include_str!("../fixtures/sdp/chromium_screen.sdp");
const CHROMIUM_SIMULCAST: &str = include_str!("../fixtures/sdp/chromium_simulcast.sdp");
pub(crate) const CHROMIUM_RECVONLY: &str = include_str!("../fixtures/sdp/chromium_recvonly.sdp");
const AIORTC: &str = include_str!("../fixtures/sdp/aiortc_publish.sdp");
const FIREFOX: &str = include_str!("../fixtures/sdp/firefox_publish.sdp");
const SAFARI: &str = include_str!("../fixtures/sdp/safari_publish.sdp");
const GSTREAMER: &str = include_str!("../fixtures/sdp/gstreamer_publish.sdp");
const WEBRTC_RS: &str = include_str!("../fixtures/sdp/webrtc_rs_publish.sdp");

/// One Chromium connection, offer after offer.
const CHROMIUM_SESSION: [&str; 8] = [
    include_str!("../fixtures/sdp/chromium_session_0_camera.sdp"),
    include_str!("../fixtures/sdp/chromium_session_1_screen_added.sdp"),
    include_str!("../fixtures/sdp/chromium_session_2_data_added.sdp"),
    include_str!("../fixtures/sdp/chromium_session_3_screen_stopped.sdp"),
    include_str!("../fixtures/sdp/chromium_session_4_video_inactive.sdp"),
    include_str!("../fixtures/sdp/chromium_session_5_video_again.sdp"),
    include_str!("../fixtures/sdp/chromium_session_6_screen_recycled.sdp"),
    include_str!("../fixtures/sdp/chromium_session_7_ice_restart.sdp"),
];

/// Every fixture.
const ALL: [&str; 12] = [
    CHROMIUM_CAMERA,
    CHROMIUM_SENDRECV_DATA,
    CHROMIUM_SCREEN,
    CHROMIUM_SIMULCAST,
    CHROMIUM_RECVONLY,
    AIORTC,
    FIREFOX,
    SAFARI,
    GSTREAMER,
    WEBRTC_RS,
    CHROMIUM_SESSION[3],
    CHROMIUM_SESSION[6],
];

fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{name}ufrag"),
        pwd: format!("{name}0123456789abcdefghijkl"),
    }
}

pub(crate) fn local() -> LocalDescription {
    LocalDescription {
        ice: credentials("first"),
        fingerprint: Fingerprint {
            algorithm: "sha-256".to_owned(),
            digest: (0..32).collect(),
        },
        candidates: vec![
            Candidate {
                address: "192.0.2.1:7000".parse().unwrap(),
                transport: CandidateTransport::Udp,
            },
            Candidate {
                address: "[2001:db8::1]:7000".parse().unwrap(),
                transport: CandidateTransport::Udp,
            },
            Candidate {
                address: "192.0.2.1:7000".parse().unwrap(),
                transport: CandidateTransport::TcpPassive,
            },
        ],
    }
}

/// A publish connection with a counter for ids.
struct Publisher {
    session: PublishSession,
    next: u64,
}

impl Publisher {
    fn new(policy: CodecPolicy) -> Self {
        Self {
            session: PublishSession::new(local(), policy),
            next: 0,
        }
    }

    fn offer(&mut self, sdp: &str) -> Result<PublishAnswer, NegotiateError> {
        let next = &mut self.next;
        let mut allocate = || {
            *next += 1;
            ProducerId(*next)
        };
        self.session.offer(sdp, &mut allocate, &mut || credentials("restarted"))
    }
}

fn publish(sdp: &str) -> Result<PublishAnswer, NegotiateError> {
    Publisher::new(CodecPolicy::default()).offer(sdp)
}

/// The answer's text, read back.
fn answer(sdp: &str) -> Description {
    parse(&publish(sdp).unwrap().sdp).unwrap()
}

fn payload_types(media: &Media) -> Vec<u8> {
    media.codecs.iter().map(|codec| codec.payload_type.0).collect()
}

fn kinds(answer: &PublishAnswer) -> Vec<Vec<CodecKind>> {
    let of = |codecs: &[caside_media::parameters::Codec]| {
        let mut kinds: Vec<CodecKind> = codecs.iter().map(|codec| codec.kind).collect();
        kinds.dedup();
        kinds
    };
    answer
        .added
        .iter()
        .map(|(_, _, parameters)| of(&parameters.codecs))
        .collect()
}

/// The offer with every line that begins so replaced.
fn with_lines(sdp: &str, prefix: &str, replacement: &str) -> String {
    let line = |line: &str| {
        if line.starts_with(prefix) {
            replacement.to_owned()
        } else {
            line.to_owned()
        }
    };
    let lines: Vec<String> = sdp.lines().map(line).filter(|line| !line.is_empty()).collect();
    lines.join("\r\n") + "\r\n"
}
