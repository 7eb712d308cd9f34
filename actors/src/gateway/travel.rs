//! Looking for what is elsewhere: the session of a resume token, and a room whose owner cannot be reached.

use std::sync::Arc;
use std::time::Duration;

use caside_cluster::Owner;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{Answer, Departing, DepartingPlace, Member, Orphan, Question};
use caside_protocol::{RoomId, SessionId};
use tokio::time::Instant;

use crate::node::Shared;
use crate::peer::{Found, FoundPlace, TokenHash};
use crate::room::{EventLog, RemoteRoom, RoomWay};

/// How often it is looked again for a session whose node is gone, until another has taken its room over.
const AGAIN: Duration = Duration::from_millis(50);
/// A member that has been missing for longer has had its rooms taken over.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30);
/// How long a room is looked for before it is given up, and how often.
const SEEK: Duration = Duration::from_secs(8);
const SEEK_AGAIN: Duration = Duration::from_millis(300);

/// Fetches the session of a resume token from the node that made it, or, when that is gone, the participant that it was from
/// the node that has the room now.
///
/// # Errors
/// `resume_expired`, `dependency_unavailable`.
pub(crate) async fn fetch(
    shared: &Arc<Shared>,
    session: SessionId,
    home: Member,
    token: TokenHash,
) -> Result<Found, Refusal> {
    let until = Instant::now() + shared.args.limits.call_timeout;
    let gateway = &shared.gateway;
    let mut asked_home = false;
    // A node that goes away is neither here nor missing for a moment: it is looked for twice.
    let mut was_absent = false;
    loop {
        let others = gateway.others();
        let mut may_come = false;
        if !asked_home && others.iter().any(|other| other.member == home) {
            let left = until.saturating_duration_since(Instant::now());
            let question = Question::Depart { resume: token.bytes() };
            match gateway.ask(&home, question, left).await {
                Ok(Answer::Session(Some(departing))) => return Ok(departed(shared, session, *departing)),
                // It goes away, its link broke, or it is busy: it is asked again, or missing in a moment.
                Ok(Answer::Unsupported) | Err(_) => may_come = true,
                Ok(_) => asked_home = true,
            }
        } else if !asked_home {
            may_come = !std::mem::replace(&mut was_absent, true);
        }
        if let Some(orphan) = gateway.take_orphan(token) {
            return Ok(adopted(shared, session, None, orphan));
        }
        for other in others.iter().filter(|other| other.member != home) {
            let question = Question::FindOrphan { resume: token.bytes() };
            let answer = gateway.ask(&other.member, question, Duration::from_secs(1)).await;
            if let Ok(Answer::Orphan(Some(orphan))) = answer {
                return Ok(adopted(shared, session, Some(other.member.clone()), *orphan));
            }
        }
        let missing = gateway.missing_since(&home);
        may_come |= missing.is_some_and(|since| since.elapsed() < TAKEN_OVER_WITHIN);
        if !may_come {
            let text = "the resume token was used, or its session is over";
            return Err(Refusal::new(ErrorCode::ResumeExpired, text));
        }
        if Instant::now() >= until {
            let text = "the session's node is gone and its rooms are being taken over; try again";
            return Err(Refusal::new(ErrorCode::Moving, text).retry_after_ms(500));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn departed(shared: &Arc<Shared>, session: SessionId, departing: Departing) -> Found {
    let Departing {
        claims,
        place,
        last_seq,
    } = departing;
    let place = match place {
        DepartingPlace::Outside(log) => FoundPlace::Outside(EventLog::from_state(log, shared.args.limits.history)),
        DepartingPlace::Inside {
            room,
            participant,
            owner,
            epoch,
        } => FoundPlace::Inside {
            participant,
            room: way(shared, session, &room, owner, epoch),
        },
    };
    Found {
        claims,
        place,
        sent: last_seq,
    }
}

fn adopted(shared: &Arc<Shared>, session: SessionId, member: Option<Member>, orphan: Orphan) -> Found {
    let owner = member.unwrap_or_else(|| shared.args.member.clone());
    let room = way(shared, session, &orphan.room, owner, orphan.epoch);
    Found {
        claims: orphan.credentials.claims,
        place: FoundPlace::Inside {
            participant: orphan.participant,
            room,
        },
        sent: 0,
    }
}

/// The way of a session to a room that this member has.
pub(crate) fn way(shared: &Arc<Shared>, session: SessionId, room: &RoomId, member: Member, epoch: u64) -> RoomWay {
    if member == shared.args.member
        && let Some(listed) = shared.rooms.find(room)
    {
        return RoomWay::Here(listed.handle);
    }
    RoomWay::There(RemoteRoom {
        gateway: shared.gateway.clone(),
        room: room.clone(),
        member,
        epoch,
        session,
    })
}

/// Looks for a room whose owner of `epoch` cannot be reached; `None` when nobody has it.
pub(crate) async fn seek(shared: &Arc<Shared>, session: SessionId, room: &RoomId, epoch: u64) -> Option<RoomWay> {
    let until = Instant::now() + SEEK;
    while Instant::now() < until {
        tokio::time::sleep(SEEK_AGAIN).await;
        if let Some(listed) = shared.rooms.find(room)
            && listed.handle.epoch() > epoch
        {
            return Some(RoomWay::Here(listed.handle));
        }
        let limit = shared.args.limits.call_timeout;
        let looked = tokio::time::timeout(limit, shared.args.directory.lookup(room)).await;
        if let Ok(Ok(Some(Owner { member, epoch: now }))) = looked
            && now >= epoch
            && (member == shared.args.member || shared.gateway.others().iter().any(|other| other.member == member))
        {
            let found = way(shared, session, room, member, now);
            // Here, but not open yet, when it is a way to ourselves.
            if found.member() != Some(&shared.args.member) {
                return Some(found);
            }
        }
    }
    None
}
