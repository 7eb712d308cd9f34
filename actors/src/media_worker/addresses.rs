//! Where media sockets are bound, and what clients are told of them: behind NAT the two differ.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::StartError;

/// An address that clients are told of, and ours behind it when the operator names it: `203.0.113.5` or
/// `203.0.113.5/10.0.0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MediaAddress {
    /// What clients are told.
    pub offered: IpAddr,
    /// The interface's address it leads to. Left out: itself, if an interface has it, else any of its family.
    pub bound: Option<IpAddr>,
}

/// What is wrong with the text of a [`MediaAddress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaAddressError {
    /// No IP address.
    #[error("not an IP address, nor two with a slash between")]
    NotAnAddress,
    /// Unspecified or multicast.
    #[error("not an address that can be offered to clients")]
    Unusable,
    /// One of them is IPv4 and the other IPv6.
    #[error("the public and the private address are of different families")]
    Families,
}

impl FromStr for MediaAddress {
    type Err = MediaAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ip = |text: &str| -> Result<IpAddr, MediaAddressError> {
            let ip: IpAddr = text.trim().parse().map_err(|_| MediaAddressError::NotAnAddress)?;
            if ip.is_unspecified() || ip.is_multicast() {
                return Err(MediaAddressError::Unusable);
            }
            Ok(ip)
        };
        let (offered, bound) = match text.split_once('/') {
            Some((public, private)) => (ip(public)?, Some(ip(private)?)),
            None => (ip(text)?, None),
        };
        if bound.is_some_and(|bound| bound.is_ipv4() != offered.is_ipv4()) {
            return Err(MediaAddressError::Families);
        }
        Ok(Self { offered, bound })
    }
}

impl fmt::Display for MediaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bound {
            Some(bound) => write!(f, "{}/{bound}", self.offered),
            None => self.offered.fmt(f),
        }
    }
}

/// What to bind and what to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Addresses to bind, each once.
    pub(super) bound: Vec<IpAddr>,
    /// Addresses that clients are told of, most preferred first, each with the one it leads to; `None`: with any, which
    /// therefore share a port.
    pub(super) offered: Vec<(IpAddr, Option<IpAddr>)>,
    /// Whether each of `bound` must be had.
    pub(super) strict: bool,
}

/// Plans by the operator's list, or by the interfaces that are up when it is empty.
///
/// Without a list, loopback is left out unless `loopback` wants it or nothing else is there.
///
/// # Errors
/// The interfaces cannot be read, or none has an address of the family of one that is offered.
pub(super) fn plan(given: &[MediaAddress], loopback: bool) -> Result<Plan, StartError> {
    let interfaces: Vec<IpAddr> = if_addrs::get_if_addrs()
        .map_err(StartError::Interfaces)?
        .into_iter()
        .map(|interface| interface.ip())
        .collect();
    plan_with(given, loopback, &interfaces)
}

fn plan_with(given: &[MediaAddress], loopback: bool, interfaces: &[IpAddr]) -> Result<Plan, StartError> {
    if given.is_empty() {
        let bound = usable(interfaces, loopback);
        return Ok(Plan {
            offered: bound.iter().map(|ip| (*ip, Some(*ip))).collect(),
            bound,
            strict: false,
        });
    }
    let mut plan = Plan {
        bound: Vec::new(),
        offered: Vec::new(),
        strict: true,
    };
    for address in given {
        let own = interfaces.contains(&address.offered).then_some(address.offered);
        let behind = address.bound.or(own);
        match behind {
            Some(ip) => plan.bound.push(ip),
            None => {
                let same_family = |ip: &&IpAddr| ip.is_ipv4() == address.offered.is_ipv4();
                let all: Vec<IpAddr> = usable(interfaces, false).iter().filter(same_family).copied().collect();
                if all.is_empty() {
                    return Err(StartError::NothingBehind {
                        offered: address.offered,
                    });
                }
                tracing::info!(
                    media.ip = %address.offered,
                    "no interface has this address: it is offered as one that leads here (NAT)"
                );
                plan.bound.extend(all);
            }
        }
        plan.offered.push((address.offered, behind));
    }
    let mut seen = Vec::new();
    plan.bound.retain(|ip| {
        let is_new = !seen.contains(ip);
        seen.push(*ip);
        is_new
    });
    Ok(plan)
}

/// The interfaces' addresses without IPv6 link-local ones, which need a zone, and IPv4 link-local ones.
fn usable(interfaces: &[IpAddr], loopback: bool) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = interfaces
        .iter()
        .copied()
        .filter(|ip| loopback || !ip.is_loopback())
        .filter(|ip| match ip {
            IpAddr::V4(v4) => !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        })
        .collect();
    if found.is_empty() {
        found.push(IpAddr::from([127, 0, 0, 1]));
    }
    // Clients try candidates in this order: IPv4 before IPv6, loopback first for the page on the same machine.
    found.sort_by_key(|ip| (ip.is_ipv6(), !ip.is_loopback(), *ip));
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &str) -> Vec<IpAddr> {
        list.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
    }

    fn planned(given: &str, interfaces: &str) -> Plan {
        let given: Vec<MediaAddress> = given.split_whitespace().map(|it| it.parse().unwrap()).collect();
        plan_with(&given, false, &ips(interfaces)).unwrap()
    }

    const INTERFACES: &str = "127.0.0.1 ::1 10.0.0.5 172.17.0.1 169.254.1.1 fe80::1 2001:db8::5";

    #[test]
    fn addresses_are_read_and_shown() {
        for text in ["203.0.113.5", "203.0.113.5/10.0.0.5", "2001:db8::1/fd00::1"] {
            assert_eq!(text.parse::<MediaAddress>().unwrap().to_string(), text);
        }
        for (text, error) in [
            ("", MediaAddressError::NotAnAddress),
            ("example.org", MediaAddressError::NotAnAddress),
            ("203.0.113.5/24", MediaAddressError::NotAnAddress),
            ("203.0.113.5/10.0.0.5/1", MediaAddressError::NotAnAddress),
            ("0.0.0.0", MediaAddressError::Unusable),
            ("203.0.113.5/0.0.0.0", MediaAddressError::Unusable),
            ("ff02::1", MediaAddressError::Unusable),
            ("203.0.113.5/fd00::1", MediaAddressError::Families),
        ] {
            assert_eq!(text.parse::<MediaAddress>(), Err(error), "{text}");
        }
    }

    #[test]
    fn without_a_list_the_interfaces_are_bound_and_offered() {
        let plan = planned("", INTERFACES);
        assert_eq!(plan.bound, ips("10.0.0.5 172.17.0.1 2001:db8::5"));
        assert!(plan.offered.iter().all(|(offered, bound)| *bound == Some(*offered)));
        let with_loopback = plan_with(&[], true, &ips(INTERFACES)).unwrap();
        assert_eq!(with_loopback.bound[0], IpAddr::from([127, 0, 0, 1]));
        assert_eq!(planned("", "127.0.0.1 fe80::1").bound, ips("127.0.0.1"));
    }

    #[test]
    fn a_mapping_binds_the_private_address_and_offers_the_public_one() {
        let plan = planned("203.0.113.5/10.0.0.5", INTERFACES);
        assert_eq!(plan.bound, ips("10.0.0.5"));
        assert_eq!(plan.offered, [(ips("203.0.113.5")[0], Some(ips("10.0.0.5")[0]))]);
    }

    #[test]
    fn a_public_address_of_no_interface_leads_to_all_of_its_family() {
        let plan = planned("203.0.113.5 2001:db8::5", INTERFACES);
        assert_eq!(plan.bound, ips("10.0.0.5 172.17.0.1 2001:db8::5"));
        let offered = ips("203.0.113.5 2001:db8::5");
        assert_eq!(plan.offered, [(offered[0], None), (offered[1], Some(offered[1]))]);
        let given = ["2001:db8::99".parse().unwrap()];
        let refused = plan_with(&given, false, &ips("10.0.0.5")).unwrap_err();
        assert!(matches!(refused, StartError::NothingBehind { .. }), "{refused}");
    }

    #[test]
    fn an_address_named_twice_is_bound_once() {
        let plan = planned("10.0.0.5 203.0.113.5/10.0.0.5 203.0.113.6", INTERFACES);
        assert_eq!(plan.bound, ips("10.0.0.5 172.17.0.1"));
        assert_eq!(plan.offered.len(), 3);
    }
}
