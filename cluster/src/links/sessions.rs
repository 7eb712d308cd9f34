//! What ractor_cluster tells of its sessions.

use std::sync::{Arc, Weak};

use ractor_cluster::NodeEventSubscription;
use ractor_cluster::node::NodeServerSessionInformation;

use super::connection::{Connection, Session, labelled, named};
use super::message::GatewayMsg;
use super::shared::{Shared, lock};

/// Puts sessions and connections together.
pub(crate) struct Sessions(pub(crate) Weak<Shared>);

impl Sessions {
    fn connection(&self, session: &NodeServerSessionInformation) -> Option<(Arc<Shared>, Arc<Connection>)> {
        let shared = self.0.upgrade()?;
        let connection = lock(&shared.connections).get(&labelled(&session.peer_addr)?).cloned()?;
        Some((shared, connection))
    }
}

impl NodeEventSubscription for Sessions {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        let Some((_, connection)) = self.connection(&session) else {
            // Somebody of this machine who found the listener that ractor_cluster insists on, or a connection that has ended.
            session.actor.stop(Some("stranger".to_owned()));
            return;
        };
        let opened = Session {
            actor: session.actor,
            node: session.node_id,
        };
        if connection.session.set(opened).is_err() || connection.closing.is_cancelled() {
            connection.close();
        }
    }

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let Some((shared, connection)) = self.connection(&session) else {
            return;
        };
        let name = session.peer_name.as_ref().and_then(|peer| named(&peer.name));
        if name.as_ref() == Some(&connection.member) {
            drop(shared.gateway.send_message(GatewayMsg::Ready(connection)));
        } else {
            tracing::warn!(member = %connection.member, "a member called itself otherwise than it did at first");
            connection.close();
        }
    }

    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {}

    fn node_session_disconnected(&self, _session: NodeServerSessionInformation) {}
}
