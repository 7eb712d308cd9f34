//! What participants say to each other: descriptions and candidates of peer-to-peer media, text, data, tones, invitations.

use std::sync::Arc;

use caside_protocol::client::{Chat, Data, Dtmf, Invite};
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::server::{ChatEvent, DataEvent, Done, DtmfEvent, ServerMessage};
use caside_protocol::{MessageId, ParticipantId, Permission};
use serde_json::{Map, Value};

use super::command::{Moment, ReplyId};
use super::effects::Effect;
use super::state::{RoomState, not_here};

/// What answers a request: a message, later, or a refusal.
pub(super) type Answer = Result<Option<ServerMessage>, Refusal>;

impl RoomState {
    /// Whom a message without `to` is for in a peer-to-peer room.
    pub(super) fn only_other(&self, participant: ParticipantId) -> Result<ParticipantId, Refusal> {
        let mut others = self.participants.keys().filter(|id| **id != participant);
        match (others.next(), others.next()) {
            (Some(other), None) => Ok(*other),
            _ => Err(Refusal::new(
                ErrorCode::TargetRequired,
                "say whom it is for: payload.to",
            )),
        }
    }

    /// Sends a payload on as it came, plus `from`.
    pub(super) fn relay(
        &mut self,
        from: ParticipantId,
        to: ParticipantId,
        mut raw: Map<String, Value>,
        wrap: fn(Map<String, Value>) -> ServerMessage,
    ) -> Answer {
        if to == from || !self.participants.contains_key(&to) {
            return Err(not_here());
        }
        raw.insert("from".to_owned(), Value::String(from.to_string()));
        self.deliver(to, Arc::new(wrap(raw)));
        Ok(Some(ServerMessage::ok()))
    }

    /// Sends an event to one participant, or to all but its sender.
    fn say(&mut self, from: ParticipantId, to: Option<ParticipantId>, message: ServerMessage) -> Result<(), Refusal> {
        match to {
            Some(to) if !self.participants.contains_key(&to) => return Err(not_here()),
            Some(to) => self.deliver(to, Arc::new(message)),
            None => self.broadcast(Some(from), message),
        }
        Ok(())
    }

    pub(super) fn chat(&mut self, now: Moment, from: ParticipantId, chat: Chat) -> Answer {
        self.permitted(from, Permission::Data)?;
        let Chat { text, to } = chat;
        let (message_id, sent_at) = (MessageId(self.id()), now.utc);
        self.say(
            from,
            to,
            ServerMessage::Chat(ChatEvent {
                from,
                text,
                message_id,
                sent_at,
                to,
            }),
        )?;
        let done = Done {
            message_id: Some(message_id),
            sent_at: Some(sent_at),
            ..Done::default()
        };
        Ok(Some(ServerMessage::Ok(done)))
    }

    pub(super) fn data(&mut self, from: ParticipantId, data: Data) -> Answer {
        self.permitted(from, Permission::Data)?;
        let Data { topic, value, to } = data;
        self.say(from, to, ServerMessage::Data(DataEvent { from, topic, value, to }))?;
        Ok(Some(ServerMessage::ok()))
    }

    pub(super) fn dtmf(&mut self, from: ParticipantId, dtmf: Dtmf) -> Answer {
        self.permitted(from, Permission::Data)?;
        self.say(
            from,
            dtmf.to,
            ServerMessage::Dtmf(DtmfEvent {
                from,
                tones: dtmf.tones,
            }),
        )?;
        Ok(Some(ServerMessage::ok()))
    }

    pub(super) fn invite(&mut self, from: ParticipantId, reply: ReplyId, invite: Invite) -> Answer {
        self.permitted(from, Permission::Data)?;
        let Invite { user, expires_s } = invite;
        self.effects.push(Effect::Invite {
            reply,
            from,
            user,
            expires_s,
        });
        Ok(None)
    }
}
