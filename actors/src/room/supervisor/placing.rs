//! Where a room is to be joined, and whose it becomes.

use std::time::Duration;

use caside_cluster::{Claim, DirectoryAway, placement};
use caside_protocol::RoomId;
use caside_protocol::error::Refusal;
use tokio::time::Instant;

use super::away;
use super::message::Whereabouts;
use crate::node::Shared;

/// How long a directory that listens to owners first is left alone between two claims.
const SETTLING_LEAST: Duration = Duration::from_millis(50);
const SETTLING_MOST: Duration = Duration::from_millis(500);

/// Where a room runs, or, when it does not, where it is to run.
pub(super) async fn whereabouts(shared: &Shared, room: &RoomId) -> Result<Whereabouts, Refusal> {
    let gateway = &shared.gateway;
    let others = gateway.others();
    let owner = match gateway.route(room) {
        Some(owner) => Some(owner),
        None => {
            let looking =
                tokio::time::timeout(shared.args.limits.call_timeout, shared.args.directory.lookup(room)).await;
            match looking {
                Ok(Ok(owner)) => owner,
                Ok(Err(error)) => {
                    tracing::debug!(room.id = %room, %error, "a room could not be looked up; the other nodes are asked");
                    gateway.who_runs(room).await
                }
                Err(_) => return Err(away("looking for the room took too long; try again")),
            }
        }
    };
    if let Some(owner) = owner {
        if owner.member == shared.args.member {
            return Ok(Whereabouts::Here);
        }
        if others.iter().any(|other| other.member == owner.member) {
            gateway.learn(room, owner.clone());
            return Ok(Whereabouts::There(owner.member));
        }
        return Err(away("the room's node cannot be reached now; try again"));
    }
    let myself = shared.as_neighbour();
    match placement::place(room, others.iter().chain([&myself])) {
        Some(member) if *member != shared.args.member => Ok(Whereabouts::There(member.clone())),
        _ => Ok(Whereabouts::Here),
    }
}

/// Claims a room; of a directory that listens to owners first, when it no longer does, and of one that does not answer, when
/// it does or is known to be away for everybody.
pub(super) async fn claim(shared: &Shared, room: &RoomId) -> Result<Claim, DirectoryAway> {
    let until = Instant::now() + shared.args.limits.call_timeout * 4 / 5;
    loop {
        let wait = match shared.args.directory.claim(room).await {
            Ok(Claim::Settling(wait)) => wait.clamp(SETTLING_LEAST, SETTLING_MOST),
            Ok(claim) => return Ok(claim),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => SETTLING_MOST / 2,
        };
        tokio::time::sleep(wait).await;
    }
}
