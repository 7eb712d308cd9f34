//! Why something does not work, by what is known of it: pure functions of the evidence and the time.
//!
//! What the server can tell apart is told apart, and nothing else. That no check of a client arrives may be its network or our
//! address: it is the network when others do arrive, or when the client says that it has no UDP candidate of its own.

use std::time::Duration;

use caside_media::control::Flow;
use caside_protocol::TrackId;
use caside_protocol::client::Target;
use caside_protocol::explain::CauseCode;
use caside_protocol::view::{Quality, Source, Track, TrackKind};

use super::evidence::{Connection, Evidence, TrackEvidence};

/// A browser's first check comes within a second of the answer.
pub(super) const CHECKS_WITHIN: Duration = Duration::from_secs(3);
/// And it nominates soon after the first that is answered.
const NOMINATES_WITHIN: Duration = Duration::from_secs(4);
/// A handshake takes two round trips; its first repetition comes after one second at most.
pub(super) const SECURES_WITHIN: Duration = Duration::from_secs(3);
/// So long after the first check by TCP none by UDP is to be expected any more.
const UDP_WITHIN: Duration = Duration::from_secs(2);
/// From the first packet of a picture to its first key frame.
pub(super) const KEY_FRAME_WITHIN: Duration = Duration::from_secs(3);
/// When a key frame is asked for, of a picture that did not begin with one.
pub(super) const ASK_AFTER: Duration = Duration::from_secs(1);
/// A handshake that ends as late as this ran out of time; see `TransportConfig::dtls_timeout`.
const TIMED_OUT: Duration = Duration::from_secs(15);
/// Who came to a new node and has no media is not waited for longer.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(15);

/// A cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) code: CauseCode,
    pub(super) track: Option<TrackId>,
    /// Since when, since the room began.
    pub(super) since: Duration,
    pub(super) detail: String,
    /// How good the connection is said to be with it by `connection-quality`; `None`: clients are told in another way.
    pub(super) tell: Option<Quality>,
}

/// What is said of a source that is silent and neither muted nor held.
pub(super) const NOTHING_COMES: &str = "no packet comes";

/// What is wrong, and when there is more to be seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diagnosis {
    pub(super) found: Vec<Found>,
    pub(super) look_again: Option<Duration>,
}

impl Diagnosis {
    fn add(&mut self, code: CauseCode, since: Duration, detail: impl Into<String>) -> &mut Found {
        self.found.push(Found {
            code,
            track: None,
            since,
            detail: detail.into(),
            tell: Some(Quality::Poor),
        });
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// Adds a cause once its time has come, or has it looked at then.
    fn when(&mut self, now: Duration, due: Duration, code: CauseCode, detail: &str) {
        if now >= due {
            self.add(code, due, detail);
        } else {
            self.look_at(due);
        }
    }

    fn look_at(&mut self, at: Duration) {
        self.look_again = Some(self.look_again.map_or(at, |known| known.min(at)));
    }
}

/// Everything of one participant. `reached`: whether anybody else in the room reached this node by UDP.
pub(super) fn diagnose(now: Duration, evidence: &Evidence, tracks: &[&Track], reached: bool) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    if let Some(since) = evidence.orphaned {
        let over = since + COMES_BACK_WITHIN;
        if now < over {
            diagnosis.add(CauseCode::OwnerLost, since, "another node took the room over");
            diagnosis.look_at(over);
        }
    } else if let Some(since) = evidence.lost {
        diagnosis.add(CauseCode::SignalingLost, since, "").tell = None;
    }
    for refused in &evidence.refused {
        diagnosis.add(refused.code, refused.at, refused.text.clone()).tell = None;
    }
    for target in [Target::Publish, Target::Subscribe] {
        let connection = match target {
            Target::Publish => &evidence.publish,
            Target::Subscribe => &evidence.subscribe,
        };
        of_connection(&mut diagnosis, now, target, connection, reached);
    }
    for known in &evidence.tracks {
        if let Some(track) = tracks.iter().find(|track| track.track == known.track) {
            of_track(&mut diagnosis, now, known, track, evidence.publish.is_up());
        }
    }
    diagnosis
}

fn of_connection(diagnosis: &mut Diagnosis, now: Duration, target: Target, connection: &Connection, reached: bool) {
    let Some(offered) = connection.offered else { return };
    let name = match target {
        Target::Publish => "publish connection",
        Target::Subscribe => "subscribe connection",
    };
    let say = |what: &str| format!("{name}: {what}");
    if let Some((at, word)) = connection.closed {
        let code = match word {
            "fingerprint_mismatch" => CauseCode::FingerprintMismatch,
            "dtls_failed" if ran_out(connection, at) => CauseCode::DtlsBlocked,
            "dtls_failed" => CauseCode::DtlsFailed,
            "consent_expired" => CauseCode::PathLost,
            "internal" => CauseCode::Internal,
            "ice_timeout" => unreached(connection, reached),
            _ => return,
        };
        diagnosis.add(code, at, say(&format!("it closed: {word}")));
        return;
    }
    if let (None, Some(connected)) = (connection.secured, connection.connected) {
        let what = match connection.handshake {
            None => "ICE has a path, and no DTLS datagram came",
            Some(_) => "the DTLS handshake began and does not end",
        };
        return diagnosis.when(now, connected + SECURES_WITHIN, CauseCode::DtlsBlocked, &say(what));
    }
    match connection.checked {
        None => {
            let code = unreached(connection, reached);
            let what = match (&connection.report, reached || connection.reached_before) {
                (Some(report), _) if report.lacks_udp() => "no ICE check came; the client has no UDP candidate",
                (_, true) => "no ICE check came, while others' did",
                (_, false) => "no ICE check came, nor did anybody's since this node started",
            };
            diagnosis.when(now, offered + CHECKS_WITHIN, code, &say(what));
        }
        Some(checked) if connection.connected.is_none() => {
            let what = "ICE checks come, but the client seems not to get their answers";
            diagnosis.when(now, checked + NOMINATES_WITHIN, CauseCode::UdpBlocked, &say(what));
        }
        Some(checked) if connection.offers_udp && !connection.udp_checked => {
            let what = "checks come by TCP alone, which carries the media now";
            diagnosis.when(now, checked + UDP_WITHIN, CauseCode::UdpBlocked, &say(what));
            if let Some(found) = diagnosis
                .found
                .last_mut()
                .filter(|found| found.code == CauseCode::UdpBlocked)
            {
                found.tell = Some(Quality::Good);
            }
        }
        Some(_) => {}
    }
}

/// Whether the handshake's time ran out, rather than that it went wrong.
fn ran_out(connection: &Connection, at: Duration) -> bool {
    let began = connection.connected.unwrap_or(at);
    connection.handshake.is_none() || at.saturating_sub(began) >= TIMED_OUT
}

/// Whose fault it is that nothing comes.
fn unreached(connection: &Connection, reached: bool) -> CauseCode {
    let lacks_udp = connection.report.as_ref().is_some_and(|report| report.lacks_udp());
    if connection.offers_udp && (reached || connection.reached_before || lacks_udp) {
        CauseCode::UdpBlocked
    } else {
        CauseCode::AddressUnreachable
    }
}

fn of_track(diagnosis: &mut Diagnosis, now: Duration, known: &TrackEvidence, track: &Track, is_up: bool) {
    let source = track.source.as_str();
    if track.muted || track.held {
        let how = if track.muted { "muted" } else { "on hold" };
        let since = known.paused_since.unwrap_or(now);
        let found = diagnosis.add(CauseCode::SourceMuted, since, format!("{source}: {how}"));
        // Everybody gets `track-updated`.
        (found.tell, found.track) = (None, Some(track.track));
        return;
    }
    if !is_up {
        return;
    }
    // A screen on which nothing moves sends nothing in some browsers.
    let must_flow = matches!(track.source, Source::Camera | Source::Microphone);
    if known.flow == Flow::Silent && must_flow {
        let detail = format!("{source}: {NOTHING_COMES}");
        diagnosis.add(CauseCode::SourceMuted, known.flow_since, detail).track = Some(track.track);
        return;
    }
    let Some(started) = known.started.filter(|_| track.kind == TrackKind::Video) else {
        return;
    };
    let detail = format!("{source}: packets come, and no key frame");
    if known.flow == Flow::NoKeyFrame {
        diagnosis.add(CauseCode::NoKeyFrame, known.flow_since, detail).track = Some(track.track);
    } else if !known.key_frame {
        let due = started + KEY_FRAME_WITHIN;
        if now >= due {
            diagnosis.add(CauseCode::NoKeyFrame, due, detail).track = Some(track.track);
        } else {
            diagnosis.look_at(if known.asked { due } else { due.min(started + ASK_AFTER) });
        }
    }
}

#[cfg(test)]
mod tests;
