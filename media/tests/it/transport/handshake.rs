//! DTLS through its outcomes.

use std::time::Duration;

use caside_media::control::CloseReason;
use caside_media::parameters::{DtlsRole, Fingerprint};
use caside_media::transport::{SrtpError, TransportEvent};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use super::client::{DtlsOptions, provider};
use super::link::{Conditions, Rng};
use super::world::{World, path};

const BAD: Conditions = Conditions {
    loss: 0.2,
    duplicate: 0.05,
    delay: Duration::from_millis(40),
    jitter: Duration::from_millis(60),
    ..Conditions::GOOD
};

#[test]
fn events_come_in_order_and_once() {
    let world = World::secured();
    let path = path(1);
    assert_eq!(
        world.events,
        [
            TransportEvent::PathAdded(path),
            TransportEvent::PathChanged { old: None, new: path },
            TransportEvent::Connected,
            TransportEvent::HandshakeBegun,
            TransportEvent::Secured
        ]
    );
    assert_eq!(world.transport.path(), Some(path));
    assert!(world.transport.bytes_received() > 0 && world.transport.bytes_sent() > 0);
}

#[test]
fn aead_is_agreed_on_whenever_the_client_has_it() {
    use SrtpProtectionProfile as Profile;
    for (offered, agreed) in [
        (
            vec![Profile::Srtp_Aes128_Cm_Hmac_Sha1_80, Profile::Srtp_Aead_Aes_128_Gcm],
            Profile::Srtp_Aead_Aes_128_Gcm,
        ),
        (
            vec![Profile::Srtp_Aead_Aes_128_Gcm, Profile::Srtp_Aes128_Cm_Hmac_Sha1_80],
            Profile::Srtp_Aead_Aes_128_Gcm,
        ),
        (
            vec![Profile::Srtp_Aes128_Cm_Hmac_Sha1_80],
            Profile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        ),
    ] {
        let world = World::secured_with(DtlsOptions {
            profiles: offered.clone(),
            ..Default::default()
        });
        assert_eq!(world.client.profile(), agreed, "{offered:?}");
    }
}

#[test]
fn a_client_without_srtp_gets_data_channels_alone() {
    let mut world = World::secured_with(DtlsOptions {
        profiles: Vec::new(),
        ..Default::default()
    });
    assert_eq!(
        world.transport.protect_rtp(&mut [0x80; 60], 20, 12, 0),
        Err(SrtpError::NotSecured)
    );
}

#[test]
fn survives_loss_and_reordering_as_server() {
    for seed in 0..40 {
        let mut world = World::new(DtlsOptions::default(), BAD, seed);
        world.connect();
        world.run_until(Duration::from_secs(19), |world| {
            world.transport.is_secured() && world.client.complete
        });
        assert!(
            world.transport.is_secured() && world.client.complete,
            "seed {seed}: {:?}",
            world.events
        );
    }
}

#[test]
fn survives_loss_and_reordering_as_client() {
    for seed in 0..40 {
        let mut world = World::new(
            DtlsOptions {
                role: DtlsRole::Server,
                ..Default::default()
            },
            BAD,
            seed,
        );
        let fingerprint = world.client.fingerprint("sha-256");
        world.connect_with(DtlsRole::Client, vec![fingerprint]);
        world.run_until(Duration::from_secs(19), |world| {
            world.transport.is_secured() && world.client.complete
        });
        assert!(
            world.transport.is_secured() && world.client.complete,
            "seed {seed}: {:?}",
            world.events
        );
    }
}

#[test]
fn is_secured_only_once_the_fingerprint_was_told() {
    let mut world = World::new(DtlsOptions::default(), Conditions::GOOD, 1);
    world.run_until(Duration::from_secs(3), |world| world.client.complete);
    assert!(world.client.complete);
    assert!(!world.transport.is_secured());
    assert!(!world.events.contains(&TransportEvent::Secured));
    // However long the answer takes, the handshake's clock does not run.
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.closed(), None);
    world.connect();
    assert_eq!(world.events.last(), Some(&TransportEvent::Secured));
}

#[test]
fn another_certificate_closes_the_transport() {
    let other = Fingerprint {
        algorithm: "sha-256".to_owned(),
        digest: vec![7; 32],
    };
    for told_late in [false, true] {
        let mut world = World::new(DtlsOptions::default(), Conditions::GOOD, 1);
        if told_late {
            world.run_until(Duration::from_secs(3), |world| world.client.complete);
        }
        world.connect_with(DtlsRole::Server, vec![other.clone()]);
        world.run_for(Duration::from_secs(3));
        assert_eq!(world.closed(), Some(CloseReason::FingerprintMismatch));
        assert!(!world.transport.is_secured());
        assert_eq!(world.transport.path(), None);
        assert_eq!(world.transport.poll_timeout(), None);
        assert_eq!(
            world.transport.protect_rtp(&mut [0x80; 60], 20, 12, 0),
            Err(SrtpError::NotSecured)
        );
    }
}

#[test]
fn one_right_fingerprint_suffices() {
    let mut world = World::new(DtlsOptions::default(), Conditions::GOOD, 1);
    let wrong = Fingerprint {
        algorithm: "sha-256".to_owned(),
        digest: vec![7; 32],
    };
    let right = world.client.fingerprint("sha-512");
    world.connect_with(DtlsRole::Server, vec![wrong, right]);
    world.run_for(Duration::from_secs(3));
    assert!(world.transport.is_secured());
}

#[test]
fn rsa_certificates_are_accepted_in_either_role() {
    let rsa = Certificate::generate_self_signed_with_alg(
        vec!["client".to_owned()],
        &rcgen::PKCS_RSA_SHA256,
        provider().crypto(),
    )
    .unwrap();
    World::secured_with(DtlsOptions {
        certificate: rsa.clone(),
        ..Default::default()
    });

    let options = DtlsOptions {
        certificate: rsa,
        role: DtlsRole::Server,
        ..Default::default()
    };
    let mut world = World::new(options, Conditions::GOOD, 1);
    let fingerprint = world.client.fingerprint("sha-256");
    world.connect_with(DtlsRole::Client, vec![fingerprint]);
    world.run_for(Duration::from_secs(3));
    assert!(world.transport.is_secured(), "{:?}", world.events);
}

#[test]
fn a_handshake_that_never_ends_closes_the_transport() {
    let mut world = World::new(
        DtlsOptions {
            role: DtlsRole::Server,
            ..Default::default()
        },
        Conditions::GOOD,
        1,
    );
    // Both wait for the other's ClientHello.
    world.connect();
    let begun = world.now;
    world.run_until(Duration::from_secs(60), |world| world.closed().is_some());
    assert_eq!(world.closed(), Some(CloseReason::DtlsFailed));
    assert!(world.now - begun >= Duration::from_secs(20) && world.now - begun < Duration::from_secs(21));
}

#[test]
fn close_notify_goes_both_ways() {
    let mut world = World::secured();
    world.client.close(world.now);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.closed(), Some(CloseReason::RemoteClosed));

    let mut world = World::secured();
    world.transport.close(world.now, &mut world.out);
    world.collect();
    world.run_for(Duration::from_secs(1));
    assert!(world.client.closed);
    assert!(!world.transport.is_secured());
    assert_eq!(world.closed(), None, "who closes it knows");
}

#[test]
fn unchecked_paths_make_no_state() {
    let mut world = World::new(DtlsOptions::default(), Conditions::GOOD, 1);
    world.connect();
    world.client.begin(world.now);
    let hello = world.client.transmits().remove(0);
    assert!(world.deliver(path(1), &hello).is_empty());
    assert!(!world.transport.has_begun_dtls());
    assert_eq!((world.transport.path_count(), world.transport.bytes_received()), (0, 0));

    let check = world.check().datagram();
    world.deliver(path(1), &check);
    assert!(
        world.deliver(path(2), &hello).is_empty(),
        "not the path that was checked"
    );
    assert!(!world.transport.has_begun_dtls());
    assert_eq!(world.deliver(path(1), &hello).len(), 1);
    assert!(world.transport.has_begun_dtls());
}

/// What an attacker with the client's address may send while the handshake lasts; the handshake still comes through, or fails in
/// an orderly way.
#[test]
fn garbage_on_a_checked_path_neither_panics_nor_stops_the_handshake() {
    for seed in 0..20 {
        let mut rng = Rng(seed);
        let mut world = World::new(DtlsOptions::default(), Conditions::GOOD, seed);
        world.connect();
        for _ in 0..200 {
            world.run_for(Duration::from_millis(1));
            let len = rng.below(120) as usize;
            let mut datagram = rng.bytes(len);
            if datagram.len() > 13 {
                datagram[0] = 20 + rng.below(5) as u8;
                datagram[1..3].copy_from_slice(&[0xfe, 0xfd]);
                // Epoch 0 handshake messages could be anything that the client did not say: they do break a handshake.
                datagram[3..5].copy_from_slice(&(1 + rng.below(2) as u16).to_be_bytes());
                let body = (datagram.len() - 13) as u16;
                datagram[11..13].copy_from_slice(&body.to_be_bytes());
            }
            world.deliver(path(1), &datagram);
        }
        world.run_for(Duration::from_secs(5));
        assert!(world.transport.is_secured(), "seed {seed}: {:?}", world.events);
    }
}

#[test]
fn forged_handshake_messages_never_panic() {
    for seed in 0..200 {
        let mut rng = Rng(seed);
        let mut world = World::new(DtlsOptions::default(), Conditions::GOOD, seed);
        world.connect();
        let check = world.check().datagram();
        world.deliver(path(1), &check);
        world.client.begin(world.now);
        // The client's own flights, with bytes changed.
        for _ in 0..4 {
            for mut datagram in world.client.transmits() {
                for _ in 0..1 + rng.below(3) {
                    let at = 13 + rng.below(datagram.len() as u64 - 13) as usize;
                    datagram[at] = rng.next() as u8;
                }
                for (_, answer) in world.deliver(path(1), &datagram) {
                    world.client.receive(world.now, &answer);
                }
            }
            world.run_for(Duration::from_millis(400));
        }
    }
}
