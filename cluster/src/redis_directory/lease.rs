//! The lease of this member, judged on its own clock: pure, told the time and what the peers know.

use std::time::Duration;

use tokio::time::Instant;

/// How many leases a member that has none is thought to be possibly alive, and how long a majority that does not see
/// everybody goes on without one.
const DOUBT_LEASES: u32 = 20;

/// What the links know, asked when Redis does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quorum {
    /// How many other members are known and not proven dead.
    pub known: usize,
    /// How many of them can be reached over links. Must not be older than a third of a lease.
    pub reachable: usize,
    /// How many of those that can be reached say that Redis is away for them too.
    pub away: usize,
}

impl Quorum {
    /// Whether a majority of the members is here, this one counted, and Redis works for none of those here.
    fn lost_redis(self) -> bool {
        (self.reachable + 1) * 2 > self.known + 1 && self.away >= self.reachable
    }

    fn sees_everybody(self) -> bool {
        self.reachable >= self.known
    }
}

/// The spans of time that follow from a lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) lease: Duration,
    /// So long before Redis ends the lease we do.
    margin: Duration,
    /// Without a look at the clock for so long, this process stood still.
    stall: Duration,
    /// So long a member without a lease tries to come back after it was told that Redis works again.
    /// Together with `stall` and the age of a [`Quorum`] less than a lease: before that, nobody else gets its rooms.
    grace: Duration,
    /// Without a renewal for so long, Redis is away for this member.
    pub(super) away_after: Duration,
    /// Without a renewal by anybody for so long, Redis was away for everybody. Less than `away_after`.
    pub(super) gap: Duration,
    pub(super) doubt: Duration,
    /// Between two looks at the clock.
    pub(super) tick: Duration,
}

impl Times {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            margin: (lease / 10).max((lease / 5).min(Duration::from_millis(200))),
            stall: lease / 4,
            grace: lease / 4,
            away_after: lease / 2,
            gap: lease / 3,
            doubt: lease * DOUBT_LEASES,
            tick: (lease / 40).clamp(Duration::from_millis(5), Duration::from_millis(100)),
        }
    }

    fn until(&self, sent: Instant) -> Instant {
        sent + self.lease - self.margin
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    /// Redis is away for everybody; with the moment at which a peer said that it works again.
    Suspended(Option<Instant>),
    Fenced,
    Left,
}

/// What a look at the clock brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Unchanged,
    /// Redis works for a peer: worth an attempt at once.
    Hurry,
    /// From now on without a lease, as everybody.
    Suspend,
    /// From now on without rooms, for this reason.
    Fence(&'static str),
}

/// Under what this member acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A lease; with how often this member was fenced, to tell this lease from a later one.
    Leased(u64),
    /// Redis is away for everybody.
    Suspended,
    /// Nothing.
    None,
}

/// What a renewal found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewed {
    /// The lease goes on.
    Held,
    /// The answer came after the lease it brought.
    TooLate,
    /// Redis is back: what we own must be asserted.
    Resumed,
    /// A lease after none.
    Reinstated,
}

#[derive(Debug)]
pub(super) struct Lease {
    times: Times,
    state: State,
    /// When the last renewal was sent that was answered.
    sent: Instant,
    judged: Instant,
    fences: u64,
}

impl Lease {
    /// From a first renewal.
    pub(super) fn new(times: Times, sent: Instant, now: Instant) -> Self {
        Self {
            times,
            state: State::Held,
            sent,
            judged: now,
            fences: 0,
        }
    }

    /// Whether [`judge`](Self::judge) needs to be told what the peers know.
    pub(super) fn asks(&self, now: Instant) -> bool {
        match self.state {
            State::Held => now >= self.times.until(self.sent),
            State::Suspended(_) => true,
            State::Fenced | State::Left => false,
        }
    }

    /// Looks at the clock. With `None` for what the peers know, nothing is decided that would need it.
    pub(super) fn judge(&mut self, now: Instant, quorum: Option<Quorum>) -> Verdict {
        let asks = self.asks(now);
        let stalled = now.duration_since(self.judged) > self.times.stall;
        if !asks {
            self.judged = now;
            return Verdict::Unchanged;
        }
        let Some(quorum) = quorum else {
            return Verdict::Unchanged;
        };
        self.judged = now;
        if stalled {
            // What the peers said was said before.
            return self.fence("this process stood still");
        }
        let in_doubt = !quorum.sees_everybody() && now >= self.sent + self.times.doubt - self.times.margin;
        match self.state {
            State::Held if quorum.lost_redis() && !in_doubt => {
                self.state = State::Suspended(None);
                Verdict::Suspend
            }
            State::Held => self.fence("Redis does not answer this member"),
            State::Suspended(_) if in_doubt => self.fence("Redis is away, and not all members were seen for long"),
            State::Suspended(told) if quorum.reachable > quorum.away => {
                let told = told.unwrap_or(now);
                if now.duration_since(told) >= self.times.grace {
                    return self.fence("Redis works for others");
                }
                self.state = State::Suspended(Some(told));
                Verdict::Hurry
            }
            State::Suspended(_) if !quorum.lost_redis() => self.fence("Redis is away, and so is the majority"),
            // Once told, the time runs: whoever said it may be the next to be out of reach.
            State::Suspended(Some(told)) if now.duration_since(told) >= self.times.grace => {
                self.fence("Redis works for others")
            }
            State::Suspended(_) | State::Fenced | State::Left => Verdict::Unchanged,
        }
    }

    /// Takes note of an answered renewal that was sent at `sent`. The clock must have been judged before.
    pub(super) fn renewed(&mut self, now: Instant, sent: Instant) -> Renewed {
        if self.state == State::Left || now >= self.times.until(sent) {
            return Renewed::TooLate;
        }
        self.sent = self.sent.max(sent);
        let before = std::mem::replace(&mut self.state, State::Held);
        match before {
            State::Fenced => Renewed::Reinstated,
            State::Suspended(_) => Renewed::Resumed,
            State::Held | State::Left => Renewed::Held,
        }
    }

    /// Ends it. The same as a verdict, for reasons that are not of the clock.
    pub(super) fn fence(&mut self, why: &'static str) -> Verdict {
        if matches!(self.state, State::Fenced | State::Left) {
            return Verdict::Unchanged;
        }
        self.state = State::Fenced;
        self.fences += 1;
        Verdict::Fence(why)
    }

    /// Gives it up for good.
    pub(super) fn leave(&mut self) {
        self.state = State::Left;
        self.fences += 1;
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.state {
            State::Held if now < self.times.until(self.sent) => Standing::Leased(self.fences),
            State::Suspended(_) => Standing::Suspended,
            State::Held | State::Fenced | State::Left => Standing::None,
        }
    }

    /// When the lease ends, as long as there is one.
    pub(super) fn ends(&self) -> Option<Instant> {
        (self.state == State::Held).then(|| self.times.until(self.sent))
    }

    pub(super) fn fences(&self) -> u64 {
        self.fences
    }
}

#[cfg(test)]
mod tests;
