//! A media worker comes before what else runs on the machine.
//!
//! A packet that waits for a core is late for everybody it goes to, while a signaling message, a hash of a password or a file can
//! wait. On two cores that browsers keep busy a worker of the usual priority waited for up to 500 ms, one that was merely nicer to
//! itself as well (groups of processes share by their own weights), and one with real-time priority left no gap of 120 ms.
//!
//! A worker that is busy most of the time could starve the rest of the node, so it is then a thread like others, if of a better
//! nice value.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use thread_priority::{
    Error, NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue,
    ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

use super::Instant;

/// The processor's time that the worker uses is looked at so often.
const INTERVAL: Duration = Duration::from_millis(200);

/// From this share of a core on a worker is crowded, and has no real-time priority for so long.
const CROWDED: f64 = 0.85;
const PAUSE: Duration = Duration::from_secs(1);

/// A nice value of -11 or so, where 50 is 0 and 99 is -20.
const NICER: u8 = 75;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    RealTime,
    Nicer,
    Usual,
}

/// The scheduling class of the thread that made it.
#[derive(Debug)]
pub(super) struct Standing {
    class: Class,
    may_rise: bool,
    /// When the time used was looked at last, and what it was.
    seen: (Instant, Duration),
    /// When it may be real-time again.
    calm: Instant,
}

impl Standing {
    /// Raises the calling thread. Needs `CAP_SYS_NICE`, or limits that allow it (`RLIMIT_RTPRIO` and `RLIMIT_NICE`, in systemd
    /// `LimitRTPRIO` and `LimitNICE`); without, the worker runs as any other thread does.
    pub(super) fn raise(now: Instant) -> Self {
        let class = Class::RealTime.apply_or_next();
        match class {
            Class::RealTime => tracing::debug!("the media worker has real-time priority"),
            Class::Nicer => tracing::info!(
                "the media worker has a better nice value; CAP_SYS_NICE or LimitRTPRIO=1 would give it real-time priority"
            ),
            Class::Usual => tracing::info!(
                "the media worker has the priority of any other thread; CAP_SYS_NICE or LimitRTPRIO=1 would keep packets in time on a machine that does other work too"
            ),
        }
        Self {
            class,
            may_rise: class == Class::RealTime,
            seen: (now, used()),
            calm: now,
        }
    }

    /// Follows the time that the thread uses; to be called each round.
    pub(super) fn follow(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.seen.0);
        if self.may_rise && passed >= INTERVAL {
            let used = used();
            let share = used.saturating_sub(self.seen.1).div_duration_f64(passed);
            self.seen = (now, used);
            self.follow_share(now, share);
        }
    }

    fn follow_share(&mut self, now: Instant, share: f64) {
        match self.class {
            Class::RealTime if share > CROWDED => {
                self.class = Class::Nicer.apply_or_next();
                self.calm = now + PAUSE;
            }
            Class::Nicer | Class::Usual if now >= self.calm => self.class = Class::RealTime.apply_or_next(),
            _ => {}
        }
    }
}

/// The processor's time that this thread has used. Time that it waits for a core is not in it.
fn used() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

impl Class {
    /// Makes the calling thread one of this class, or else of the next that the system allows.
    fn apply_or_next(self) -> Self {
        [Self::RealTime, Self::Nicer]
            .into_iter()
            .skip_while(|it| *it != self)
            .find(|it| it.apply().is_ok())
            .unwrap_or(Self::Usual)
    }

    /// Makes the calling thread one of this class.
    fn apply(self) -> Result<(), Error> {
        let (priority, policy) = match self {
            Self::RealTime => (
                ThreadPriority::Min,
                ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin),
            ),
            Self::Nicer => (
                ThreadPriority::Crossplatform(
                    ThreadPriorityValue::try_from(NICER).map_err(|_| Error::Priority("out of range"))?,
                ),
                ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other),
            ),
            Self::Usual => return Ok(()),
        };
        set_thread_priority_and_policy(thread_native_id(), priority, policy)
    }
}

#[cfg(test)]
mod tests {
    use thread_priority::thread_schedule_policy;

    use super::*;

    #[test]
    fn a_worker_is_real_time_where_that_is_allowed_and_until_it_is_crowded() {
        let before = thread_schedule_policy().unwrap();
        let worker = std::thread::spawn(|| {
            let real_time = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
            let now = Instant::now();
            let mut standing = Standing::raise(now);
            let may_rise = standing.may_rise;
            let mut seen = vec![thread_schedule_policy().unwrap() == real_time];
            for (seconds, share) in [(0.2, 0.6), (0.4, 0.9), (0.6, 0.9), (0.8, 0.1), (1.4, 0.9), (1.6, 0.9)] {
                standing.follow_share(now + Duration::from_secs_f64(seconds), share);
                seen.push(thread_schedule_policy().unwrap() == real_time);
            }
            (may_rise, seen)
        });
        let (may_rise, seen) = worker.join().unwrap();
        let expected = [true, true, false, false, false, true, false].map(|it| it && may_rise);
        assert_eq!(seen, expected);
        assert_eq!(
            thread_schedule_policy().unwrap(),
            before,
            "only the thread that asks is raised"
        );
    }
}
