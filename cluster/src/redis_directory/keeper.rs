//! The tasks of a directory: one looks at the clock, one renews the lease, one compares what Redis has of our rooms.

use std::sync::Arc;
use std::time::Duration;

use caside_protocol::RoomId;
use rand::Rng;
use redis::Value;
use tokio::time::{Instant, sleep};

use super::core::{Core, Renewal};
use super::lease::Standing;
use super::roll::MemberInfo;
use super::scripts::Scripts;
use super::wire::{Wire, WireError};
use super::{RedisSettings, lease::Times};

/// Rooms an assertion carries: Redis works 1–2 ms on it.
const CHUNK: usize = 500;
/// Entries last a day from when they were written, or from the last time that somebody asked for more.
const REFRESH: Duration = Duration::from_secs(3600);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between two attempts, whatever the hurry.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// Why a renewal brought no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotRenewed {
    Wire(WireError),
    /// A newer run of this node is there.
    Superseded,
    /// Another member has proof that this one is dead.
    Buried,
}

impl From<WireError> for NotRenewed {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// Renews the lease once, connecting first when needed.
pub(super) async fn renew(
    wire: &Wire,
    scripts: &Scripts,
    settings: &RedisSettings,
    info: &MemberInfo,
) -> Result<(Instant, Renewal), NotRenewed> {
    wire.connect().await?;
    let times = Times::new(settings.lease);
    let (prefix, member) = (&settings.prefix, &info.member);
    let told = serde_json::to_string(info).map_err(|_| WireError::Nonsense)?;
    let mut call = scripts.renew.prepare_invoke();
    call.key(format!("{prefix}node:{}", member.node))
        .key(format!("{prefix}nodes"))
        .key(format!("{prefix}born"))
        .key(format!("{prefix}back"))
        .key(format!("{prefix}gone:{member}"))
        .arg(prefix)
        .arg(member.node.as_str())
        .arg(member.incarnation)
        .arg(told)
        .arg(ms(settings.lease))
        .arg(ms(times.gap))
        .arg(ms(times.doubt));
    // The lease counts from before Redis heard of it.
    let sent = Instant::now();
    let answer: Vec<String> = wire.call(&call).await?;
    match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["superseded"] => Err(NotRenewed::Superseded),
        ["buried"] => Err(NotRenewed::Buried),
        ["ok", now, born, back, live @ ..] => {
            let number = |text: &str| text.parse().map_err(|_| WireError::Nonsense);
            let renewal = Renewal {
                now: number(now)?,
                born: (*born).to_owned(),
                back: number(back)?,
                // A node of another version may tell what we cannot read: it is not there for us.
                live: live.iter().filter_map(|told| serde_json::from_str(told).ok()).collect(),
            };
            Ok((sent, renewal))
        }
        _ => Err(WireError::Nonsense.into()),
    }
}

/// Looks at the clock for as long as the directory lives.
pub(super) async fn watch(core: Arc<Core>) {
    loop {
        core.judge();
        let ends = core.locked().lease.ends();
        let tick = Instant::now() + core.times.tick;
        // A lease that has just ended is judged on the next tick at the latest.
        tokio::time::sleep_until(ends.map_or(tick, |ends| {
            tick.min(ends.max(Instant::now() + Duration::from_millis(1)))
        }))
        .await;
    }
}

/// Renews the lease for as long as the directory lives.
pub(super) async fn keep_renewed(core: Arc<Core>) {
    let mut pause = FIRST_PAUSE;
    let mut told = None;
    loop {
        let started = Instant::now();
        let info = core.locked().info.clone();
        let wait = match renew(&core.wire, &core.scripts, &core.settings, &info).await {
            Ok((sent, renewal)) => {
                if core.renewed(sent, renewal) {
                    core.compare.notify_one();
                }
                (pause, told) = (FIRST_PAUSE, None);
                core.settings.renew
            }
            Err(error) => {
                match error {
                    NotRenewed::Superseded => core.fence("a newer run of this node has taken its place"),
                    NotRenewed::Buried => core.fence("another member has proof that this one was dead"),
                    NotRenewed::Wire(_) => {}
                }
                if told.as_ref() != Some(&error) {
                    tracing::warn!(?error, "the lease was not renewed");
                    told = Some(error);
                }
                let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.0));
                pause = (pause * 2).min(LONGEST_PAUSE).min(core.times.lease / 3);
                jittered
            }
        };
        let rest = wait.saturating_sub(started.elapsed());
        tokio::select! {
            () = core.hurry.notified() => {}
            () = sleep(rest) => {}
        }
        sleep(SHORTEST_PAUSE.saturating_sub(started.elapsed())).await;
    }
}

/// Compares what Redis has of our rooms: when asked to, and once a lease.
pub(super) async fn keep_compared(core: Arc<Core>) {
    let mut refreshed = Instant::now();
    loop {
        tokio::select! {
            () = core.compare.notified() => {}
            () = sleep(core.times.lease) => {}
        }
        let (started, refresh) = (Instant::now(), refreshed.elapsed() >= REFRESH);
        match compare(&core, refresh).await {
            Ok(()) if refresh => refreshed = started,
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "our rooms were not compared"),
        }
    }
}

/// Asserts every room of ours, and gives back those that Redis may think ours.
async fn compare(core: &Core, refresh: bool) -> Result<(), WireError> {
    forget_unsure(core).await?;
    let rooms: Vec<RoomId> = core.locked().mine.keys().cloned().collect();
    for chunk in rooms.chunks(CHUNK) {
        if !assert(core, chunk, refresh).await? {
            core.hurry.notify_one();
            return Ok(());
        }
    }
    Ok(())
}

/// `false` when Redis knows no lease of ours.
async fn assert(core: &Core, rooms: &[RoomId], refresh: bool) -> Result<bool, WireError> {
    let _entries = core.entries.write().await;
    let Standing::Leased(fences) = core.judge() else {
        return Ok(true);
    };
    let mut call = core.scripts.assert.prepare_invoke();
    call.key(core.rooms_key(&core.me))
        .arg(&core.settings.prefix)
        .arg(core.me.node.as_str())
        .arg(core.me.incarnation)
        .arg(u8::from(refresh));
    let mut asserted = Vec::with_capacity(rooms.len());
    {
        let state = core.locked();
        for room in rooms {
            if let Some(epoch) = state.mine.get(room) {
                call.arg(room.as_str()).arg(*epoch);
                asserted.push((room, *epoch));
            }
        }
    }
    if asserted.is_empty() {
        return Ok(true);
    }
    let answer: Vec<Value> = core.wire.call(&call).await?;
    let Some((written, lost)) = asserted_from(&answer)? else {
        return Ok(false);
    };
    if written > 0 {
        tracing::info!(rooms = written, "asserted rooms that Redis did not have as ours");
    }
    let mut state = core.locked();
    for (index, epoch) in lost {
        let Some((room, ours)) = asserted.get(index) else {
            continue;
        };
        if state.lease.fences() == fences && state.mine.get(*room) == Some(ours) {
            state.lost(room, epoch);
        }
    }
    drop(state);
    core.tell();
    Ok(true)
}

/// How many entries were written, and index and epoch of what others have.
type Asserted = (u64, Vec<(usize, u64)>);

/// `None` without a lease.
fn asserted_from(answer: &[Value]) -> Result<Option<Asserted>, WireError> {
    let number = |value: &Value| redis::from_redis_value_ref::<u64>(value).map_err(|_| WireError::Nonsense);
    let [status, rest @ ..] = answer else {
        return Err(WireError::Nonsense);
    };
    let status: String = redis::from_redis_value_ref(status).map_err(|_| WireError::Nonsense)?;
    match (status.as_str(), rest) {
        ("ok", [written, lost @ ..]) => {
            let (pairs, _) = lost.as_chunks::<2>();
            let lost = pairs.iter().map(|[index, epoch]| {
                let index = usize::try_from(number(index)?).map_err(|_| WireError::Nonsense)?;
                Ok((index, number(epoch)?))
            });
            Ok(Some((number(written)?, lost.collect::<Result<_, WireError>>()?)))
        }
        ("unleased", _) => Ok(None),
        _ => Err(WireError::Nonsense),
    }
}

/// Releases rooms that we gave up while Redis did not answer, or that we claimed and never heard of.
async fn forget_unsure(core: &Core) -> Result<(), WireError> {
    let unsure: Vec<RoomId> = core.locked().unsure.iter().cloned().collect();
    for room in unsure {
        // No claim of ours is under way meanwhile.
        let _entries = core.entries.write().await;
        let still = {
            let mut state = core.locked();
            let owned = state.mine.contains_key(&room);
            if owned {
                state.unsure.remove(&room);
            }
            state.unsure.contains(&room)
        };
        if still {
            core.release_entry(&room, None).await?;
            core.locked().unsure.remove(&room);
        }
    }
    Ok(())
}

/// Whole milliseconds.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
