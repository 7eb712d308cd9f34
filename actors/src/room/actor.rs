//! The shell around a room's state: mailbox in, effects out, and the clock.

use std::collections::HashMap;
use std::sync::Arc;

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{Member, Orphan, ReleaseCause, Report};
use caside_protocol::{ParticipantId, RecordingId, Timestamp, UserId};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::command::{Command, Entry, Moment, ReplyId, Standing, Ticket};
use super::effects::Effect;
use super::history::EventLog;
use super::keeping::{HeldBack, Inherited, Mirror};
use super::message::{JoinRequest, RoomHandle, RoomMsg};
use super::state::{RoomState, Setup};
use super::supervisor::{Card, RoomsMsg};
use super::way::{Contact, Order};
use super::wiring::{Recorder, Sfu};
use crate::invites::{Inviter, InvitesMsg};
use crate::mailbox::{Mailbox, Overloaded, Traced};
use crate::node::Shared;
use crate::observed::{Kind, Label, Seen};
use crate::peer::{PeerGone, Reply};

/// Requests that may wait for a room; beyond it they are refused as overloaded.
const MAILBOX: usize = 8192;

/// What a room's actor starts with.
pub(crate) struct RoomArgs {
    pub(crate) setup: Setup,
    /// What another owner left.
    pub(crate) inherited: Option<Inherited>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) rooms: Mailbox<RoomsMsg>,
    pub(crate) card: Arc<Card>,
}

/// The actor.
pub(crate) struct Room;

/// Its state.
pub(crate) struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) myself: RoomHandle,
    pub(super) actor: ActorRef<Traced<RoomMsg>>,
    pub(super) rooms: Mailbox<RoomsMsg>,
    card: Arc<Card>,
    pub(super) state: RoomState,
    pub(super) began: Instant,
    /// How participants are reached, and who they are.
    pub(super) seats: HashMap<ParticipantId, Contact>,
    pub(super) replies: HashMap<ReplyId, Reply>,
    pub(super) tickets: HashMap<Ticket, oneshot::Sender<Result<Report, Refusal>>>,
    next_id: u64,
    joins_seen: u64,
    pub(super) sfu: Sfu,
    pub(super) sfu_incarnation: u64,
    pub(super) recorders: HashMap<RecordingId, Recorder>,
    timer: Option<(Instant, JoinHandle<()>)>,
    pub(super) mirror: Mirror,
    /// While the room is being handed over.
    pub(super) held_back: Option<HeldBack>,
    /// The room is another node's, or nobody's.
    pub(super) is_over: bool,
    _seen: Seen,
}

impl RoomArgs {
    /// The handle of the actor that is about to start with these arguments.
    fn handle(&self, actor: &ActorRef<Traced<RoomMsg>>) -> RoomHandle {
        let mailbox = Mailbox::new(
            actor.clone(),
            MAILBOX,
            self.shared.args.observed.counters(Kind::Room).clone(),
        );
        RoomHandle::new(self.setup.room.id.clone(), self.setup.epoch, mailbox)
    }
}

impl Actor for Room {
    type Msg = Traced<RoomMsg>;
    type State = Running;
    type Arguments = (RoomArgs, oneshot::Sender<RoomHandle>);

    async fn pre_start(
        &self,
        actor: ActorRef<Traced<RoomMsg>>,
        (args, started): Self::Arguments,
    ) -> Result<Running, ActorProcessingErr> {
        let myself = args.handle(&actor);
        started.send(myself.clone()).map_err(|_| "nobody waits for the room")?;
        let began = Instant::now();
        let (state, inherited) = match args.inherited {
            None => (RoomState::new(args.setup), None),
            Some(Inherited { snapshot, reason }) => {
                let (now, kept) = (moment(began), snapshot.participants.clone());
                let (state, effects) = RoomState::take_over(args.setup, *snapshot, reason, now);
                (state, Some((kept, effects)))
            }
        };
        let label = Label::Room(myself.id().clone());
        let mut running = Running {
            _seen: myself.mailbox().list(&args.shared.args.observed, Kind::Room, label),
            shared: args.shared,
            myself,
            actor,
            rooms: args.rooms,
            card: args.card,
            state,
            began,
            seats: HashMap::new(),
            replies: HashMap::new(),
            tickets: HashMap::new(),
            next_id: 0,
            joins_seen: 0,
            sfu: Sfu::Absent,
            sfu_incarnation: 0,
            recorders: HashMap::new(),
            timer: None,
            mirror: Mirror::default(),
            held_back: None,
            is_over: false,
        };
        if let Some((kept, effects)) = inherited {
            running.inherit(&kept, effects);
            running.settle();
        }
        if running.shared.args.directory.is_away() {
            running.apply(Command::DirectoryAway(true));
        }
        Ok(running)
    }

    async fn handle(
        &self,
        _: ActorRef<Traced<RoomMsg>>,
        message: Traced<RoomMsg>,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        message.handle(|message| running.take(message));
        Ok(())
    }

    /// A child of the room is its SFU. The room goes on without: media starts anew.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Traced<RoomMsg>>,
        event: SupervisionEvent,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(who, error) = &event {
            running.shared.args.observed.failed(who.get_id(), error);
            tracing::error!(room.id = %running.myself.id(), error = %error, "the room's SFU failed");
            running.went_wrong(format_args!("its SFU failed: {error}"));
        }
        let (SupervisionEvent::ActorFailed(gone, _) | SupervisionEvent::ActorTerminated(gone, ..)) = &event else {
            return Ok(());
        };
        // One that was replaced before may end late.
        if matches!(&running.sfu, Sfu::Up(sfu) if sfu.is(gone.get_id())) {
            running.lose_sfu();
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Traced<RoomMsg>>, running: &mut Running) -> Result<(), ActorProcessingErr> {
        if running.is_over {
            return Ok(());
        }
        if !running.shared.args.directory.holds() {
            running.let_go();
            return Ok(());
        }
        running.forget_mirror();
        running.apply(Command::Close { tell: false });
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
    }
}

impl Running {
    pub(super) fn take(&mut self, message: RoomMsg) {
        if let RoomMsg::Inspect(asked) = message {
            return asked.answer(self.inspect());
        }
        if self.is_over {
            return self.too_late(message);
        }
        if !self.shared.args.directory.holds() {
            tracing::error!(room.id = %self.myself.id(), "this node may own no rooms any more; one is let go");
            return self.let_go();
        }
        if let Some(held_back) = &mut self.held_back
            && !matches!(message, RoomMsg::HandedOver { .. } | RoomMsg::LetGo | RoomMsg::Mirrored)
        {
            return held_back.push(message);
        }
        match message {
            RoomMsg::Join(request) => self.join(*request),
            RoomMsg::Order { participant, order } => self.order(participant, order),
            RoomMsg::Unlinked(member) => {
                self.unlinked(&member);
                self.company_changed();
            }
            RoomMsg::Linked => self.company_changed(),
            RoomMsg::Announce => self.announce(),
            RoomMsg::Mirror => self.mirror_now(),
            RoomMsg::Mirrored => self.mirrored(),
            RoomMsg::HandOver { to, handing } => self.hand_over(to, handing),
            RoomMsg::HandedOver { to, handing } => self.handed_over(to, handing),
            RoomMsg::LetGo => self.let_go(),
            RoomMsg::View(answer) => tell(answer, self.state.view()),
            RoomMsg::Explain(answer) => tell(answer, Box::new(self.state.explained())),
            RoomMsg::DirectoryAway(away) => self.apply(Command::DirectoryAway(away)),
            RoomMsg::Examine(answer) => tell(answer, Box::new(self.examine())),
            // Answered above.
            RoomMsg::Inspect(_) => {}
            RoomMsg::Act { by, act, answer } => {
                let ticket = Ticket(self.number());
                self.tickets.insert(ticket, answer);
                self.apply(Command::Act { by, ticket, act });
            }
            RoomMsg::Update { change, done } => {
                self.apply(Command::Update(*change));
                tell(done, ());
            }
            RoomMsg::Close { tell, done } => {
                self.apply(Command::Close { tell });
                drop(done);
            }
            RoomMsg::SfuStarted { incarnation, result } => self.sfu_started(incarnation, result),
            RoomMsg::Sfu { incarnation, event } if incarnation == self.sfu_incarnation => {
                self.apply(Command::Sfu(*event));
            }
            // Of an SFU that was replaced.
            RoomMsg::Sfu { .. } => {}
            RoomMsg::RecorderStarted { recording, result } => self.recorder_started(recording, result),
            RoomMsg::Recorder { recording, event } => {
                self.recorders.remove(&recording);
                self.apply(Command::Recorder { recording, event });
            }
            RoomMsg::Tick => {
                self.timer = None;
                self.apply(Command::Tick);
            }
        }
        self.settle();
    }

    fn join(&mut self, request: JoinRequest) {
        self.joins_seen += 1;
        let JoinRequest {
            participant,
            session,
            display_name,
            credentials,
            subscribe,
            last_n,
            client_ip,
            log,
            link,
            reply,
            ..
        } = request;
        let reply = self.expect(reply);
        let (user, standing) = (credentials.claims.sub.clone(), Standing::from(&credentials.claims));
        let link = link.under(self.myself.epoch());
        let contact = Contact {
            session,
            link,
            credentials,
        };
        if let Some(before) = self.seats.insert(participant, contact) {
            // A join that was sent again after the room had been taken over with them in it.
            before.link.replaced();
        }
        let entry = Entry {
            participant,
            reply,
            user,
            display_name,
            standing,
            subscribe,
            last_n,
            client_ip,
            log,
        };
        self.apply(Command::Join(Box::new(entry)));
    }

    /// What a participant's session says.
    fn order(&mut self, participant: ParticipantId, order: Order) {
        match order {
            Order::Rejoin(reply) => {
                let reply = self.expect(reply);
                self.apply(Command::Rejoin { participant, reply });
            }
            Order::Resume { last_seq, contact } => {
                if self.reach(participant, *contact) {
                    self.apply(Command::Resume { participant, last_seq });
                }
            }
            Order::Here {
                last_seq,
                connected,
                contact,
            } => {
                if !self.is_the_one(participant, &contact) {
                    // Its client went on with another session, or its grace time is over.
                    let log = EventLog::after(last_seq, 0);
                    return contact.link.release(log, ReleaseCause::GraceOver);
                }
                if self.reach(participant, *contact) {
                    self.apply(Command::Here {
                        participant,
                        last_seq,
                        connected,
                    });
                }
            }
            Order::Departing => {
                if let Some(seat) = self.seats.get_mut(&participant) {
                    seat.link.leave_alone();
                }
                self.apply(Command::Departing { participant });
            }
            Order::Received(seq) => self.state.received(participant, seq),
            Order::Lost => self.apply(Command::Lost { participant }),
            Order::Leave(reply) => {
                let reply = reply.map(|reply| self.expect(reply));
                self.apply(Command::Leave { participant, reply });
            }
            Order::Gone => self.apply(Command::Gone { participant }),
            Order::Renewed(credentials) => {
                let standing = Standing::from(&credentials.claims);
                if let Some(seat) = self.seats.get_mut(&participant) {
                    seat.credentials = credentials;
                }
                self.apply(Command::Renewed { participant, standing });
            }
            Order::Ask { reply, message } => {
                let reply = self.expect(reply);
                self.apply(Command::Ask {
                    participant,
                    reply,
                    message: *message,
                });
            }
            Order::Post(message) => self.apply(Command::Post { participant, message }),
        }
    }

    /// Whether it is the session that the participant is on: one that was resumed elsewhere meanwhile is not.
    fn is_the_one(&self, participant: ParticipantId, contact: &Contact) -> bool {
        let seat = self.seats.get(&participant);
        seat.is_some_and(|seat| seat.session == contact.session)
    }

    /// Takes note of where a participant's session is from now on. One that is not in the room, as its grace time ran out,
    /// is told by its link's end.
    fn reach(&mut self, participant: ParticipantId, contact: Contact) -> bool {
        let Some(seat) = self.seats.get_mut(&participant) else {
            return false;
        };
        let before = std::mem::replace(&mut seat.link, contact.link.under(self.myself.epoch()));
        before.replaced();
        seat.session = contact.session;
        self.shared.gateway.forget_orphan(seat.credentials.resume);
        seat.credentials = contact.credentials;
        true
    }

    /// Sessions on a node that cannot be reached are as those whose sockets dropped.
    fn unlinked(&mut self, member: &Member) {
        let mut lost = Vec::new();
        for (participant, seat) in &mut self.seats {
            if seat.link.is_at(member) {
                seat.link.leave_alone();
                lost.push(*participant);
                // If the node is gone, its client comes back to another one.
                self.shared.gateway.keep_orphan(Orphan {
                    participant: *participant,
                    room: self.myself.id().clone(),
                    epoch: self.myself.epoch(),
                    credentials: (*seat.credentials).clone(),
                });
            }
        }
        for participant in lost {
            self.apply(Command::Lost { participant });
        }
    }

    /// Keeps a request until its answer comes.
    fn expect(&mut self, reply: Reply) -> ReplyId {
        let id = ReplyId(self.number());
        self.replies.insert(id, reply);
        id
    }

    fn number(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Applies a command, and those that follow from carrying its effects out.
    pub(super) fn apply(&mut self, command: Command) {
        let mut commands = vec![command];
        while let Some(command) = commands.pop() {
            for effect in self.state.apply(moment(self.began), command) {
                self.carry_out(effect, &mut commands);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, follow: &mut Vec<Command>) {
        match effect {
            Effect::Answer { reply, message } => {
                if let Some(reply) = self.replies.remove(&reply) {
                    reply.answer(message);
                }
            }
            Effect::Report { ticket, result } => {
                if let Some(answer) = self.tickets.remove(&ticket) {
                    tell(answer, result);
                }
            }
            Effect::Admitted {
                participant,
                reply,
                joined,
            } => {
                let seat = self.seats.get(&participant).zip(self.replies.remove(&reply));
                if let Some((seat, reply)) = seat {
                    reached(participant, seat.link.admitted(&self.myself, reply, joined), follow);
                }
            }
            Effect::Refused {
                participant,
                reply,
                refusal,
                log,
            } => {
                let seat = self.seats.remove(&participant).zip(self.replies.remove(&reply));
                if let Some((seat, reply)) = seat {
                    seat.link.refuse(reply, refusal, log);
                }
            }
            Effect::Resumed {
                participant,
                resumption,
            } => {
                if let Some(seat) = self.seats.get_mut(&participant) {
                    reached(participant, seat.link.resumed(resumption), follow);
                }
            }
            Effect::Deliver { to, seq, message } => {
                if let Some(seat) = self.seats.get_mut(&to) {
                    reached(to, seat.link.deliver(seq, message), follow);
                }
            }
            Effect::Released {
                participant,
                log,
                cause,
            } => {
                if let Some(seat) = self.seats.remove(&participant) {
                    self.shared.gateway.forget_orphan(seat.credentials.resume);
                    seat.link.release(log, cause);
                }
            }
            Effect::StartSfu => self.start_sfu(),
            Effect::Sfu(command) => self.order_sfu(command, follow),
            Effect::StartRecorder(job) => self.start_recorder(job),
            Effect::Recorder(recording, order) => self.order_recorder(recording, order),
            Effect::Journal(entry) => self.shared.write_down(entry),
            Effect::Invite {
                reply,
                from,
                user,
                expires_s,
            } => self.invite(reply, from, user, expires_s),
        }
    }

    fn invite(&mut self, reply: ReplyId, from: ParticipantId, user: UserId, expires_s: Option<u64>) {
        let Some(reply) = self.replies.remove(&reply) else {
            return;
        };
        let Some(seat) = self.seats.get(&from) else { return };
        let view = self.state.view();
        let Some(member) = view.participants.into_iter().find(|p| p.participant_id == from) else {
            return;
        };
        let inviter = Inviter {
            user: member.user,
            name: member.display_name,
            peer: seat.link.way().clone(),
        };
        let message = InvitesMsg::Invite {
            from: inviter,
            room: view.id,
            to: user,
            expires_s,
            reply,
        };
        if let Err(Overloaded(InvitesMsg::Invite { reply, .. })) = self.shared.invites().send(message) {
            reply.answer(overloaded());
        }
    }

    /// Carries out what was decided elsewhere than by [`Running::apply`].
    pub(super) fn carry_out_all(&mut self, effects: Vec<Effect>) {
        let mut follow = Vec::new();
        for effect in effects {
            self.carry_out(effect, &mut follow);
        }
        for command in follow {
            self.apply(command);
        }
    }

    /// After each message: the clock, the directory's card, and whether the room is still needed.
    pub(super) fn settle(&mut self) {
        if self.is_over {
            return;
        }
        self.mirror();
        let rooms = &self.shared.rooms;
        rooms.update(self.myself.id(), &self.card, self.state.call(), self.state.len());
        self.keep_time();
        if self.state.is_empty() {
            let message = RoomsMsg::Empty {
                room: self.myself.clone(),
                joins_seen: self.joins_seen,
            };
            if !self.rooms.post(message) {
                tracing::debug!(room.id = %self.myself.id(), "an empty room outlived its supervisor");
            }
        }
    }

    fn keep_time(&mut self) {
        let due = self.state.next_deadline().map(|deadline| self.began + deadline);
        if due == self.timer.as_ref().map(|(at, _)| *at) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
        self.timer = due.map(|at| {
            let room = self.myself.clone();
            let timer = tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                room.post(RoomMsg::Tick);
            });
            (at, timer)
        });
    }
}

/// Now, in a room that began then.
fn moment(began: Instant) -> Moment {
    Moment {
        elapsed: began.elapsed(),
        utc: Timestamp::now_utc(),
    }
}

/// Somebody whose session is gone leaves.
fn reached(participant: ParticipantId, told: Result<(), PeerGone>, follow: &mut Vec<Command>) {
    if told == Err(PeerGone) {
        follow.push(Command::Gone { participant });
    }
}

/// Answers whoever asked from outside, unless they have stopped waiting.
pub(super) fn tell<T>(answer: oneshot::Sender<T>, value: T) {
    if answer.send(value).is_err() {
        tracing::debug!("nobody waits for an answer any more");
    }
}

pub(super) fn overloaded() -> Refusal {
    Refusal::new(ErrorCode::Overloaded, "too much is waiting here; try again")
}
