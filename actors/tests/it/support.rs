//! A node with doubles around it, and clients.

mod client;
mod doubles;
mod shelf;
mod slow;
mod studio;
mod wires;

use std::sync::Arc;
use std::task::Poll;

use caside_actors::node::{Limits, NodeArgs, NodeHandle, SessionArgs};
use caside_actors::outbound::outbound;
use caside_cluster::{Alone, Directory, Gateways, LocalDirectory};
use caside_protocol::NodeId;
use caside_protocol::claims::Claims;
use caside_protocol::codec::Dialect;
use caside_protocol::error::Refusal;
use caside_protocol::node::Member;

pub(crate) use client::Client;
pub(crate) use doubles::{Catalog, Journal, Recorders, Sfus, Tokens, claims};
pub(crate) use shelf::{Shelf, away, refused};
pub(crate) use slow::Slow;
pub(crate) use studio::{SegmentFrames, Studio, Voice};
pub(crate) use wires::Cluster;

/// A node and what is around it.
pub(crate) struct World {
    pub(crate) node: NodeHandle,
    pub(crate) member: Member,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) directory: Arc<LocalDirectory>,
    pub(crate) sfus: Arc<Sfus>,
    pub(crate) recorders: Arc<Recorders>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::after(limits, Arc::new(Journal::default())).await
    }

    /// A node that starts where another one wrote this journal.
    pub(crate) async fn after(limits: Limits, journal: Arc<Journal>) -> Self {
        let member = Member {
            node: NodeId::new("n1").unwrap(),
            incarnation: 1,
        };
        let directory = Arc::new(LocalDirectory::new(member));
        Self::among(
            limits,
            Arc::default(),
            journal,
            directory.clone(),
            directory,
            Arc::new(Alone),
        )
        .await
    }

    /// A node among others.
    pub(crate) async fn among(
        limits: Limits,
        catalog: Arc<Catalog>,
        journal: Arc<Journal>,
        directory: Arc<LocalDirectory>,
        asked: Arc<dyn Directory>,
        gateways: Arc<dyn Gateways>,
    ) -> Self {
        let member = directory.member().clone();
        let (sfus, recorders) = (Arc::new(Sfus::default()), Arc::new(Recorders::default()));
        let args = NodeArgs {
            member: member.clone(),
            version: "0.1.0".to_owned(),
            directory: asked,
            gateways,
            stop: Arc::default(),
            catalog: catalog.clone(),
            invites: journal.clone(),
            journal: journal.clone(),
            authenticator: Arc::new(Tokens),
            sfu: sfus.clone(),
            recorders: recorders.clone(),
            observed: caside_actors::observed::Observed::default(),
            limits,
            ice_servers: Arc::new(|user| {
                assert_ne!(
                    user.as_str(),
                    "mallory",
                    "a session of mallory's fails, as the test wishes"
                );
                Vec::new()
            }),
        };
        Self {
            node: NodeHandle::start(args).await.unwrap(),
            member,
            catalog,
            journal,
            directory,
            sfus,
            recorders,
        }
    }

    /// A client without a token.
    pub(crate) async fn socket(&self) -> Client {
        self.open(None).await.unwrap()
    }

    /// A client of this user, past its welcome.
    pub(crate) async fn client(&self, user: &str) -> Client {
        self.client_with(claims(user)).await
    }

    pub(crate) async fn client_with(&self, claims: Claims) -> Client {
        let mut client = self.open(Some(claims)).await.unwrap();
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "welcome");
        client.welcomed(&welcome["payload"]);
        client
    }

    pub(crate) async fn open(&self, claims: Option<Claims>) -> Result<Client, Refusal> {
        let (queue, receiver) = outbound();
        let args = SessionArgs {
            dialect: Dialect::Json,
            outbound: queue,
            client_ip: None,
            limited_as: None,
            claims,
        };
        Ok(Client::new(self.node.open_session(args).await?, receiver))
    }

    /// A client of this user, in this room.
    pub(crate) async fn member(&self, user: &str, room: &str) -> Client {
        let mut client = self.client(user).await;
        client.join(room).await;
        client
    }

    /// Waits until a condition holds, letting a minute pass at most.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..60_000 {
            if condition(self) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        panic!("never: {what}; {:?}", self.node.counts());
    }

    /// Nothing runs and nothing is owned.
    pub(crate) async fn until_empty(&self) {
        self.until("nothing is left", |world| {
            world.node.counts() == Default::default() && world.directory.is_empty() && world.sfus.open() == 0
        })
        .await;
        for report in self
            .node
            .actors_report()
            .iter()
            .filter(|r| ["room", "peer"].contains(&r.actor))
        {
            assert_eq!(report.alive, 0, "{report:?}");
        }
    }
}

/// Lets every task that is ready run once. (Tokio's own `yield_now` lets dozens run.)
pub(crate) async fn turn() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
