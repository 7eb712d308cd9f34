//! ICE-lite through its answers and events.

use std::time::Duration;

use caside_media::control::CloseReason;
use caside_media::ice::{MAX_PATHS, stun_ufrag};
use caside_media::parameters::{DtlsParameters, DtlsRole, IceCredentials, Path};
use caside_media::transport::TransportEvent;
use rtc_stun::attributes::{ATTR_UNKNOWN_ATTRIBUTES, ATTR_USE_CANDIDATE};
use rtc_stun::error_code::{CODE_ROLE_CONFLICT, CODE_UNKNOWN_ATTRIBUTE, ErrorCodeAttribute};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_ERROR, BINDING_SUCCESS, Getter, Message, Setter};
use rtc_stun::xoraddr::XorMappedAddress;

use super::client::{Check, DtlsOptions, ICE_CONTROLLED, provider, sign};
use super::link::{Conditions, Rng};
use super::world::{World, path};

fn world() -> World {
    World::new(DtlsOptions::default(), Conditions::GOOD, 1)
}

/// An answer, its integrity and fingerprint proven.
fn proven(answer: &[u8], pwd: &str) -> Message {
    let mut message = Message::new();
    message.unmarshal_binary(answer).unwrap();
    FINGERPRINT.check(&message).unwrap();
    let provider = provider();
    MessageIntegrity::check(&mut message, pwd.as_bytes(), provider.crypto()).unwrap();
    message
}

#[test]
fn a_check_is_answered_with_the_mapped_address() {
    let v6 = Path {
        remote: "[2001:db8::1]:4242".parse().unwrap(),
        ..path(1)
    };
    let mapped_v4 = Path {
        remote: "[::ffff:203.0.113.9]:4243".parse().unwrap(),
        ..path(1)
    };
    for (path, told) in [
        (path(1), "203.0.113.5:1"),
        (v6, "[2001:db8::1]:4242"),
        (mapped_v4, "203.0.113.9:4243"),
        (Path { tcp: true, ..path(3) }, "203.0.113.5:3"),
    ] {
        let mut world = world();
        let request = world.check().message();
        let datagram = world.check().datagram();
        let answers = world.deliver(path, &datagram);
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].0, path);
        assert!(answers[0].1.len() <= datagram.len(), "no amplification");
        let answer = proven(&answers[0].1, &world.local.pwd);
        assert_eq!(answer.typ, BINDING_SUCCESS);
        assert_ne!(answer.transaction_id, request.transaction_id, "each check has its own");
        let mut address = XorMappedAddress::default();
        address.get_from(&answer).unwrap();
        assert_eq!(format!("{address}"), told);
        assert!(world.transport.owns_path(&path));
        assert_eq!(world.transport.path(), Some(path));
    }
}

#[test]
fn what_is_not_authentic_changes_nothing_and_gets_no_answer() {
    let mut world = world();
    world.connect();
    let right = world.check();
    let short = |edit: &dyn Fn(&mut Check)| {
        let mut check = right.clone();
        edit(&mut check);
        check.datagram()
    };
    let mut bad = vec![
        short(&|check| check.pwd = "wrongwrongwrongwrongwrong".to_owned()),
        short(&|check| check.username = "someone:else".to_owned()),
        short(&|check| check.username = check.username.replace(':', "/")),
        short(&|check| check.username = format!("{}:another", check.username.split(':').next().unwrap())),
        right.message().raw,
    ];
    let good = right.datagram();
    // Any bit.
    for bit in 0..good.len() * 8 {
        let mut datagram = good.clone();
        datagram[bit / 8] ^= 1 << (bit % 8);
        bad.push(datagram);
    }
    // Any truncation.
    bad.extend((0..good.len()).map(|len| good[..len].to_vec()));
    bad.push([&good[..], &[0; 4]].concat());
    // An answer and an indication.
    for kind in [0x0101u16, 0x0011] {
        let mut message = right.message();
        message.raw[..2].copy_from_slice(&kind.to_be_bytes());
        FINGERPRINT.add_to(&mut message).unwrap();
        bad.push(message.raw);
    }
    for datagram in bad {
        assert!(world.deliver(path(1), &datagram).is_empty(), "{datagram:02x?}");
    }
    assert_eq!(world.transport.path_count(), 0);
    assert!(world.events.is_empty());
    assert_eq!((world.transport.bytes_received(), world.transport.bytes_sent()), (0, 0));
    assert_eq!(
        world.deliver(path(1), &good).len(),
        1,
        "the check they were made of is right"
    );
}

#[test]
fn what_follows_the_integrity_counts_for_nothing() {
    let mut world = world();
    let mut message = Check {
        nominate: false,
        ..world.check()
    }
    .message();
    message.add(ATTR_USE_CANDIDATE, &[]);
    FINGERPRINT.add_to(&mut message).unwrap();
    assert_eq!(world.deliver(path(1), &message.raw).len(), 1);
    assert_eq!(world.transport.path(), None, "an injected nomination");
    assert!(world.transport.owns_path(&path(1)));
}

#[test]
fn a_controlled_client_is_told_of_the_conflict() {
    let mut world = world();
    let datagram = Check {
        role: ICE_CONTROLLED,
        ..world.check()
    }
    .datagram();
    let answers = world.deliver(path(1), &datagram);
    let answer = proven(&answers[0].1, &world.local.pwd);
    assert_eq!(answer.typ, BINDING_ERROR);
    let mut code = ErrorCodeAttribute::default();
    code.get_from(&answer).unwrap();
    assert!(code.code == CODE_ROLE_CONFLICT);
    assert_eq!(world.transport.path_count(), 0);
}

#[test]
fn unknown_attributes_are_named_when_they_must_be_understood() {
    let mut world = world();
    let must = Check {
        extra: vec![(0x7f01, vec![1]), (0x0013, vec![])],
        ..world.check()
    }
    .datagram();
    let answers = world.deliver(path(1), &must);
    let answer = proven(&answers[0].1, &world.local.pwd);
    let mut code = ErrorCodeAttribute::default();
    code.get_from(&answer).unwrap();
    assert!(code.code == CODE_UNKNOWN_ATTRIBUTE);
    assert_eq!(answer.get(ATTR_UNKNOWN_ATTRIBUTES).unwrap(), [0x7f, 0x01, 0x00, 0x13]);
    assert_eq!(world.transport.path_count(), 0);

    let many = Check {
        extra: (0x7f00..0x7f40).map(|kind| (kind, vec![])).collect(),
        ..world.check()
    }
    .datagram();
    assert!(world.deliver(path(1), &many)[0].1.len() <= many.len());

    let may = Check {
        extra: vec![(0xc057, vec![0, 0, 0, 10]), (0xffff, vec![])],
        ..world.check()
    }
    .datagram();
    world.deliver(path(1), &may);
    assert_eq!(world.transport.path_count(), 1);
}

#[test]
fn checks_before_the_clients_parameters_are_answered() {
    let mut world = world();
    let check = world.check().datagram();
    assert_eq!(world.deliver(path(1), &check).len(), 1);
    assert_eq!(world.transport.path(), Some(path(1)));
    world.connect();
    let stranger = Check {
        username: format!("{}:other", world.local.ufrag),
        ..world.check()
    }
    .datagram();
    assert!(
        world.deliver(path(2), &stranger).is_empty(),
        "now the client's half is known"
    );
}

#[test]
fn a_later_nomination_moves_the_path_and_dtls_with_it() {
    let mut world = World::secured();
    world.events.clear();
    world.client_path = path(2);
    world.check_at = Some(world.now);
    world.run_for(Duration::from_secs(5));
    assert_eq!(
        world.events,
        [
            TransportEvent::PathAdded(path(2)),
            TransportEvent::PathChanged {
                old: Some(path(1)),
                new: path(2)
            }
        ]
    );
    assert_eq!(world.transport.path(), Some(path(2)));
    let now = world.now;
    world
        .transport
        .send_data(now, "chat", b"over there", false, &mut world.out)
        .unwrap();
    world.collect();
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.client_dtls_path, Some(path(2)));
    // And what the client sends from there is understood.
    world.client.close(world.now);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.closed(), Some(CloseReason::RemoteClosed));
}

#[test]
fn an_aggressive_client_settles_on_its_highest_priority() {
    let mut world = world();
    let low = Check {
        priority: 1,
        ..world.check()
    };
    let high = Check {
        priority: 2,
        ..world.check()
    };
    for _ in 0..10 {
        world.deliver(path(1), &high.datagram());
        world.deliver(path(2), &low.datagram());
        world.now += Duration::from_millis(500);
    }
    let moves = world
        .events
        .iter()
        .filter(|event| matches!(event, TransportEvent::PathChanged { .. }))
        .count();
    assert_eq!(world.transport.path(), Some(path(1)));
    assert!(moves <= 3, "{:?}", world.events);
    // Once the better path is silent, the other one is meant.
    world.now += Duration::from_secs(4);
    world.deliver(path(2), &low.datagram());
    assert_eq!(world.transport.path(), Some(path(2)));
}

#[test]
fn paths_are_bounded_and_the_nominated_one_stays() {
    let mut world = world();
    let nominating = world.check().datagram();
    world.deliver(path(1), &nominating);
    for port in 2..200 {
        world.now += Duration::from_millis(1);
        let check = Check {
            nominate: false,
            ..world.check()
        }
        .datagram();
        world.deliver(path(port), &check);
        assert!(world.transport.path_count() <= MAX_PATHS);
    }
    assert_eq!(world.transport.path(), Some(path(1)));
    assert!(world.transport.owns_path(&path(1)) && world.transport.owns_path(&path(199)));
    assert!(!world.transport.owns_path(&path(2)));
    let count = |wanted: fn(&TransportEvent) -> bool| world.events.iter().filter(|event| wanted(event)).count();
    let added = count(|event| matches!(event, TransportEvent::PathAdded(_)));
    let removed = count(|event| matches!(event, TransportEvent::PathRemoved(_)));
    assert_eq!((added, removed), (199, 199 - MAX_PATHS));
}

#[test]
fn without_any_check_the_transport_closes() {
    let mut world = world();
    world.check_at = None;
    let begun = world.now;
    world.run_until(Duration::from_secs(60), |world| world.closed().is_some());
    assert_eq!(world.closed(), Some(CloseReason::IceTimeout));
    assert_eq!(world.now - begun, Duration::from_secs(30));
    let check = world.check().datagram();
    assert!(world.deliver(path(1), &check).is_empty(), "it stays closed");
}

#[test]
fn consent_ends_with_the_checks() {
    let mut world = World::secured();
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.closed(), None);
    world.check_at = None;
    world.run_for(Duration::from_secs(29));
    assert_eq!(world.closed(), None);
    assert!(world.transport.is_secured());
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.closed(), Some(CloseReason::ConsentExpired));
    assert_eq!(world.transport.path_count(), 0);
    assert!(!world.transport.is_secured());
}

#[test]
fn a_live_path_takes_over_from_a_nominated_one_without_consent() {
    let mut world = World::secured();
    world.check_at = None;
    for _ in 0..50 {
        let check = Check {
            nominate: false,
            ..world.check()
        }
        .datagram();
        world.deliver(path(2), &check);
        world.run_for(Duration::from_secs(1));
    }
    assert_eq!(world.transport.path(), Some(path(2)));
    assert!(world.events.contains(&TransportEvent::PathRemoved(path(1))));
    assert!(world.transport.is_secured());
}

#[test]
fn after_a_restart_the_old_credentials_hold_until_the_new_ones_are_used() {
    let mut world = World::secured();
    let old = world.check().datagram();
    let (local, remote) = (IceCredentials::random(), IceCredentials::random());
    let dtls = DtlsParameters {
        role: DtlsRole::Server,
        fingerprints: Vec::new(),
    };
    let now = world.now;
    world
        .transport
        .connect(now, Some(local.clone()), Some(remote.clone()), dtls, &mut world.out);
    assert_eq!(world.deliver(path(1), &old).len(), 1);
    let mixed = Check::new(&local, &world.remote).datagram();
    assert_eq!(
        world.deliver(path(1), &mixed).len(),
        1,
        "the client may not have all of it yet"
    );
    (world.local, world.remote) = (local, remote);
    let new = world.check().datagram();
    assert_eq!(world.deliver(path(2), &new).len(), 1);
    assert_eq!(world.transport.path(), Some(path(2)));
    assert!(world.deliver(path(1), &old).is_empty());
    assert!(world.transport.is_secured(), "DTLS and SRTP go on");
}

#[test]
fn the_ufrag_is_found_in_requests_only() {
    let world = world();
    let check = world.check().datagram();
    assert_eq!(stun_ufrag(&check), Some(world.local.ufrag.as_str()));
    assert_eq!(stun_ufrag(&check[..check.len() - 1]), None);
    let mut answer = check.clone();
    answer[..2].copy_from_slice(&[0x01, 0x01]);
    assert_eq!(stun_ufrag(&answer), None);
    assert_eq!(stun_ufrag(&[]), None);
    let nameless = Check {
        username: String::new(),
        ..world.check()
    }
    .datagram();
    assert_eq!(stun_ufrag(&nameless), None);
}

#[test]
fn damaged_checks_never_panic() {
    let mut rng = Rng(3);
    let mut world = world();
    for _ in 0..20_000 {
        let mut message = world.check().message();
        let at = 20 + rng.below(message.raw.len() as u64 - 20) as usize;
        message.raw[at] = rng.next() as u8;
        FINGERPRINT.add_to(&mut message).unwrap();
        let _ = stun_ufrag(&message.raw);
        assert!(world.deliver(path(1), &message.raw).len() <= 1);
    }
    // Signed nonsense.
    for _ in 0..2_000 {
        let mut message = Message::new();
        message.build(&[Box::new(rtc_stun::message::BINDING_REQUEST)]).unwrap();
        for _ in 0..rng.below(6) {
            let len = rng.below(40) as usize;
            let value = rng.bytes(len);
            message.add(rtc_stun::attributes::AttrType(rng.below(0x2b) as u16), &value);
        }
        sign(&mut message, &world.local.pwd);
        FINGERPRINT.add_to(&mut message).unwrap();
        world.deliver(path(1), &message.raw);
    }
}

#[test]
fn a_lost_path_gives_way_to_another_or_waits_as_long_as_consent_lasts() {
    let mut world = World::secured();
    world.check_at = None;
    let over_tcp = Path { tcp: true, ..path(9) };
    let nominating = world.check().datagram();
    world.deliver(over_tcp, &nominating);
    assert_eq!(world.transport.path(), Some(over_tcp));
    let now = world.now;
    world.transport.drop_path(now, over_tcp);
    world.collect();
    assert_eq!(world.transport.path(), Some(path(1)));
    world.transport.drop_path(now, path(1));
    world.collect();
    assert_eq!((world.transport.path(), world.transport.path_count()), (None, 0));
    // The client comes back by a new connection.
    world.run_for(Duration::from_secs(20));
    world.events.clear();
    let again = Path { tcp: true, ..path(10) };
    world.deliver(again, &nominating);
    assert_eq!(world.transport.path(), Some(again));
    assert!(world.transport.is_secured(), "DTLS and SRTP go on");
    assert!(!world.events.contains(&TransportEvent::Connected), "told once");
    let now = world.now;
    world.transport.drop_path(now, again);
    world.run_for(Duration::from_secs(29));
    assert_eq!(world.closed(), None);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.closed(), Some(CloseReason::ConsentExpired));
}
