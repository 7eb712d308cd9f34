//! What comes in from other nodes, brought to the room or session that it is for.

use std::sync::Arc;
use std::time::Duration;

use caside_cluster::{Inbox, Owner};
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{Address, JoinOrder, Member, NodeMessage, RoomOrder, SessionOrder, ToRoom, ToSession};
use caside_protocol::server::Joined;
use caside_protocol::{ParticipantId, RoomId, SessionId};
use tokio::time::Instant;
use tracing::Span;

use super::requests::Waiting;
use super::travel::way;
use super::{Gateway, answers, locked};
use crate::invites::InvitesMsg;
use crate::mailbox::{Mailbox, Overloaded};
use crate::node::Shared;
use crate::peer::{PeerLink, PeerMsg, PeerWay, RemoteSession, Reply};
use crate::room::{Contact, EventLog, JoinRequest, MAX_DETOURS, Order, RemoteRoom, RoomMsg, RoomWay, RoomsMsg};
use crate::trace;

/// Events for users are nobody's in any room.
const NOBODY: ParticipantId = ParticipantId(uuid::Uuid::nil());
/// How much longer it waits before each.
const DETOUR: Duration = Duration::from_millis(100);
/// How long a member that was linked once counts as one that may come back.
const MISSED_FOR: Duration = Duration::from_secs(3600);

/// Takes what the cluster has to say to this node.
pub(crate) struct NodeInbox(pub(crate) Arc<Shared>);

impl Inbox for NodeInbox {
    fn received(&self, from: &Member, message: NodeMessage) {
        let _within = receiving(from, &message).entered();
        match message {
            NodeMessage::ToRoom(message) => self.to_room(from, *message),
            NodeMessage::ToSession(message) => self.to_session(from, *message),
            NodeMessage::Reply { request, message } => {
                match self.0.gateway.requests.take(request) {
                    Some(Waiting::Reply(reply)) => reply.answer(*message),
                    // Who is let in or kept out is told otherwise: there, the request was lost.
                    Some(Waiting::Join(request)) => {
                        self.0.gateway.forget_route(&request.room);
                        self.join_again(request);
                    }
                    None => {}
                }
            }
            NodeMessage::Keep { room, epoch, state } => self.0.gateway.keep_copy(from, room, epoch, state.into()),
            NodeMessage::Forget { room, epoch } => self.0.gateway.forget_copy(from, &room, epoch),
            NodeMessage::Notify { user, message } => {
                for peer in self.0.sessions.of_user(&user) {
                    peer.post(PeerMsg::Notify(message.clone()));
                }
            }
            NodeMessage::Greet { user, to } => {
                let peer = PeerWay::There(RemoteSession {
                    gateway: self.0.gateway.clone(),
                    address: to,
                    participant: NOBODY,
                });
                self.0.invites().post(InvitesMsg::Greet { user, peer });
            }
            NodeMessage::InviteTaken {
                invite,
                session,
                entered,
            } => {
                self.0.invites().post(InvitesMsg::Taken {
                    invite,
                    session,
                    entered,
                    is_known: true,
                });
            }
            NodeMessage::InviteClosed(invite) => {
                self.0.invites().post(InvitesMsg::Closed(invite));
            }
            NodeMessage::Question { id, question, .. } => answers::answer(&self.0, from, id, *question),
            NodeMessage::Answer { id, answer } => self.0.gateway.answered(from, id, *answer),
            _ => tracing::warn!(member = %from, "a message of a kind that is not known here was ignored"),
        }
    }

    fn linked(&self, member: &Member) {
        locked(&self.0.gateway.missing).remove(member);
        self.tell_sessions(|| PeerMsg::Linked(member.clone()));
        for listed in self.0.rooms.read().values() {
            listed.handle.post(RoomMsg::Linked);
        }
    }

    fn unlinked(&self, member: &Member) {
        let gateway = &self.0.gateway;
        {
            let mut missing = locked(&gateway.missing);
            missing.retain(|_, since| since.elapsed() < MISSED_FOR);
            missing.entry(member.clone()).or_insert_with(Instant::now);
        }
        locked(&gateway.routes).retain(|_, owner| owner.member != *member);
        gateway.unanswered(member);
        for waiting in gateway.requests.of(member) {
            match waiting {
                Waiting::Reply(reply) => reply.answer(unreached()),
                Waiting::Join(request) => self.join_again(request),
            }
        }
        self.tell_sessions(|| PeerMsg::Unlinked(member.clone()));
        self.send_away();
        for listed in self.0.rooms.read().values() {
            listed.handle.post(RoomMsg::Unlinked(member.clone()));
        }
    }

    fn gone(&self, member: &Member) {
        self.0.rooms_supervisor().post(RoomsMsg::Gone(member.clone()));
        self.0.invites().post(InvitesMsg::ReadAgain);
    }

    fn fenced(&self) {
        self.0.rooms_supervisor().post(RoomsMsg::Fenced);
        self.send_away();
    }

    fn reinstated(&self) {
        self.0.rooms_supervisor().post(RoomsMsg::Reinstated);
    }

    fn room_lost(&self, room: &RoomId, epoch: u64) {
        self.0.rooms_supervisor().post(RoomsMsg::Lost {
            room: room.clone(),
            epoch,
        });
    }
}

/// The span of handling what another node sent, in its trace; none for what is in none.
fn receiving(from: &Member, message: &NodeMessage) -> Span {
    let (trace, name) = match message {
        NodeMessage::ToRoom(message) => (&message.trace, message.order.name()),
        NodeMessage::ToSession(message) => (&message.trace, message.order.name()),
        NodeMessage::Question { question, trace, .. } => (trace, question.name()),
        _ => return Span::none(),
    };
    let Some(trace) = trace else { return Span::none() };
    let span = tracing::debug_span!(
        parent: None,
        "gateway.receive",
        otel.kind = "consumer",
        caside.message.name = name,
        caside.peer.node = %from,
        error.type = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    );
    trace::follow(&span, trace);
    span
}

impl NodeInbox {
    /// Clients of a node that is out of touch come back by one that has their rooms.
    fn send_away(&self) {
        if self.0.is_out_of_touch() {
            self.tell_sessions(|| PeerMsg::Fenced);
        }
    }

    fn tell_sessions(&self, message: impl Fn() -> PeerMsg) {
        for peer in self.0.sessions.all() {
            peer.post(message());
        }
    }

    // ---- to rooms -------------------------------------------------------------------------------------------------

    fn to_room(&self, from: &Member, message: ToRoom) {
        let ToRoom {
            room,
            epoch,
            participant,
            session,
            order,
            trace: _,
        } = message;
        let way = || {
            PeerWay::There(RemoteSession {
                gateway: self.0.gateway.clone(),
                address: Address {
                    member: from.clone(),
                    session,
                },
                participant,
            })
        };
        let contact = |credentials| {
            Box::new(Contact {
                session,
                link: PeerLink::by(way(), participant),
                credentials,
            })
        };
        let reply = |request| Reply::to_node(self.0.gateway.clone(), from.clone(), request);
        if let RoomOrder::Join(order) = order {
            return self.join(
                from,
                room,
                participant,
                session,
                *order,
                PeerLink::by(way(), participant),
            );
        }
        let listed = self.0.rooms.find(&room).filter(|listed| listed.handle.epoch() == epoch);
        let Some(listed) = listed else {
            return self.not_here(from, &room, epoch, participant, session, &order);
        };
        let mailbox = listed.handle.mailbox();
        let order = match order {
            RoomOrder::Ask { request, message } => Order::Ask {
                reply: reply(request),
                message,
            },
            RoomOrder::Rejoin { request } => Order::Rejoin(reply(request)),
            RoomOrder::Leave { request } => Order::Leave(request.map(reply)),
            RoomOrder::Resume { last_seq, credentials } => Order::Resume {
                last_seq,
                contact: contact(credentials),
            },
            RoomOrder::Here {
                last_seq,
                connected,
                credentials,
            } => Order::Here {
                last_seq,
                connected,
                contact: contact(credentials),
            },
            RoomOrder::Lost => Order::Lost,
            RoomOrder::Departing => Order::Departing,
            RoomOrder::Received(seq) => Order::Received(seq),
            RoomOrder::Gone => Order::Gone,
            RoomOrder::Renewed { credentials } => Order::Renewed(credentials),
            RoomOrder::Post(message) => Order::Post(message),
            _ => {
                tracing::warn!(member = %from, room.id = %room, "an order that is not known here was ignored");
                return;
            }
        };
        let message = RoomMsg::Order { participant, order };
        match &message {
            RoomMsg::Order {
                order: Order::Ask { .. } | Order::Rejoin(_) | Order::Post(_),
                ..
            } => {
                if let Err(Overloaded(RoomMsg::Order {
                    order: Order::Ask { reply, .. } | Order::Rejoin(reply),
                    ..
                })) = mailbox.send(message)
                {
                    reply.answer(Refusal::new(
                        ErrorCode::Overloaded,
                        "too much is waiting here; try again",
                    ));
                }
            }
            _ => {
                mailbox.post(message);
            }
        }
    }

    fn join(
        &self,
        from: &Member,
        room: RoomId,
        participant: ParticipantId,
        session: SessionId,
        order: JoinOrder,
        link: PeerLink,
    ) {
        let history = self.0.args.limits.history;
        let request = Box::new(JoinRequest {
            room,
            mode: order.mode,
            participant,
            session,
            display_name: order.display_name,
            credentials: Box::new(order.credentials),
            subscribe: order.subscribe,
            last_n: order.last_n,
            client_ip: order.client_ip,
            log: EventLog::from_state(order.log, history),
            caller: order.caller,
            link,
            reply: Reply::to_node(self.0.gateway.clone(), from.clone(), order.request),
            detours: 0,
        });
        self.send_to_rooms(request);
    }

    fn send_to_rooms(&self, request: Box<JoinRequest>) {
        send_to_rooms(&self.0, request);
    }

    /// A join of ours did not find its room where it was sent. A node that goes away may not be known to do so yet.
    fn join_again(&self, mut request: Box<JoinRequest>) {
        request.detours += 1;
        if request.detours > MAX_DETOURS {
            let text = "the room moves from node to node; try again";
            return request.refuse(Refusal::new(ErrorCode::Moving, text));
        }
        let (shared, wait) = (self.0.clone(), DETOUR * u32::from(request.detours - 1));
        if wait.is_zero() {
            return send_to_rooms(&shared, request);
        }
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            send_to_rooms(&shared, request);
        });
    }

    fn not_here(
        &self,
        from: &Member,
        room: &RoomId,
        epoch: u64,
        participant: ParticipantId,
        session: SessionId,
        order: &RoomOrder,
    ) {
        let request = match order {
            RoomOrder::Ask { request, .. } | RoomOrder::Rejoin { request } => Some(*request),
            RoomOrder::Leave { request } => *request,
            RoomOrder::Gone | RoomOrder::Departing | RoomOrder::Received(_) | RoomOrder::Post(_) => return,
            _ => None,
        };
        let here = self.0.rooms.find(room);
        let here = here.map(|listed| (self.0.args.member.clone(), listed.handle.epoch()));
        let known = || self.0.gateway.route(room).map(|owner| (owner.member, owner.epoch));
        let owner = here.or_else(known).filter(|(_, now)| *now > epoch);
        let order = SessionOrder::NotHere { request, epoch, owner };
        self.0.gateway.to_session(
            from,
            ToSession {
                session,
                participant,
                epoch,
                order,
                trace: trace::travelling(),
            },
        );
    }

    // ---- to sessions ----------------------------------------------------------------------------------------------

    fn to_session(&self, from: &Member, message: ToSession) {
        let ToSession {
            session,
            participant,
            epoch: of,
            order,
            trace: _,
        } = message;
        let gateway = &self.0.gateway;
        let peer = self.0.sessions.find(session);
        match order {
            SessionOrder::Admitted { request, epoch, joined } => {
                let Some(join) = gateway.requests.join(request) else {
                    // Its client was told that it did not get in.
                    return self.not_wanted(from, participant, session, epoch, &joined);
                };
                let owner = Owner {
                    member: from.clone(),
                    epoch,
                };
                gateway.learn(&join.room, owner);
                let room = RoomWay::There(RemoteRoom {
                    gateway: gateway.clone(),
                    room: join.room.clone(),
                    member: from.clone(),
                    epoch,
                    session,
                });
                let JoinRequest { link, reply, .. } = *join;
                link.replaced();
                if let Some(peer) = peer {
                    let span = reply.call().span().clone();
                    let _within = span.enter();
                    peer.post(PeerMsg::Admitted {
                        participant,
                        room,
                        reply,
                        joined,
                    });
                }
            }
            SessionOrder::Refused { request, refusal } => {
                if let Some(join) = gateway.requests.join(request) {
                    join.refuse(refusal);
                }
            }
            SessionOrder::NotHere { request, epoch, owner } => {
                self.went_wrong(from, peer, participant, session, request, epoch, owner);
            }
            order => {
                if let Some(peer) = peer {
                    self.tell(from, &peer, participant, session, of, order);
                }
            }
        }
    }

    /// Takes somebody out of a room who was let in when they had given up.
    fn not_wanted(&self, by: &Member, participant: ParticipantId, session: SessionId, epoch: u64, joined: &Joined) {
        let room = RemoteRoom {
            gateway: self.0.gateway.clone(),
            room: joined.room_state.room.clone(),
            member: by.clone(),
            epoch,
            session,
        };
        RoomWay::There(room).post(participant, Order::Gone);
    }

    fn tell(
        &self,
        from: &Member,
        peer: &Mailbox<PeerMsg>,
        participant: ParticipantId,
        session: SessionId,
        of: u64,
        order: SessionOrder,
    ) {
        let history = self.0.args.limits.history;
        let message = match order {
            SessionOrder::Deliver { seq, message } => {
                let event = PeerMsg::Deliver {
                    participant,
                    epoch: of,
                    seq,
                    message,
                };
                if peer.send(event).is_err() {
                    peer.post(PeerMsg::Behind { participant });
                }
                return;
            }
            SessionOrder::Behind => PeerMsg::Behind { participant },
            SessionOrder::Notify(message) => PeerMsg::Notify(message),
            SessionOrder::Resumed(resumption) => PeerMsg::Resumed {
                participant,
                resumption: resumption.map(|resumption| *resumption),
            },
            SessionOrder::Released { log, cause } => PeerMsg::Released {
                participant,
                log: EventLog::from_state(log, history),
                cause,
            },
            SessionOrder::RoomGone => PeerMsg::RoomGone { participant },
            SessionOrder::Moved { room, epoch } => {
                let owner = Owner {
                    member: from.clone(),
                    epoch,
                };
                self.0.gateway.learn(&room, owner);
                PeerMsg::Moved {
                    participant,
                    room: way(&self.0, session, &room, from.clone(), epoch),
                }
            }
            _ => {
                tracing::warn!(member = %from, "a word for a session that is not known here was ignored");
                return;
            }
        };
        peer.post(message);
    }

    /// A room was not where something was sent.
    #[allow(clippy::too_many_arguments, reason = "what the message says")]
    fn went_wrong(
        &self,
        from: &Member,
        peer: Option<Mailbox<PeerMsg>>,
        participant: ParticipantId,
        session: SessionId,
        request: Option<u64>,
        epoch: u64,
        owner: Option<(Member, u64)>,
    ) {
        let gateway = &self.0.gateway;
        if let Some(request) = request {
            if let Some(join) = gateway.requests.join(request) {
                gateway.forget_route(&join.room);
                if let Some((member, epoch)) = owner.clone() {
                    gateway.learn(&join.room, Owner { member, epoch });
                }
                return self.join_again(join);
            }
            if let Some(reply) = gateway.requests.reply(request) {
                let text = "the room has moved to another node; try again";
                reply.answer(Refusal::new(ErrorCode::Moving, text));
            }
        }
        let Some(peer) = peer.filter(|_| epoch != 0) else {
            return;
        };
        let message = match owner {
            Some((member, now)) => PeerMsg::Elsewhere {
                participant,
                member,
                epoch: now,
            },
            None => PeerMsg::Unlinked(from.clone()),
        };
        peer.post(message);
        tracing::debug!(session.id = %session, member = %from, "a room is no longer where its session looked for it");
    }
}

/// Brings a join to this node's rooms, or back to the node it is from when they take no more.
fn send_to_rooms(shared: &Shared, request: Box<JoinRequest>) {
    if let Err(Overloaded(RoomsMsg::Join(request))) = shared.rooms_supervisor().send(RoomsMsg::Join(request)) {
        if !request.is_from_here() && shared.is_draining() {
            return request.link.not_here(request.reply, None);
        }
        request.refuse(Refusal::new(
            ErrorCode::Overloaded,
            "too much is waiting here; try again",
        ));
    }
}

fn unreached() -> Refusal {
    Refusal::new(ErrorCode::Moving, "the room's node cannot be reached now; try again")
}

impl Gateway {
    /// Answers for nodes that have not answered for longer than this.
    pub(crate) fn give_up_overdue(&self, limit: Duration) {
        for waiting in self.requests.overdue(limit) {
            match waiting {
                Waiting::Reply(reply) => reply.answer(unreached()),
                Waiting::Join(request) => request.refuse(unreached()),
            }
        }
    }
}
