//! The calls and invitations that wait for an answer, as a pure function of time and requests.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::server::{InviteAnswer, InviteKind, WelcomeUser};
use caside_protocol::{InviteId, RoomId, SessionId, UserId};

/// Most that wait in all.
const MAX_IN_ALL: usize = 100_000;

/// One that waits. `A` is the address of whoever hears the answer.
#[derive(Debug, Clone)]
pub(super) struct Invite<A> {
    pub(super) id: InviteId,
    pub(super) kind: InviteKind,
    /// Whose ringing call it is.
    pub(super) session: Option<SessionId>,
    pub(super) room: RoomId,
    pub(super) from: WelcomeUser,
    pub(super) to: UserId,
    /// Since the book was opened.
    pub(super) until: Duration,
    /// `None`: who asked did so in an earlier process.
    pub(super) answer_to: Option<A>,
}

/// One that was answered, to be told.
#[derive(Debug, Clone)]
pub(super) struct Noted<A> {
    pub(super) invite: Invite<A>,
    pub(super) answer: InviteAnswer,
}

/// The book.
#[derive(Debug)]
pub(super) struct Book<A> {
    /// With the session that is taking it, if one is.
    open: BTreeMap<InviteId, (Invite<A>, Option<SessionId>)>,
    per_user: HashMap<UserId, Vec<InviteId>>,
    max_per_user: usize,
}

impl<A: Clone> Book<A> {
    /// An empty book that holds `max_per_user` for one user at most.
    pub(super) fn new(max_per_user: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            per_user: HashMap::new(),
            max_per_user,
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether this one waits.
    pub(super) fn has(&self, id: InviteId) -> bool {
        self.open.contains_key(&id)
    }

    /// One that waits.
    pub(super) fn one(&self, id: InviteId) -> Option<Invite<A>> {
        self.open.get(&id).map(|(invite, _)| invite.clone())
    }

    /// Forgets one that was answered elsewhere.
    pub(super) fn forget(&mut self, id: InviteId) {
        if self.close(id, InviteAnswer::Cancelled).is_some() {
            tracing::trace!(invite.id = %id, "an invitation was answered at another node");
        }
    }

    /// Enters one.
    ///
    /// # Errors
    /// `rate_limited` when too many wait for that user, `overloaded` when too many wait in all.
    pub(super) fn enter(&mut self, invite: Invite<A>) -> Result<(), Refusal> {
        if self.open.len() >= MAX_IN_ALL {
            return Err(Refusal::new(ErrorCode::Overloaded, "too many invitations wait here"));
        }
        let waiting = self.per_user.entry(invite.to.clone()).or_default();
        if waiting.len() >= self.max_per_user {
            return Err(Refusal::new(
                ErrorCode::RateLimited,
                "too many invitations wait for this user",
            ));
        }
        waiting.push(invite.id);
        self.open.insert(invite.id, (invite, None));
        Ok(())
    }

    /// A session of the invited user takes one; it is held for it until [`Book::taken`].
    ///
    /// # Errors
    /// `invite_expired` when it is answered, being taken, run out, or another user's.
    pub(super) fn take(&mut self, id: InviteId, user: &UserId, session: SessionId) -> Result<RoomId, Refusal> {
        match self.open.get_mut(&id) {
            Some((invite, taker @ None)) if invite.to == *user => {
                *taker = Some(session);
                Ok(invite.room.clone())
            }
            _ => Err(expired()),
        }
    }

    /// Whether whoever took one is in its room. One who could not enter may try again.
    pub(super) fn taken(&mut self, id: InviteId, session: SessionId, entered: bool) -> Vec<Noted<A>> {
        match self.open.get_mut(&id) {
            Some((_, taker)) if *taker == Some(session) => {
                *taker = None;
                if entered {
                    self.close(id, InviteAnswer::Accepted).into_iter().collect()
                } else {
                    Vec::new()
                }
            }
            _ => Vec::new(),
        }
    }

    /// The invited user turns one down.
    ///
    /// # Errors
    /// As [`Book::take`].
    pub(super) fn decline(&mut self, id: InviteId, user: &UserId, session: SessionId) -> Result<Noted<A>, Refusal> {
        match self.open.get(&id) {
            Some((invite, taker)) if invite.to == *user && taker.is_none_or(|t| t == session) => {
                self.close(id, InviteAnswer::Declined).ok_or_else(expired)
            }
            _ => Err(expired()),
        }
    }

    /// Ends the ringing calls of a session.
    pub(super) fn hang_up(&mut self, session: SessionId) -> Vec<Noted<A>> {
        self.close_where(|invite, _| invite.session == Some(session), InviteAnswer::Cancelled)
    }

    /// The same for a session that is over, which no longer takes anything either.
    pub(super) fn session_over(&mut self, session: SessionId) -> Vec<Noted<A>> {
        for (_, taker) in self.open.values_mut().filter(|(_, taker)| *taker == Some(session)) {
            *taker = None;
        }
        self.hang_up(session)
    }

    /// Ends what has run out and is not being taken.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<Noted<A>> {
        self.close_where(|invite, taken| invite.until <= now && !taken, InviteAnswer::Expired)
    }

    /// What waits for a user, oldest first.
    pub(super) fn waiting_for(&self, user: &UserId) -> Vec<Invite<A>> {
        let ids = self.per_user.get(user).into_iter().flatten();
        ids.filter_map(|id| self.open.get(id))
            .map(|(invite, _)| invite.clone())
            .collect()
    }

    /// When the next one runs out.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.open
            .values()
            .filter(|(_, taker)| taker.is_none())
            .map(|(invite, _)| invite.until)
            .min()
    }

    fn close_where(&mut self, which: impl Fn(&Invite<A>, bool) -> bool, answer: InviteAnswer) -> Vec<Noted<A>> {
        let matching = self
            .open
            .values()
            .filter(|(invite, taker)| which(invite, taker.is_some()));
        let ids: Vec<InviteId> = matching.map(|(invite, _)| invite.id).collect();
        ids.into_iter().filter_map(|id| self.close(id, answer)).collect()
    }

    fn close(&mut self, id: InviteId, answer: InviteAnswer) -> Option<Noted<A>> {
        let (invite, _) = self.open.remove(&id)?;
        if let Some(waiting) = self.per_user.get_mut(&invite.to) {
            waiting.retain(|other| *other != id);
            if waiting.is_empty() {
                self.per_user.remove(&invite.to);
            }
        }
        Some(Noted { invite, answer })
    }
}

fn expired() -> Refusal {
    Refusal::new(ErrorCode::InviteExpired, "this invitation is answered or has run out")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    fn call(session: SessionId, to: &str, until_s: u64) -> Invite<()> {
        Invite {
            id: InviteId::new(),
            kind: InviteKind::Call,
            session: Some(session),
            room: RoomId::generate(),
            from: WelcomeUser {
                id: user("ada"),
                name: "Ada".to_owned(),
            },
            to: user(to),
            until: Duration::from_secs(until_s),
            answer_to: Some(()),
        }
    }

    fn entered(book: &mut Book<()>, to: &str, until_s: u64) -> (InviteId, SessionId) {
        let session = SessionId::new();
        let invite = call(session, to, until_s);
        let id = invite.id;
        book.enter(invite).unwrap();
        (id, session)
    }

    #[test]
    fn the_first_to_take_it_has_it_until_they_could_not_enter() {
        let mut book = Book::new(4);
        let (id, _) = entered(&mut book, "bob", 45);
        let (tab, other_tab) = (SessionId::new(), SessionId::new());
        assert!(book.take(id, &user("eve"), tab).is_err());
        assert!(book.take(id, &user("bob"), tab).is_ok());
        assert!(book.take(id, &user("bob"), other_tab).is_err());
        assert!(book.taken(id, tab, false).is_empty());
        assert!(book.take(id, &user("bob"), other_tab).is_ok());
        let noted = book.taken(id, other_tab, true);
        assert_eq!(noted[0].answer, InviteAnswer::Accepted);
        assert_eq!(
            book.take(id, &user("bob"), tab).unwrap_err().code,
            ErrorCode::InviteExpired
        );
        assert_eq!(book.len(), 0);
    }

    #[test]
    fn what_is_being_taken_does_not_run_out_until_its_taker_is_gone() {
        let mut book = Book::new(4);
        let (id, _) = entered(&mut book, "bob", 45);
        let tab = SessionId::new();
        book.take(id, &user("bob"), tab).unwrap();
        assert!(book.expire(Duration::from_secs(60)).is_empty());
        assert_eq!(book.next_deadline(), None);
        assert!(book.session_over(tab).is_empty());
        assert_eq!(book.expire(Duration::from_secs(60)).len(), 1);
    }

    #[test]
    fn each_way_to_end_it_is_told_once() {
        let mut book = Book::new(4);
        let (declined, _) = entered(&mut book, "bob", 45);
        let (_, session) = entered(&mut book, "bob", 46);
        entered(&mut book, "bob", 47);
        assert_eq!(
            book.decline(declined, &user("bob"), SessionId::new()).unwrap().answer,
            InviteAnswer::Declined
        );
        assert_eq!(book.hang_up(session).len(), 1);
        assert!(book.expire(Duration::from_secs(46)).is_empty());
        assert_eq!(book.next_deadline(), Some(Duration::from_secs(47)));
        assert_eq!(book.expire(Duration::from_secs(47))[0].answer, InviteAnswer::Expired);
        assert!(book.decline(declined, &user("bob"), SessionId::new()).is_err());
        assert!(book.hang_up(session).is_empty());
        assert!(book.per_user.is_empty());
    }

    #[test]
    fn what_waits_for_one_user_is_bounded() {
        let mut book = Book::new(2);
        entered(&mut book, "bob", 45);
        entered(&mut book, "bob", 45);
        assert_eq!(
            book.enter(call(SessionId::new(), "bob", 45)).unwrap_err().code,
            ErrorCode::RateLimited
        );
        entered(&mut book, "eve", 45);
        assert_eq!(book.waiting_for(&user("bob")).len(), 2);
    }
}
