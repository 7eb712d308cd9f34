//! Members that are killed, frozen, and started anew.

use std::time::Duration;

use crate::process::{LONG, Process, figure, introduce, numbers};

fn pair() -> (Process, Process) {
    let mut a = Process::start("a-1", "");
    let mut b = Process::start("b-1", "");
    introduce(&mut [&mut a, &mut b]);
    a.wait("up b-1");
    b.wait("up a-1");
    (a, b)
}

#[test]
fn a_killed_member_is_proven_gone() {
    // Seen from the one that dials, and from the one that is dialed.
    let (mut a, mut b) = pair();
    let killed = b.kill();
    let (down, _) = a.wait_timed("down b-1 true", LONG);
    figure(&format!(
        "kill -9 to down with proof, at the one that dials: {:?}",
        down - killed
    ));
    assert!(a.ask("gone b-1").starts_with("gone b-1 true"));

    let (mut a, mut b) = pair();
    let killed = a.kill();
    let (down, _) = b.wait_timed("down a-1 true", LONG);
    figure(&format!(
        "kill -9 to down with proof, at the one that is dialed: {:?}",
        down - killed
    ));
    for process in [&a, &b] {
        assert!(
            !process.said().iter().any(|line| line.ends_with("false")),
            "{:?}",
            process.said()
        );
    }
}

#[test]
fn a_member_that_stops_is_gone() {
    let (mut a, mut b) = pair();
    b.stop();
    a.wait("down b-1 true");
    let (mut a, mut b) = pair();
    a.stop();
    b.wait("down a-1 true");
}

#[test]
fn a_frozen_member_is_down_without_proof_and_comes_back() {
    for frozen_dials in [false, true] {
        let (a, b) = pair();
        let (mut awake, mut frozen) = if frozen_dials { (b, a) } else { (a, b) };
        let name = frozen.name.clone();
        let at = frozen.signal("STOP");
        let (down, _) = awake.wait_timed(&format!("down {name} false"), LONG);
        let took = down - at;
        figure(&format!("SIGSTOP to down without proof: {took:?}"));
        assert!(
            took >= Duration::from_millis(700) && took < Duration::from_secs(5),
            "{took:?}"
        );
        let gone = awake.ask(&format!("gone {name}"));
        assert!(gone.starts_with(&format!("gone {name} false")), "{gone}");
        let at = frozen.signal("CONT");
        let (up, _) = awake.wait_timed(&format!("up {name}"), LONG);
        figure(&format!("SIGCONT to up again: {:?}", up - at));
        let other = awake.name.clone();
        frozen.wait(&format!("up {other}"));
        awake.tell(&format!("send {name} 10 500 patient"));
        assert_eq!(frozen.wait_received(10)[0], 10);
        assert!(
            !awake.said().iter().any(|line| line.ends_with("true")),
            "{:?}",
            awake.said()
        );
    }
}

#[test]
fn a_thawed_member_does_nothing_that_is_too_old() {
    let mut a = Process::start("a-1", "deadline_ms=1500");
    let mut b = Process::start("b-1", "");
    introduce(&mut [&mut a, &mut b]);
    a.wait("up b-1");
    b.wait("up a-1");
    a.tell("send b-1 100 500 patient");
    a.wait("sent ");
    b.wait_received(100);
    b.signal("STOP");
    // Into the frozen member's buffers.
    a.tell("send b-1 200 500 hasty");
    assert_eq!(numbers::<2>(&a.wait("sent ")), [200, 0]);
    a.wait("down b-1 false");
    // Frozen for longer than the deadline, which is what is tested here.
    std::thread::sleep(Duration::from_secs(2));
    b.signal("CONT");
    b.wait("down a-1 false");
    b.wait("up a-1");
    a.wait("up b-1");
    a.tell("send b-1 50 500 patient");
    let [messages, _, oldest_ms] = b.wait_received(150);
    let [_, _, _, expired] = numbers(&b.ask("counts"));
    figure(&format!(
        "after 3 s frozen: {messages} of 350 handled, the oldest {oldest_ms} ms old, {expired} dropped as expired"
    ));
    assert!(oldest_ms <= 1_600, "{oldest_ms}");
    assert_eq!(messages, 150);
}

#[test]
fn what_waited_too_long_on_a_link_that_stays_is_dropped() {
    let mut a = Process::start("a-1", "heartbeat_ms=1000 deadline_ms=500");
    let mut b = Process::start("b-1", "heartbeat_ms=1000");
    introduce(&mut [&mut a, &mut b]);
    a.wait("up b-1");
    b.wait("up a-1");
    b.signal("STOP");
    a.tell("send b-1 200 500 hasty");
    assert_eq!(numbers::<2>(&a.wait("sent ")), [200, 0]);
    // Longer than the deadline, shorter than what a link is given up after.
    std::thread::sleep(Duration::from_millis(800));
    b.signal("CONT");
    b.ask_until("counts", LONG, |answer| numbers::<4>(answer)[3] == 200);
    assert_eq!(b.received()[0], 0);
    assert_eq!(a.ask("linked"), "linked b-1");
}

#[test]
fn a_node_started_anew_is_linked_anew() {
    let (mut a, mut b) = pair();
    let address = b.address.clone();
    b.kill();
    a.wait("down b-1 true");
    let mut again = Process::start("b-2", &format!("listen={address}"));
    again.know(&[("a-1", &a.address)]);
    a.know(&[("b-2", &address)]);
    a.wait("up b-2");
    again.wait("up a-1");
    let gone = a.ask("gone b-1");
    assert!(gone.starts_with("gone b-1 true"), "{gone}");
    figure(&format!(
        "a run that was succeeded is proven gone in {} ms",
        gone.rsplit(' ').next().unwrap()
    ));
    assert!(a.ask("gone b-2").starts_with("gone b-2 false"));

    // The one that dials.
    let address = a.address.clone();
    a.kill();
    again.wait("down a-1 true");
    let mut anew = Process::start("a-7", &format!("listen={address}"));
    anew.know(&[("b-2", &again.address)]);
    again.know(&[("a-7", &address)]);
    anew.wait("up b-2");
    again.wait("up a-7");
}

#[test]
fn a_frozen_member_that_is_killed_is_proven_gone_later() {
    for frozen_dials in [false, true] {
        let (a, b) = pair();
        let (mut awake, mut frozen) = if frozen_dials { (b, a) } else { (a, b) };
        frozen.signal("STOP");
        awake.wait(&format!("down {} false", frozen.name));
        let killed = frozen.kill();
        let (down, _) = awake.wait_timed(&format!("down {} true", frozen.name), LONG);
        figure(&format!("a frozen member killed: proof {:?} after", down - killed));
    }
}
