//! A room's way to one participant's session, on this node or another.

use std::fmt;
use std::sync::Arc;

use caside_protocol::ParticipantId;
use caside_protocol::error::Refusal;
use caside_protocol::node::{Address, Member, ReleaseCause, Resumption, SessionOrder, ToSession};
use caside_protocol::server::{Joined, ServerMessage};

use super::message::PeerMsg;
use super::reply::Reply;
use crate::gateway::Gateway;
use crate::mailbox::Mailbox;
use crate::room::{EventLog, RoomHandle, RoomWay};
use crate::trace;

/// The way to a session.
#[derive(Debug, Clone)]
pub(crate) enum PeerWay {
    Here(Mailbox<PeerMsg>),
    There(RemoteSession),
}

/// A session on another node.
#[derive(Clone)]
pub(crate) struct RemoteSession {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) address: Address,
    pub(crate) participant: ParticipantId,
}

impl fmt::Debug for RemoteSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSession")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl RemoteSession {
    /// Whether it went.
    fn send(&self, epoch: u64, order: SessionOrder) -> bool {
        let message = ToSession {
            session: self.address.session,
            participant: self.participant,
            epoch,
            // Each of a room's many hears of its events, which is no part of anybody's trace.
            trace: match order {
                SessionOrder::Deliver { .. } => None,
                _ => trace::travelling(),
            },
            order,
        };
        self.gateway.to_session(&self.address.member, message)
    }
}

impl PeerWay {
    /// An event from outside of rooms. `false` when the session is gone, or is not known to be there.
    pub(crate) fn notify(&self, message: Arc<ServerMessage>) -> bool {
        match self {
            Self::Here(peer) => peer.post(PeerMsg::Notify(message)),
            Self::There(remote) => remote.send(0, SessionOrder::Notify(message)),
        }
    }
}

/// A room's way to one participant's session. Dropped without [`PeerLink::release`], it says that the room is gone.
#[derive(Debug)]
pub(crate) struct PeerLink {
    way: PeerWay,
    participant: ParticipantId,
    /// The room's ownership.
    epoch: u64,
    /// Nothing is delivered until the session speaks up.
    behind: Behind,
    armed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    No,
    /// The session does not know yet.
    Untold,
    Told,
}

/// The session is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerGone;

impl PeerLink {
    pub(crate) fn new(peer: Mailbox<PeerMsg>, participant: ParticipantId) -> Self {
        Self::by(PeerWay::Here(peer), participant)
    }

    /// To a session wherever it is. One of another node that is not let in yet is not told by it: its own node is, by the
    /// request's answer, and sends it elsewhere.
    pub(crate) fn by(way: PeerWay, participant: ParticipantId) -> Self {
        Self {
            armed: matches!(way, PeerWay::Here(_)),
            way,
            participant,
            epoch: 0,
            behind: Behind::No,
        }
    }

    /// The same, for a room of this ownership.
    pub(crate) fn under(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self.armed = true;
        self
    }

    /// The way to the session alone.
    pub(crate) fn way(&self) -> &PeerWay {
        &self.way
    }

    /// Whether the session is on this other node.
    pub(crate) fn is_at(&self, member: &Member) -> bool {
        matches!(&self.way, PeerWay::There(remote) if remote.address.member == *member)
    }

    /// Where the session is, when that is another node.
    pub(crate) fn address(&self) -> Option<&Address> {
        match &self.way {
            PeerWay::Here(_) => None,
            PeerWay::There(remote) => Some(&remote.address),
        }
    }

    /// Delivers nothing until the session speaks up: it is on its way, or cannot be reached.
    pub(crate) fn leave_alone(&mut self) {
        self.behind = Behind::Told;
    }

    /// The session is reached by another link.
    pub(crate) fn replaced(mut self) {
        self.armed = false;
    }

    /// Sends an event. A session that is behind gets none until it resumes; the room's log has them.
    pub(crate) fn deliver(&mut self, seq: u64, message: Arc<ServerMessage>) -> Result<(), PeerGone> {
        let participant = self.participant;
        if self.behind == Behind::No {
            let event = match &self.way {
                PeerWay::Here(peer) => {
                    let event = PeerMsg::Deliver {
                        participant,
                        epoch: self.epoch,
                        seq,
                        message,
                    };
                    peer.send_apart(event).is_ok()
                }
                PeerWay::There(remote) => remote.send(self.epoch, SessionOrder::Deliver { seq, message }),
            };
            if event {
                return Ok(());
            }
            self.behind = Behind::Untold;
        }
        if self.behind == Behind::Untold {
            match &self.way {
                PeerWay::Here(_) => self.post(PeerMsg::Behind { participant })?,
                // Said with the next event when it cannot be said now.
                PeerWay::There(remote) if !remote.send(self.epoch, SessionOrder::Behind) => return Ok(()),
                PeerWay::There(_) => {}
            }
            self.behind = Behind::Told;
        }
        Ok(())
    }

    /// Lets the session in.
    pub(crate) fn admitted(&self, room: &RoomHandle, reply: Reply, joined: Box<Joined>) -> Result<(), PeerGone> {
        match &self.way {
            PeerWay::Here(_) => self.post(PeerMsg::Admitted {
                participant: self.participant,
                room: RoomWay::Here(room.clone()),
                reply,
                joined,
            }),
            PeerWay::There(remote) => {
                let Some(request) = reply.into_number() else {
                    return Ok(());
                };
                // One that cannot be reached joins anew; until then its grace time runs.
                remote.send(
                    self.epoch,
                    SessionOrder::Admitted {
                        request,
                        epoch: room.epoch(),
                        joined,
                    },
                );
                Ok(())
            }
        }
    }

    /// What was missed goes out with this answer; events flow again behind it.
    pub(crate) fn resumed(&mut self, resumption: Option<Resumption>) -> Result<(), PeerGone> {
        if resumption.is_some() {
            self.behind = Behind::No;
        }
        match &self.way {
            PeerWay::Here(_) => self.post(PeerMsg::Resumed {
                participant: self.participant,
                resumption,
            }),
            PeerWay::There(remote) => {
                if !remote.send(self.epoch, SessionOrder::Resumed(resumption.map(Box::new))) {
                    self.leave_alone();
                }
                Ok(())
            }
        }
    }

    /// Says that the room is on this node now, and waits for the session to speak up.
    pub(crate) fn moved(&mut self, room: &RoomHandle) -> Result<(), PeerGone> {
        self.leave_alone();
        match &self.way {
            PeerWay::Here(_) => self.post(PeerMsg::Moved {
                participant: self.participant,
                room: RoomWay::Here(room.clone()),
            }),
            PeerWay::There(remote) => {
                remote.send(
                    self.epoch,
                    SessionOrder::Moved {
                        room: room.id().clone(),
                        epoch: room.epoch(),
                    },
                );
                Ok(())
            }
        }
    }

    /// Says that this node no longer has the room, and nothing else of it.
    pub(crate) fn let_go(mut self) {
        self.armed = false;
        if let PeerWay::Here(peer) = &self.way {
            peer.post(PeerMsg::Adrift {
                participant: self.participant,
                epoch: self.epoch,
            });
        }
    }

    /// Says that the session is out of the room.
    pub(crate) fn release(mut self, log: EventLog, cause: ReleaseCause) {
        self.armed = false;
        // A session that is gone need not know.
        match &self.way {
            PeerWay::Here(peer) => {
                peer.post(PeerMsg::Released {
                    participant: self.participant,
                    log,
                    cause,
                });
            }
            PeerWay::There(remote) => {
                remote.send(
                    self.epoch,
                    SessionOrder::Released {
                        log: log.state(),
                        cause,
                    },
                );
            }
        }
    }

    /// Says that the session was not let in.
    pub(crate) fn refuse(mut self, reply: Reply, refusal: Refusal, log: EventLog) {
        self.armed = false;
        match &self.way {
            PeerWay::Here(peer) => {
                peer.post(PeerMsg::Refused {
                    participant: self.participant,
                    reply,
                    refusal,
                    log,
                });
            }
            PeerWay::There(remote) => {
                if let Some(request) = reply.into_number() {
                    remote.send(self.epoch, SessionOrder::Refused { request, refusal });
                }
            }
        }
    }

    /// Says to another node that the room is not here.
    pub(crate) fn not_here(mut self, reply: Reply, owner: Option<(Member, u64)>) {
        self.armed = false;
        if let PeerWay::There(remote) = &self.way {
            let request = reply.into_number();
            remote.send(
                self.epoch,
                SessionOrder::NotHere {
                    request,
                    epoch: 0,
                    owner,
                },
            );
        }
    }

    fn post(&self, message: PeerMsg) -> Result<(), PeerGone> {
        match &self.way {
            PeerWay::Here(peer) if !peer.post(message) => Err(PeerGone),
            PeerWay::Here(_) | PeerWay::There(_) => Ok(()),
        }
    }
}

impl Drop for PeerLink {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        match &self.way {
            PeerWay::Here(peer) => {
                peer.post(PeerMsg::RoomGone {
                    participant: self.participant,
                });
            }
            PeerWay::There(remote) => {
                remote.send(self.epoch, SessionOrder::RoomGone);
            }
        }
    }
}
