//! Invitations over restarts: what waited is read back, and what ran out long ago is thrown away.

use std::sync::Arc;
use std::time::Duration;

use caside_protocol::{InviteId, Timestamp};
use caside_store::invites::StoredInvite;
use tokio::task::JoinHandle;

use super::InvitesMsg;
use crate::mailbox::Mailbox;
use crate::node::Shared;

/// Invitations read at once.
const PAGE: u64 = 1_000;
/// Pause after a failure, doubled up to the longest.
const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// How often what ran out is thrown away, and how long after its end.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// Starts what reads and what throws away; ends by being aborted, or with the mailbox.
pub(super) fn keep(shared: Arc<Shared>, invites: Mailbox<InvitesMsg>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if !read_back(&shared, &invites).await {
            return;
        }
        loop {
            purge(&shared).await;
            tokio::time::sleep(PURGE_EVERY).await;
        }
    })
}

/// Reads everything that waits, however long the database is away. `false` when nobody listens any more.
async fn read_back(shared: &Shared, invites: &Mailbox<InvitesMsg>) -> bool {
    let (mut after, mut backoff) = (None, MIN_BACKOFF);
    loop {
        match page(shared, after).await {
            Ok(found) => {
                backoff = MIN_BACKOFF;
                after = found.last().map(|invite| invite.id).or(after);
                let complete = (found.len() as u64) < PAGE;
                if !invites.post(InvitesMsg::Found { found, complete }) {
                    return false;
                }
                if complete {
                    return true;
                }
            }
            Err(reason) => {
                tracing::warn!(reason, "invitations that wait cannot be read; trying again");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
}

/// The next of those that wait. What was answered before is written down first, or it would be read as waiting.
async fn page(shared: &Shared, after: Option<InviteId>) -> Result<Vec<StoredInvite>, String> {
    let (args, limit) = (&shared.args, shared.args.limits.call_timeout);
    args.journal.flush(limit).await.map_err(|error| error.to_string())?;
    let reading = args.invites.waiting(after, PAGE, Timestamp::now_utc());
    match tokio::time::timeout(limit, reading).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("it took too long".to_owned()),
    }
}

async fn purge(shared: &Shared) {
    let purging = shared.args.invites.purge(Timestamp::now_utc() - KEPT);
    match tokio::time::timeout(shared.args.limits.call_timeout, purging).await {
        Ok(Ok(0)) => {}
        Ok(Ok(gone)) => tracing::debug!(gone, "old invitations were thrown away"),
        Ok(Err(error)) => tracing::debug!(error = %error, "old invitations cannot be thrown away now"),
        Err(_) => tracing::debug!("throwing old invitations away took too long"),
    }
}
