//! The sessions of a node: by resume token and by user. Entries are guards: they go with the session, however it ends.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use caside_protocol::node::Member;
use caside_protocol::{NodeId, SessionId, UserId};

use super::message::PeerMsg;
use crate::invites::InvitesMsg;
use crate::mailbox::Mailbox;
use crate::node::Shared;

/// SHA-256 of a resume token; the token itself is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash([u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

impl TokenHash {
    /// Of a token as the client shows it.
    pub(crate) fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    /// As other nodes know it.
    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0
    }
}

impl From<[u8; 32]> for TokenHash {
    fn from(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

/// A new credential of 256 random bits, in hexadecimal, behind which stands whose it is.
fn new_token(home: &Member) -> String {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).expect("the operating system gives random bytes");
    let mut token = bits.iter().fold(String::with_capacity(96), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
        text
    });
    token.push_str(&format!(".{}.{}", home.incarnation, home.node));
    token
}

/// The node that made a token, by its own word: what it says is believed only where the token is known.
pub(crate) fn home_of(token: &str) -> Option<Member> {
    let (_, home) = token.split_once('.')?;
    let (incarnation, node) = home.split_once('.')?;
    Some(Member {
        node: NodeId::new(node).ok()?,
        incarnation: incarnation.parse().ok()?,
    })
}

/// The sessions of one user: a few at most.
type OfUser = Vec<(SessionId, Mailbox<PeerMsg>)>;

/// The sessions of a node.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_token: Mutex<HashMap<TokenHash, Mailbox<PeerMsg>>>,
    by_user: Mutex<HashMap<UserId, OfUser>>,
    all: Mutex<HashMap<SessionId, Mailbox<PeerMsg>>>,
    invites: AtomicUsize,
}

impl Sessions {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        locked(&self.all).len()
    }

    /// How many calls and invitations wait.
    pub(crate) fn waiting_invites(&self) -> usize {
        self.invites.load(Ordering::Relaxed)
    }

    /// Writes down how many calls and invitations wait.
    pub(crate) fn invites(&self, waiting: usize) {
        self.invites.store(waiting, Ordering::Relaxed);
    }

    /// Uses a resume token up: whoever gets the session is the only one.
    pub(crate) fn redeem(&self, hash: &TokenHash) -> Option<Mailbox<PeerMsg>> {
        locked(&self.by_token).remove(hash)
    }

    /// The sessions by which a user is reached; not those that are for one room only.
    pub(crate) fn of_user(&self, user: &UserId) -> Vec<Mailbox<PeerMsg>> {
        locked(&self.by_user)
            .get(user)
            .into_iter()
            .flatten()
            .map(|(_, peer)| peer.clone())
            .collect()
    }

    /// One session.
    pub(crate) fn find(&self, session: SessionId) -> Option<Mailbox<PeerMsg>> {
        locked(&self.all).get(&session).cloned()
    }

    /// Every session.
    pub(crate) fn all(&self) -> Vec<Mailbox<PeerMsg>> {
        locked(&self.all).values().cloned().collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way through a change, so what a poisoned lock guards is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session's entries.
pub(crate) struct Registration {
    shared: Arc<Shared>,
    session: SessionId,
    peer: Mailbox<PeerMsg>,
    /// Under whom it is listed.
    user: Option<UserId>,
    token: Option<TokenHash>,
}

impl Registration {
    /// Counts a session.
    pub(crate) fn new(shared: Arc<Shared>, session: SessionId, peer: Mailbox<PeerMsg>) -> Self {
        locked(&shared.sessions.all).insert(session, peer.clone());
        Self {
            shared,
            session,
            peer,
            user: None,
            token: None,
        }
    }

    /// Whether calls and invitations to its user come to the session.
    pub(crate) fn is_reachable(&self) -> bool {
        self.user.is_some()
    }

    /// Lists the session under its user.
    pub(crate) fn reachable_as(&mut self, user: UserId) {
        self.unreachable();
        let mut by_user = locked(&self.shared.sessions.by_user);
        by_user
            .entry(user.clone())
            .or_default()
            .push((self.session, self.peer.clone()));
        drop(by_user);
        self.user = Some(user);
    }

    /// Takes the session off its user's list.
    pub(crate) fn unreachable(&mut self) {
        let Some(user) = self.user.take() else { return };
        let mut by_user = locked(&self.shared.sessions.by_user);
        if let Some(of_user) = by_user.get_mut(&user) {
            of_user.retain(|(session, _)| *session != self.session);
            if of_user.is_empty() {
                by_user.remove(&user);
            }
        }
    }

    /// Makes the token that the next resume needs; an earlier one is void.
    pub(crate) fn rotate(&mut self) -> String {
        let token = new_token(&self.shared.args.member);
        self.forget_token();
        self.list(TokenHash::of(&token));
        token
    }

    /// The token that is good now.
    pub(crate) fn token(&self) -> Option<TokenHash> {
        self.token
    }

    /// Lists the token of a resume that did not come about: it was not used.
    pub(crate) fn restore(&mut self) {
        if let Some(hash) = self.token {
            self.list(hash);
        }
    }

    /// Voids the token: the session can no longer be resumed.
    pub(crate) fn forget_token(&mut self) {
        if let Some(hash) = self.token.take() {
            locked(&self.shared.sessions.by_token).remove(&hash);
        }
    }

    fn list(&mut self, hash: TokenHash) {
        locked(&self.shared.sessions.by_token).insert(hash, self.peer.clone());
        self.token = Some(hash);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.forget_token();
        self.unreachable();
        locked(&self.shared.sessions.all).remove(&self.session);
        self.shared
            .invites()
            .post(InvitesMsg::SessionOver { session: self.session });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_256_bits_in_hexadecimal_and_never_the_same_and_say_whose_they_are() {
        let home = Member {
            node: NodeId::new("n-1.eu").unwrap(),
            incarnation: 17,
        };
        let (one, other) = (new_token(&home), new_token(&home));
        let (random, _) = one.split_once('.').unwrap();
        assert!(random.len() == 64 && random.chars().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(one, other);
        assert_eq!(home_of(&one), Some(home));
        for wrong in ["", "ab", "ab.17", "ab.x.n1", "ab.17.", "ab.17.a b"] {
            assert_eq!(home_of(wrong), None, "{wrong}");
        }
    }
}
