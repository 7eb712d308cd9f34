//! SRTP against rtc-srtp, which shares no code of ours.

use std::time::Duration;

use caside_media::srtp::{
    MAX_INBOUND_SSRCS, MAX_OUTBOUND_SSRCS, SRTCP_OVERHEAD, SRTP_OVERHEAD, SrtpError, SrtpProfile, SrtpSession,
};
use proptest::prelude::*;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::client::{DtlsOptions, oracle_contexts};
use super::link::Rng;
use super::world::{World, path};

const PROFILES: [(SrtpProfile, ProtectionProfile); 2] = [
    (SrtpProfile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
    (SrtpProfile::Aes128CmSha1_80, ProtectionProfile::Aes128CmHmacSha1_80),
];

/// Ours as the server, and the oracle's two directions: of the client, of the server.
fn pair(profile: (SrtpProfile, ProtectionProfile), seed: u64) -> (SrtpSession, Context, Context) {
    let material = Rng(seed).bytes(2 * (16 + profile.1.salt_len()));
    let (client, server) = oracle_contexts(profile.1, &material);
    (SrtpSession::new(profile.0, &material, false).unwrap(), client, server)
}

/// An RTP packet and its header's length.
fn rtp(ssrc: u32, sequence: u16, csrcs: usize, extension: Option<usize>, payload: &[u8]) -> (Vec<u8>, usize) {
    let mut packet = vec![0x80 | csrcs as u8 | u8::from(extension.is_some()) << 4, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend(0x1234_5678u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..4 * csrcs).map(|byte| byte as u8));
    if let Some(words) = extension {
        packet.extend([0xbe, 0xde]);
        packet.extend((words as u16).to_be_bytes());
        // One element that fills the first word, then padding.
        packet.extend(
            [0x12, 1, 2, 3]
                .iter()
                .cycle()
                .take(4)
                .copied()
                .chain([0; 4].into_iter().cycle())
                .take(4 * words),
        );
    }
    let header = packet.len();
    packet.extend(payload);
    (packet, header)
}

fn rtcp(ssrc: u32, words: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 201];
    packet.extend((1 + words as u16).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..4 * words).map(|byte| byte as u8));
    packet
}

fn seal(session: &mut SrtpSession, plain: &[u8], header: usize, roc: u32) -> Result<Vec<u8>, SrtpError> {
    let mut packet = [plain, &[0; SRTP_OVERHEAD]].concat();
    let len = session.protect_rtp(&mut packet, plain.len(), header, roc)?;
    packet.truncate(len);
    Ok(packet)
}

fn seal_rtcp(session: &mut SrtpSession, plain: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut packet = [plain, &[0; SRTCP_OVERHEAD]].concat();
    let len = session.protect_rtcp(&mut packet, plain.len())?;
    packet.truncate(len);
    Ok(packet)
}

fn open(session: &mut SrtpSession, sealed: &[u8]) -> Option<Vec<u8>> {
    let mut packet = sealed.to_vec();
    let len = session.unprotect_rtp(&mut packet)?;
    packet.truncate(len);
    Some(packet)
}

fn open_rtcp(session: &mut SrtpSession, sealed: &[u8]) -> Option<Vec<u8>> {
    let mut packet = sealed.to_vec();
    let len = session.unprotect_rtcp(&mut packet)?;
    packet.truncate(len);
    Some(packet)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Bit for bit, both ways, over several wraps of the sequence number, with gaps.
    #[test]
    fn agrees_with_the_oracle(
        seed in any::<u64>(),
        which in 0usize..2,
        ssrc in any::<u32>(),
        first in 0u16..0x8000,
        steps in proptest::collection::vec((1u32..0x7000, 0usize..16, proptest::option::of(1usize..5), 0usize..300), 1..40),
    ) {
        let (mut ours, mut client, mut server) = pair(PROFILES[which], seed);
        let mut rng = Rng(seed);
        let mut extended = u32::from(first);
        for (step, csrcs, extension, len) in steps {
            let payload = rng.bytes(len);
            let (plain, header) = rtp(ssrc, extended as u16, csrcs, extension, &payload);
            let sealed = seal(&mut ours, &plain, header, extended >> 16).unwrap();
            let expected = server.encrypt_rtp(&plain).unwrap();
            prop_assert_eq!(&sealed[..], &expected[..]);

            let from_client = client.encrypt_rtp(&plain).unwrap();
            let opened = open(&mut ours, &from_client);
            prop_assert_eq!(opened.as_deref(), Some(&plain[..]));
            prop_assert_eq!(open(&mut ours, &from_client), None, "a replay");
            extended += step;
        }
    }

    #[test]
    fn rtcp_agrees_with_the_oracle(
        seed in any::<u64>(),
        which in 0usize..2,
        ssrc in any::<u32>(),
        sizes in proptest::collection::vec(0usize..60, 1..30),
    ) {
        let (mut ours, mut client, mut server) = pair(PROFILES[which], seed);
        for words in sizes {
            let plain = rtcp(ssrc, words);
            let sealed = seal_rtcp(&mut ours, &plain).unwrap();
            let expected = server.encrypt_rtcp(&plain).unwrap();
            prop_assert_eq!(&sealed[..], &expected[..]);

            let from_client = client.encrypt_rtcp(&plain).unwrap();
            let opened = open_rtcp(&mut ours, &from_client);
            prop_assert_eq!(opened.as_deref(), Some(&plain[..]));
            prop_assert_eq!(open_rtcp(&mut ours, &from_client), None, "a replay");
        }
    }

    /// Whatever the order within the window, each packet is taken once; over the wrap too.
    #[test]
    fn reordered_packets_are_taken_once(seed in any::<u64>(), which in 0usize..2, first in 0xff00u32..0x1_0000) {
        let (mut ours, mut client, _) = pair(PROFILES[which], seed);
        let mut rng = Rng(seed);
        // rtc-srtp counts its own rollovers, in order.
        let (warm, _) = rtp(9, (first - 1) as u16, 0, None, b"first");
        let warm = client.encrypt_rtp(&warm).unwrap();
        prop_assert!(open(&mut ours, &warm).is_some());
        let sealed: Vec<Vec<u8>> = (first..first + 600)
            .map(|extended| client.encrypt_rtp(&rtp(9, extended as u16, 0, None, &[7; 20]).0).unwrap().to_vec())
            .collect();
        let mut order: Vec<(u64, usize)> = (0..sealed.len()).map(|i| (i as u64 + rng.below(400), i)).collect();
        order.sort_unstable();
        for (_, i) in &order {
            prop_assert!(open(&mut ours, &sealed[*i]).is_some(), "packet {}", i);
        }
        for packet in &sealed {
            prop_assert!(open(&mut ours, packet).is_none());
        }
    }

    #[test]
    fn random_packets_never_panic(seed in any::<u64>(), which in 0usize..2, mut packet in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (mut ours, _, _) = pair(PROFILES[which], seed);
        if let Some(first) = packet.first_mut() {
            *first = 0x80 | (*first & 0x3f);
        }
        prop_assert_eq!(open(&mut ours, &packet), None);
        prop_assert_eq!(open_rtcp(&mut ours, &packet), None);
        prop_assert_eq!(ours.inbound_ssrcs(), 0);
    }
}

#[test]
fn what_is_not_authentic_leaves_no_trace() {
    for profile in PROFILES {
        let (mut ours, mut client, _) = pair(profile, 5);
        let sealed = client
            .encrypt_rtp(&rtp(1, 100, 1, Some(1), b"payload").0)
            .unwrap()
            .to_vec();
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&mut ours, &damaged), None, "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(open(&mut ours, &sealed[..len]), None);
        }
        assert_eq!(ours.inbound_ssrcs(), 0);
        assert!(open(&mut ours, &sealed).is_some());

        // A forgery far ahead does not move the window.
        let mut ahead = sealed.clone();
        ahead[2..4].copy_from_slice(&30_000u16.to_be_bytes());
        assert_eq!(open(&mut ours, &ahead), None);
        let next = client.encrypt_rtp(&rtp(1, 101, 0, None, b"next").0).unwrap();
        assert!(open(&mut ours, &next).is_some());

        let sealed = client.encrypt_rtcp(&rtcp(1, 6)).unwrap().to_vec();
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_rtcp(&mut ours, &damaged), None, "bit {bit}");
        }
        assert!(open_rtcp(&mut ours, &sealed).is_some());
    }
}

#[test]
fn no_index_is_sealed_twice() {
    for profile in PROFILES {
        let (mut ours, _, _) = pair(profile, 6);
        let packet = |sequence| rtp(1, sequence, 0, None, b"payload");
        let (plain, header) = packet(500);
        assert!(seal(&mut ours, &plain, header, 0).is_ok());
        assert_eq!(seal(&mut ours, &plain, header, 0), Err(SrtpError::Reused));
        assert!(seal(&mut ours, &plain, header, 1).is_ok(), "another cycle");
        let (late, header) = packet(400);
        assert_eq!(
            seal(&mut ours, &late, header, 0),
            Err(SrtpError::Reused),
            "too late to tell"
        );
        assert!(seal(&mut ours, &late, header, 1).is_ok(), "out of order");
        assert_eq!(seal(&mut ours, &late, header, 1), Err(SrtpError::Reused));
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let (mut ours, _, _) = pair(PROFILES[0], 7);
    let (plain, header) = rtp(1, 1, 0, None, b"payload");
    let mut tight = [&plain[..], &[0; SRTP_OVERHEAD - 1]].concat();
    let len = plain.len();
    assert_eq!(ours.protect_rtp(&mut tight, len, header, 0), Err(SrtpError::Malformed));
    let mut roomy = [&plain[..], &[0; 64]].concat();
    for (len, header) in [
        (len, 11),
        (len, len + 1),
        (roomy.len() + 1, 12),
        (usize::MAX, 12),
        (0, 0),
    ] {
        assert_eq!(
            ours.protect_rtp(&mut roomy, len, header, 0),
            Err(SrtpError::Malformed),
            "{len} {header}"
        );
    }
    let mut tight = [&rtcp(1, 1)[..], &[0; SRTCP_OVERHEAD - 1]].concat();
    assert_eq!(ours.protect_rtcp(&mut tight, 12), Err(SrtpError::Malformed));
    assert_eq!(ours.protect_rtcp(&mut [0; 100], 7), Err(SrtpError::Malformed));
    assert!(SrtpSession::new(SrtpProfile::AeadAes128Gcm, &[0; 55], true).is_err());
}

#[test]
fn ssrcs_are_bounded_both_ways() {
    let (mut ours, mut client, _) = pair(PROFILES[0], 8);
    for ssrc in 0..MAX_INBOUND_SSRCS as u32 + 50 {
        let sealed = client.encrypt_rtp(&rtp(ssrc, 1, 0, None, b"x").0).unwrap();
        assert_eq!(open(&mut ours, &sealed).is_some(), (ssrc as usize) < MAX_INBOUND_SSRCS);
    }
    assert_eq!(ours.inbound_ssrcs(), MAX_INBOUND_SSRCS);
    let known = client.encrypt_rtp(&rtp(3, 2, 0, None, b"x").0).unwrap();
    assert!(open(&mut ours, &known).is_some());

    let mut seal_one = |ssrc, sequence| {
        let (plain, header) = rtp(ssrc, sequence, 0, None, b"x");
        seal(&mut ours, &plain, header, 0).map(|_| ())
    };
    for ssrc in 0..MAX_OUTBOUND_SSRCS as u32 {
        assert_eq!(seal_one(ssrc, 1), Ok(()));
    }
    assert_eq!(seal_one(0, 2), Ok(()));
    assert_eq!(seal_one(99_999, 1), Ok(()), "the one that was silent longest gave way");
    assert_eq!(seal_one(0, 2), Err(SrtpError::Reused), "not the one in use");
}

#[test]
fn media_flows_both_ways_over_a_secured_transport() {
    for profile in [
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    ] {
        let mut world = World::secured_with(DtlsOptions {
            profiles: vec![profile],
            ..Default::default()
        });
        let (mut seal, mut open) = world.client.srtp();
        for sequence in 0..30u16 {
            let (plain, header) = rtp(77, sequence, 2, Some(2), &[sequence as u8; 900]);
            let sealed = seal.encrypt_rtp(&plain).unwrap();
            world.deliver(path(1), &sealed);
            assert_eq!(world.media.last(), Some(&(false, plain.clone())));
            world.deliver(path(1), &sealed);
            world.deliver(path(2), &sealed);

            let mut packet = [&plain[..], &[0; SRTP_OVERHEAD]].concat();
            let len = world
                .transport
                .protect_rtp(&mut packet, plain.len(), header, 0)
                .unwrap();
            assert_eq!(open.decrypt_rtp(&packet[..len]).unwrap(), plain);
        }
        assert_eq!(world.media.len(), 30, "neither twice nor from elsewhere");

        let plain = rtcp(77, 12);
        let sealed = seal.encrypt_rtcp(&plain).unwrap();
        world.deliver(path(1), &sealed);
        world.deliver(path(1), &sealed);
        assert_eq!(world.media.len(), 31);
        assert_eq!(world.media.last(), Some(&(true, plain.clone())));
        let mut packet = [&plain[..], &[0; SRTCP_OVERHEAD]].concat();
        let len = world.transport.protect_rtcp(&mut packet, plain.len()).unwrap();
        assert_eq!(open.decrypt_rtcp(&packet[..len]).unwrap(), plain);
    }
}

#[test]
fn media_is_taken_from_the_path_it_moved_to() {
    let mut world = World::secured();
    let (mut seal, _) = world.client.srtp();
    let sealed = seal.encrypt_rtp(&rtp(5, 1, 0, None, b"a").0).unwrap();
    world.deliver(path(9), &sealed);
    assert!(world.media.is_empty());
    world.client_path = path(9);
    world.check_at = Some(world.now);
    world.run_for(Duration::from_millis(100));
    world.deliver(path(9), &sealed);
    let sealed = seal.encrypt_rtp(&rtp(5, 2, 0, None, b"b").0).unwrap();
    world.deliver(path(1), &sealed);
    assert_eq!(world.media.len(), 2, "the old path is still the client's");
}
