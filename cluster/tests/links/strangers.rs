//! Those who are not members, and what they do not get.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tokio::time::Instant;

use crate::certificates::{Authority, tls};
use crate::process::{LONG, Process, figure, introduce, numbers};

/// Two members that are linked, and what tells that they stayed so.
struct Pair(Process, Process);

impl Pair {
    fn start(settings: [&str; 2]) -> Self {
        let mut a = Process::start("a-1", settings[0]);
        let mut b = Process::start("b-1", settings[1]);
        introduce(&mut [&mut a, &mut b]);
        a.wait("up b-1");
        b.wait("up a-1");
        Self(a, b)
    }

    fn check_untouched(&mut self) {
        let Self(a, b) = self;
        let before = b.received()[0];
        a.tell("send b-1 100 500 patient");
        assert_eq!(b.wait_received(before + 100)[..2], [before + 100, 0]);
        for process in [a, b] {
            assert!(
                !process.said().iter().any(|line| line.starts_with("down")),
                "{:?}",
                process.said()
            );
        }
    }
}

/// Waits until the other end has closed; gives back how long that took.
fn until_closed(mut stream: &TcpStream) -> Duration {
    let at = Instant::now();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        // TLS says why first; nothing else is told to a stranger.
        Ok(_) => assert!(rest.len() < 64, "{} bytes", rest.len()),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "not closed"),
    }
    at.elapsed()
}

fn strangers(pair: &mut Pair, kind: &str) {
    let address = pair.1.address.clone();
    let silent = TcpStream::connect(&address).unwrap();
    let took = until_closed(&silent);
    figure(&format!("{kind}: a silent stranger was closed after {took:?}"));
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(5),
        "{took:?}"
    );

    // A frame of ractor_cluster's, of 17 MiB.
    let mut large = TcpStream::connect(&address).unwrap();
    large.set_write_timeout(Some(LONG)).unwrap();
    drop(
        large
            .write_all(&(17_u64 << 20).to_be_bytes())
            .and_then(|()| large.write_all(&vec![7; 17 << 20])),
    );
    assert!(until_closed(&large) < Duration::from_secs(5));

    // Loud ones, and more silent ones than there are places.
    let mut crowd: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for (nth, stream) in crowd.iter_mut().enumerate().filter(|(nth, _)| nth % 2 == 0) {
        let garbage: Vec<u8> = (0..4_000_usize)
            .map(|byte| (byte.wrapping_mul(nth + 31) >> 3) as u8)
            .collect();
        drop(stream.write_all(&garbage));
    }
    pair.check_untouched();
    for stream in &crowd {
        until_closed(stream);
    }
    pair.check_untouched();
}

#[test]
fn strangers_are_dropped_and_links_stay() {
    let mut pair = Pair::start(["handshake_ms=1000", "handshake_ms=1000"]);
    strangers(&mut pair, "plain");
}

#[test]
fn the_listener_that_ractor_cluster_has_lets_nobody_in() {
    let mut pair = Pair::start(["", ""]);
    let ours: u16 = pair.1.address.rsplit(':').next().unwrap().parse().unwrap();
    let others: Vec<u16> = pair.1.ports().into_iter().filter(|port| *port != ours).collect();
    assert_eq!(others.len(), 1, "{others:?}");
    for _ in 0..50 {
        let stream = TcpStream::connect(("127.0.0.1", others[0])).unwrap();
        assert!(
            until_closed(&stream) < Duration::from_secs(2),
            "well before a handshake is over"
        );
    }
    pair.check_untouched();
}

#[test]
fn strangers_are_dropped_where_certificates_are_asked_for() {
    let authority = Authority::new();
    let (one, two) = (authority.member(&authority), authority.member(&authority));
    let settings = [&one, &two].map(|folder| format!("handshake_ms=1000 {}", tls(folder.path())));
    let mut pair = Pair::start([&settings[0], &settings[1]]);
    strangers(&mut pair, "TLS");

    // Without a certificate, with one of another authority, and with one of ours that trusts another.
    let other = Authority::new();
    let foreign = other.member(&authority);
    let distrusting = authority.member(&other);
    for settings in [String::new(), tls(foreign.path()), tls(distrusting.path())] {
        no_link(&mut pair, &settings);
    }
    // None of them was in the way of one that belongs here.
    let third = authority.member(&authority);
    let mut c = Process::start("c-1", &tls(third.path()));
    c.know(&[("b-1", &pair.1.address)]);
    let (a_address, c_address) = (pair.0.address.clone(), c.address.clone());
    pair.1.know(&[("a-1", &a_address), ("c-1", &c_address)]);
    c.wait("up b-1");
    pair.check_untouched();
}

#[test]
fn another_cookie_is_no_member() {
    let mut pair = Pair::start(["", ""]);
    no_link(&mut pair, "cookie=something-else");
}

/// Has one with these settings try as the one that dials, then as the one that is dialed.
fn no_link(pair: &mut Pair, settings: &str) {
    let (a_address, b_address) = (pair.0.address.clone(), pair.1.address.clone());
    let refused = |process: &mut Process| numbers::<4>(&process.ask("counts"))[0];
    let mut dialer = Process::start("aa-1", settings);
    let before = refused(&mut pair.1);
    pair.1.know(&[("a-1", &a_address), ("aa-1", &dialer.address)]);
    dialer.know(&[("b-1", &b_address)]);
    pair.1
        .ask_until("counts", LONG, |answer| numbers::<4>(answer)[0] >= before + 3);

    let mut dialed = Process::start("bb-1", settings);
    let before = refused(&mut dialed);
    dialed.know(&[("b-1", &b_address)]);
    pair.1.know(&[("a-1", &a_address), ("bb-1", &dialed.address)]);
    // One that distrusts us fails amid TLS; one without it takes ours for noise.
    dialed.ask_until("counts", LONG, |answer| numbers::<4>(answer)[0] >= before + 3);
    for process in [&dialer, &dialed] {
        assert!(
            !process.said().iter().any(|line| line.starts_with("up")),
            "{:?}",
            process.said()
        );
    }
    assert_eq!(pair.1.ask("linked"), "linked a-1");
    pair.check_untouched();
}
