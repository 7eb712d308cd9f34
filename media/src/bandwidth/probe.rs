//! When to send more than there is to send, to learn whether the path carries it, and what came of it.

use crate::bandwidth::OVERHEAD_BYTES;

/// A probe aims at so many times the estimate.
const STEP: f64 = 2.0;

/// It has so many packets, of which so many have to arrive, and lasts so long at least.
const MIN_PACKETS: f64 = 5.0;
const MIN_RECEIVED: u32 = 4;
const MIN_DURATION_S: f64 = 0.025;
const PACKET_BYTES: f64 = 1200.0 + OVERHEAD_BYTES as f64;

/// A probe that found so much of what it aimed at is followed by the next at once.
const SUCCESS: f64 = 0.7;

/// Of a probe that met the bottleneck, so much is taken.
const SATURATED: f64 = 0.95;

/// Between probes: after a success, and after failures, growing from one to the other.
const AFTER_SUCCESS_US: i64 = 100_000;
const AFTER_FAILURE_US: (i64, i64) = (1_000_000, 4_000_000);

/// What became of a probe's packets is not known after so long.
const TIMEOUT_US: i64 = 2_000_000;

/// What was sent so long before packets that are told of will not be told of any more.
const UNTOLD_US: i64 = 300_000;

/// So long after its outcome is known, a probe may still be what made queues grow.
const ECHO_US: i64 = 400_000;

/// Probes have the numbers below this one, bursts those from it on.
const FIRST_BURST: u8 = 128;

/// A burst that takes so long to arrive filled a queue, and shows what the path carries even if that is less than was thought.
const QUEUED_US: i64 = 100_000;

/// A probe is pointless where it would find less than so much more.
const WORTHWHILE: f64 = 1.05;

/// A probe to send: packets at a rate, media counted in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cluster {
    /// Its number, never 0.
    pub id: u8,
    /// Bits a second.
    pub rate: f64,
    /// How many bytes to send in all, on the wire.
    pub bytes: u32,
}

/// What a probe or a burst found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Bits a second.
    pub rate: f64,
    /// Whether the path was full for so long that it carries no more than this.
    pub is_bound: bool,
}

/// Whether a number is that of a burst.
pub fn is_burst(id: u8) -> bool {
    id >= FIRST_BURST
}

#[derive(Debug, Default, Clone, Copy)]
struct Measured {
    received: u32,
    lost: u32,
    bytes: u32,
    first_sent: i64,
    last_sent: i64,
    first_arrived: i64,
    last_arrived: i64,
    first_bytes: u32,
}

#[derive(Debug)]
struct Running {
    cluster: Cluster,
    begun_us: i64,
    /// Packets sent, once all were.
    sent: Option<u32>,
    measured: Measured,
}

/// Decides about probes and measures them, one at a time.
#[derive(Debug)]
pub struct Prober {
    running: Option<Running>,
    last_id: u8,
    last_burst: u8,
    next_us: Option<i64>,
    pause_us: i64,
    slot_us: i64,
    ended_us: Option<i64>,
}

impl Prober {
    /// Packets are sent in slots of `slot_us` microseconds.
    pub fn new(slot_us: i64) -> Self {
        Self {
            running: None,
            last_id: 0,
            last_burst: FIRST_BURST,
            next_us: None,
            pause_us: AFTER_FAILURE_US.0,
            slot_us,
            ended_us: None,
        }
    }

    /// Whether queues that grow may be a probe's doing.
    pub fn echoes(&self, now_us: i64) -> bool {
        self.running.is_some() || self.ended_us.is_some_and(|at| now_us - at < ECHO_US)
    }

    /// The probe to send now, if one is due: when more is `desired` than `estimate` allows, in bits a second.
    pub fn begin(&mut self, now_us: i64, estimate: f64, desired: f64) -> Option<Cluster> {
        self.expire(now_us);
        let due = self.next_us.is_none_or(|at| at <= now_us);
        if self.running.is_some() || !due || desired < estimate * WORTHWHILE {
            return None;
        }
        let rate = (estimate * STEP).min(desired * 1.1);
        self.last_id = (self.last_id + 1) % FIRST_BURST;
        self.last_id = self.last_id.max(1);
        let bytes = (MIN_PACKETS * PACKET_BYTES).max(rate * MIN_DURATION_S / 8.0);
        let cluster = Cluster {
            id: self.last_id,
            rate,
            bytes: bytes as u32,
        };
        self.running = Some(Running {
            cluster,
            begun_us: now_us,
            sent: None,
            measured: Measured::default(),
        });
        Some(cluster)
    }

    /// Media of `bytes` on the wire is about to be sent at once. Gives the number that its packets bear.
    ///
    /// How far they come apart on their way shows what the path carries, as with a probe, unless one is under way.
    pub fn begin_burst(&mut self, now_us: i64, bytes: u32) -> u8 {
        self.expire(now_us);
        self.last_burst = self.last_burst.checked_add(1).unwrap_or(FIRST_BURST);
        let cluster = Cluster {
            id: self.last_burst,
            // More is not believed of so few packets.
            rate: f64::from(bytes) * 8.0 / MIN_DURATION_S,
            bytes,
        };
        self.running.get_or_insert(Running {
            cluster,
            begun_us: now_us,
            sent: None,
            measured: Measured::default(),
        });
        self.last_burst
    }

    /// All packets of a probe or burst were sent: `packets` of them.
    pub fn sent(&mut self, id: u8, packets: u32) {
        if let Some(running) = self.running.as_mut().filter(|it| it.cluster.id == id) {
            running.sent = Some(packets);
        }
    }

    /// A probe's packet arrived.
    pub fn received(&mut self, id: u8, sent_us: i64, arrived_us: i64, bytes: u32) {
        let Some(running) = self.running.as_mut().filter(|it| it.cluster.id == id) else {
            return;
        };
        let it = &mut running.measured;
        if it.received == 0 {
            (it.first_sent, it.last_sent) = (sent_us, sent_us);
            (it.first_arrived, it.last_arrived, it.first_bytes) = (arrived_us, arrived_us, bytes);
        } else if arrived_us < it.first_arrived {
            (it.first_arrived, it.first_bytes) = (arrived_us, bytes);
        }
        it.received += 1;
        it.bytes += bytes;
        it.first_sent = it.first_sent.min(sent_us);
        it.last_sent = it.last_sent.max(sent_us);
        it.last_arrived = it.last_arrived.max(arrived_us);
    }

    /// A probe's packet was lost.
    pub fn lost(&mut self, id: u8) {
        if let Some(running) = self.running.as_mut().filter(|it| it.cluster.id == id) {
            running.measured.lost += 1;
        }
    }

    /// What the probe or burst found, once it is over. Packets sent until `told_us` were told of, as far as they will be.
    pub fn outcome(&mut self, now_us: i64, told_us: i64) -> Option<Found> {
        self.expire(now_us);
        let running = self.running.as_ref()?;
        let it = running.measured;
        let (aim, burst) = (running.cluster.rate, is_burst(running.cluster.id));
        let is_whole = it.received + it.lost >= running.sent?;
        // A message about some of it may be lost.
        let is_past = it.received > 0 && told_us - it.last_sent > UNTOLD_US;
        if !is_whole && !is_past {
            return None;
        }
        self.running = None;
        if burst && !is_whole {
            // Of what is missing between others nothing is known: it would come out too slow, and bound the path.
            return None;
        }
        if burst {
            let rate = it.burst_rate(self.slot_us)?.min(aim);
            return Some(Found {
                rate,
                is_bound: it.last_arrived - it.first_arrived >= QUEUED_US,
            });
        }
        let found = it.rate(self.slot_us);
        if found.is_none() && it.is_too_few() {
            self.plan_again(now_us);
        } else {
            self.plan(now_us, found.is_some_and(|found| found >= SUCCESS * aim));
        }
        found.map(|rate| Found { rate, is_bound: false })
    }

    /// The path changed for the worse: the next probe waits.
    pub fn overuse(&mut self, now_us: i64) {
        let at = now_us + self.pause_us;
        self.next_us = Some(self.next_us.map_or(at, |next| next.max(at)));
    }

    fn expire(&mut self, now_us: i64) {
        if self
            .running
            .as_ref()
            .is_some_and(|it| now_us - it.begun_us > TIMEOUT_US)
        {
            let was_burst = self.running.take().is_some_and(|it| is_burst(it.cluster.id));
            if !was_burst {
                self.plan(now_us, false);
            }
        }
    }

    /// Nothing was learnt: the next probe waits for the shortest time.
    fn plan_again(&mut self, now_us: i64) {
        self.ended_us = Some(now_us);
        self.next_us = Some(now_us + AFTER_FAILURE_US.0);
    }

    fn plan(&mut self, now_us: i64, success: bool) {
        self.ended_us = Some(now_us);
        if success {
            self.pause_us = AFTER_FAILURE_US.0;
            self.next_us = Some(now_us + AFTER_SUCCESS_US);
        } else {
            self.next_us = Some(now_us + self.pause_us);
            self.pause_us = (self.pause_us * 2).min(AFTER_FAILURE_US.1);
        }
    }
}

impl Measured {
    /// Whether chance took more of it than leaves something to learn, rather than a queue that was full.
    fn is_too_few(&self) -> bool {
        (2..MIN_RECEIVED).contains(&self.received) && self.received >= self.lost
    }

    /// A queue may have lost most of a burst: what passed it came at the path's rate all the same.
    fn burst_rate(&self, slot_us: i64) -> Option<f64> {
        let received_us = (self.last_arrived - self.first_arrived).max(slot_us);
        let bytes = f64::from(self.bytes - self.first_bytes);
        (f64::from(self.received) >= MIN_PACKETS).then_some(SATURATED * bytes * 8e6 / received_us as f64)
    }

    fn rate(&self, slot_us: i64) -> Option<f64> {
        let received_us = self.last_arrived - self.first_arrived;
        if self.received < MIN_RECEIVED || self.received < self.lost || received_us <= 0 {
            return None;
        }
        // What a slot holds goes at once, so that the last one lasts as long as the others.
        let sent_us = self.last_sent - self.first_sent + slot_us;
        let sent = f64::from(self.bytes) * 8e6 / sent_us as f64;
        let received = f64::from(self.bytes - self.first_bytes) * 8e6 / received_us as f64;
        Some(if received < 0.9 * sent {
            SATURATED * received
        } else {
            sent.min(received)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT_US: i64 = 5_000;

    /// Sends a probe over a path of this rate, losing every `lose`th packet; what it finds.
    fn probe(prober: &mut Prober, at: i64, estimate: f64, path: f64, lose: u32) -> Option<f64> {
        let cluster = prober.begin(at, estimate, 1e9).expect("due");
        let (mut sent, mut packets, mut slot, mut free) = (0, 0, 0, 0.0f64);
        while sent < cluster.bytes {
            slot += 1;
            while f64::from(sent) * 8.0 < cluster.rate * (slot * SLOT_US) as f64 / 1e6 && sent < cluster.bytes {
                let now = at + (slot - 1) * SLOT_US;
                packets += 1;
                sent += 1228;
                if packets % lose == 0 {
                    prober.lost(cluster.id);
                    continue;
                }
                free = free.max(now as f64) + 1228.0 * 8e6 / path;
                prober.received(cluster.id, now, free as i64 + 40_000, 1228);
            }
        }
        prober.sent(cluster.id, packets);
        prober.outcome(at + 200_000, at).map(|found| found.rate)
    }

    #[test]
    fn finds_what_it_aimed_at_or_what_the_path_carries() {
        for (estimate, path) in [(3e5, 1e9), (3e5, 4.5e5), (2e6, 3e6), (2e6, 1e9), (2e7, 2.5e7)] {
            let mut prober = Prober::new(SLOT_US);
            let found = probe(&mut prober, 0, estimate, path, u32::MAX).expect("an outcome");
            let expected = path.min(2.0 * estimate);
            assert!(
                (0.8 * expected..1.15 * expected).contains(&found),
                "{found} of {expected}"
            );
        }
    }

    #[test]
    fn follows_success_at_once_and_waits_longer_after_each_failure() {
        let mut prober = Prober::new(SLOT_US);
        probe(&mut prober, 0, 1e6, 1e9, u32::MAX);
        assert_eq!(prober.begin(299_999, 1e6, 1e9), None);
        probe(&mut prober, 300_000, 1e6, 1.1e6, u32::MAX);
        assert_eq!(prober.begin(1_499_999, 1e6, 1e9), None);
        probe(&mut prober, 1_500_000, 1e6, 1.1e6, u32::MAX);
        assert_eq!(prober.begin(3_699_999, 1e6, 1e9), None);
        assert!(prober.begin(3_700_000, 1e6, 1e9).is_some());
    }

    #[test]
    fn a_probe_that_chance_took_is_repeated_soon() {
        let mut prober = Prober::new(SLOT_US);
        probe(&mut prober, 0, 1e6, 1.1e6, u32::MAX);
        probe(&mut prober, 1_500_000, 1e6, 1.1e6, u32::MAX);
        // Three of five came.
        assert_eq!(probe(&mut prober, 4_000_000, 3e5, 1e9, 2), None);
        assert_eq!(prober.begin(5_199_999, 1e6, 1e9), None);
        assert!(prober.begin(5_200_000, 1e6, 1e9).is_some());
    }

    #[test]
    fn a_probe_of_which_not_all_is_told_is_judged_by_the_rest() {
        let mut prober = Prober::new(SLOT_US);
        let cluster = prober.begin(0, 1e6, 1e9).expect("due");
        for packet in 0..6 {
            prober.received(cluster.id, packet * 5_000, 40_000 + packet * 5_000, 1228);
        }
        prober.sent(cluster.id, 9);
        assert_eq!(prober.outcome(200_000, 150_000), None, "more may be told");
        let found = prober.outcome(500_000, 400_000).expect("an outcome");
        assert!((1.9e6..2.1e6).contains(&found.rate), "{found:?}");
        assert!(prober.begin(600_000, 2e6, 1e9).is_some(), "it was no failure");
    }

    #[test]
    fn random_losses_do_not_spoil_a_probe_but_half_of_it_does() {
        let mut prober = Prober::new(SLOT_US);
        let found = probe(&mut prober, 0, 2e6, 1e9, 6).expect("an outcome");
        assert!((2.5e6..4.5e6).contains(&found), "{found}");
        assert_eq!(probe(&mut Prober::new(SLOT_US), 0, 2e6, 1e9, 1), None);
    }

    /// 100 packets sent at once over a path of this rate, of which every `lose`th is lost.
    fn burst(path: f64, lose: u32) -> Option<Found> {
        let mut prober = Prober::new(SLOT_US);
        let id = prober.begin_burst(0, 122_800);
        assert!(is_burst(id));
        for packet in 1..=100 {
            match packet % lose {
                0 => prober.lost(id),
                _ => prober.received(id, 0, 40_000 + (f64::from(packet) * 1228.0 * 8e6 / path) as i64, 1228),
            }
        }
        assert_eq!(prober.outcome(300_000, 0), None, "not all is known to be sent");
        prober.sent(id, 100);
        let found = prober.outcome(1_300_000, 0);
        assert!(prober.begin(1_300_000, 1e6, 1e9).is_some(), "no reason to wait");
        found
    }

    #[test]
    fn a_burst_shows_what_the_path_carries() {
        for (path, expected, is_bound) in [
            (1e6, 0.95e6, true),
            (4e6, 3.8e6, true),
            (20e6, 19e6, false),
            (1e9, 39.3e6, false),
        ] {
            let found = burst(path, u32::MAX).expect("an outcome");
            assert!((0.95..1.05).contains(&(found.rate / expected)), "{found:?} of {path}");
            assert_eq!(found.is_bound, is_bound, "{path}");
        }
        let lossy = burst(4e6, 2).expect("an outcome");
        assert!(lossy.rate < 4e6, "{lossy:?}");
    }

    #[test]
    fn a_burst_of_which_not_all_is_told_shows_nothing() {
        let mut prober = Prober::new(SLOT_US);
        let id = prober.begin_burst(0, 122_800);
        for packet in (0..20).chain(80..100) {
            prober.received(id, 0, 40_000 + packet * 2_000, 1228);
        }
        prober.sent(id, 100);
        assert_eq!(prober.outcome(400_000, 300_000), None, "more may be told");
        assert_eq!(prober.begin(400_000, 1e6, 1e9), None);
        assert_eq!(prober.outcome(500_000, 400_000), None, "two fifths in the time of all");
        assert!(prober.begin(500_000, 1e6, 1e9).is_some(), "no reason to wait");
    }

    #[test]
    fn a_burst_leaves_a_probe_alone() {
        let mut prober = Prober::new(SLOT_US);
        let cluster = prober.begin(0, 1e6, 1e9).expect("due");
        let id = prober.begin_burst(10_000, 100_000);
        prober.received(id, 10_000, 50_000, 1228);
        prober.sent(id, 1);
        assert_eq!(prober.outcome(100_000, 0), None);
        prober.sent(cluster.id, 0);
        assert!(prober.running.is_some());
        assert_eq!(prober.outcome(100_000, 0), None, "nothing of it came");
        assert!(prober.running.is_none());
    }

    #[test]
    fn a_probe_without_an_answer_ends() {
        let mut prober = Prober::new(SLOT_US);
        assert!(prober.begin(0, 1e6, 2e6).is_some());
        assert_eq!(prober.begin(1_000_000, 1e6, 2e6), None);
        assert_eq!(prober.outcome(2_500_000, 0), None);
        assert!(prober.begin(4_000_000, 1e6, 2e6).is_some());
        assert_eq!(prober.begin(9_000_000, 1e6, 1.01e6), None, "nothing more is wanted");
    }
}
