//! What HTTP asks of rooms, wherever they run: here, of their actor; elsewhere, of their node.

use std::time::Duration;

use caside_protocol::claims::Claims;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{Act, Answer, Member, Question, Report};
use caside_protocol::rest::{RunningRoom, UpdateRoom};
use caside_protocol::{CallId, RoomId, view};
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use crate::gateway::{NoAnswer, unexpected};
use crate::mailbox::Overloaded;
use crate::peer::DrainGuard;
use crate::room::{Authority, RoomHandle, RoomMsg, Standing};

/// Where a room runs.
enum Whereabouts {
    Here,
    There(Member),
    Nowhere,
}

/// What became of a question about a room.
pub(super) enum Elsewhere {
    /// It runs here: that is for the asker to look after.
    Here,
    Nowhere,
    Answered(Answer),
}

/// How long another node's answer is waited for, beyond what that node itself may wait.
const MARGIN: Duration = Duration::from_millis(500);

impl Shared {
    // ---- here -----------------------------------------------------------------------------------------------------

    /// A room that runs here.
    pub(crate) async fn view_here(&self, room: &RoomId) -> Result<Option<view::Room>, Refusal> {
        self.ask_here(room, RoomMsg::View).await
    }

    /// Something done to a room that runs here; `None` when it does not.
    pub(crate) async fn act_here(&self, room: &RoomId, act: Act, by: &Claims) -> Result<Option<Report>, Refusal> {
        let by = Authority {
            user: by.sub.clone(),
            admin: by.is_admin(),
            standing: Standing::from(by),
        };
        let answered = self.ask_here(room, |answer| RoomMsg::Act { by, act, answer }).await?;
        answered.transpose()
    }

    /// Another configuration for a room that runs here; whether it does.
    pub(crate) async fn update_here(&self, room: &RoomId, change: UpdateRoom) -> Result<bool, Refusal> {
        let change = Box::new(change);
        let done = self.ask_here(room, |done| RoomMsg::Update { change, done }).await?;
        Ok(done.is_some())
    }

    /// Ends a room that was deleted, if it runs here.
    pub(crate) async fn delete_here(&self, room: &RoomId) -> bool {
        let Some(listed) = self.rooms.find(room) else {
            return false;
        };
        let (guard, mut closed) = mpsc::channel(1);
        listed.handle.post(RoomMsg::Close {
            tell: true,
            done: Some(DrainGuard(guard)),
        });
        self.within_call_timeout(closed.recv()).await;
        true
    }

    /// Whether a token is for a room that runs here, and not for an earlier one of its id.
    pub(crate) fn admits_here(&self, room: &RoomId, claims: &Claims) -> Option<bool> {
        let listed = self.rooms.find(room)?;
        Some(claims.admits(room) && claims.right_is_later(listed.card.tokens_since))
    }

    /// The rooms that run here, at most so many.
    pub(crate) fn running_here(&self, most: usize) -> Vec<RunningRoom> {
        let rooms = self.rooms.read();
        let running = rooms.iter().take(most).map(|(id, listed)| {
            let (call, participants) = listed.card.now();
            RunningRoom {
                room: id.clone(),
                node: self.args.member.node.clone(),
                epoch: listed.handle.epoch(),
                call,
                participants: u32::try_from(participants).unwrap_or(u32::MAX),
            }
        });
        running.collect()
    }

    /// The rooms that run on all nodes that can be reached.
    pub(super) async fn running(&self) -> Vec<RunningRoom> {
        let mut all = self.running_here(usize::MAX);
        for other in self.gateway.others() {
            let limit = self.args.limits.call_timeout;
            if let Ok(Answer::Rooms(rooms)) = self.gateway.ask(&other.member, Question::Rooms, limit).await {
                all.extend(rooms);
            }
        }
        all.sort_by(|a, b| (&a.node, &a.room).cmp(&(&b.node, &b.room)));
        all
    }

    /// Asks a room of this node; `None` when it does not run here.
    pub(super) async fn ask_here<T: Send + 'static>(
        &self,
        room: &RoomId,
        message: impl FnOnce(oneshot::Sender<T>) -> RoomMsg,
    ) -> Result<Option<T>, Refusal> {
        let overloaded = || Refusal::new(ErrorCode::Overloaded, "the room has too much to do; try again");
        let Some(listed) = self.rooms.find(room) else {
            return Ok(None);
        };
        let (answer, answered) = oneshot::channel();
        if let Err(Overloaded(_)) = listed.handle.mailbox().send(message(answer)) {
            return if self.still_runs(&listed.handle) {
                Err(overloaded())
            } else {
                Ok(None)
            };
        }
        // A room that ended meanwhile does not run.
        self.within_call_timeout(answered)
            .await
            .map(Result::ok)
            .ok_or_else(overloaded)
    }

    fn still_runs(&self, handle: &RoomHandle) -> bool {
        let listed = self.rooms.find(handle.id());
        listed.is_some_and(|listed| listed.handle.mailbox().same_as(handle.mailbox()))
    }

    async fn within_call_timeout<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.args.limits.call_timeout, work).await.ok()
    }

    // ---- anywhere -------------------------------------------------------------------------------------------------

    /// A room wherever it runs.
    pub(super) async fn view(&self, room: &RoomId) -> Result<Option<view::Room>, Refusal> {
        match self.elsewhere(room, Question::View(room.clone())).await? {
            Elsewhere::Here => self.view_here(room).await,
            Elsewhere::Nowhere => Ok(None),
            Elsewhere::Answered(Answer::Room(result)) => result.map(|view| view.map(|view| *view)),
            Elsewhere::Answered(other) => Err(unexpected(&other)),
        }
    }

    /// Something done to a room wherever it runs.
    pub(super) async fn act(&self, room: &RoomId, act: Act, by: &Claims) -> Result<Option<Report>, Refusal> {
        let question = Question::Act {
            room: room.clone(),
            by: Box::new(by.clone()),
            act,
        };
        match self.elsewhere(room, question).await? {
            Elsewhere::Here => self.act_here(room, act, by).await,
            Elsewhere::Nowhere => Ok(None),
            Elsewhere::Answered(Answer::Report(result)) => result,
            Elsewhere::Answered(other) => Err(unexpected(&other)),
        }
    }

    /// Another configuration for a room wherever it runs; whether it does.
    pub(super) async fn update(&self, room: &RoomId, change: &UpdateRoom) -> Result<bool, Refusal> {
        let question = Question::Update {
            room: room.clone(),
            change: Box::new(change.clone()),
        };
        match self.elsewhere(room, question).await? {
            Elsewhere::Here => self.update_here(room, change.clone()).await,
            other => done(other),
        }
    }

    /// The end of a room wherever it runs; whether it did.
    pub(super) async fn delete(&self, room: &RoomId) -> Result<bool, Refusal> {
        match self.elsewhere(room, Question::Delete(room.clone())).await? {
            Elsewhere::Here => Ok(self.delete_here(room).await),
            other => done(other),
        }
    }

    /// Whether a token is for the room that runs, wherever that is.
    pub(super) async fn admits(&self, room: &RoomId, claims: &Claims) -> Result<Option<bool>, Refusal> {
        let question = Question::Admits {
            room: room.clone(),
            claims: Box::new(claims.clone()),
        };
        match self.elsewhere(room, question).await? {
            Elsewhere::Here => Ok(self.admits_here(room, claims)),
            Elsewhere::Nowhere => Ok(None),
            Elsewhere::Answered(Answer::Admits(admits)) => Ok(admits),
            Elsewhere::Answered(other) => Err(unexpected(&other)),
        }
    }

    /// The room whose call this is, wherever it runs.
    pub(super) async fn room_of_call(&self, call: CallId) -> Option<RoomId> {
        if let Some(room) = self.rooms.of_call(call) {
            return Some(room);
        }
        for other in self.gateway.others() {
            let limit = self.args.limits.call_timeout;
            let asked = self.gateway.ask(&other.member, Question::RoomOfCall(call), limit);
            if let Ok(Answer::RoomOfCall(Some(room))) = asked.await {
                return Some(room);
            }
        }
        None
    }

    /// Asks about a room where it runs, unless that is here.
    pub(super) async fn elsewhere(&self, room: &RoomId, question: Question) -> Result<Elsewhere, Refusal> {
        // What is remembered of a room may be wrong once.
        for is_last in [false, true] {
            let member = match self.whereabouts(room).await? {
                Whereabouts::Here => return Ok(Elsewhere::Here),
                Whereabouts::Nowhere => return Ok(Elsewhere::Nowhere),
                Whereabouts::There(member) => member,
            };
            let limit = self.args.limits.call_timeout + MARGIN;
            match self.gateway.ask(&member, question.clone(), limit).await {
                Ok(answer) if !says_nothing(&answer) => return Ok(Elsewhere::Answered(answer)),
                Ok(_) => {}
                Err(NoAnswer) if is_last => {
                    let text = "the room's node cannot be reached now; try again";
                    return Err(Refusal::new(ErrorCode::Moving, text));
                }
                Err(NoAnswer) => {}
            }
            self.gateway.forget_route(room);
        }
        Ok(Elsewhere::Nowhere)
    }

    async fn whereabouts(&self, room: &RoomId) -> Result<Whereabouts, Refusal> {
        if self.rooms.find(room).is_some() {
            return Ok(Whereabouts::Here);
        }
        if !self.gateway.is_in_company() {
            return Ok(Whereabouts::Nowhere);
        }
        if let Some(owner) = self.gateway.route(room) {
            return Ok(Whereabouts::There(owner.member));
        }
        let looking = self.args.directory.lookup(room);
        let away = || {
            Refusal::new(
                ErrorCode::DependencyUnavailable,
                "the room directory is away; try again",
            )
        };
        let owner = self.within_call_timeout(looking).await.ok_or_else(away)?;
        let owner = match owner {
            Ok(owner) => owner,
            Err(error) => {
                tracing::debug!(room.id = %room, %error, "a room could not be looked up; the other nodes are asked");
                self.gateway.who_runs(room).await
            }
        };
        Ok(match owner {
            // Opening, or about to end.
            Some(owner) if owner.member == self.args.member => Whereabouts::Here,
            Some(owner) => {
                self.gateway.learn(room, owner.clone());
                Whereabouts::There(owner.member)
            }
            None => Whereabouts::Nowhere,
        })
    }
}

/// Whether an answer says that the room does not run there.
fn says_nothing(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Room(Ok(None))
            | Answer::Report(Ok(None))
            | Answer::Done(Ok(false))
            | Answer::Admits(None)
            | Answer::Examined(Ok(None))
    )
}

fn done(answered: Elsewhere) -> Result<bool, Refusal> {
    match answered {
        Elsewhere::Here | Elsewhere::Nowhere => Ok(false),
        Elsewhere::Answered(Answer::Done(result)) => result,
        Elsewhere::Answered(other) => Err(unexpected(&other)),
    }
}
