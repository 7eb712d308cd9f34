//! One task for each member to be linked to: dials it, if that is ours to do, and finds out what became of it when its link is lost.

use std::sync::Arc;

use caside_protocol::node::Member;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::dial::{DialError, dial, probe, probe_quickly};
use super::message::GatewayMsg;
use super::shared::{Phase, Shared};

/// Keeps a member linked until it is aborted.
pub(crate) async fn keep(shared: Arc<Shared>, member: Member, address: String, mut phase: watch::Receiver<Phase>) {
    let keeper = Keeper {
        dials: shared.settings.me.node < member.node,
        shared,
        member,
        address,
    };
    loop {
        let now = *phase.borrow_and_update();
        match now {
            Phase::Up => {}
            Phase::Never if !keeper.dials => {}
            Phase::Never => keeper.dial_until_up(&mut phase, false).await,
            Phase::Lost { by_peer } => keeper.lost(&mut phase, by_peer).await,
        }
        // What was done above ends with a change not seen yet, or with nothing left to do.
        if phase.changed().await.is_err() {
            return;
        }
    }
}

struct Keeper {
    shared: Arc<Shared>,
    member: Member,
    address: String,
    /// The lower of two dials.
    dials: bool,
}

impl Keeper {
    async fn lost(&self, phase: &mut watch::Receiver<Phase>, by_peer: bool) {
        let gone = by_peer && probe_quickly(&self.shared, &self.member, &self.address).await;
        self.settle(gone);
        if gone {
            return;
        }
        if self.dials {
            self.dial_until_up(phase, true).await;
        } else {
            self.probe_until_up(phase).await;
        }
    }

    /// Dials until there is a link, or the process that there was a link to is known to be gone.
    async fn dial_until_up(&self, phase: &mut watch::Receiver<Phase>, mut was_up: bool) {
        let mut backoff = Backoff::new();
        let mut told = None;
        while !self.changed(phase) {
            match dial(&self.shared, &self.member, &self.address).await {
                Ok(connection) => {
                    // Closed when it is no link in time.
                    tokio::select! {
                        _ = phase.wait_for(|phase| *phase == Phase::Up) => return,
                        () = connection.ended.cancelled() => {}
                    }
                    // A link for a moment, whose loss is not told yet.
                    if matches!(*phase.borrow(), Phase::Lost { .. }) {
                        was_up = true;
                        self.settle(false);
                    }
                }
                Err(error) if was_up && error.proves_gone() => return self.settle(true),
                Err(error) => self.tell(error, &mut told),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// The other dials; all we want to know is whether it still can.
    async fn probe_until_up(&self, phase: &mut watch::Receiver<Phase>) {
        let mut backoff = Backoff::new();
        while !self.changed(phase) {
            if probe(&self.shared, &self.member, &self.address).await {
                return self.settle(true);
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    fn changed(&self, phase: &watch::Receiver<Phase>) -> bool {
        phase.has_changed().unwrap_or(true)
    }

    fn settle(&self, proof: bool) {
        drop(self.shared.gateway.send_message(GatewayMsg::Settled {
            member: self.member.clone(),
            proof,
        }));
    }

    /// Logs each kind of failure once in a row.
    fn tell(&self, error: DialError, told: &mut Option<std::mem::Discriminant<DialError>>) {
        let kind = Some(std::mem::discriminant(&error));
        if *told != kind {
            tracing::info!(member = %self.member, address = %self.address, %error, "not linked yet");
        }
        *told = kind;
    }
}
