//! What a gateway is told, by other gateways and by its own node.

use std::sync::Arc;

use bytes::Bytes;
use caside_protocol::node::Member;
use ractor::Message;
use ractor::message::{BoxedDowncastErr, SerializedMessage};

use super::connection::Connection;

/// What a gateway is told. Only `Wire` travels.
#[derive(Debug)]
pub(crate) enum GatewayMsg {
    /// A frame, not yet read.
    Wire(Bytes),
    /// Something that no gateway says.
    Undecodable,
    /// A connection's session has told all it knows, its gateway with it.
    Ready(Arc<Connection>),
    /// A connection ended.
    Ended(Arc<Connection>),
    /// What became of a member whose link was lost.
    Settled {
        /// Who.
        member: Member,
        /// Its process is known to be gone.
        proof: bool,
    },
    /// A member need not be linked any more.
    Forgotten(Member),
    /// Time for a heartbeat.
    Tick,
}

/// By hand: what ractor derives decodes into types, and a frame that does not fit would be dropped without a trace.
impl Message for GatewayMsg {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        match self {
            Self::Wire(frame) => Ok(SerializedMessage::Cast {
                variant: String::new(),
                args: frame.into(),
                metadata: None,
            }),
            _ => Err(BoxedDowncastErr),
        }
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        Ok(match message {
            SerializedMessage::Cast { args, .. } => Self::Wire(args.into()),
            SerializedMessage::Call { .. } | SerializedMessage::CallReply(..) => Self::Undecodable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_travel_and_nothing_else_does() {
        let frame = Bytes::from_static(b"frame");
        let travelled = GatewayMsg::Wire(frame.clone())
            .serialize()
            .and_then(GatewayMsg::deserialize);
        assert!(matches!(travelled, Ok(GatewayMsg::Wire(bytes)) if bytes == frame));
        assert!(GatewayMsg::Tick.serialize().is_err());
    }

    #[test]
    fn whatever_else_arrives_becomes_a_message_to_be_counted() {
        let strange = GatewayMsg::deserialize(SerializedMessage::CallReply(1, vec![1, 2, 3]));
        assert!(matches!(strange, Ok(GatewayMsg::Undecodable)));
    }
}
