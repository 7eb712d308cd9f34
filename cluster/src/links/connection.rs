//! One connection between two members, from its first words to its end.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use caside_protocol::NodeId;
use caside_protocol::node::Member;
use ractor::ActorRef;
use ractor_cluster::NodeSessionMessage;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the other end may say until it is a link: ractor_cluster's handshake, its one actor and its group are some 1 KiB.
const BEFORE_UP: usize = 16 << 10;

/// How a session's label begins; the connection's number follows.
const LABEL: &str = "link:";

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The number both ends know it by.
    pub(crate) id: u64,
    /// Who is at the other end.
    pub(crate) member: Member,
    /// Until when it has to be a link.
    pub(crate) deadline: Instant,
    /// It is a link.
    pub(crate) up: CancellationToken,
    /// It shall end.
    pub(crate) closing: CancellationToken,
    /// It has ended: nobody reads it any more.
    pub(crate) ended: CancellationToken,
    /// The other end's kernel ended it.
    pub(crate) by_peer: AtomicBool,
    /// How many more bytes are taken in before it is a link.
    pub(crate) budget: AtomicUsize,
    /// ractor_cluster's session of it, once there is one.
    pub(crate) session: OnceLock<Session>,
    /// Its place among those that others may have here.
    _permit: Option<OwnedSemaphorePermit>,
}

/// ractor_cluster's part in a connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its actor.
    pub(crate) actor: ActorRef<NodeSessionMessage>,
    /// What it numbers the other node with, in the ids of that node's actors.
    pub(crate) node: u64,
}

impl Connection {
    pub(crate) fn new(id: u64, member: Member, deadline: Instant, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            id,
            member,
            deadline,
            up: CancellationToken::new(),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            by_peer: AtomicBool::new(false),
            budget: AtomicUsize::new(BEFORE_UP),
            session: OnceLock::new(),
            _permit: permit,
        }
    }

    /// Ends it: neither end hears of the other any more.
    pub(crate) fn close(&self) {
        self.closing.cancel();
        if let Some(session) = self.session.get() {
            session.actor.stop(Some("link_closed".to_owned()));
        }
    }

    /// What its session is called.
    pub(crate) fn label(&self) -> String {
        format!("{LABEL}{:016x}", self.id)
    }
}

/// The number in a session's label; `None` if the session is not of a connection of ours.
pub(crate) fn labelled(label: &str) -> Option<u64> {
    u64::from_str_radix(label.strip_prefix(LABEL)?, 16).ok()
}

/// The process group that a member's gateway is in.
pub(crate) fn group(member: &Member) -> String {
    format!("gw:{}:{}", member.node, member.incarnation)
}

/// Who a node of ractor_cluster is, by its name (`<id>-<incarnation>@…`).
pub(crate) fn named(name: &str) -> Option<Member> {
    let (name, _) = name.split_once('@')?;
    let (node, incarnation) = name.rsplit_once('-')?;
    Some(Member {
        node: NodeId::new(node).ok()?,
        incarnation: incarnation.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let member = Member {
            node: NodeId::new("eu-west.1:a-3").unwrap(),
            incarnation: 1_790_000_000_000,
        };
        assert_eq!(named(&format!("{member}@{member}")), Some(member));
        for bad in ["", "a-1", "a@b", "a-x@b", "-1@b", "a b-1@c"] {
            assert_eq!(named(bad), None, "{bad}");
        }
    }

    #[test]
    fn labels_are_read_back() {
        let member = Member {
            node: NodeId::new("a").unwrap(),
            incarnation: 1,
        };
        let connection = Connection::new(0xabc, member, Instant::now(), None);
        assert_eq!(labelled(&connection.label()), Some(0xabc));
        assert_eq!(labelled("127.0.0.1:4000"), None);
    }
}
