//! What is known of a participant's connections and tracks: how far they came, and when.

use std::time::Duration;

use caside_media::control::Flow;
use caside_protocol::client::{MediaReport, Target};
use caside_protocol::explain::{CauseCode, ExplainedParticipant};
use caside_protocol::{ParticipantId, Timestamp, TrackId, UserId};

use crate::sfu::{ConnectionStep, TrackStep};

/// One media connection. Times are since the room began.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Connection {
    number: Option<u64>,
    /// It was negotiated: the client may begin its checks.
    pub(super) offered: Option<Duration>,
    /// What the client was told of.
    pub(super) offers_udp: bool,
    /// Whether any client had reached this node by UDP before.
    pub(super) reached_before: bool,
    pub(super) checked: Option<Duration>,
    pub(super) udp_checked: bool,
    pub(super) connected: Option<Duration>,
    pub(super) handshake: Option<Duration>,
    pub(super) secured: Option<Duration>,
    /// It ended on its own: when, and the SFU's word for it.
    pub(super) closed: Option<(Duration, &'static str)>,
    /// What the client said of it last.
    pub(super) report: Option<MediaReport>,
}

impl Connection {
    /// Takes a step of the connection of this number; what is known of one before it is over.
    pub(super) fn step(&mut self, now: Duration, number: u64, step: ConnectionStep) {
        if self.number != Some(number) {
            *self = Self {
                number: Some(number),
                ..Self::default()
            };
        }
        match step {
            ConnectionStep::Offered { udp, reached, .. } => {
                self.offered = Some(now);
                self.offers_udp = udp;
                self.reached_before = reached;
            }
            ConnectionStep::Checked { tcp } => {
                self.checked.get_or_insert(now);
                self.udp_checked |= !tcp;
            }
            ConnectionStep::Connected => {
                self.connected.get_or_insert(now);
            }
            ConnectionStep::HandshakeBegun => {
                self.handshake.get_or_insert(now);
            }
        }
    }

    /// Whether media may flow.
    pub(super) fn is_up(&self) -> bool {
        self.secured.is_some() && self.closed.is_none()
    }

    /// How far it came, in a word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self { closed: Some(_), .. } => "closed",
            Self { secured: Some(_), .. } => "secured",
            Self { connected: Some(_), .. } => "connected",
            Self { checked: Some(_), .. } => "checked",
            Self { offered: Some(_), .. } => "offered",
            _ => "none",
        }
    }
}

/// One published track.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrackEvidence {
    pub(super) track: TrackId,
    pub(super) started: Option<Duration>,
    pub(super) key_frame: bool,
    pub(super) flow: Flow,
    /// Since when `flow` is so.
    pub(super) flow_since: Duration,
    /// A key frame was asked for because none came.
    pub(super) asked: bool,
    /// Since when it is muted or held.
    pub(super) paused_since: Option<Duration>,
}

impl TrackEvidence {
    pub(super) fn new(now: Duration, track: TrackId) -> Self {
        Self {
            track,
            started: None,
            key_frame: false,
            flow: Flow::Fine,
            flow_since: now,
            asked: false,
            paused_since: None,
        }
    }

    /// Takes a step.
    pub(super) fn step(&mut self, now: Duration, step: TrackStep) {
        match step {
            TrackStep::Started => {
                self.started.get_or_insert(now);
            }
            TrackStep::KeyFrame => self.key_frame = true,
            TrackStep::Flow(flow) => (self.flow, self.flow_since) = (flow, now),
        }
    }
}

/// Something that a participant was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) target: Target,
    pub(super) code: CauseCode,
    pub(super) at: Duration,
    pub(super) text: String,
}

/// One participant.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) user: UserId,
    pub(super) display_name: String,
    pub(super) joined_at: Timestamp,
    pub(super) publish: Connection,
    pub(super) subscribe: Connection,
    pub(super) tracks: Vec<TrackEvidence>,
    /// The last of each direction.
    pub(super) refused: Vec<Refused>,
    /// Since when the socket is gone.
    pub(super) lost: Option<Duration>,
    /// Since when they are to come back to this node, as theirs is gone.
    pub(super) orphaned: Option<Duration>,
}

impl Evidence {
    pub(super) fn new(user: UserId, display_name: String, joined_at: Timestamp) -> Self {
        Self {
            user,
            display_name,
            joined_at,
            publish: Connection::default(),
            subscribe: Connection::default(),
            tracks: Vec::new(),
            refused: Vec::new(),
            lost: None,
            orphaned: None,
        }
    }

    /// As operators are told.
    pub(super) fn told(&self, participant_id: ParticipantId) -> ExplainedParticipant {
        ExplainedParticipant {
            participant_id,
            user: self.user.clone(),
            display_name: self.display_name.clone(),
            joined_at: self.joined_at,
            left_at: None,
            publish: self.publish.word().to_owned(),
            subscribe: self.subscribe.word().to_owned(),
        }
    }

    pub(super) fn connection(&mut self, target: Target) -> &mut Connection {
        match target {
            Target::Publish => &mut self.publish,
            Target::Subscribe => &mut self.subscribe,
        }
    }

    /// Remembers the last refusal of a direction; a later success forgets it.
    pub(super) fn refuse(&mut self, refused: Refused) {
        self.settled(refused.target);
        self.refused.push(refused);
    }

    pub(super) fn settled(&mut self, target: Target) {
        self.refused.retain(|refused| refused.target != target);
    }
}
