//! The attacks there are.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use super::attack::{Attack, Limit};
use super::channels::{Messages, Nonsense};
use super::checks::{Flapping, Impostor};
use super::handshakes::{Fragments, Renegotiation};
use super::intruder::{Guest, squat};
use super::pipe::Line;
use super::rtcp::{Report, ReportFlood};
use super::srtp::{Media, MediaFlood};
use super::strangers::{Pretence, Strangers};
use super::tcp::{Stream, Streams};
use super::{INTRUDERS, Options, Scene};

/// Those who join only to be in the way.
const SQUATTERS: u8 = 12;

/// What strangers may take to send their share, at most.
const STRANGERS_LIMIT: Duration = Duration::from_secs(60);

/// One attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// By nobody, from many addresses.
    Strangers(Pretence),
    /// Over TCP, by nobody.
    Tcp(Stream),
    /// By somebody who joined.
    Media(Media),
    Report(Report),
    Renegotiation,
    Fragments,
    Flapping,
    Impostor,
    SctpNonsense,
    Messages,
}

const ALL: [Kind; 23] = [
    Kind::Strangers(Pretence::Noise),
    Kind::Strangers(Pretence::UnknownUfrag),
    Kind::Strangers(Pretence::WrongIntegrity),
    Kind::Strangers(Pretence::ClientHello),
    Kind::Strangers(Pretence::Media),
    Kind::Media(Media::Replayed),
    Kind::Media(Media::Mutated),
    Kind::Media(Media::ManySsrcs),
    Kind::Media(Media::TooMuch),
    Kind::Report(Report::Nacks),
    Kind::Report(Report::KeyFrames),
    Kind::Report(Report::Bandwidth),
    Kind::Report(Report::Goodbyes),
    Kind::Report(Report::Nonsense),
    Kind::Renegotiation,
    Kind::Fragments,
    Kind::Flapping,
    Kind::Impostor,
    Kind::SctpNonsense,
    Kind::Messages,
    Kind::Tcp(Stream::Slow),
    Kind::Tcp(Stream::Giant),
    Kind::Tcp(Stream::Many),
];

impl Kind {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        ALL.into_iter()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Strangers(Pretence::Noise) => "strangers: random bytes",
            Self::Strangers(Pretence::UnknownUfrag) => "strangers: STUN, unknown ufrag",
            Self::Strangers(Pretence::WrongIntegrity) => "strangers: STUN, wrong integrity",
            Self::Strangers(Pretence::ClientHello) => "strangers: DTLS ClientHello",
            Self::Strangers(Pretence::Media) => "strangers: RTP and RTCP",
            Self::Media(Media::Replayed) => "SRTP replayed",
            Self::Media(Media::Mutated) => "SRTP, SRTCP mutated, truncated",
            Self::Media(Media::ManySsrcs) => "SRTP of thousands of SSRCs",
            Self::Media(Media::TooMuch) => "SRTP, good and too much",
            Self::Report(Report::Nacks) => "RTCP NACK",
            Self::Report(Report::KeyFrames) => "RTCP PLI and FIR",
            Self::Report(Report::Bandwidth) => "RTCP REMB and TWCC made up",
            Self::Report(Report::Goodbyes) => "RTCP BYE and SR of others",
            Self::Report(Report::Nonsense) => "RTCP of random bytes",
            Self::Renegotiation => "DTLS on a secured path",
            Self::Fragments => "DTLS handshakes without end",
            Self::Flapping => "ICE roles, nominations, places",
            Self::Impostor => "ICE from the call's addresses",
            Self::SctpNonsense => "SCTP of random chunks",
            Self::Messages => "data channel messages",
            Self::Tcp(Stream::Slow) => "TCP a byte at a time",
            Self::Tcp(Stream::Giant) => "TCP frames beyond bounds",
            Self::Tcp(Stream::Many) => "TCP connections",
        }
    }

    /// Whether it is by nobody, who must leave no trace at all.
    pub(super) fn is_of_strangers(self) -> bool {
        matches!(self, Self::Strangers(_))
    }

    /// How long it goes on.
    pub(super) fn limit(self, options: &Options) -> Limit {
        let kinds = ALL.iter().filter(|kind| kind.is_of_strangers()).count() as u64;
        if self.is_of_strangers() {
            Limit {
                time: STRANGERS_LIMIT,
                sent: options.spoofed / kinds,
                per_second: options.rate,
            }
        } else {
            Limit {
                time: Duration::from_secs(options.seconds),
                sent: u64::MAX,
                per_second: options.rate,
            }
        }
    }

    /// Lets in whom it needs.
    pub(super) async fn prepare(self, scene: &Scene) -> Result<(Box<dyn Attack>, Vec<Guest>)> {
        if let Self::Tcp(stream) = self {
            return Ok((Box::new(Streams::new(scene.media, stream)), Vec::new()));
        }
        let (intruder, guest) = scene.intrude(1).await?;
        let mut guests = vec![guest];
        let attack: Box<dyn Attack> = match self {
            Self::Tcp(stream) => Box::new(Streams::new(scene.media, stream)),
            Self::Strangers(pretence) => {
                let victim = &intruder.publish.line.remote;
                Box::new(Strangers::new(scene.media, pretence, victim, &scene.identity)?)
            }
            Self::Media(kind) => Box::new(MediaFlood::new(intruder, kind)?),
            Self::Report(kind) => Box::new(ReportFlood::new(intruder, kind)),
            Self::Renegotiation => Box::new(Renegotiation::new(intruder, &scene.identity)?),
            Self::Fragments => Box::new(Fragments::new(squatters(scene, &mut guests).await?)),
            Self::Flapping => Box::new(Flapping::new(intruder)),
            Self::Impostor => Box::new(Impostor::new(intruder, scene.light.clone(), scene.members)),
            Self::SctpNonsense => Box::new(Nonsense::new(intruder)),
            Self::Messages => Box::new(Messages::new(intruder, squatters(scene, &mut guests).await?)?),
        };
        Ok((attack, guests))
    }
}

async fn squatters(scene: &Scene, guests: &mut Vec<Guest>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for number in 0..SQUATTERS {
        let from = Ipv4Addr::from(INTRUDERS | (u32::from(number) + 16));
        let (line, guest) = squat(scene.door(), from).await?;
        lines.push(line);
        guests.push(guest);
    }
    Ok(lines)
}
