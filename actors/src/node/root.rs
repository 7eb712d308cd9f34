//! The root of the tree. Its children supervise the rest; one that fails is started anew, without what it supervised.

use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use ractor_cluster::RactorMessage;
use tokio::sync::oneshot;

use super::shared::{Shared, Supervisors};
use crate::invites::{Invites, InvitesArgs};
use crate::observed::{Kind, Seen};
use crate::room::{Rooms, RoomsArgs};

/// The root.
pub(super) struct Root;

/// The root takes no messages.
#[derive(Debug, RactorMessage)]
pub(super) enum RootMsg {}

impl Actor for Root {
    type Msg = RootMsg;
    type State = (Arc<Shared>, Seen);
    type Arguments = Arc<Shared>;

    async fn pre_start(
        &self,
        root: ActorRef<RootMsg>,
        shared: Arc<Shared>,
    ) -> Result<(Arc<Shared>, Seen), ActorProcessingErr> {
        let seen = shared.args.observed.list_supervisor(Kind::Node, root.get_cell());
        let rooms = start_rooms(&shared, root.get_cell()).await?;
        let invites = start_invites(&shared, root.get_cell()).await?;
        let (peers, _) = Actor::spawn_linked(None, Peers, shared.clone(), root.get_cell()).await?;
        shared.connect(Supervisors {
            rooms,
            invites,
            peers: peers.get_cell(),
        });
        Ok((shared, seen))
    }

    async fn handle_supervisor_evt(
        &self,
        root: ActorRef<RootMsg>,
        event: SupervisionEvent,
        (shared, _): &mut (Arc<Shared>, Seen),
    ) -> Result<(), ActorProcessingErr> {
        let SupervisionEvent::ActorFailed(who, error) = event else {
            return Ok(());
        };
        shared.args.observed.failed(who.get_id(), &error);
        let mut supervisors = shared.supervisors();
        let root = root.get_cell();
        if who.get_id() == supervisors.rooms.cell().get_id() {
            tracing::error!(error = %error, "the supervisor of rooms failed and is started anew; its rooms are closed");
            shared.rooms.clear();
            supervisors.rooms = start_rooms(shared, root).await?;
        } else if who.get_id() == supervisors.invites.cell().get_id() {
            tracing::error!(error = %error, "calls and invitations failed and are started anew; calls that ring are lost");
            supervisors.invites = start_invites(shared, root).await?;
        } else if who.get_id() == supervisors.peers.get_id() {
            tracing::error!(error = %error, "the supervisor of sessions failed and is started anew; its sessions are closed");
            let (peers, _) = Actor::spawn_linked(None, Peers, shared.clone(), root).await?;
            supervisors.peers = peers.get_cell();
        }
        shared.connect(supervisors);
        Ok(())
    }
}

async fn start_rooms(
    shared: &Arc<Shared>,
    root: ActorCell,
) -> Result<crate::mailbox::Mailbox<crate::room::RoomsMsg>, ActorProcessingErr> {
    let (started, mailbox) = oneshot::channel();
    Actor::spawn_linked(
        None,
        Rooms,
        RoomsArgs {
            shared: shared.clone(),
            started,
        },
        root,
    )
    .await?;
    Ok(mailbox.await?)
}

async fn start_invites(
    shared: &Arc<Shared>,
    root: ActorCell,
) -> Result<crate::mailbox::Mailbox<crate::invites::InvitesMsg>, ActorProcessingErr> {
    let (started, mailbox) = oneshot::channel();
    Actor::spawn_linked(
        None,
        Invites,
        InvitesArgs {
            shared: shared.clone(),
            started,
        },
        root,
    )
    .await?;
    Ok(mailbox.await?)
}

/// The supervisor of sessions. One that fails closes its own socket and leaves its room by what is dropped with it.
struct Peers;

/// It takes no messages.
#[derive(Debug, RactorMessage)]
enum PeersMsg {}

impl Actor for Peers {
    type Msg = PeersMsg;
    type State = (Arc<Shared>, Seen);
    type Arguments = Arc<Shared>;

    async fn pre_start(
        &self,
        peers: ActorRef<PeersMsg>,
        shared: Arc<Shared>,
    ) -> Result<(Arc<Shared>, Seen), ActorProcessingErr> {
        let seen = shared.args.observed.list_supervisor(Kind::Peers, peers.get_cell());
        Ok((shared, seen))
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<PeersMsg>,
        event: SupervisionEvent,
        (shared, _): &mut (Arc<Shared>, Seen),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(who, error) = event {
            shared.args.observed.failed(who.get_id(), &error);
            tracing::error!(error = %error, "a session failed and was closed");
        }
        Ok(())
    }
}

/// Starts the tree.
pub(super) async fn start(shared: Arc<Shared>) -> Result<ActorCell, SpawnErr> {
    let (root, _) = Actor::spawn(None, Root, shared).await?;
    Ok(root.get_cell())
}
