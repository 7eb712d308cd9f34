//! Members that find each other.

use std::time::Duration;

use tokio::time::Instant;

use crate::certificates::{Authority, tls};
use crate::process::{LONG, Process, figure, introduce, numbers};

#[test]
fn two_members_are_linked_whichever_comes_first() {
    for order in [["a-1", "b-1"], ["b-1", "a-1"]] {
        let mut first = Process::start(order[0], "");
        // The first knows where the second will be before it is there.
        let reserved = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        first.know(&[(order[1], &reserved)]);
        let mut second = Process::start(order[1], &format!("listen={reserved}"));
        second.know(&[(order[0], &first.address)]);
        first.wait(&format!("up {}", order[1]));
        second.wait(&format!("up {}", order[0]));
        assert_eq!(first.ask("linked"), format!("linked {}", order[1]));
    }
}

#[test]
fn a_member_that_is_dialed_before_it_knows_who_dials_is_linked_when_it_does() {
    let mut a = Process::start("a-1", "");
    let mut b = Process::start("b-1", "");
    a.know(&[("b-1", &b.address)]);
    // What is waited for is that nothing comes of it: the connection is there, unanswered.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(b.ask("linked"), "linked ");
    let at = Instant::now();
    b.know(&[("a-1", &a.address)]);
    let (up, _) = a.wait_timed("up b-1", LONG);
    figure(&format!("linked {:?} after the other became known", up - at));
    b.wait("up a-1");
}

#[test]
fn three_members_with_certificates_are_linked_and_hear_each_other() {
    let authority = Authority::new();
    let folders = [
        authority.member(&authority),
        authority.member(&authority),
        authority.member(&authority),
    ];
    let [mut a, mut b, mut c] =
        [("a-1", 0), ("b-1", 1), ("c-1", 2)].map(|(name, nth)| Process::start(name, &tls(folders[nth].path())));
    let at = Instant::now();
    introduce(&mut [&mut c, &mut a, &mut b]);
    let all = ["a-1", "b-1", "c-1"];
    for process in [&mut a, &mut b, &mut c] {
        let others: Vec<&str> = all.into_iter().filter(|name| *name != process.name).collect();
        process.ask_until("linked", LONG, |answer| {
            answer == format!("linked {}", others.join(" "))
        });
    }
    figure(&format!("three members linked over TLS in {:?}", at.elapsed()));
    a.tell("send c-1 10 500 patient");
    b.tell("send a-1 20 500 patient");
    c.tell("send b-1 30 500 patient");
    assert_eq!(
        (c.wait_received(10)[0], a.wait_received(20)[0], b.wait_received(30)[0]),
        (10, 20, 30)
    );
}

#[test]
fn messages_arrive_in_order() {
    let mut a = Process::start("a-1", "");
    let mut b = Process::start("b-1", "");
    introduce(&mut [&mut a, &mut b]);
    a.wait("up b-1");
    b.wait("up a-1");
    a.tell("send b-1 10000 500 patient");
    b.tell("send a-1 10000 500 patient");
    for process in [&mut a, &mut b] {
        let [messages, disorder, _] = process.wait_received(10_000);
        assert_eq!((messages, disorder), (10_000, 0));
    }
    // The longest there may be, and one that is longer.
    a.tell(&format!("send b-1 3 {} patient", 1 << 20));
    assert_eq!(b.wait_received(10_003)[0], 10_003);
    a.tell(&format!("send b-1 1 {} patient", (1 << 20) + 1));
    a.wait("error TooLarge");
    a.tell("send c-1 1 500 patient");
    a.wait("error Unreachable");
}

#[test]
fn the_word_of_a_member_goes_with_its_heartbeats() {
    let mut a = Process::start("a-1", "");
    let mut b = Process::start("b-1", "");
    b.tell("status ready");
    introduce(&mut [&mut a, &mut b]);
    a.wait("up b-1");
    a.ask_until("status-of b-1", LONG, |answer| answer == "status-of b-1 ready");
    b.tell("status draining");
    a.ask_until("status-of b-1", LONG, |answer| answer == "status-of b-1 draining");
}

#[test]
fn who_is_taken_off_the_list_is_unlinked() {
    let mut a = Process::start("a-1", "");
    let mut b = Process::start("b-1", "");
    introduce(&mut [&mut a, &mut b]);
    a.wait("up b-1");
    b.wait("up a-1");
    b.know(&[]);
    b.wait("down a-1 false");
    a.wait("down b-1 false");
    assert_eq!(b.ask("linked"), "linked ");
    b.know(&[("a-1", &a.address)]);
    b.wait("up a-1");
    a.wait("up b-1");
    // The one that dials as well.
    a.know(&[]);
    a.wait("down b-1 false");
    b.wait("down a-1 false");
}

#[test]
fn versions_that_are_neighbours_fit_and_others_do_not() {
    let mut now = Process::start("b-1", "version=5");
    let mut before = Process::start("a-1", "version=4");
    let mut old = Process::start("c-1", "version=3");
    introduce(&mut [&mut now, &mut before, &mut old]);
    now.wait("up a-1");
    old.wait("up a-1");
    // The old and the new one have refused each other; what they have with the third stays.
    now.ask_until("linked", LONG, |answer| answer == "linked a-1");
    old.ask_until("linked", LONG, |answer| answer == "linked a-1");
    before.ask_until("linked", LONG, |answer| answer == "linked b-1 c-1");
    old.ask_until("counts", LONG, |answer| numbers::<4>(answer)[0] >= 3);
    assert_eq!(now.ask("linked"), "linked a-1");
    assert_eq!((now.log("versions do not fit"), old.log("versions do not fit")), (1, 1));
}

#[test]
fn a_link_takes_what_fits_and_recovers() {
    let mut a = Process::start("a-1", "");
    let mut b = Process::start("b-1", "");
    introduce(&mut [&mut a, &mut b]);
    a.wait("up b-1");
    b.wait("up a-1");
    // 100 µs for each of 12,000 is 1.2 s, in which the sender wants to send them all.
    b.tell("slow 100");
    let [sent, overloaded, _] = numbers(&{
        a.tell("send b-1 12000 500 hasty");
        a.wait("sent ")
    });
    assert!(overloaded > 0 && sent >= 8_192, "sent {sent}, overloaded {overloaded}");
    assert_eq!(b.wait_received(sent)[..2], [sent, 0]);
    b.tell("slow 0");
    a.tell("send b-1 1000 500 patient");
    assert_eq!(b.wait_received(sent + 1_000)[..2], [sent + 1_000, 0]);
    figure(&format!(
        "of 12,000 at once {sent} were taken and {overloaded} refused; the link stayed"
    ));
    assert!(!a.said().iter().any(|line| line.starts_with("down")));
}
