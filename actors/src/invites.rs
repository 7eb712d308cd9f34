//! Calls and invitations from user to user. [`book`] decides, as a pure function; the actor here delivers and keeps time.
//!
//! Absent on purpose: entering the room that an invitation leads to, which is the session's doing.

mod book;
mod elsewhere;
mod shelf;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{Invited, NodeMessage};
use caside_protocol::server::{
    Done, InviteAnswer, InviteAnswered, InviteEvent, InviteKind, ServerMessage, WelcomeUser,
};
use caside_protocol::{InviteId, RoomId, SessionId, Timestamp, UserId};
use caside_store::JournalEntry;
use caside_store::invites::StoredInvite;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use book::{Book, Invite, Noted};

use crate::mailbox::{Inspected, Mailbox, Named, Traced};
use crate::node::Shared;
use crate::observed::{Asked, Kind, Label, Seen};
use crate::peer::{PeerMsg, PeerWay, Reply};

/// Requests that may wait.
const MAILBOX: usize = 16_384;

/// Who calls or invites.
#[derive(Debug, Clone)]
pub(crate) struct Inviter {
    pub(crate) user: UserId,
    pub(crate) name: String,
    /// Hears the answer.
    pub(crate) peer: PeerWay,
}

/// A message.
#[derive(Debug)]
pub(crate) enum InvitesMsg {
    /// Rings a user, in a room to be made.
    Call {
        from: Inviter,
        session: SessionId,
        to: UserId,
        reply: Reply,
    },
    /// Invites a user to a room that there is.
    Invite {
        from: Inviter,
        room: RoomId,
        to: UserId,
        expires_s: Option<u64>,
        reply: Reply,
    },
    /// A user takes one; told by `PeerMsg::Accepting`.
    Take {
        invite: InviteId,
        user: UserId,
        session: SessionId,
        peer: Mailbox<PeerMsg>,
        reply: Reply,
    },
    /// Whether whoever took it is in the room.
    Taken {
        invite: InviteId,
        session: SessionId,
        entered: bool,
        /// Whether all nodes know: another one said so.
        is_known: bool,
    },
    /// Whether a user is reached on another node.
    Reached {
        from: Inviter,
        session: SessionId,
        to: UserId,
        online: bool,
        reply: Reply,
    },
    /// A session of another node takes one of this book.
    TakeFor {
        invite: InviteId,
        user: UserId,
        session: SessionId,
        answer: oneshot::Sender<Option<Invited>>,
    },
    /// A session of another node turns one of this book down.
    DeclineFor {
        invite: InviteId,
        user: UserId,
        session: SessionId,
        answer: oneshot::Sender<bool>,
    },
    /// One was answered at another node.
    Closed(InviteId),
    /// A node is gone: what waited there is to be read.
    ReadAgain,
    /// A user turns one down.
    Decline {
        invite: InviteId,
        user: UserId,
        session: SessionId,
        reply: Reply,
    },
    /// A session ends its ringing calls.
    HangUp { session: SessionId, reply: Reply },
    /// A session is over; its ringing calls end.
    SessionOver { session: SessionId },
    /// A session of this node began: what waits for its user is delivered, here and by the other nodes.
    GreetHere {
        user: UserId,
        session: SessionId,
        peer: PeerWay,
    },
    /// A session of another node began.
    Greet { user: UserId, peer: PeerWay },
    /// Invitations of before this start, read back.
    Found {
        found: Vec<StoredInvite>,
        /// Whether there are no more.
        complete: bool,
    },
    /// An invitation may have run out.
    Tick,
    /// An operator looks.
    Inspect(Asked),
}

impl Named for InvitesMsg {
    fn name(&self) -> &'static str {
        match self {
            Self::Call { .. } => "call",
            Self::Invite { .. } => "invite",
            Self::Take { .. } => "take",
            Self::Taken { .. } => "taken",
            Self::Decline { .. } => "decline",
            Self::HangUp { .. } => "hang_up",
            Self::SessionOver { .. } => "session_over",
            Self::GreetHere { .. } => "greet_here",
            Self::Greet { .. } => "greet",
            Self::Reached { .. } => "reached",
            Self::TakeFor { .. } => "take_for",
            Self::DeclineFor { .. } => "decline_for",
            Self::Closed(_) => "closed",
            Self::ReadAgain => "read_again",
            Self::Found { .. } => "found",
            Self::Tick => "tick",
            Self::Inspect(_) => "inspect",
        }
    }
}

impl Inspected for InvitesMsg {
    fn inspect(asked: Asked) -> Self {
        Self::Inspect(asked)
    }
}

/// The actor.
pub(crate) struct Invites;

/// What it starts with.
pub(crate) struct InvitesArgs {
    pub(crate) shared: Arc<Shared>,
    /// Given its mailbox.
    pub(crate) started: oneshot::Sender<Mailbox<InvitesMsg>>,
}

/// Its state.
pub(crate) struct Running {
    shared: Arc<Shared>,
    myself: Mailbox<InvitesMsg>,
    book: Book<PeerWay>,
    began: Instant,
    timer: Option<(Duration, JoinHandle<()>)>,
    /// What was answered here before everything was read back, and is not to come back; `None` afterwards.
    answered_early: Option<HashSet<InviteId>>,
    shelf: JoinHandle<()>,
    _seen: Seen,
}

impl Actor for Invites {
    type Msg = Traced<InvitesMsg>;
    type State = Running;
    type Arguments = InvitesArgs;

    async fn pre_start(
        &self,
        actor: ActorRef<Traced<InvitesMsg>>,
        args: InvitesArgs,
    ) -> Result<Running, ActorProcessingErr> {
        let counters = args.shared.args.observed.counters(Kind::Invites);
        let myself = Mailbox::new(actor, MAILBOX, counters.clone());
        args.started
            .send(myself.clone())
            .map_err(|_| "nobody waits for the invitations")?;
        let _seen = myself.list(&args.shared.args.observed, Kind::Invites, Label::Only);
        let book = Book::new(args.shared.args.limits.max_invites);
        Ok(Running {
            shelf: shelf::keep(args.shared.clone(), myself.clone()),
            shared: args.shared,
            myself,
            book,
            began: Instant::now(),
            timer: None,
            answered_early: Some(HashSet::new()),
            _seen,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Traced<InvitesMsg>>,
        message: Traced<InvitesMsg>,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        message.handle(|message| running.take(message));
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shelf.abort();
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
    }
}

impl Running {
    fn take(&mut self, message: InvitesMsg) {
        match message {
            InvitesMsg::Call {
                from,
                session,
                to,
                reply,
            } => self.call(from, session, to, reply),
            InvitesMsg::Invite {
                from,
                room,
                to,
                expires_s,
                reply,
            } => self.invite(from, room, to, expires_s, reply),
            InvitesMsg::Take {
                invite,
                user,
                session,
                peer,
                reply,
            } => {
                let result = self.book.take(invite, &user, session);
                let result = result.map_err(|refusal| self.unless_reading(refusal));
                match result {
                    Err(refusal) if !self.book.has(invite) && self.is_in_company() => {
                        self.take_elsewhere(invite, user, session, peer, reply, refusal);
                    }
                    result => {
                        let result = result.map(|room| self.invited(room));
                        peer.post(PeerMsg::Accepting { reply, invite, result });
                    }
                }
            }
            InvitesMsg::Taken {
                invite,
                session,
                entered,
                is_known,
            } => {
                if !is_known && !self.book.has(invite) {
                    self.shared.gateway.broadcast(&NodeMessage::InviteTaken {
                        invite,
                        session,
                        entered,
                    });
                }
                let noted = self.book.taken(invite, session, entered);
                self.tell(noted);
            }
            InvitesMsg::Decline {
                invite,
                user,
                session,
                reply,
            } => match self.book.decline(invite, &user, session) {
                Ok(noted) => {
                    self.tell(vec![noted]);
                    reply.answer(ServerMessage::ok());
                }
                Err(refusal) => {
                    let refusal = self.unless_reading(refusal);
                    if !self.book.has(invite) && self.is_in_company() {
                        self.decline_elsewhere(invite, user, session, reply, refusal);
                    } else {
                        reply.answer(refusal);
                    }
                }
            },
            InvitesMsg::HangUp { session, reply } => {
                let ended = self.book.hang_up(session);
                if ended.is_empty() {
                    reply.answer(Refusal::new(ErrorCode::CallNotFound, "you have no call"));
                } else {
                    self.tell(ended);
                    reply.answer(ServerMessage::ok());
                }
            }
            InvitesMsg::SessionOver { session } => {
                let ended = self.book.session_over(session);
                self.tell(ended);
            }
            InvitesMsg::GreetHere { user, session, peer } => {
                self.greet(&user, &peer);
                self.greet_elsewhere(&user, session);
            }
            InvitesMsg::Greet { user, peer } => self.greet(&user, &peer),
            InvitesMsg::Reached {
                from,
                session,
                to,
                online,
                reply,
            } => self.reached(from, session, to, online, reply),
            InvitesMsg::TakeFor {
                invite,
                user,
                session,
                answer,
            } => self.take_for(invite, &user, session, answer),
            InvitesMsg::DeclineFor {
                invite,
                user,
                session,
                answer,
            } => self.decline_for(invite, &user, session, answer),
            InvitesMsg::Closed(invite) => self.book.forget(invite),
            InvitesMsg::ReadAgain => {
                self.shelf.abort();
                self.answered_early.get_or_insert_with(HashSet::new);
                self.shelf = shelf::keep(self.shared.clone(), self.myself.clone());
            }
            InvitesMsg::Found { found, complete } => self.found(found, complete),
            InvitesMsg::Inspect(asked) => asked.answer(serde_json::json!({
                "waiting": self.book.len(),
                "reading": self.answered_early.is_some(),
            })),
            InvitesMsg::Tick => {
                self.timer = None;
                let noted = self.book.expire(self.began.elapsed());
                self.tell(noted);
            }
        }
        self.shared.sessions.invites(self.book.len());
        self.keep_time();
    }

    fn call(&mut self, from: Inviter, session: SessionId, to: UserId, reply: Reply) {
        let here = !self.shared.sessions.of_user(&to).is_empty();
        if to == from.user || (!here && !self.is_in_company()) {
            return reply.answer(Refusal::new(ErrorCode::UserOffline, "they are not connected"));
        }
        if here {
            self.ring(from, session, to, reply);
        } else {
            self.call_elsewhere(from, session, to, reply);
        }
    }

    /// Delivers what waits for a user to a session of theirs.
    fn greet(&self, user: &UserId, peer: &PeerWay) {
        for invite in self.book.waiting_for(user) {
            if self.speaks_for(&invite) {
                peer.notify(Arc::new(event(&invite)));
            }
        }
    }

    /// Rings a user in a room to be made.
    fn ring(&mut self, from: Inviter, session: SessionId, to: UserId, reply: Reply) {
        let room = RoomId::generate();
        let until = self.began.elapsed() + self.shared.args.limits.ring;
        let caller = from.user.clone();
        self.send(from, Some(session), room.clone(), to, until, reply);
        self.shared.plans.add(room, caller);
    }

    fn invite(&mut self, from: Inviter, room: RoomId, to: UserId, expires_s: Option<u64>, reply: Reply) {
        let wait = expires_s.map_or(self.shared.args.limits.invite, Duration::from_secs);
        let until = self.began.elapsed() + wait;
        self.send(from, None, room, to, until, reply);
    }

    /// Enters an invitation in the book and delivers it to every session of its user.
    fn send(
        &mut self,
        from: Inviter,
        session: Option<SessionId>,
        room: RoomId,
        to: UserId,
        until: Duration,
        reply: Reply,
    ) {
        let id = InviteId::new();
        let invite = Invite {
            id,
            kind: if session.is_some() {
                InviteKind::Call
            } else {
                InviteKind::Invite
            },
            session,
            room: room.clone(),
            from: WelcomeUser {
                id: from.user,
                name: from.name,
            },
            to: to.clone(),
            until,
            answer_to: Some(from.peer),
        };
        let message = Arc::new(event(&invite));
        let kept = self.to_keep(&invite);
        if let Err(refusal) = self.book.enter(invite) {
            return reply.answer(refusal);
        }
        if let Some(entry) = kept {
            self.shared.write_down(entry);
        }
        self.tell_user(&to, &message);
        let room = session.is_some().then_some(room);
        reply.answer(ServerMessage::Ok(Done {
            invite_id: Some(id),
            room,
            ..Done::default()
        }));
    }

    /// Tells whoever invited, and the invited user's sessions, which stop ringing.
    fn tell(&mut self, noted: Vec<Noted<PeerWay>>) {
        for Noted { invite, answer } in noted {
            // In the book of several nodes, one of which says that it ran out.
            if answer == InviteAnswer::Expired && !self.speaks_for(&invite) {
                continue;
            }
            if invite.kind == InviteKind::Invite {
                self.shared.gateway.broadcast(&NodeMessage::InviteClosed(invite.id));
            }
            let message = Arc::new(ServerMessage::InviteAnswered(InviteAnswered {
                invite_id: invite.id,
                answer,
            }));
            if let Some(early) = &mut self.answered_early {
                early.insert(invite.id);
            }
            if invite.kind == InviteKind::Invite {
                self.shared.write_down(JournalEntry::InviteAnswered {
                    invite: invite.id,
                    answer,
                });
            }
            self.tell_inviter(&invite, &message);
            self.tell_user(&invite.to, &message);
            if invite.kind == InviteKind::Call {
                self.shared.plans.remove(&invite.room);
            }
        }
    }

    /// Whoever invited hears the answer in the session they did it in, or when that is gone in all they have now.
    fn tell_inviter(&self, invite: &Invite<PeerWay>, message: &Arc<ServerMessage>) {
        let told = |way: &PeerWay| way.notify(message.clone());
        if !invite.answer_to.as_ref().is_some_and(told) {
            self.tell_user(&invite.from.id, message);
        }
    }

    // ---- over restarts --------------------------------------------------------------------------------------------

    /// What is written down of an invitation: all of it. A call rings while its caller waits, and ends with the process.
    fn to_keep(&self, invite: &Invite<PeerWay>) -> Option<JournalEntry> {
        let now = Timestamp::now_utc();
        (invite.kind == InviteKind::Invite).then(|| JournalEntry::InviteMade {
            invite: StoredInvite {
                id: invite.id,
                room: invite.room.clone(),
                from_user: invite.from.id.clone(),
                from_name: invite.from.name.clone(),
                to_user: invite.to.clone(),
                kind: invite.kind,
                expires_at: now + invite.until.saturating_sub(self.began.elapsed()),
                answer: None,
            },
            at: now,
        })
    }

    /// Enters what waited before this start, and delivers it to who is here already.
    fn found(&mut self, found: Vec<StoredInvite>, complete: bool) {
        let (now, elapsed) = (Timestamp::now_utc(), self.began.elapsed());
        for stored in found {
            let early = self.answered_early.as_ref();
            if early.is_some_and(|early| early.contains(&stored.id)) || self.book.has(stored.id) {
                continue;
            }
            let invite = Invite {
                id: stored.id,
                kind: stored.kind,
                session: None,
                room: stored.room,
                from: WelcomeUser {
                    id: stored.from_user,
                    name: stored.from_name,
                },
                to: stored.to_user,
                until: elapsed + Duration::try_from(stored.expires_at - now).unwrap_or_default(),
                answer_to: None,
            };
            let (message, to) = (Arc::new(event(&invite)), invite.to.clone());
            if let Err(refusal) = self.book.enter(invite) {
                // It stays where it was read, for a later start.
                tracing::warn!(invite.id = %stored.id, reason = refusal.message, "an invitation is left out");
                continue;
            }
            if self.book.one(stored.id).is_some_and(|invite| self.speaks_for(&invite)) {
                self.tell_user(&to, &message);
            }
        }
        if complete {
            self.answered_early = None;
        }
    }

    /// What is not known may still come back.
    fn unless_reading(&self, refusal: Refusal) -> Refusal {
        match &self.answered_early {
            Some(_) => Refusal::new(
                ErrorCode::DependencyUnavailable,
                "invitations are still being read; try again",
            ),
            None => refusal,
        }
    }

    fn keep_time(&mut self) {
        let due = self.book.next_deadline();
        if due == self.timer.as_ref().map(|(at, _)| *at) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
        self.timer = due.map(|due| {
            let (at, myself) = (self.began + due, self.myself.clone());
            let timer = tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                myself.post(InvitesMsg::Tick);
            });
            (due, timer)
        });
    }
}

fn event<A>(invite: &Invite<A>) -> ServerMessage {
    ServerMessage::Invite(InviteEvent {
        invite_id: invite.id,
        kind: invite.kind,
        room: invite.room.clone(),
        from: invite.from.clone(),
    })
}
