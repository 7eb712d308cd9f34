//! Data channels against rtc-sctp as the client.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use caside_media::data::{DataError, MAX_CHANNELS, MAX_LABEL, MAX_MESSAGE, MAX_QUEUED};
use caside_media::parameters::DtlsRole;
use rtc_datachannel::message::Message;
use rtc_datachannel::message::message_channel_open::ChannelType;
use rtc_sctp::{Payload, PayloadProtocolIdentifier as Ppid, ReliabilityType};
use rtc_shared::marshal::Unmarshal;

use super::client::DtlsOptions;
use super::link::{Conditions, Rng, SimLink};
use super::sctp::{Sctp, open_message};
use super::world::World;

#[test]
fn a_channel_of_the_client_carries_messages_both_ways() {
    let mut sctp = Sctp::connected();
    sctp.open(0, "chat");
    let large: Vec<u8> = (0..MAX_MESSAGE).map(|i| (i * 31) as u8).collect();
    sctp.send(0, "grüß Gott".as_bytes(), Ppid::String);
    sctp.send(0, &large, Ppid::Binary);
    sctp.send(0, &[0], Ppid::StringEmpty);
    sctp.send(0, &[0], Ppid::BinaryEmpty);
    sctp.run(5);
    let text = |data: &[u8], text| ("chat".to_owned(), data.to_vec(), text);
    assert_eq!(
        sctp.messages(),
        [
            text("grüß Gott".as_bytes(), true),
            text(&large, false),
            text(b"", true),
            text(b"", false)
        ]
    );
    assert!(
        sctp.received
            .iter()
            .any(|(id, ppid, data)| *id == 0 && *ppid == Ppid::Dcep && data == &[2]),
        "acknowledged"
    );

    for (data, text) in [(&b"hello"[..], true), (&large, false), (b"", true), (b"", false)] {
        sctp.send_data("chat", data, text).unwrap();
    }
    sctp.run(5);
    let expected = [
        (Ppid::String, &b"hello"[..]),
        (Ppid::Binary, &large),
        (Ppid::StringEmpty, &[0]),
        (Ppid::BinaryEmpty, &[0]),
    ];
    let got: Vec<_> = sctp
        .user_messages()
        .iter()
        .map(|(id, ppid, data)| (*id, *ppid, data.clone()))
        .collect();
    assert_eq!(got, expected.map(|(ppid, data)| (0, ppid, data.to_vec())));
    assert_eq!(sctp.world.transport.data_channels(), 1);
}

#[test]
fn a_message_for_a_new_label_opens_a_channel() {
    let mut sctp = Sctp::connected();
    sctp.send_data("notes", b"first", false).unwrap();
    sctp.send_data("notes", b"second", false).unwrap();
    sctp.send_data("other", b"third", false).unwrap();
    sctp.run(3);
    let opened: Vec<(u16, String)> = sctp
        .received
        .iter()
        .filter(|(_, ppid, _)| *ppid == Ppid::Dcep)
        .map(|(id, _, data)| match Message::unmarshal(&mut &data[..]).unwrap() {
            Message::DataChannelOpen(open) => (*id, String::from_utf8(open.label).unwrap()),
            other => panic!("{other:?}"),
        })
        .collect();
    // The DTLS server takes odd streams (RFC 8832 §6).
    assert_eq!(opened, [(1, "notes".to_owned()), (3, "other".to_owned())]);
    let got: Vec<_> = sctp
        .user_messages()
        .iter()
        .map(|(id, _, data)| (*id, data.clone()))
        .collect();
    assert_eq!(
        got,
        [(1, b"first".to_vec()), (1, b"second".to_vec()), (3, b"third".to_vec())]
    );

    sctp.send(1, b"answer", Ppid::String);
    sctp.run(1);
    assert_eq!(sctp.messages(), [("notes".to_owned(), b"answer".to_vec(), true)]);
}

#[test]
fn we_begin_the_association_when_the_client_does_not() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut world = World::new(
            DtlsOptions {
                role,
                ..Default::default()
            },
            Conditions::GOOD,
            1,
        );
        let fingerprint = world.client.fingerprint("sha-256");
        let ours = if role == DtlsRole::Client {
            DtlsRole::Server
        } else {
            DtlsRole::Client
        };
        world.connect_with(ours, vec![fingerprint]);
        world.run_until(Duration::from_secs(5), |world| {
            world.transport.is_secured() && world.client.complete
        });
        let mut sctp = Sctp::new(world);
        sctp.send_data("early", b"queued", false).unwrap();
        sctp.run(5);
        let expected = if ours == DtlsRole::Client { 0 } else { 1 };
        let got: Vec<_> = sctp
            .user_messages()
            .iter()
            .map(|(id, _, data)| (*id, data.clone()))
            .collect();
        assert_eq!(got, [(expected, b"queued".to_vec())]);
    }
}

#[test]
fn what_is_queued_goes_out_over_the_clients_association() {
    let mut sctp = Sctp::new(World::secured());
    sctp.send_data("early", b"queued", false).unwrap();
    sctp.connect();
    sctp.run(5);
    assert_eq!(
        sctp.user_messages()
            .iter()
            .map(|(_, _, data)| data.clone())
            .collect::<Vec<_>>(),
        [b"queued".to_vec()]
    );
}

#[test]
fn messages_survive_loss() {
    for seed in 0..4 {
        let mut sctp = Sctp::connected();
        let bad = Conditions {
            loss: 0.15,
            duplicate: 0.05,
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(30),
            ..Conditions::GOOD
        };
        (sctp.world.up, sctp.world.down) = (SimLink::new(bad, seed), SimLink::new(bad, seed + 99));
        sctp.open(2, "bulk");
        let messages: Vec<Vec<u8>> = (0..20u8).map(|i| vec![i; 3000]).collect();
        for message in &messages {
            sctp.send(2, message, Ppid::Binary);
            sctp.send_data("down", message, false).unwrap();
        }
        sctp.run_until(200, |sctp| {
            sctp.messages().len() == 20 && sctp.user_messages().len() == 20
        });
        assert_eq!(
            sctp.messages().into_iter().map(|(_, data, _)| data).collect::<Vec<_>>(),
            messages,
            "seed {seed}"
        );
        assert_eq!(
            sctp.user_messages()
                .iter()
                .map(|(_, _, data)| data.clone())
                .collect::<Vec<_>>(),
            messages
        );
    }
}

#[test]
fn a_repeated_init_is_answered_with_the_same_cookie() {
    let mut sctp = Sctp::new(World::secured());
    // Our first answers are lost; the client repeats its INIT after a second.
    sctp.connect();
    sctp.transmit();
    sctp.world.down.conditions.loss = 1.0;
    sctp.run(2);
    sctp.world.down.conditions.loss = 0.0;
    sctp.run_until(20, |sctp| sctp.connected);
    assert!(sctp.connected);
    sctp.open(0, "x");
    sctp.send(0, b"up", Ppid::String);
    sctp.run(2);
    assert_eq!(sctp.messages().len(), 1);
}

#[test]
fn limits_are_errors_to_the_sender() {
    let mut world = World::new(DtlsOptions::default(), Conditions::GOOD, 1);
    let now = world.now;
    assert_eq!(
        world.transport.send_data(now, "x", b"", false, &mut world.out),
        Err(DataError::NotSecured)
    );

    let mut sctp = Sctp::connected();
    assert_eq!(
        sctp.send_data("x", &vec![0; MAX_MESSAGE + 1], false),
        Err(DataError::MessageTooLarge)
    );
    assert_eq!(
        sctp.send_data(&"x".repeat(MAX_LABEL + 1), b"", false),
        Err(DataError::LabelTooLong)
    );
    for i in 0..MAX_CHANNELS {
        assert_eq!(sctp.send_data(&format!("{i:0MAX_LABEL$}"), b"x", false), Ok(()));
    }
    assert_eq!(sctp.send_data("one more", b"x", false), Err(DataError::TooManyChannels));
    assert_eq!(sctp.world.transport.data_channels(), MAX_CHANNELS);
}

#[test]
fn a_client_that_does_not_take_messages_fills_the_queue_and_frees_it_again() {
    let mut sctp = Sctp::connected();
    sctp.world.down.conditions.loss = 1.0;
    let message = vec![1; MAX_MESSAGE];
    let mut accepted = 0;
    let refused = loop {
        match sctp.send_data("bulk", &message, false) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted <= MAX_QUEUED / MAX_MESSAGE);
    };
    assert_eq!(refused, DataError::QueueFull);
    assert!(accepted >= MAX_QUEUED / MAX_MESSAGE - 1, "{accepted}");
    sctp.world.down.conditions.loss = 0.0;
    sctp.run_until(60, |sctp| sctp.user_messages().len() == accepted);
    assert_eq!(sctp.user_messages().len(), accepted);
    sctp.run(1);
    assert_eq!(sctp.send_data("bulk", &message, false), Ok(()));

    // Many small ones are bounded by their number.
    sctp.run(5);
    sctp.world.down.conditions.loss = 1.0;
    let count = (0..20_000)
        .take_while(|_| sctp.send_data("bulk", b"", false).is_ok())
        .count();
    assert!(count <= caside_media::data::MAX_QUEUED_MESSAGES, "{count}");
}

#[test]
fn channels_beyond_the_limits_are_reset() {
    let mut sctp = Sctp::connected();
    for stream in 0..MAX_CHANNELS as u16 + 4 {
        sctp.open(2 * stream, &format!("channel {stream}"));
    }
    sctp.run(3);
    assert_eq!(sctp.world.transport.data_channels(), MAX_CHANNELS);
    assert_eq!(sctp.lost.len(), 4, "{:?}", sctp.lost);

    let mut sctp = Sctp::connected();
    sctp.open(0, &"x".repeat(MAX_LABEL + 1));
    sctp.association().open_stream(2, Ppid::Binary).unwrap();
    sctp.send(2, b"on a channel that nobody opened", Ppid::Binary);
    sctp.open(4, "fine");
    sctp.send(4, &vec![1; MAX_MESSAGE + 1], Ppid::Binary);
    sctp.run(5);
    assert_eq!(sctp.world.transport.data_channels(), 0);
    assert_eq!(sctp.lost, HashSet::from([0, 2, 4]));
    assert!(sctp.messages().is_empty());
}

#[test]
fn a_channel_that_the_client_closes_is_gone_and_its_stream_may_be_used_again() {
    let mut sctp = Sctp::connected();
    for round in 0..3 {
        sctp.open(0, "once");
        sctp.send(0, b"hi", Ppid::String);
        sctp.run(1);
        assert_eq!(sctp.messages().len(), round + 1);
        assert_eq!(sctp.world.transport.data_channels(), 1);
        let now = sctp.world.now;
        sctp.association().stream(0).unwrap().close(now).unwrap();
        sctp.run(2);
        assert_eq!(sctp.world.transport.data_channels(), 0);
    }
}

#[test]
fn an_aborted_association_may_be_begun_anew() {
    let mut sctp = Sctp::connected();
    sctp.open(0, "first");
    sctp.run(1);
    sctp.association().abort().unwrap();
    sctp.run(1);
    assert_eq!(sctp.world.transport.data_channels(), 0);
    sctp.connected = false;
    sctp.connect();
    sctp.run_until(10, |sctp| sctp.connected);
    sctp.open(0, "second");
    sctp.send(0, b"again", Ppid::String);
    sctp.run(1);
    assert_eq!(sctp.messages(), [("second".to_owned(), b"again".to_vec(), true)]);
}

#[test]
fn unordered_channels_stay_so_on_our_side() {
    let mut sctp = Sctp::connected();
    sctp.association().open_stream(0, Ppid::Binary).unwrap();
    sctp.association()
        .stream(0)
        .unwrap()
        .set_reliability_params(true, ReliabilityType::Rexmit, 0)
        .unwrap();
    sctp.send(
        0,
        &open_message("lossy", ChannelType::PartialReliableRexmitUnordered),
        Ppid::Dcep,
    );
    sctp.run(1);
    // What is lost on the way down is not repeated, and nothing waits for it.
    sctp.world.down.conditions.loss = 1.0;
    sctp.send_data("lossy", b"lost", false).unwrap();
    sctp.world.down.conditions.loss = 0.0;
    sctp.send_data("lossy", b"kept", false).unwrap();
    sctp.run(10);
    let got: Vec<_> = sctp.user_messages().iter().map(|(_, _, data)| data.clone()).collect();
    assert_eq!(got, [b"kept".to_vec()]);
}

/// SCTP packets with a right checksum and tag, and anything in them.
#[test]
fn hostile_packets_neither_panic_nor_stall() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut sctp = Sctp::connected();
        sctp.open(0, "victim");
        sctp.send(0, b"before", Ppid::String);
        sctp.run(1);
        let template = {
            // A real packet, for its ports and tag.
            sctp.send(0, b"template", Ppid::String);
            let now = sctp.world.now;
            let Some(transmit) = sctp.association().poll_transmit(now) else {
                panic!("nothing to send")
            };
            let Payload::RawEncode(packets) = transmit.message else {
                panic!("not encoded")
            };
            packets[0].clone()
        };
        let tsn = u32::from_be_bytes(template[16..20].try_into().unwrap());
        for _ in 0..300 {
            let packet = hostile(&template, tsn, &mut rng);
            let now = sctp.world.now;
            sctp.world.client.write(now, &packet);
            sctp.world.run_for(Duration::from_millis(15));
            sctp.world.client.data.clear();
        }
        assert!(sctp.world.transport.is_secured(), "only the association may end");
        assert!(sctp.world.transport.data_channels() <= MAX_CHANNELS);
    }
}

fn hostile(template: &Bytes, tsn: u32, rng: &mut Rng) -> Vec<u8> {
    let mut packet = template[..12].to_vec();
    packet[8..12].fill(0);
    for _ in 0..1 + rng.below(3) {
        let kinds = [
            0,
            0,
            0,
            1,
            2,
            3,
            4,
            6,
            7,
            8,
            9,
            10,
            11,
            14,
            130,
            130,
            192,
            192,
            rng.next() as u8,
        ];
        let kind = kinds[rng.below(kinds.len() as u64) as usize];
        let len = rng.below(48) as usize;
        let mut value = rng.bytes(len);
        if matches!(kind, 0 | 3 | 192) && value.len() >= 4 {
            let near = tsn.wrapping_add(rng.below(40) as u32).wrapping_sub(10);
            value[..4].copy_from_slice(&near.to_be_bytes());
        }
        if kind == 0 && value.len() >= 8 {
            value[4..6].copy_from_slice(&(rng.below(8) as u16).to_be_bytes());
        }
        if kind == 130 && value.len() >= 16 {
            value[..4].copy_from_slice(&[0, 13, 0, 16 + 2 * (rng.below(4) as u8)]);
        }
        packet.extend([kind, rng.below(16) as u8]);
        packet.extend((4 + value.len() as u16).to_be_bytes());
        packet.extend(&value);
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

/// CRC-32C (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            }
        })
    })
}
