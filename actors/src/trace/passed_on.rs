//! Messages that clients pass on to each other, of which there are far more than of all others, and each like the next: some are
//! followed from actor to actor, and of the others a span is made only when they failed or were slow.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use caside_protocol::error::ErrorCode;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer};
use opentelemetry::{Context, KeyValue, global};
use tokio::time::Instant;

use super::SCOPE;

/// Of all that a node passes on, so many a second are followed at most.
const MOST_FOLLOWED: u32 = 100;

/// How messages that are passed on are traced, once somebody records traces.
static HOW: OnceLock<How> = OnceLock::new();

#[derive(Debug)]
struct How {
    /// Those that are drawn below this are followed.
    below: u64,
    /// The others are told of from so long on, or when they fail; `None`: never.
    slow: Option<Duration>,
    began: Instant,
    draws: Draws,
}

/// Chooses evenly: a Weyl sequence has no gaps and no clusters, and costs an addition.
#[derive(Debug, Default)]
struct Draws {
    last: AtomicU64,
    /// A second, counted from the start, and above it how many were followed in it.
    followed: AtomicU64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draws {
    fn is_below(&self, below: u64) -> bool {
        below == u64::MAX || self.last.fetch_add(GOLDEN, Ordering::Relaxed) < below
    }

    /// Takes one of the second's.
    fn take(&self, second: u32) -> bool {
        let take = |now: u64| {
            let (known, followed) = (now as u32, (now >> 32) as u32);
            match (known == second, followed < MOST_FOLLOWED) {
                (true, true) => Some(now + (1 << 32)),
                (true, false) => None,
                (false, _) => Some(1 << 32 | u64::from(second)),
            }
        };
        let taken = self.followed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }
}

/// Says how messages that are passed on are traced: the share `ratio` of them is followed, and of the others those are told of that
/// fail or take longer than `slow`. What was said first counts.
pub fn follow_passed_on(ratio: f64, slow: Option<Duration>) {
    let below = match ratio {
        all if all >= 1.0 => u64::MAX,
        part => (part.max(0.0) * u64::MAX as f64) as u64,
    };
    let how = How {
        below,
        slow,
        began: Instant::now(),
        draws: Draws::default(),
    };
    if HOW.set(how).is_err() {
        tracing::debug!("it was said before how messages are traced that are passed on");
    }
}

/// Whether the next message that is passed on is followed.
pub fn follows_next() -> bool {
    let Some(how) = HOW.get() else { return true };
    let second = how.began.elapsed().as_secs() as u32;
    how.draws.is_below(how.below) && how.draws.take(second)
}

/// A request that is not followed, but told of when it goes badly.
#[derive(Debug)]
pub(super) struct Unfollowed {
    kind: &'static str,
    began: SystemTime,
    slow: Duration,
    failed: OnceLock<ErrorCode>,
}

impl Unfollowed {
    /// A request that begins now; `None` when such are not told of.
    pub(super) fn begin(kind: &'static str) -> Option<Self> {
        let slow = HOW.get()?.slow?;
        Some(Self {
            kind,
            began: SystemTime::now(),
            slow,
            failed: OnceLock::new(),
        })
    }

    /// It failed, by an error of ours.
    pub(super) fn failed(&self, code: ErrorCode) {
        // The first answer is the one that its client gets.
        self.failed.get_or_init(|| code);
    }
}

impl Drop for Unfollowed {
    fn drop(&mut self) {
        let ended = SystemTime::now();
        let took = ended.duration_since(self.began).unwrap_or_default();
        let failed = self.failed.get();
        if failed.is_none() && took < self.slow {
            return;
        }
        let tracer = global::tracer(SCOPE);
        let builder = tracer
            .span_builder(format!("ws {}", self.kind))
            .with_kind(SpanKind::Server)
            .with_start_time(self.began)
            .with_attributes([
                KeyValue::new("network.protocol.name", "websocket"),
                KeyValue::new("caside.message.type", self.kind),
            ]);
        let mut span = tracer.build_with_context(builder, &Context::new());
        if let Some(code) = failed {
            span.set_attribute(KeyValue::new("error.type", code.as_str()));
            span.set_status(Status::error(code.as_str()));
        }
        span.end_with_timestamp(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_their_share() {
        let draws = Draws::default();
        let share = |below| (0..10_000).filter(|_| draws.is_below(below)).count();
        assert!((2_490..=2_510).contains(&share(u64::MAX / 4)));
        assert_eq!(share(u64::MAX), 10_000);
        assert!(share(0) <= 1);
    }

    #[test]
    fn no_more_than_the_most_are_followed_in_a_second() {
        let draws = Draws::default();
        let taken = |second| (0..1_000).filter(|_| draws.take(second)).count();
        assert_eq!(taken(0), MOST_FOLLOWED as usize);
        assert_eq!(taken(0), 0);
        assert_eq!(taken(1), MOST_FOLLOWED as usize);
        assert_eq!(taken(9), MOST_FOLLOWED as usize);
    }
}
