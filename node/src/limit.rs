//! Token buckets of clients by their address.

use std::net::IpAddr;
use std::time::Duration;

use caside_actors::limit::Buckets;
pub(crate) use caside_actors::limit::{Bucket, Rate, wait_ms};
use tokio::time::Instant;

use crate::client::Client;

/// A bucket a client. Who stands for many is exempt: this machine, and proxies that do not name their clients.
#[derive(Debug)]
pub(crate) struct AddressLimit(Buckets<IpAddr>);

impl AddressLimit {
    /// Without anybody in it.
    pub(crate) fn new(rate: Rate) -> Self {
        Self(Buckets::new(rate))
    }

    /// Takes one token of this client.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn take(&self, client: &Client, now: Instant) -> Result<(), Duration> {
        client.key().map_or(Ok(()), |key| self.0.take(key, now))
    }

    /// Puts one token of this client back.
    pub(crate) fn give_back(&self, client: &Client) {
        if let Some(key) = client.key() {
            self.0.give_back(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Proxies;

    #[test]
    fn addresses_have_their_own_buckets_and_loopback_has_none() {
        let limit = AddressLimit::new(Rate {
            per_second: 10.0,
            burst: 3.0,
        });
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
}
