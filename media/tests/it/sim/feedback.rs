//! The transport-wide feedback of a simulated receiver.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use caside_media::rtcp::transport_cc::{MAX_ENCODED, TICK_US, encode};
use caside_media::rtp::unwrap_near;

/// What a receiver's clock shows when a simulation starts: no relation to ours.
const CLOCK: Duration = Duration::from_secs(7_777);

/// Arrivals that were not reported yet.
pub(crate) struct Arrivals {
    start: Instant,
    highest: Option<u64>,
    /// The next to report.
    base: u64,
    ticks: BTreeMap<u64, i64>,
    count: u8,
}

impl Arrivals {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            highest: None,
            base: 0,
            ticks: BTreeMap::new(),
            count: 0,
        }
    }

    pub(crate) fn record(&mut self, now: Instant, number: u16) {
        let number = unwrap_near(self.highest.unwrap_or(1 << 20), number);
        if self.highest.is_none() {
            self.base = number;
        }
        self.highest = self.highest.max(Some(number));
        // Reported as lost before: reported anew from here on, with those after it.
        self.base = self.base.min(number);
        let at = CLOCK + now.saturating_duration_since(self.start);
        self.ticks.insert(number, (at.as_micros() / TICK_US) as i64);
    }

    /// The bodies of the messages that report what is new.
    pub(crate) fn take(&mut self) -> Vec<Vec<u8>> {
        let Some(highest) = self.highest else {
            return Vec::new();
        };
        let mut messages = Vec::new();
        while self.base <= highest {
            let mut encoded = [0; MAX_ENCODED];
            let arrivals = (self.base..=highest).map(|number| self.ticks.get(&number).copied());
            let (len, taken) = encode(&mut encoded, self.base as u16, self.count, arrivals);
            self.base += taken as u64;
            if len > 0 {
                self.count = self.count.wrapping_add(1);
                messages.push(encoded[..len].to_vec());
            }
        }
        self.ticks.retain(|number, _| number + 500 > highest);
        messages
    }
}
