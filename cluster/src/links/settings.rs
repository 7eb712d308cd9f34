//! What links are started with, and what can go wrong.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use caside_protocol::node::Member;

/// Longest message, in bytes. A frame with it stays below what a session takes in.
pub const MAX_MESSAGE: usize = 1 << 20;

/// What links are started with.
#[derive(Clone)]
pub struct LinksSettings {
    /// Who we are.
    pub me: Member,
    /// The wire version we speak, N: we are linked to members that speak N − 1, N or N + 1.
    pub version: u32,
    /// Where others reach us.
    pub listen: SocketAddr,
    /// What every member knows and nobody else.
    pub cookie: String,
    /// Certificates; without them links are not encrypted.
    pub tls: Option<LinkTls>,
    /// How often each end shows that it runs. Default 250 ms.
    pub heartbeat: Duration,
    /// After so many heartbeats without any word of the other end a link is given up. Default 4.
    pub misses: u32,
    /// Until when a connection must have become a link. Default 3 s.
    pub handshake: Duration,
    /// How many connections may be before their first word at a time; the oldest makes way. Default 64.
    pub max_handshakes: usize,
    /// How many connections members may have here in all. Default 512.
    pub max_connections: usize,
    /// How many messages may be under way on a link. Default 8,192.
    pub window_messages: u64,
    /// How many bytes may be under way on a link. Default 8 MiB; no less than [`MAX_MESSAGE`].
    pub window_bytes: u64,
    /// How old a message may be when it is handled, unless its sender says otherwise. Default 10 s.
    pub deadline: Duration,
    /// After how long without acknowledgement the kernel gives a connection up (RFC 5482). Default 5 s.
    pub user_timeout: Duration,
}

/// Certificates of links, in PEM. Read once, at start.
#[derive(Debug, Clone)]
pub struct LinkTls {
    /// Our certificate, with what lies between it and the authority. It has to name the host that others dial, and to be good for
    /// servers and clients.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority whose members we trust, and no other.
    pub ca: PathBuf,
}

impl LinksSettings {
    /// Settings with the defaults.
    pub fn new(me: Member, version: u32, listen: SocketAddr, cookie: impl Into<String>) -> Self {
        Self {
            me,
            version,
            listen,
            cookie: cookie.into(),
            tls: None,
            heartbeat: Duration::from_millis(250),
            misses: 4,
            handshake: Duration::from_secs(3),
            max_handshakes: 64,
            max_connections: 512,
            window_messages: 8_192,
            window_bytes: 8 << 20,
            deadline: Duration::from_secs(10),
            user_timeout: Duration::from_secs(5),
        }
    }

    /// What is wrong with them, if anything.
    pub(crate) fn check(&self) -> Result<(), LinksError> {
        let rules = [
            (!self.cookie.is_empty(), "a cookie is needed"),
            (!self.heartbeat.is_zero(), "heartbeats need a pause"),
            (self.misses > 0, "a heartbeat must be missed before a link is given up"),
            (!self.handshake.is_zero(), "a handshake needs time"),
            (
                self.max_handshakes > 0 && self.max_connections > 0,
                "connections need room",
            ),
            (self.window_messages > 0, "a window needs room for a message"),
            (
                self.window_bytes >= MAX_MESSAGE as u64,
                "a window needs room for the longest message",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(LinksError::Settings { rule }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for LinksSettings {
    /// Without the cookie.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinksSettings")
            .field("me", &self.me)
            .field("version", &self.version)
            .field("listen", &self.listen)
            .field("tls", &self.tls)
            .field("heartbeat", &self.heartbeat)
            .field("misses", &self.misses)
            .finish_non_exhaustive()
    }
}

/// Why links did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinksError {
    /// The settings break a rule.
    #[error("links: {rule}")]
    Settings {
        /// Which.
        rule: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen for members on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key cannot be read.
    #[error("cannot read {}", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificate, key and authority do not go together.
    #[error("the certificates of links cannot be used")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An actor did not start.
    #[error("an actor of the links did not start")]
    Actor(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a message was not put on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no link to that member.
    #[error("there is no link to that member")]
    Unreachable,
    /// As much is under way as may be; some of it has to be handled first.
    #[error("too much is under way to that member")]
    Overloaded,
    /// Longer than [`MAX_MESSAGE`].
    #[error("a message may have {MAX_MESSAGE} bytes")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;
    use caside_protocol::NodeId;

    fn settings() -> LinksSettings {
        let me = Member {
            node: NodeId::new("a").unwrap(),
            incarnation: 1,
        };
        LinksSettings::new(me, 1, SocketAddr::from(([127, 0, 0, 1], 0)), "a secret word")
    }

    #[test]
    fn the_cookie_is_not_shown() {
        assert!(!format!("{:?}", settings()).contains("secret"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(settings().check().is_ok());
        for spoil in [
            (|s: &mut LinksSettings| s.cookie.clear()) as fn(&mut LinksSettings),
            |s| s.misses = 0,
            |s| s.window_bytes = 1_000,
            |s| s.heartbeat = Duration::ZERO,
        ] {
            let mut spoilt = settings();
            spoil(&mut spoilt);
            assert!(matches!(spoilt.check(), Err(LinksError::Settings { .. })));
        }
    }
}
