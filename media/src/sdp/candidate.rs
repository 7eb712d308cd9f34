//! Candidates (RFC 8839 §5.1, RFC 6544 §4.5): ours are written; a client's are read only to be tolerated.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// How a candidate is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CandidateTransport {
    /// Datagrams.
    Udp,
    /// A TCP connection that the client opens (RFC 6544, `tcptype passive`).
    TcpPassive,
}

/// A host candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Address and port.
    pub address: SocketAddr,
    /// Over what.
    pub transport: CandidateTransport,
}

impl Candidate {
    /// Reads the value of an `a=candidate`. `None` when it is not one of a kind that we could write: another component
    /// than RTP, a name in place of an address (mDNS), not a host candidate, active TCP.
    pub fn parse(value: &str) -> Option<Self> {
        let mut fields = value.split_ascii_whitespace();
        let _foundation = fields.next()?;
        let component = fields.next()?;
        let transport = fields.next()?;
        let _priority = fields.next()?.parse::<u32>().ok()?;
        let ip = fields.next()?.parse::<IpAddr>().ok()?;
        let port = fields.next()?.parse::<u16>().ok()?;
        if component != "1" || fields.next()? != "typ" || fields.next()? != "host" {
            return None;
        }
        let transport = if transport.eq_ignore_ascii_case("udp") {
            CandidateTransport::Udp
        } else if transport.eq_ignore_ascii_case("tcp") && fields.any(|field| field == "passive") {
            CandidateTransport::TcpPassive
        } else {
            return None;
        };
        Some(Self {
            address: SocketAddr::new(ip, port),
            transport,
        })
    }

    /// Its text as the `index`-th of our candidates, most preferred first: the value of an `a=candidate`.
    pub fn display(&self, index: usize) -> impl fmt::Display {
        Numbered {
            candidate: *self,
            index,
        }
    }

    /// RFC 8445 §5.1.2.1, with RFC 6544 §4.2 for TCP: its type preference (90) is below that of UDP (126), and its
    /// direction preference is 4 for a passive host candidate. Unique by `index`.
    fn priority(&self, index: usize) -> u32 {
        let rank = u32::try_from(index).unwrap_or(u32::MAX);
        let (kind, local) = match self.transport {
            CandidateTransport::Udp => (126, 0xFFFF_u32.saturating_sub(rank)),
            CandidateTransport::TcpPassive => (90, (4 << 13) | 0x1FFF_u32.saturating_sub(rank)),
        };
        (kind << 24) | (local << 8) | 255
    }
}

/// A candidate with its place in the list, from which its priority and foundation come.
struct Numbered {
    candidate: Candidate,
    index: usize,
}

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { candidate, index } = self;
        let (transport, suffix) = match candidate.transport {
            CandidateTransport::Udp => ("udp", ""),
            CandidateTransport::TcpPassive => ("tcp", " tcptype passive"),
        };
        // Every one has a foundation of its own: no two of them share a base (RFC 8445 §5.1.1.3).
        write!(
            f,
            "{} 1 {transport} {} {} {} typ host{suffix}",
            index + 1,
            candidate.priority(*index),
            candidate.address.ip(),
            candidate.address.port(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_as_written() {
        for (address, transport) in [
            ("192.0.2.7:4000", CandidateTransport::Udp),
            ("[2001:db8::1]:4001", CandidateTransport::Udp),
            ("192.0.2.7:4000", CandidateTransport::TcpPassive),
        ] {
            let candidate = Candidate {
                address: address.parse().unwrap(),
                transport,
            };
            assert_eq!(Candidate::parse(&candidate.display(0).to_string()), Some(candidate));
        }
    }

    #[test]
    fn earlier_candidates_and_udp_are_preferred() {
        let udp = Candidate {
            address: "192.0.2.7:4000".parse().unwrap(),
            transport: CandidateTransport::Udp,
        };
        let tcp = Candidate {
            transport: CandidateTransport::TcpPassive,
            ..udp
        };
        assert_eq!(
            udp.priority(0),
            2_130_706_431,
            "the usual value of a first host candidate"
        );
        assert!(udp.priority(0) > udp.priority(1));
        assert!(tcp.priority(0) > tcp.priority(1));
        assert!(udp.priority(1000) > tcp.priority(0));
    }

    #[test]
    fn what_is_not_a_plain_host_candidate_is_passed_over() {
        for value in [
            "1 1 udp 2113937151 0d2a2b4c-6f0e-4d1a-9a3a-6a2a3b4c5d6e.local 50000 typ host",
            "1 2 udp 2113937151 192.0.2.1 50000 typ host",
            "1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
            "1 1 udp 1 192.0.2.1 50000 typ srflx raddr 10.0.0.1 rport 1",
            "1 1 udp x 192.0.2.1 50000 typ host",
            "",
        ] {
            assert_eq!(Candidate::parse(value), None, "{value}");
        }
    }
}
