use std::cell::RefCell;
use std::net::IpAddr;

use super::*;

fn path(port: u16) -> Path {
    Path {
        local: "127.0.0.1:1".parse().unwrap(),
        remote: ([127, 0, 0, 1], port).into(),
        tcp: false,
    }
}

/// Where datagrams were to come from, and where they came from, each with its first byte.
#[derive(Default)]
struct Got {
    expected: RefCell<Vec<Path>>,
    taken: Vec<(Path, u8)>,
}

impl Intake for Got {
    fn expect(&self, paths: impl Iterator<Item = Path>) {
        self.expected.borrow_mut().extend(paths);
    }

    fn take(&mut self, path: Path, times: Times, datagram: &mut [u8]) {
        assert!(times.arrival <= times.now);
        assert!(self.expected.borrow().contains(&path));
        self.taken.push((path, datagram[0]));
    }
}

fn runs_of(sizes: &[(u16, usize)], segments: bool) -> Vec<(u16, usize, usize)> {
    let mut out = SendBuffer::with_capacity(8);
    for (port, size) in sizes {
        out.push(path(*port), &vec![0; *size]);
    }
    let mut runs = Vec::new();
    gather(out.datagrams(), segments, &mut runs);
    runs.iter().map(|r| (r.to.port(), r.len, r.segment)).collect()
}

#[test]
fn equal_neighbours_for_one_receiver_make_a_run() {
    for (sizes, want) in [
        (vec![(5, 100), (5, 100), (5, 40)], vec![(5, 240, 100)]),
        (vec![(5, 100), (5, 40), (5, 40)], vec![(5, 140, 100), (5, 40, 40)]),
        (vec![(5, 40), (5, 100)], vec![(5, 40, 40), (5, 100, 100)]),
        (
            vec![(5, 100), (6, 100), (5, 100)],
            vec![(5, 100, 100), (6, 100, 100), (5, 100, 100)],
        ),
    ] {
        assert_eq!(runs_of(&sizes, true), want);
    }
    assert_eq!(runs_of(&[(5, 100), (5, 100)], false), [(5, 100, 100), (5, 100, 100)]);
}

#[test]
fn a_run_keeps_to_the_kernels_limits() {
    let runs = runs_of(&vec![(5, 100); 130], true);
    assert_eq!(runs, [(5, 6400, 100), (5, 6400, 100), (5, 200, 100)]);
    assert!(runs_of(&vec![(5, 1400); 60], true).iter().all(|r| r.1 <= MAX_RUN_BYTES));
}

#[test]
fn a_run_taken_apart_has_the_same_datagrams() {
    let to = ([127, 0, 0, 1], 5).into();
    let mut runs = vec![
        Run {
            to,
            start: 0,
            len: 50,
            segment: 50,
        },
        Run {
            to,
            start: 50,
            len: 250,
            segment: 100,
        },
    ];
    split(&mut runs, 1);
    assert_eq!(
        runs.iter().map(|r| (r.start, r.len)).collect::<Vec<_>>(),
        [(0, 50), (50, 100), (150, 100), (250, 50)]
    );
}

#[test]
fn sockets_exchange_datagrams_of_a_round() {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let plan = Plan {
        bound: vec![loopback],
        offered: vec![(loopback, Some(loopback))],
        strict: true,
    };
    let mut a = Sockets::bind(&plan, 0, MediaProtocols::Udp).unwrap();
    let mut b = Sockets::bind(&plan, 0, MediaProtocols::Udp).unwrap();
    let path = Path {
        local: a.candidates()[0].address,
        remote: b.candidates()[0].address,
        tcp: false,
    };
    let mut out = SendBuffer::with_capacity(8);
    for i in 0..200u8 {
        out.push(path, &[i; 600]);
    }
    a.send(&out);
    assert_eq!(a.counters.sent, 200);
    assert!(a.counters.send_calls < 20, "{} calls", a.counters.send_calls);
    let mut got = Got::default();
    while got.taken.len() < 200 {
        b.receive(&mut got);
    }
    let from = path.local;
    assert!(got.expected.borrow().iter().all(|path| path.remote == from));
    assert!(got.taken.iter().all(|(path, _)| path.remote == from));
    let got: Vec<u8> = got.taken.iter().map(|(_, first)| *first).collect();
    assert_eq!(got, (0..200).collect::<Vec<u8>>());
}

/// Two loopback addresses behind what is offered.
fn plan_of_two(offered: Vec<(IpAddr, Option<IpAddr>)>) -> Plan {
    Plan {
        bound: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])],
        offered,
        strict: true,
    }
}

#[test]
fn every_address_and_protocol_has_the_same_port() {
    let public = IpAddr::from([203, 0, 113, 5]);
    let second = IpAddr::from([127, 0, 0, 2]);
    let plan = plan_of_two(vec![(public, None), (second, Some(second))]);
    let sockets = Sockets::bind(&plan, 0, MediaProtocols::Both).unwrap();
    let candidates = sockets.candidates();
    let port = candidates[0].address.port();
    assert_ne!(port, 0);
    let told: Vec<_> = candidates.iter().map(|c| (c.address, c.transport)).collect();
    let at = |ip| SocketAddr::new(ip, port);
    assert_eq!(
        told,
        [
            (at(public), CandidateTransport::Udp),
            (at(second), CandidateTransport::Udp),
            (at(public), CandidateTransport::TcpPassive),
            (at(second), CandidateTransport::TcpPassive),
        ]
    );
    for protocols in [MediaProtocols::Udp, MediaProtocols::Tcp] {
        let sockets = Sockets::bind(&plan, 0, protocols).unwrap();
        let wanted = match protocols {
            MediaProtocols::Udp => CandidateTransport::Udp,
            _ => CandidateTransport::TcpPassive,
        };
        assert!(sockets.candidates().iter().all(|c| c.transport == wanted));
        assert_eq!(sockets.candidates().len(), 2);
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_address_and_protocol() {
    let plan = plan_of_two(Vec::new());
    for (taken, protocol) in [(MediaProtocols::Udp, "UDP"), (MediaProtocols::Tcp, "TCP")] {
        let first = Sockets::bind(&plan_of_two(vec![(IpAddr::from([127, 0, 0, 1]), None)]), 0, taken).unwrap();
        let port = first.candidates()[0].address.port();
        let error = Sockets::bind(&plan, port, MediaProtocols::Both).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!("cannot bind {protocol} 127.0.0.1:{port} for media")
        );
    }
}
