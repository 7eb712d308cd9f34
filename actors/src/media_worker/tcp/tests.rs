use std::io::{Read, Write};
use std::net::Shutdown;

use super::*;

/// A side, and the engine it is to believe in: a path is validated by the packet `\x00ok`.
struct World {
    tcp: TcpSide,
    address: SocketAddr,
    now: Instant,
    known: Vec<Path>,
    received: Vec<(Path, Vec<u8>)>,
}

const CHECK: &[u8] = b"\x00ok";

impl World {
    fn new() -> Self {
        let mut tcp = TcpSide::new().unwrap();
        let address = tcp.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            tcp,
            address,
            now: Instant::now(),
            known: Vec::new(),
            received: Vec::new(),
        }
    }

    fn round(&mut self) {
        let Self {
            tcp, known, received, ..
        } = self;
        tcp.receive(self.now, |path, packet| {
            if packet == CHECK && !known.contains(&path) {
                known.push(path);
            }
            received.push((path, packet.to_vec()));
            known.contains(&path)
        });
        tcp.sweep(self.now, |path| known.contains(path));
        while let Some(path) = tcp.take_lost() {
            known.retain(|other| *other != path);
        }
    }

    /// Rounds until something is so, for at most 10 s.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(
                Instant::now() < end,
                "waited in vain for {what}: {:?}",
                self.tcp.counters
            );
            self.round();
            std::thread::yield_now();
        }
    }

    fn client(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// A client whose check was taken.
    fn checked_client(&mut self) -> (TcpStream, Path) {
        let mut client = self.client();
        client.write_all(&frame(CHECK)).unwrap();
        let remote = client.local_addr().unwrap();
        self.until("the check", |world| {
            world.known.iter().any(|path| path.remote == remote)
        });
        let path = self.known.iter().find(|path| path.remote == remote).copied().unwrap();
        (client, path)
    }

    fn send(&mut self, path: Path, packets: &[&[u8]]) {
        let mut out = SendBuffer::default();
        for packet in packets {
            out.push(path, packet);
        }
        self.tcp.send(out.datagrams(), &out);
        self.tcp.flush();
    }

    /// Time passes in steps in which a sweep takes place.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += SWEEP_INTERVAL;
            self.round();
        }
    }
}

fn frame(packet: &[u8]) -> Vec<u8> {
    [&caside_media::framing::prefix(packet).unwrap()[..], packet].concat()
}

fn is_closed(client: &mut TcpStream) -> bool {
    match client.read(&mut [0; 16]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn packets_go_both_ways_in_frames() {
    let mut world = World::new();
    let (mut client, path) = world.checked_client();
    assert!(path.tcp);
    assert_eq!(path.local, world.address);
    world.send(path, &[b"\x01answer", &[128; 1200]]);
    let mut got = vec![0; 2 + 7 + 2 + 1200];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, [frame(b"\x01answer"), frame(&[128; 1200])].concat());
    client
        .write_all(&[frame(&[128, 1]), frame(&[129, 2])].concat())
        .unwrap();
    world.until("both packets", |world| world.received.len() == 3);
    assert_eq!(world.received[1], (path, vec![128, 1]));
    assert_eq!(world.received[2], (path, vec![129, 2]));
}

#[test]
fn a_connection_without_a_check_is_closed_after_five_seconds() {
    let mut world = World::new();
    let mut silent = world.client();
    let mut guessing = world.client();
    guessing.write_all(&frame(b"\x00no")).unwrap();
    let (mut checked, path) = world.checked_client();
    world.until("three connections", |world| {
        world.tcp.counters.open == 3 && world.received.len() == 2
    });
    world.pass(CHECK_DEADLINE - 2 * SWEEP_INTERVAL);
    assert_eq!(world.tcp.counters.open, 3);
    world.pass(3 * SWEEP_INTERVAL);
    assert_eq!((world.tcp.counters.open, world.tcp.counters.strangers), (1, 2));
    assert!(is_closed(&mut silent) && is_closed(&mut guessing));
    world.send(path, &[b"\x01still"]);
    assert!(!is_closed(&mut checked));
}

#[test]
fn whoever_speaks_another_protocol_is_closed_at_once() {
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        frame(b"\x16\xfe\xfd"),
        frame(&[128; 100]),
        vec![0xff, 0xff, 0],
    ] {
        let mut world = World::new();
        let mut client = world.client();
        client.write_all(&bytes).unwrap();
        assert_eq!(world.tcp.counters.strangers, 0);
        world.until("the stranger to be closed", |world| world.tcp.counters.strangers == 1);
        assert!(is_closed(&mut client));
        assert!(world.received.is_empty(), "{bytes:?}");
        assert_eq!(world.tcp.counters.open, 0);
    }
}

#[test]
fn a_connection_ends_with_its_path_and_a_path_with_its_connection() {
    let mut world = World::new();
    let (mut forgotten, path) = world.checked_client();
    let (gone, gone_path) = world.checked_client();
    gone.shutdown(Shutdown::Both).unwrap();
    world.until("the path to be lost", |world| !world.known.contains(&gone_path));
    assert!(world.known.contains(&path));
    world.send(gone_path, &[&[128; 10]]);
    assert_eq!(world.tcp.counters.dropped_gone, 1);
    world.known.clear();
    world.pass(2 * SWEEP_INTERVAL);
    assert!(is_closed(&mut forgotten));
    assert!(world.tcp.shares.is_empty() && world.tcp.by_path.is_empty());
}

#[test]
fn a_slow_client_loses_media_but_no_frame_is_cut_and_control_passes() {
    let mut world = World::new();
    let (mut client, path) = world.checked_client();
    let packet = [128; 1200];
    let mut sent = 0u64;
    while world.tcp.counters.dropped_full == 0 {
        world.send(path, &[&packet[..]; 100]);
        sent += 100;
        assert!(sent < 100_000, "the queue has no bound");
    }
    let taken = world.tcp.counters.sent;
    world.send(path, &[b"\x14control"]);
    assert_eq!(world.tcp.counters.sent, taken + 1, "DTLS has room that media has not");
    let mut frames = 0;
    let mut last = Vec::new();
    while frames <= taken {
        let reader = std::thread::spawn(move || {
            let mut prefix = [0; 2];
            client.read_exact(&mut prefix).unwrap();
            let mut body = vec![0; usize::from(u16::from_be_bytes(prefix))];
            client.read_exact(&mut body).unwrap();
            (client, body)
        });
        while !reader.is_finished() {
            world.round();
        }
        (client, last) = reader.join().unwrap();
        frames += 1;
        assert!(last == packet || last == b"\x14control");
    }
    assert_eq!(last, b"\x14control");
}

#[test]
fn a_flood_of_connections_is_bounded_and_does_not_lock_others_out() {
    let mut world = World::new();
    world.tcp.bounds = Bounds {
        connections: 100,
        per_address: 50,
        unproven: 20,
        unproven_per_address: 8,
    };
    let (_checked, _) = world.checked_client();
    let mut flood: Vec<_> = (0..12).map(|_| world.client()).collect();
    world.until("the flood", |world| {
        world.tcp.counters.accepted + world.tcp.counters.refused == 13
    });
    assert_eq!((world.tcp.counters.open, world.tcp.counters.refused), (9, 4));
    assert!(flood.drain(8..).all(|mut client| is_closed(&mut client)));
    // From all over: the oldest gives way.
    world.tcp.bounds.unproven_per_address = 100;
    let more: Vec<_> = (0..15).map(|_| world.client()).collect();
    world.until("more of it", |world| world.tcp.counters.accepted == 24);
    assert_eq!(world.tcp.unproven_open, 20);
    assert!(is_closed(&mut flood[0]));
    // And with all of them there, somebody who checks gets in.
    let _another = world.checked_client();
    drop((flood, more));
    world.until("all to be gone", |world| world.tcp.counters.open == 2);
}

#[test]
fn ipv6_addresses_are_counted_by_network() {
    let of = |remote: &str| {
        address_of(&Path {
            local: "[::1]:1".parse().unwrap(),
            remote: remote.parse().unwrap(),
            tcp: true,
        })
    };
    assert_eq!(of("[2001:db8:1:2:3::4]:5"), of("[2001:db8:1:2:ffff::1]:9"));
    assert_ne!(of("[2001:db8:1:2::1]:5"), of("[2001:db8:1:3::1]:5"));
    assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
}
