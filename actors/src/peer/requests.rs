//! What a client asks of its session: to be known, to enter and leave rooms, to call users; the rest is the room's.

use caside_protocol::claims::Claims;
use caside_protocol::client::{Capabilities, ClientMessage, Join, RequestId, SubscribePolicy};
use caside_protocol::error::{ErrorCode, Refusal, close};
use caside_protocol::node::{Credentials, Invited};
use caside_protocol::server::{Empty, IceServer, ServerInfo, ServerMessage, Welcome, WelcomeUser};
use caside_protocol::{InviteId, ParticipantId, Timestamp, UserId};
use tracing::Instrument;

use super::actor::Session;
use super::link::{PeerLink, PeerWay};
use super::message::{Generation, PeerMsg};
use super::place::Place;
use super::reply::Reply;
use super::sessions::TokenHash;
use crate::invites::{Inviter, InvitesMsg};
use crate::mailbox::Overloaded;
use crate::refused::{self, Reason};
use crate::room::{EventLog, JoinRequest, Order, RoomWay, RoomsMsg};
use crate::trace;

impl Session {
    pub(super) fn asked(&mut self, reply: Reply, message: ClientMessage) {
        if let Err(refusal) = self.afford(&message) {
            return self.answer(reply, refusal);
        }
        match message {
            ClientMessage::Ping => self.answer(reply, ServerMessage::Pong(Empty {})),
            ClientMessage::Auth(auth) => self.authenticate(reply, auth.token),
            _ if self.claims.is_none() => {
                self.answer(reply, Refusal::new(ErrorCode::Unauthorized, "send auth first"));
            }
            ClientMessage::Join(join) => self.join(reply, join, None, None),
            ClientMessage::Leave => self.leave(reply),
            ClientMessage::Call(call) => self.call(reply, call.to_user),
            ClientMessage::Accept(accept) => self.accept(reply, accept.invite_id),
            ClientMessage::Decline(decline) => self.decline(reply, decline.invite_id),
            ClientMessage::Hangup => self.hang_up(reply),
            message => self.ask_room(reply, message),
        }
    }

    fn ask_room(&mut self, reply: Reply, message: ClientMessage) {
        let Place::Inside { participant, room } = &self.place else {
            return self.answer(reply, Refusal::new(ErrorCode::NotJoined, "join a room first"));
        };
        let ask = Order::Ask {
            reply,
            message: Box::new(message),
        };
        if let Err(Overloaded(Order::Ask { reply, .. })) = room.send(*participant, ask) {
            let refusal = unreached(room);
            self.answer(reply, refusal);
        }
    }

    // ---- who the client is ----------------------------------------------------------------------------------------

    fn authenticate(&mut self, reply: Reply, token: String) {
        self.authenticating = true;
        let (myself, shared) = (self.myself.clone(), self.shared.clone());
        let checking = async move {
            let failed = Err(Refusal::new(ErrorCode::Internal, "checking the token failed"));
            let promise = myself.promise(PeerMsg::Authenticated {
                reply: None,
                result: Box::new(failed),
            });
            let checking = shared.args.authenticator.authenticate(token.clone());
            let result = match tokio::time::timeout(shared.args.limits.call_timeout, checking).await {
                Ok(result) => result,
                Err(_) => Err(Refusal::new(
                    ErrorCode::DependencyUnavailable,
                    "checking the token took too long; try again",
                )),
            };
            if let Err(refusal) = &result {
                shared.turned_away_with(Some(&token), refusal);
            }
            promise.keep(PeerMsg::Authenticated {
                reply: Some(reply),
                result: Box::new(result),
            });
        };
        tokio::spawn(checking.instrument(trace::step!("session.authenticate")));
    }

    /// Without a reply the check failed by itself, and that has been answered.
    pub(super) fn authenticated(&mut self, reply: Option<Reply>, result: Result<Claims, Refusal>) {
        self.authenticating = false;
        if let Some(reply) = reply {
            match result.and_then(|claims| self.same_user(claims)) {
                Ok(claims) => {
                    let (generation, id) = reply.into_address();
                    self.begin(claims, generation, id);
                }
                Err(refusal) => self.not_authenticated(reply, refusal),
            }
        }
        self.settle();
    }

    /// A session keeps its user, and its room a token that is good for it.
    fn same_user(&self, claims: Claims) -> Result<Claims, Refusal> {
        let other_user = self.claims.as_ref().is_some_and(|known| known.sub != claims.sub);
        let other_room = matches!(&self.place, Place::Inside { room, .. } if !claims.admits(room.id()));
        if other_user || other_room {
            return Err(Refusal::new(
                ErrorCode::Unauthorized,
                "the token is not for this session's user and room",
            ));
        }
        Ok(claims)
    }

    /// A first token that does not hold ends the session; one that could not be checked, or a renewal, does not.
    fn not_authenticated(&mut self, reply: Reply, refusal: Refusal) {
        if refusal.code != ErrorCode::DependencyUnavailable {
            refused::count(Reason::Unauthorized);
        }
        let ends = self.claims.is_none() && !refusal.code.retryable() && refusal.code != ErrorCode::Internal;
        self.answer(reply, refusal);
        if ends {
            self.close_unauthorized();
        }
    }

    pub(super) fn auth_timeout(&mut self) {
        if self.claims.is_none() && !self.yielding {
            refused::count(Reason::AuthTimeout);
            let refusal = Refusal::new(ErrorCode::Unauthorized, "no token came in time");
            self.write_answer(self.generation, None, &refusal.into());
            self.close_unauthorized();
        }
    }

    fn close_unauthorized(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.close(close::UNAUTHORIZED, "unauthorized");
        }
        self.end();
    }

    /// The client is known from here on, or known anew.
    pub(super) fn begin(&mut self, claims: Claims, generation: Generation, id: Option<RequestId>) {
        let first = self.claims.is_none();
        if first {
            self.cancel_timer();
        }
        let welcome = Welcome {
            session: self.id,
            resume_token: self.registration.rotate(),
            user: WelcomeUser {
                id: claims.sub.clone(),
                name: claims.display_name().to_owned(),
            },
            ice_servers: (self.shared.args.ice_servers)(&claims.sub),
            heartbeat_ms: u64::try_from(self.shared.args.limits.heartbeat.as_millis()).unwrap_or(u64::MAX),
            server: ServerInfo {
                version: self.shared.args.version.clone(),
                node: self.shared.args.member.node.clone(),
            },
        };
        let reachable = speaks_for_user(&claims).then(|| claims.sub.clone());
        self.claims = Some(Box::new(claims));
        self.tell_credentials();
        self.write_answer(generation, id, &ServerMessage::Welcome(Box::new(welcome)));
        self.reachable(reachable);
    }

    /// The session's claims and the resume token that is good now; `None` before `auth`.
    pub(super) fn credentials(&self) -> Option<Box<Credentials>> {
        let claims = self.claims.as_deref()?.clone();
        let resume = self.registration.token().map(TokenHash::bytes);
        Some(Box::new(Credentials { claims, resume }))
    }

    /// Tells the room who the session is from now on, and by what it is resumed.
    pub(super) fn tell_credentials(&self) {
        if let (Place::Inside { participant, room }, Some(credentials)) = (&self.place, self.credentials()) {
            room.post(*participant, Order::Renewed(credentials));
        }
    }

    /// STUN and TURN servers for the client, with credentials that are good from now on; none before `auth`.
    pub(super) fn ice_servers(&self) -> Vec<IceServer> {
        let claims = self.claims.as_deref();
        claims.map_or_else(Vec::new, |claims| (self.shared.args.ice_servers)(&claims.sub))
    }

    /// Whether calls and invitations come here, from now on and those that wait.
    pub(super) fn reachable(&mut self, user: Option<UserId>) {
        match user {
            None => self.registration.unreachable(),
            Some(_) if self.registration.is_reachable() => {}
            Some(user) => {
                self.registration.reachable_as(user.clone());
                self.greet(user);
            }
        }
    }

    /// Has the invitations that wait for the user delivered here.
    pub(super) fn greet(&self, user: UserId) {
        self.shared.invites().post(InvitesMsg::GreetHere {
            user,
            session: self.id,
            peer: PeerWay::Here(self.myself.clone()),
        });
    }

    // ---- rooms ----------------------------------------------------------------------------------------------------

    fn join(&mut self, reply: Reply, join: Join, invite: Option<InviteId>, caller: Option<UserId>) {
        if let Place::Inside { participant, room } = &self.place {
            if *room.id() != join.room {
                let text = "this session is in another room; leave it first";
                return self.answer(reply, Refusal::new(ErrorCode::AlreadyJoined, text));
            }
            if let Err(Overloaded(Order::Rejoin(reply))) = room.send(*participant, Order::Rejoin(reply)) {
                let refusal = unreached(room);
                self.answer(reply, refusal);
            }
            return;
        }
        let Some(claims) = self.claims.as_deref().filter(|claims| claims.admits(&join.room)) else {
            let refusal = Refusal::new(ErrorCode::Forbidden, "your token is for another room");
            self.turned_away(&join.room, &refusal);
            return self.answer(reply, refusal);
        };
        // A socket outlives its token, but only where it is.
        if claims.has_expired(Timestamp::now_utc()) {
            let refusal = Refusal::new(
                ErrorCode::TokenExpired,
                "your token has expired; send auth with a new one",
            );
            self.turned_away(&join.room, &refusal);
            return self.answer(reply, refusal);
        }
        let Some(credentials) = self.credentials() else { return };
        let participant = ParticipantId::new();
        let entering = Place::Joining {
            participant,
            room: join.room.clone(),
            invite,
        };
        let display_name = join.display_name.filter(|name| !name.trim().is_empty());
        let caller = caller.or_else(|| self.shared.plans.find(&join.room));
        let mut request = JoinRequest {
            caller,
            room: join.room,
            mode: join.mode,
            participant,
            session: self.id,
            display_name: display_name.unwrap_or_else(|| claims.display_name().to_owned()),
            credentials,
            subscribe: join.subscribe,
            last_n: join.last_n,
            client_ip: self.client_ip,
            log: EventLog::after(self.last_seq, self.shared.args.limits.history),
            link: PeerLink::new(self.myself.clone(), participant),
            reply,
            detours: 0,
        };
        if let Place::Outside(log) = std::mem::replace(&mut self.place, entering) {
            request.log = log;
        }
        if let Err(Overloaded(RoomsMsg::Join(request))) =
            self.shared.rooms_supervisor().send(RoomsMsg::Join(Box::new(request)))
        {
            // Comes back by the mailbox, as a refusal of the room would.
            request.refuse(overloaded());
        }
    }

    fn leave(&mut self, reply: Reply) {
        let Place::Inside { participant, room } = &self.place else {
            return self.answer(reply, Refusal::new(ErrorCode::NotJoined, "you are in no room"));
        };
        let participant = *participant;
        // A room that is gone is about to say so.
        if !room.post(participant, Order::Leave(Some(reply))) && room.member().is_some() {
            // The other node has lost sight of the session, and its grace time runs.
            let log = EventLog::after(self.last_seq, self.shared.args.limits.history);
            self.place = Place::Outside(log);
            return;
        }
        self.place = Place::Leaving { participant };
    }

    // ---- calls ----------------------------------------------------------------------------------------------------

    fn call(&mut self, reply: Reply, to: UserId) {
        if matches!(self.place, Place::Inside { .. }) {
            let text = "this session is in a room; leave it first, or invite them";
            return self.answer(reply, Refusal::new(ErrorCode::AlreadyJoined, text));
        }
        let Some(claims) = self
            .claims
            .as_deref()
            .filter(|c| speaks_for_user(c) && c.makes_rooms_by_joining())
        else {
            return self.answer(
                reply,
                Refusal::new(ErrorCode::Forbidden, "your token does not permit making rooms"),
            );
        };
        let from = Inviter {
            user: claims.sub.clone(),
            name: claims.display_name().to_owned(),
            peer: PeerWay::Here(self.myself.clone()),
        };
        self.ask_invites(InvitesMsg::Call {
            from,
            session: self.id,
            to,
            reply,
        });
    }

    fn accept(&mut self, reply: Reply, invite: InviteId) {
        let Some(user) = self.reachable_user() else {
            return self.answer(reply, for_one_room());
        };
        let peer = self.myself.clone();
        self.ask_invites(InvitesMsg::Take {
            invite,
            user,
            session: self.id,
            peer,
            reply,
        });
    }

    /// The user whose invitations come here and are answered from here.
    pub(super) fn reachable_user(&self) -> Option<UserId> {
        let claims = self.claims.as_deref().filter(|claims| speaks_for_user(claims));
        claims.map(|claims| claims.sub.clone())
    }

    /// The invitation is held for this session until it is known whether the room let it in.
    pub(super) fn accepting(&mut self, reply: Reply, invite: InviteId, result: Result<Invited, Refusal>) {
        let Invited { room, caller } = match result {
            Ok(invited) => invited,
            Err(refusal) => return self.answer(reply, refusal),
        };
        let same = matches!(&self.place, Place::Inside { room: here, .. } if *here.id() == room);
        if matches!(self.place, Place::Outside(_)) {
            let join = Join {
                room,
                display_name: None,
                capabilities: Capabilities::default(),
                mode: None,
                subscribe: SubscribePolicy::Auto,
                last_n: None,
            };
            self.join(reply, join, Some(invite), caller);
            if matches!(self.place, Place::Outside(_)) {
                self.taken(invite, false);
            }
            return;
        }
        self.taken(invite, same);
        if same {
            return self.ask_room_again(reply);
        }
        let text = "this session is in another room; leave it first";
        self.answer(reply, Refusal::new(ErrorCode::AlreadyJoined, text));
    }

    fn taken(&self, invite: InviteId, entered: bool) {
        self.shared.invites().post(InvitesMsg::Taken {
            invite,
            session: self.id,
            entered,
            is_known: false,
        });
    }

    fn ask_room_again(&mut self, reply: Reply) {
        if let Place::Inside { participant, room } = &self.place {
            room.post(*participant, Order::Rejoin(reply));
        }
    }

    fn decline(&mut self, reply: Reply, invite: InviteId) {
        let Some(user) = self.reachable_user() else {
            return self.answer(reply, for_one_room());
        };
        self.ask_invites(InvitesMsg::Decline {
            invite,
            user,
            session: self.id,
            reply,
        });
    }

    /// Ends what rings and what runs.
    fn hang_up(&mut self, reply: Reply) {
        if matches!(self.place, Place::Inside { .. }) {
            self.shared.invites().post(InvitesMsg::SessionOver { session: self.id });
            self.ask_room(reply, ClientMessage::Hangup);
        } else {
            self.ask_invites(InvitesMsg::HangUp {
                session: self.id,
                reply,
            });
        }
    }

    fn ask_invites(&mut self, message: InvitesMsg) {
        if let Err(Overloaded(
            InvitesMsg::Call { reply, .. }
            | InvitesMsg::Take { reply, .. }
            | InvitesMsg::Decline { reply, .. }
            | InvitesMsg::HangUp { reply, .. },
        )) = self.shared.invites().send(message)
        {
            self.answer(reply, overloaded());
        }
    }
}

/// Whoever may mint tokens for one room names any user in them: such a token says who somebody is in that room alone.
pub(super) fn speaks_for_user(claims: &Claims) -> bool {
    claims.room.is_none()
}

fn for_one_room() -> Refusal {
    Refusal::new(
        ErrorCode::Forbidden,
        "your token is for one room; calls and invitations need the user's own",
    )
}

/// Why an order did not get to the room.
pub(super) fn unreached(room: &RoomWay) -> Refusal {
    match room.member() {
        None => overloaded(),
        Some(_) => Refusal::new(ErrorCode::Moving, "the room's node cannot be reached now; try again"),
    }
}

pub(super) fn overloaded() -> Refusal {
    Refusal::new(ErrorCode::Overloaded, "too much is waiting here; try again")
}
