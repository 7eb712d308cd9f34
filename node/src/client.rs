//! Where a request comes from: the peer of its connection, or whom a proxy that is trusted names.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{FORWARDED, HOST, HeaderMap, HeaderName, VIA};

use crate::config::network::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Whoever sends one of these is not, or does not want to be taken for, the client itself.
const FORWARDING: [HeaderName; 6] = [
    FORWARDED,
    VIA,
    X_FORWARDED_FOR,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];
/// Most proxies in a row that are looked through.
const MAX_HOPS: usize = 16;

/// A client, as far as addresses tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its address.
    pub(crate) address: IpAddr,
    /// Whether the address stands for many: it is this machine's own, or a proxy that names nobody.
    shared: bool,
    /// Whether it is on this machine, with nothing between.
    local: bool,
}

impl Client {
    /// What counts as one client for limits: IPv4 whole, IPv6 by its first 64 bits, which one host has for itself. `None`:
    /// exempt.
    pub(crate) fn key(&self) -> Option<IpAddr> {
        (!self.shared).then(|| match self.address {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        })
    }

    /// Whether it is on this machine and came without a proxy, as far as headers tell.
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }
}

/// The proxies whose word on their clients is taken. Those on this machine are always among them: what they say can only
/// narrow the exemption that they have without it.
#[derive(Debug, Clone)]
pub(crate) struct Proxies(Arc<[Network]>);

impl Proxies {
    /// These, and loopback.
    pub(crate) fn new(networks: Vec<Network>) -> Self {
        Self(networks.into())
    }

    fn trust(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.0.iter().any(|network| network.contains(address))
    }

    /// Who is at the other end of a connection.
    pub(crate) fn peer(&self, peer: IpAddr) -> Client {
        let address = peer.to_canonical();
        Client {
            address,
            shared: self.trust(address),
            local: false,
        }
    }

    /// Who sent a request over a connection of `peer`.
    ///
    /// The list is read from its right end, where the nearest proxy has added whom it saw; what is left of the first that
    /// is not trusted was written by that one, who may have made it up.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let mut client = self.peer(peer);
        let direct = !FORWARDING.iter().any(|name| headers.contains_key(name));
        client.local = client.address.is_loopback() && direct && asks_this_machine(headers);
        for hop in hops(headers).into_iter().rev().take(MAX_HOPS) {
            if !client.shared {
                break;
            }
            // A hop without an address (`unknown`, `_hidden`): the proxy that named it is as near as we get.
            let Some(address) = hop else { break };
            client.address = address;
            client.shared = self.trust(address);
        }
        client
    }
}

/// Whether a request is for a name that is this machine's alone, or says no name. Any other can be a stranger's, led here by
/// their DNS, so that a browser takes a page of theirs for ours.
fn asks_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    name.eq_ignore_ascii_case("localhost") || address(host).is_some_and(|ip| ip.is_loopback())
}

/// Whom proxies name, the farthest first: by `X-Forwarded-For`, else by `Forwarded` (RFC 7239 §5.2).
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = |name: &HeaderName| -> Vec<_> {
        let values = headers.get_all(name).into_iter();
        values.map(|value| value.to_str().unwrap_or_default()).collect()
    };
    let listed = lines(&X_FORWARDED_FOR);
    if !listed.is_empty() {
        return listed.iter().flat_map(|line| line.split(',')).map(address).collect();
    }
    let forwarded = lines(&FORWARDED);
    let elements = forwarded.iter().flat_map(|line| line.split(','));
    elements
        .map(|element| element.split(';').find_map(forwarded_for))
        .collect()
}

/// The address of one `for=` pair.
fn forwarded_for(pair: &str) -> Option<IpAddr> {
    let (name, value) = pair.split_once('=')?;
    name.trim().eq_ignore_ascii_case("for").then(|| address(value))?
}

/// An address with or without quotes, brackets and port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        // One colon is a port's; more are IPv6's own.
        None if text.matches(':').count() == 1 => text.split_once(':')?.0,
        None => text,
    };
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// How much of something each client has at a time, with a bound. Bounded itself by what is counted.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

/// One client's part of something; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    key: Option<IpAddr>,
}

impl Shares {
    /// At most so many for one client.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            taken: Arc::default(),
            most,
        }
    }

    /// One more for this client; `None` when it has as many as it may.
    pub(crate) fn take(&self, client: &Client) -> Option<Share> {
        let key = client.key();
        if let Some(key) = key {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let count = taken.entry(key).or_default();
            if *count >= self.most {
                return None;
            }
            *count += 1;
        }
        let taken = self.taken.clone();
        Some(Share { taken, key })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn proxies() -> Proxies {
        Proxies::new(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()])
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_nearest_that_is_not_trusted_is_the_client() {
        let xff = |value| headers(&[("x-forwarded-for", value)]);
        let forwarded = |value| headers(&[("forwarded", value)]);
        for (peer, headers, want, shared) in [
            // Nobody is asked who is not trusted.
            ("203.0.113.9", xff("198.51.100.1"), "203.0.113.9", false),
            ("10.0.0.1", xff("198.51.100.1"), "198.51.100.1", false),
            ("::ffff:10.0.0.1", xff("198.51.100.1"), "198.51.100.1", false),
            ("127.0.0.1", xff("198.51.100.1:4711"), "198.51.100.1", false),
            // What the client wrote itself stands to the left of its address.
            (
                "10.0.0.1",
                xff("127.0.0.1, 10.9.9.9, 203.0.113.9"),
                "203.0.113.9",
                false,
            ),
            ("10.0.0.1", xff("1.2.3.4, 203.0.113.9, 10.0.0.2"), "203.0.113.9", false),
            (
                "10.0.0.1",
                headers(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "203.0.113.9")]),
                "203.0.113.9",
                false,
            ),
            ("2001:db8:1::1", xff("2001:db8:2::7"), "2001:db8:2::7", false),
            // Proxies that name nobody, or nobody else.
            ("10.0.0.1", headers(&[]), "10.0.0.1", true),
            ("10.0.0.1", xff("10.0.0.2"), "10.0.0.2", true),
            ("10.0.0.1", xff("203.0.113.9, nonsense"), "10.0.0.1", true),
            ("127.0.0.1", headers(&[]), "127.0.0.1", true),
            (
                "10.0.0.1",
                forwarded("for=192.0.2.43, for=198.51.100.17;proto=https"),
                "198.51.100.17",
                false,
            ),
            (
                "10.0.0.1",
                forwarded("proto=https;For=\"[2001:db8:cafe::17]:4711\""),
                "2001:db8:cafe::17",
                false,
            ),
            ("10.0.0.1", forwarded("for=192.0.2.43, for=_hidden"), "10.0.0.1", true),
        ] {
            let client = proxies().client(peer.parse().unwrap(), &headers);
            assert_eq!(
                (client.address, client.shared),
                (want.parse().unwrap(), shared),
                "{peer} {headers:?}"
            );
            assert_eq!(client.key().is_none(), shared);
        }
        let many = HeaderValue::from_str(&vec!["10.0.0.2"; 1000].join(",")).unwrap();
        let mut far = HeaderMap::new();
        far.insert("x-forwarded-for", many);
        assert!(proxies().client("10.0.0.1".parse().unwrap(), &far).shared);
    }

    #[test]
    fn only_what_came_straight_from_this_machine_is_local() {
        for (peer, lines, local) in [
            ("127.0.0.1", &[][..], true),
            ("::1", &[], true),
            ("10.0.0.1", &[], false),
            ("127.0.0.1", &[("x-forwarded-for", "127.0.0.1")], false),
            ("127.0.0.1", &[("forwarded", "for=127.0.0.1")], false),
            ("127.0.0.1", &[("x-real-ip", "127.0.0.1")], false),
            ("127.0.0.1", &[("via", "1.1 proxy")], false),
            ("127.0.0.1", &[("host", "127.0.0.1:8080")], true),
            ("127.0.0.1", &[("host", "localhost:8080")], true),
            ("127.0.0.1", &[("host", "localhost")], true),
            ("::1", &[("host", "[::1]:8080")], true),
            ("127.0.0.1", &[("host", "rebound.example:8080")], false),
            ("127.0.0.1", &[("host", "203.0.113.9:8080")], false),
        ] {
            let client = proxies().client(peer.parse().unwrap(), &headers(lines));
            assert_eq!(client.is_local(), local, "{peer} {lines:?}");
        }
    }

    #[test]
    fn each_client_has_its_share_and_gives_it_back() {
        let shares = Shares::new(2);
        let client = |text: &str| proxies().peer(text.parse().unwrap());
        let (a, same_host, b) = (client("2001:db8::1"), client("2001:db8::2"), client("203.0.113.9"));
        let first = shares.take(&a).unwrap();
        let _second = shares.take(&same_host).unwrap();
        assert!(shares.take(&a).is_none());
        drop(shares.take(&b).unwrap());
        drop(first);
        assert!(shares.take(&a).is_some());
        let many: Vec<_> = (0..10).map(|_| shares.take(&client("127.0.0.1")).unwrap()).collect();
        assert_eq!(
            shares.taken.lock().unwrap().len(),
            1,
            "those who have none are forgotten"
        );
        drop(many);
    }
}
