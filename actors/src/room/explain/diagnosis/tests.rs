use caside_protocol::client::{CandidateCounts, IceState, MediaReport};
use caside_protocol::{ParticipantId, Timestamp, UserId};
use uuid::Uuid;

use super::super::evidence::Refused;
use super::*;
use crate::sfu::{ConnectionStep, TrackStep};

const TRACK: TrackId = TrackId(Uuid::from_u128(7));

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn evidence() -> Evidence {
    Evidence::new(UserId::new("ada").unwrap(), "Ada".to_owned(), Timestamp::UNIX_EPOCH)
}

const OFFERED: ConnectionStep = ConnectionStep::Offered {
    udp: true,
    tcp: true,
    reached: false,
};

/// A publish connection that took these steps, in milliseconds.
fn published(steps: &[(u64, ConnectionStep)]) -> Evidence {
    let mut evidence = evidence();
    for (ms, step) in steps {
        evidence.publish.step(at(*ms), 1, *step);
    }
    evidence
}

/// One whose media flows since 300 ms, with a track of that source.
fn up() -> Evidence {
    let mut evidence = published(&[
        (0, OFFERED),
        (100, ConnectionStep::Checked { tcp: false }),
        (150, ConnectionStep::Connected),
        (200, ConnectionStep::HandshakeBegun),
    ]);
    evidence.publish.secured = Some(at(300));
    evidence.tracks.push(TrackEvidence::new(at(0), TRACK));
    evidence
}

fn track(source: Source) -> Track {
    let kind = match source {
        Source::Microphone | Source::ScreenAudio => TrackKind::Audio,
        _ => TrackKind::Video,
    };
    Track {
        track: TRACK,
        participant_id: ParticipantId(Uuid::from_u128(1)),
        kind,
        source,
        label: None,
        encryption: None,
        codec: "VP8".to_owned(),
        muted: false,
        held: false,
        layers: Vec::new(),
    }
}

fn codes(now: u64, evidence: &Evidence, tracks: &[&Track], reached: bool) -> Vec<CauseCode> {
    let diagnosis = diagnose(at(now), evidence, tracks, reached);
    diagnosis.found.iter().map(|found| found.code).collect()
}

fn report(udp: u16) -> MediaReport {
    MediaReport {
        target: Target::Publish,
        ice: IceState::Checking,
        connection: None,
        candidates: Some(CandidateCounts { udp, tcp: 1, relay: 0 }),
    }
}

#[test]
fn nothing_is_wrong_with_what_goes_well_or_has_just_begun() {
    for evidence in [evidence(), up(), published(&[(0, OFFERED)])] {
        assert_eq!(codes(2_000, &evidence, &[], false), []);
    }
    let waiting = diagnose(at(1_000), &published(&[(0, OFFERED)]), &[], false);
    assert_eq!(waiting.look_again, Some(CHECKS_WITHIN));
}

#[test]
fn where_no_check_comes_it_is_the_clients_network_if_others_come_and_else_our_address() {
    let silent = published(&[(0, OFFERED)]);
    assert_eq!(codes(3_000, &silent, &[], false), [CauseCode::AddressUnreachable]);
    assert_eq!(codes(3_000, &silent, &[], true), [CauseCode::UdpBlocked]);
    let reached = ConnectionStep::Offered {
        udp: true,
        tcp: true,
        reached: true,
    };
    assert_eq!(
        codes(3_000, &published(&[(0, reached)]), &[], false),
        [CauseCode::UdpBlocked]
    );
}

#[test]
fn a_client_that_has_no_udp_candidate_says_whose_fault_it_is() {
    let mut silent = published(&[(0, OFFERED)]);
    silent.publish.report = Some(report(0));
    assert_eq!(codes(3_000, &silent, &[], false), [CauseCode::UdpBlocked]);
    silent.publish.report = Some(report(2));
    assert_eq!(codes(3_000, &silent, &[], false), [CauseCode::AddressUnreachable]);
}

#[test]
fn a_node_that_offers_tcp_alone_blames_no_firewall_for_udp() {
    let offered = ConnectionStep::Offered {
        udp: false,
        tcp: true,
        reached: true,
    };
    let mut evidence = published(&[(0, offered)]);
    assert_eq!(codes(3_000, &evidence, &[], false), [CauseCode::AddressUnreachable]);
    evidence
        .publish
        .step(at(3_100), 1, ConnectionStep::Checked { tcp: true });
    evidence.publish.step(at(3_200), 1, ConnectionStep::Connected);
    evidence.publish.secured = Some(at(3_300));
    assert_eq!(codes(9_000, &evidence, &[], false), []);
}

#[test]
fn media_that_goes_by_tcp_alone_is_good_with_udp_blocked() {
    let mut evidence = published(&[
        (0, OFFERED),
        (100, ConnectionStep::Checked { tcp: true }),
        (150, ConnectionStep::Connected),
    ]);
    evidence.publish.secured = Some(at(400));
    assert_eq!(codes(2_000, &evidence, &[], false), []);
    let found = diagnose(at(2_100), &evidence, &[], false).found;
    assert_eq!(
        (found[0].code, found[0].tell),
        (CauseCode::UdpBlocked, Some(Quality::Good))
    );
    evidence
        .publish
        .step(at(2_200), 1, ConnectionStep::Checked { tcp: false });
    assert_eq!(codes(2_300, &evidence, &[], false), []);
}

#[test]
fn checks_that_come_before_the_answer_count() {
    let mut evidence = evidence();
    evidence
        .subscribe
        .step(at(100), 4, ConnectionStep::Checked { tcp: false });
    evidence.subscribe.step(at(150), 4, ConnectionStep::Connected);
    evidence.subscribe.step(at(200), 4, OFFERED);
    evidence.subscribe.secured = Some(at(250));
    assert_eq!(codes(60_000, &evidence, &[], true), []);
}

#[test]
fn checks_whose_answers_do_not_arrive_are_a_blocked_way_back() {
    let evidence = published(&[(0, OFFERED), (100, ConnectionStep::Checked { tcp: false })]);
    assert_eq!(codes(4_000, &evidence, &[], false), []);
    assert_eq!(codes(4_100, &evidence, &[], false), [CauseCode::UdpBlocked]);
}

#[test]
fn a_path_without_a_handshake_is_dtls_blocked() {
    let connected = published(&[
        (0, OFFERED),
        (100, ConnectionStep::Checked { tcp: false }),
        (200, ConnectionStep::Connected),
    ]);
    assert_eq!(codes(3_100, &connected, &[], false), []);
    assert_eq!(codes(3_200, &connected, &[], false), [CauseCode::DtlsBlocked]);
    let mut begun = connected.clone();
    begun.publish.step(at(300), 1, ConnectionStep::HandshakeBegun);
    assert_eq!(codes(3_200, &begun, &[], false), [CauseCode::DtlsBlocked]);
}

#[test]
fn what_a_connection_ended_by_is_told_apart() {
    for (word, after_ms, handshake, code) in [
        ("fingerprint_mismatch", 500, true, Some(CauseCode::FingerprintMismatch)),
        ("dtls_failed", 500, true, Some(CauseCode::DtlsFailed)),
        ("dtls_failed", 20_200, true, Some(CauseCode::DtlsBlocked)),
        ("dtls_failed", 20_200, false, Some(CauseCode::DtlsBlocked)),
        ("consent_expired", 40_000, true, Some(CauseCode::PathLost)),
        ("internal", 500, true, Some(CauseCode::Internal)),
        ("remote_closed", 500, true, None),
    ] {
        let mut evidence = published(&[
            (0, OFFERED),
            (100, ConnectionStep::Checked { tcp: false }),
            (200, ConnectionStep::Connected),
        ]);
        if handshake {
            evidence.publish.step(at(300), 1, ConnectionStep::HandshakeBegun);
        }
        evidence.publish.closed = Some((at(after_ms), word));
        let found = codes(after_ms, &evidence, &[], false);
        assert_eq!(found, Vec::from_iter(code), "{word} after {after_ms} ms");
    }
}

#[test]
fn who_is_not_reached_at_all_has_the_same_cause_when_its_time_is_over() {
    let mut evidence = published(&[(0, OFFERED)]);
    evidence.publish.closed = Some((at(30_000), "ice_timeout"));
    assert_eq!(codes(30_000, &evidence, &[], false), [CauseCode::AddressUnreachable]);
    assert_eq!(codes(30_000, &evidence, &[], true), [CauseCode::UdpBlocked]);
    evidence.publish.step(at(31_000), 2, OFFERED);
    assert_eq!(
        codes(31_000, &evidence, &[], true),
        [],
        "the next connection is another matter"
    );
}

#[test]
fn pictures_without_a_key_frame() {
    let camera = track(Source::Camera);
    let mut evidence = up();
    evidence.tracks[0].step(at(400), TrackStep::Started);
    let waiting = diagnose(at(500), &evidence, &[&camera], false);
    assert_eq!(
        (waiting.found.len(), waiting.look_again),
        (0, Some(at(1_400))),
        "to ask for one"
    );
    evidence.tracks[0].asked = true;
    assert_eq!(
        diagnose(at(1_500), &evidence, &[&camera], false).look_again,
        Some(at(3_400))
    );
    assert_eq!(codes(3_400, &evidence, &[&camera], false), [CauseCode::NoKeyFrame]);
    evidence.tracks[0].step(at(3_500), TrackStep::KeyFrame);
    assert_eq!(codes(3_500, &evidence, &[&camera], false), []);
    evidence.tracks[0].step(at(9_000), TrackStep::Flow(Flow::NoKeyFrame));
    assert_eq!(codes(9_000, &evidence, &[&camera], false), [CauseCode::NoKeyFrame]);
}

#[test]
fn sound_needs_no_key_frame() {
    let microphone = track(Source::Microphone);
    let mut evidence = up();
    evidence.tracks[0].step(at(400), TrackStep::Started);
    assert_eq!(codes(9_000, &evidence, &[&microphone], false), []);
}

#[test]
fn a_source_that_is_muted_held_or_silent() {
    let mut muted = track(Source::Camera);
    muted.muted = true;
    let mut evidence = up();
    let found = diagnose(at(500), &evidence, &[&muted], false).found;
    assert_eq!(
        (found[0].code, found[0].tell, found[0].track),
        (CauseCode::SourceMuted, None, Some(TRACK))
    );
    let mut held = track(Source::Microphone);
    held.held = true;
    assert_eq!(codes(500, &evidence, &[&held], false), [CauseCode::SourceMuted]);
    evidence.tracks[0].step(at(3_000), TrackStep::Flow(Flow::Silent));
    let found = diagnose(at(3_000), &evidence, &[&track(Source::Camera)], false).found;
    assert_eq!(
        (found[0].code, found[0].tell),
        (CauseCode::SourceMuted, Some(Quality::Poor))
    );
    assert_eq!(
        codes(3_000, &evidence, &[&track(Source::Screen)], false),
        [],
        "a screen may stand still"
    );
}

#[test]
fn what_comes_over_a_connection_that_is_down_is_not_judged() {
    let mut evidence = published(&[(0, OFFERED)]);
    evidence.tracks.push(TrackEvidence::new(at(0), TRACK));
    evidence.tracks[0].step(at(1_000), TrackStep::Flow(Flow::Silent));
    assert_eq!(codes(2_000, &evidence, &[&track(Source::Camera)], false), []);
}

#[test]
fn a_refused_description_counts_until_one_is_taken() {
    let mut evidence = evidence();
    for _ in 0..2 {
        evidence.refuse(Refused {
            target: Target::Publish,
            code: CauseCode::CodecMismatch,
            at: at(10),
            text: "no_common_codec: none of VP8".to_owned(),
        });
    }
    let found = diagnose(at(20), &evidence, &[], false).found;
    assert_eq!(
        (found.len(), found[0].code, found[0].tell),
        (1, CauseCode::CodecMismatch, None)
    );
    evidence.settled(Target::Publish);
    assert_eq!(codes(30, &evidence, &[], false), []);
}

#[test]
fn who_was_on_a_node_that_died_has_that_as_cause_until_media_is_back() {
    let mut evidence = evidence();
    (evidence.orphaned, evidence.lost) = (Some(at(0)), Some(at(0)));
    assert_eq!(codes(100, &evidence, &[], false), [CauseCode::OwnerLost]);
    evidence.orphaned = None;
    assert_eq!(codes(100, &evidence, &[], false), [CauseCode::SignalingLost]);
}
