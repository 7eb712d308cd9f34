//! What was found of an attack, and which promises it broke.

use std::fmt;
use std::time::Duration;

use super::Options;
use super::bystander::{KEY_FRAME_INTERVAL, Window};
use super::kind::Kind;
use crate::states::States;

/// What was found.
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) sent: u64,
    pub(super) took: Duration,
    /// The call before the attack, and during it.
    pub(super) before: Window,
    pub(super) during: Window,
    /// Before, at the end of the attack, and after everybody who attacked had left.
    pub(super) states: [States; 3],
    /// Resident memory then.
    pub(super) kib: [u64; 3],
}

impl Finding {
    /// What the columns are.
    pub(super) const HEAD: &'static str = "attack                            |    sent |  a second | call: loss | delay p50, p99 ms: before → during | \
         node CPU | MiB before, during, after | transports | paths        | TCP      | key frames asked | lost in full sockets";
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, during, after] = self.states;
        let [kib_before, kib_during, kib_after] = self.kib.map(|kib| kib as f64 / 1024.0);
        let of = |count: fn(&States) -> u64| format!("{}, {}, {}", count(&before), count(&during), count(&after));
        write!(
            f,
            "{:<33} | {:>7} | {:>9.0} | {:>8.3} % | {:>6.2}, {:>6.2} → {:>6.2}, {:>6.2} | {:>6.0} % | {:>6.1}, {:>6.1}, {:>6.1} | {:<10} | {:<12} | {:<8} | {} in {:.1} s | {}",
            self.kind.name(),
            self.sent,
            self.sent as f64 / self.took.as_secs_f64().max(0.001),
            100.0 * self.during.loss(),
            self.before.delay_ms(0.5),
            self.before.delay_ms(0.99),
            self.during.delay_ms(0.5),
            self.during.delay_ms(0.99),
            100.0 * self.during.cpu_share,
            kib_before,
            kib_during,
            kib_after,
            of(|states| states.transports),
            of(|states| states.paths),
            of(|states| states.connections),
            self.during.asked,
            self.during.seconds,
            self.during.refused,
        )
    }
}

/// The promises that were broken.
pub(super) fn judge(finding: &Finding, options: &Options) -> Vec<String> {
    let mut broken = Vec::new();
    let (before, during) = (&finding.before, &finding.during);
    let lost = 100.0 * during.loss();
    if lost > options.max_loss + 100.0 * before.loss() {
        broken.push(format!("the call lost {lost:.3} % of its packets"));
    }
    if during.snapshot.totals.received == 0 {
        broken.push("the call got nothing at all".to_owned());
    }
    let (delay, calm) = (during.delay_ms(0.99), before.delay_ms(0.99));
    if delay > options.max_delay_ms.max(5.0 * calm) {
        broken.push(format!("the call's packets took {delay:.1} ms (p99)"));
    }
    let totals = &during.snapshot.totals;
    if totals.faults.count() > 0 {
        broken.push("the call's streams are not as they were published".to_owned());
    }
    // One is under way when the window begins, and who joined is served early once.
    let allowed = during.seconds / KEY_FRAME_INTERVAL.as_secs_f64() + 2.0;
    if during.asked as f64 > allowed {
        broken.push(format!(
            "the call's publisher was asked for {} key frames in {:.1} s",
            during.asked, during.seconds
        ));
    }
    let [states_before, _, states_after] = finding.states;
    if states_after != states_before {
        broken.push(format!("the node keeps {states_after:?}, it had {states_before:?}"));
    }
    let growth = finding.kib[2] as i64 - finding.kib[0] as i64;
    if growth > options.max_growth_kib {
        broken.push(format!("the node keeps {growth} KiB more"));
    }
    broken
}
