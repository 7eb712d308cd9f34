//! Token buckets: how often somebody may do something.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Client;

/// Most addresses that are remembered at a time.
const MAX_ADDRESSES: usize = 65_536;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// Tokens a second.
    pub(crate) per_second: f64,
    /// Tokens at most, which may be taken at once.
    pub(crate) burst: f64,
}

/// One bucket; full when new.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.burst,
            at: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.at = now;
    }

    /// Takes one token.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.fill(rate, now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / rate.per_second))
    }

    /// Puts one token back.
    fn give_back(&mut self, rate: Rate) {
        self.tokens = (self.tokens + 1.0).min(rate.burst);
    }
}

/// A bucket a client. Who stands for many is exempt: this machine, and proxies that do not name their clients.
#[derive(Debug)]
pub(crate) struct AddressLimit {
    rate: Rate,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl AddressLimit {
    /// Without anybody in it.
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Takes one token of this client.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn take(&self, client: &Client, now: Instant) -> Result<(), Duration> {
        let Some(key) = client.key() else { return Ok(()) };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&key) {
            self.make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(key).or_insert_with(|| Bucket::full(self.rate, now));
        bucket.take(self.rate, now)
    }

    /// Puts one token of this client back.
    pub(crate) fn give_back(&self, client: &Client) {
        let Some(key) = client.key() else { return };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(&key) {
            bucket.give_back(self.rate);
        }
    }

    /// Forgets who has a full bucket, then, if nobody has, everybody: a flood from that many addresses is not to be
    /// stopped by their number.
    fn make_room(&self, buckets: &mut HashMap<IpAddr, Bucket>, now: Instant) {
        buckets.retain(|_, bucket| {
            bucket.fill(self.rate, now);
            bucket.tokens < self.rate.burst
        });
        if buckets.len() >= MAX_ADDRESSES {
            buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Proxies;

    const RATE: Rate = Rate {
        per_second: 10.0,
        burst: 3.0,
    };

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(RATE, start), Ok(()));
        }
        let wait = bucket.take(RATE, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(bucket.take(RATE, start + wait), Ok(()));
        assert!(bucket.take(RATE, start + wait).is_err());
    }

    #[test]
    fn addresses_have_their_own_buckets_and_loopback_has_none() {
        let limit = AddressLimit::new(RATE);
        let now = Instant::now();
        let client = |text: &str| Proxies::new(Vec::new()).peer(text.parse().unwrap());
        let (a, same_host, b) = (client("2001:db8::1"), client("2001:db8::2"), client("203.0.113.9"));
        for _ in 0..3 {
            assert_eq!(limit.take(&a, now), Ok(()));
        }
        assert!(limit.take(&same_host, now).is_err());
        assert_eq!(limit.take(&b, now), Ok(()));
        limit.give_back(&a);
        assert_eq!(limit.take(&same_host, now), Ok(()));
        for _ in 0..100 {
            assert_eq!(limit.take(&client("127.0.0.1"), now), Ok(()));
            assert_eq!(limit.take(&client("::ffff:127.0.0.1"), now), Ok(()));
        }
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let limit = AddressLimit::new(RATE);
        let now = Instant::now();
        for n in 0..70_000_u32 {
            let address = IpAddr::from(n.wrapping_add(0x0a00_0000).to_be_bytes());
            let client = Proxies::new(Vec::new()).peer(address);
            assert_eq!(limit.take(&client, now), Ok(()));
        }
        assert!(limit.buckets.lock().unwrap().len() <= MAX_ADDRESSES);
    }
}
