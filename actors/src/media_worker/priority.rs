//! A media worker comes before what else runs on the machine.
//!
//! A packet that waits for a core is late for everybody it goes to, while a signaling message, a hash of a password or a file can
//! wait. On two cores that browsers keep busy a worker of the usual priority waited for up to 500 ms, one that was merely nicer to
//! itself as well (groups of processes share by their own weights), one with real-time priority never for 20 ms.
//!
//! A worker that is busy most of the time could starve the rest of the node, so it is then a thread like others, if of a better
//! nice value.

use thread_priority::{
    Error, NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue,
    ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

/// From this share of busy time on a worker has no real-time priority, and again from [`CALM`] down.
const CROWDED: f64 = 0.7;
const CALM: f64 = 0.5;

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
}

impl Standing {
    /// Raises the calling thread. Needs `CAP_SYS_NICE`, or limits that allow it (`RLIMIT_RTPRIO` and `RLIMIT_NICE`, in systemd
    /// `LimitRTPRIO` and `LimitNICE`); without, the worker runs as any other thread does.
    pub(super) fn raise() -> Self {
        let mut this = Self {
            class: Class::Usual,
            may_rise: true,
        };
        this.become_best(Class::RealTime);
        match this.class {
            Class::RealTime => tracing::debug!("the media worker has real-time priority"),
            Class::Nicer => tracing::info!(
                "the media worker has a better nice value; CAP_SYS_NICE or LimitRTPRIO=1 would give it real-time priority"
            ),
            Class::Usual => tracing::info!(
                "the media worker has the priority of any other thread; CAP_SYS_NICE or LimitRTPRIO=1 would keep packets in time on a machine that does other work too"
            ),
        }
        this.may_rise = this.class == Class::RealTime;
        this
    }

    /// Follows the share of time, 0 to 1, that the worker was busy lately; cheap when nothing changes.
    pub(super) fn follow(&mut self, busy: f64) {
        if !self.may_rise {
            return;
        }
        match self.class {
            Class::RealTime if busy > CROWDED => self.become_best(Class::Nicer),
            Class::Nicer | Class::Usual if busy < CALM => self.become_best(Class::RealTime),
            _ => {}
        }
    }

    /// The best that the system allows, from `class` down.
    fn become_best(&mut self, class: Class) {
        self.class = [Class::RealTime, Class::Nicer, Class::Usual]
            .into_iter()
            .skip_while(|it| *it != class)
            .find(|it| it.apply().is_ok())
            .unwrap_or(Class::Usual);
    }
}

impl Class {
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
            let mut standing = Standing::raise();
            let may_rise = standing.may_rise;
            let mut seen = vec![thread_schedule_policy().unwrap() == real_time];
            for busy in [0.6, 0.8, 0.6, 0.4] {
                standing.follow(busy);
                seen.push(thread_schedule_policy().unwrap() == real_time);
            }
            (may_rise, seen)
        });
        let (may_rise, seen) = worker.join().unwrap();
        let expected = [true, true, false, false, true].map(|it| it && may_rise);
        assert_eq!(seen, expected);
        assert_eq!(
            thread_schedule_policy().unwrap(),
            before,
            "only the thread that asks is raised"
        );
    }
}
