//! Negotiates with whoever writes to its standard input: for trying descriptions of real clients by hand or by script.
//!
//! Each command is a line; a description follows its command and ends with a line of a single dot, as do replies.
//!
//! - `policy simulcast`, `policy data`, `policy feedback`, `policy prefer CODEC`: before the first description
//! - `publish`, an offer: the answer
//! - `add ID CODEC FMTP`, `remove ID`: tracks to subscribe to
//! - `subscribe`: our offer, empty when there is nothing to offer
//! - `answer`, an answer: what became of it

use std::io::{self, BufRead, Write};

use caside_media::parameters::{
    Codec, CodecKind, ConsumerId, ExtensionIds, Feedback, Fingerprint, IceCredentials, MediaKind, PayloadType,
    ProducerId,
};
use caside_media::sdp::{
    Candidate, CandidateTransport, CodecPolicy, LocalDescription, PublishSession, SubscribeSession, SubscribeTrack,
};

/// Both connections, and what new ones are numbered with.
struct Sessions {
    publish: PublishSession,
    subscribe: SubscribeSession,
    next: u64,
}

fn main() -> io::Result<()> {
    let mut lines = io::stdin().lock().lines();
    let mut out = io::stdout().lock();
    let mut policy = CodecPolicy::default();
    let mut sessions: Option<Sessions> = None;
    while let Some(line) = lines.next().transpose()? {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["policy", change @ ..] = words.as_slice() {
            change_policy(&mut policy, change);
            continue;
        }
        let sessions = sessions.get_or_insert_with(|| Sessions {
            publish: PublishSession::new(local("pub"), policy.clone()),
            subscribe: SubscribeSession::new(local("sub"), policy.clone()),
            next: 0,
        });
        let reply = match words.as_slice() {
            ["publish"] => sessions.publish(&description(&mut lines)?),
            ["add", id, codec, rest @ ..] => sessions.add(id, codec, rest.first().copied().unwrap_or_default()),
            ["remove", id] => {
                sessions.subscribe.remove(ConsumerId(id.parse().unwrap_or_default()));
                String::new()
            }
            ["subscribe"] => sessions.subscribe.offer().map_or(String::new(), |offer| offer.sdp),
            ["answer"] => match sessions.subscribe.answer(&description(&mut lines)?) {
                Ok(answer) => format!("{answer:#?}\n"),
                Err(error) => format!("error {}: {error}\n", error.code()),
            },
            _ => "error: unknown command\n".to_owned(),
        };
        writeln!(out, "{reply}.")?;
        out.flush()?;
    }
    Ok(())
}

impl Sessions {
    fn publish(&mut self, offer: &str) -> String {
        let next = &mut self.next;
        let mut allocate = || {
            *next += 1;
            ProducerId(*next)
        };
        let mut credentials = || local("again").ice;
        match self.publish.offer(offer, &mut allocate, &mut credentials) {
            Ok(answer) => answer.sdp,
            Err(error) => format!("error {}: {error}\n", error.code()),
        }
    }

    fn add(&mut self, id: &str, codec: &str, fmtp: &str) -> String {
        let Some(kind) = codec_kind(codec) else {
            return "error: unknown codec\n".to_owned();
        };
        let track = SubscribeTrack {
            consumer: ConsumerId(id.parse().unwrap_or_default()),
            kind: kind.media(),
            codec: Codec {
                kind,
                payload_type: PayloadType(0),
                clock_rate: 0,
                channels: 0,
                fmtp: fmtp.to_owned(),
                feedback: Feedback::default(),
                rtx: None,
                red: None,
            },
            stream_id: "participant".to_owned(),
            track_id: format!("track-{id}"),
            extensions: ExtensionIds {
                audio_level: Some(1).filter(|_| kind.media() == MediaKind::Audio),
                video_orientation: Some(2).filter(|_| kind.media() == MediaKind::Video),
                ..ExtensionIds::default()
            },
            cname: "participant".to_owned(),
        };
        match self.subscribe.add(track) {
            Ok(()) => String::new(),
            Err(error) => format!("error: {error}\n"),
        }
    }
}

fn change_policy(policy: &mut CodecPolicy, change: &[&str]) {
    match change {
        ["simulcast"] => policy.simulcast = true,
        ["data"] => policy.data_on_subscribe = true,
        ["feedback"] => {
            let all = Feedback {
                nack: true,
                pli: true,
                fir: true,
                transport_cc: true,
                remb: true,
            };
            (policy.feedback, policy.subscribe_feedback) = (all, all);
        }
        ["prefer", codec] => policy.preferred.extend(codec_kind(codec)),
        _ => {}
    }
}

fn codec_kind(name: &str) -> Option<CodecKind> {
    [
        CodecKind::Opus,
        CodecKind::Vp8,
        CodecKind::H264,
        CodecKind::Vp9,
        CodecKind::Av1,
    ]
    .into_iter()
    .find(|kind| kind.name().eq_ignore_ascii_case(name))
}

/// The description that follows a command.
fn description(lines: &mut impl Iterator<Item = io::Result<String>>) -> io::Result<String> {
    let mut text = String::new();
    for line in lines {
        match line?.trim_end() {
            "." => break,
            line => {
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
    }
    Ok(text)
}

/// A server that nobody reaches: descriptions alone are tried here.
fn local(name: &str) -> LocalDescription {
    let address = |text: &str| text.parse().expect("a literal address");
    LocalDescription {
        ice: IceCredentials {
            ufrag: format!("{name}ufrag"),
            pwd: format!("{name}0123456789abcdefghij"),
        },
        fingerprint: Fingerprint {
            algorithm: "sha-256".to_owned(),
            digest: (0..32).collect(),
        },
        candidates: vec![
            Candidate {
                address: address("192.0.2.1:7000"),
                transport: CandidateTransport::Udp,
            },
            Candidate {
                address: address("[2001:db8::1]:7000"),
                transport: CandidateTransport::Udp,
            },
            Candidate {
                address: address("192.0.2.1:7000"),
                transport: CandidateTransport::TcpPassive,
            },
        ],
    }
}
