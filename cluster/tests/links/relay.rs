//! A network between two members that can be cut without either end being told, and what follows.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use crate::process::{LONG, Process, figure};
use tokio::time::Instant;

/// Passes connections on to an address, unless it is cut: then bytes wait, and connections as well.
struct Relay {
    address: String,
    cut: Arc<(Mutex<bool>, Condvar)>,
}

impl Relay {
    fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap().to_string(),
            cut: Arc::default(),
        };
        let (cut, to) = (relay.cut.clone(), to.to_owned());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let (cut, to) = (cut.clone(), to.clone());
                std::thread::spawn(move || {
                    wait_until_whole(&cut);
                    let Ok(far) = TcpStream::connect(&to) else { return };
                    let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
                    let cut_too = cut.clone();
                    std::thread::spawn(move || pass(back.0, &back.1, &cut_too));
                    pass(near, &far, &cut);
                });
            }
        });
        relay
    }

    fn cut(&self, cut: bool) -> Instant {
        *self.cut.0.lock().unwrap() = cut;
        self.cut.1.notify_all();
        Instant::now()
    }
}

fn wait_until_whole(cut: &(Mutex<bool>, Condvar)) {
    drop(cut.1.wait_while(cut.0.lock().unwrap(), |cut| *cut).unwrap());
}

fn pass(mut from: TcpStream, mut to: &TcpStream, cut: &(Mutex<bool>, Condvar)) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        wait_until_whole(cut);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    wait_until_whole(cut);
    // Fails when the other direction was first.
    drop(to.shutdown(std::net::Shutdown::Both));
    drop(from.shutdown(std::net::Shutdown::Both));
}

#[test]
fn a_cut_is_no_proof_and_heals() {
    let mut b = Process::start("b-1", "");
    let relay = Relay::start(&b.address);
    let mut a = Process::start("a-1", "");
    a.know(&[("b-1", &relay.address)]);
    b.know(&[("a-1", &a.address)]);
    for round in 0..5 {
        a.wait("up b-1");
        b.wait("up a-1");
        let at = relay.cut(true);
        a.tell("send b-1 10 500 hasty");
        let (down, _) = a.wait_timed("down b-1 false", LONG);
        b.wait("down a-1 false");
        assert!(a.ask("gone b-1").starts_with("gone b-1 false"));
        let healed = relay.cut(false);
        let (up, _) = a.wait_timed("up b-1", LONG);
        figure(&format!(
            "cut {round}: down after {:?}, up {:?} after it healed",
            down - at,
            up - healed
        ));
        b.wait("up a-1");
        let before = b.received()[0];
        a.tell("send b-1 10 500 patient");
        b.wait_received(before + 10);
        // The next cut is of the link that there is now.
        a.tell("know");
        a.wait("down b-1 false");
        b.wait("down a-1 false");
        a.know(&[("b-1", &relay.address)]);
    }
    for process in [&a, &b] {
        assert!(
            !process.said().iter().any(|line| line.ends_with("true")),
            "{:?}",
            process.said()
        );
    }
}
