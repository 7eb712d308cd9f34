//! The lease, step by step.

use super::*;

const ALONE: Quorum = Quorum {
    known: 0,
    reachable: 0,
    away: 0,
};

/// A lease of a second from a renewal that took no time, judged now.
fn held() -> (Lease, Instant) {
    let start = Instant::now();
    (Lease::new(Times::new(Duration::from_secs(1)), start, start), start)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Looks at the clock as often as the watch does, up to `until`; what it brought in the end.
fn watch(lease: &mut Lease, start: Instant, from: u64, until: u64, quorum: Quorum) -> Verdict {
    let mut last = Verdict::Unchanged;
    for at in (from..=until).step_by(25) {
        match lease.judge(start + ms(at), Some(quorum)) {
            Verdict::Unchanged => {}
            verdict => last = verdict,
        }
    }
    last
}

fn quorum(known: usize, reachable: usize, away: usize) -> Quorum {
    Quorum { known, reachable, away }
}

#[test]
fn who_alone_has_lost_redis_is_fenced_before_the_lease_ends_there() {
    for peers in [quorum(1, 1, 0), quorum(1, 0, 0), quorum(2, 2, 1), quorum(4, 1, 1)] {
        let (mut lease, start) = held();
        assert_eq!(watch(&mut lease, start, 0, 775, peers), Verdict::Unchanged);
        assert!(
            matches!(watch(&mut lease, start, 800, 900, peers), Verdict::Fence(_)),
            "{peers:?}"
        );
        assert_eq!(lease.standing(start + ms(900)), Standing::None);
    }
}

#[test]
fn when_redis_is_away_for_everybody_nobody_is_fenced() {
    for peers in [ALONE, quorum(1, 1, 1), quorum(2, 1, 1), quorum(4, 2, 2)] {
        let (mut lease, start) = held();
        assert_eq!(watch(&mut lease, start, 0, 5000, peers), Verdict::Suspend, "{peers:?}");
        assert_eq!(lease.standing(start + ms(5000)), Standing::Suspended);
        assert_eq!(lease.renewed(start + ms(5001), start + ms(5000)), Renewed::Resumed);
        assert_eq!(lease.standing(start + ms(5002)), Standing::Leased(0));
    }
}

#[test]
fn a_majority_that_does_not_see_everybody_goes_on_for_a_while_only() {
    let (mut lease, start) = held();
    assert_eq!(watch(&mut lease, start, 0, 19_500, quorum(2, 1, 1)), Verdict::Suspend);
    assert!(matches!(
        watch(&mut lease, start, 19_525, 20_000, quorum(2, 1, 1)),
        Verdict::Fence(_)
    ));
}

#[test]
fn who_hears_that_redis_works_has_a_moment_to_come_back() {
    let (mut lease, start) = held();
    watch(&mut lease, start, 0, 1000, quorum(2, 2, 2));
    assert_eq!(watch(&mut lease, start, 1025, 1250, quorum(2, 2, 1)), Verdict::Hurry);
    assert!(matches!(
        watch(&mut lease, start, 1275, 1300, quorum(2, 2, 1)),
        Verdict::Fence(_)
    ));
}

#[test]
fn the_moment_ends_also_when_who_said_so_is_silent_again() {
    let (mut lease, start) = held();
    watch(&mut lease, start, 0, 1000, quorum(2, 2, 2));
    assert_eq!(watch(&mut lease, start, 1025, 1050, quorum(2, 2, 1)), Verdict::Hurry);
    assert!(matches!(
        watch(&mut lease, start, 1075, 1300, quorum(2, 1, 1)),
        Verdict::Fence(_)
    ));
}

#[test]
fn without_the_majority_there_is_no_going_on() {
    let (mut lease, start) = held();
    watch(&mut lease, start, 0, 1000, quorum(2, 2, 2));
    assert!(matches!(
        watch(&mut lease, start, 1025, 1050, quorum(2, 0, 0)),
        Verdict::Fence(_)
    ));
}

#[test]
fn a_process_that_stood_still_is_fenced_whatever_the_peers_said() {
    for (frozen_at, peers) in [(500, ALONE), (1500, quorum(2, 2, 2))] {
        let (mut lease, start) = held();
        watch(&mut lease, start, 0, frozen_at, peers);
        assert!(matches!(
            lease.judge(start + ms(frozen_at + 20_000), Some(peers)),
            Verdict::Fence(_)
        ));
        // A renewal that was on its way all the time brings nothing.
        let now = start + ms(frozen_at + 20_000);
        assert_eq!(lease.renewed(now, start + ms(frozen_at)), Renewed::TooLate);
        assert_eq!(lease.renewed(now + ms(2), now + ms(1)), Renewed::Reinstated);
        assert_eq!(lease.standing(now + ms(3)), Standing::Leased(1));
    }
}

#[test]
fn a_lease_that_ran_out_grants_nothing_even_before_anyone_looked() {
    let (lease, start) = held();
    assert_eq!(lease.standing(start + ms(799)), Standing::Leased(0));
    assert_eq!(lease.standing(start + ms(800)), Standing::None);
}
