//! What a directory is asked, and how Redis is asked for it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use caside_protocol::node::Member;
use caside_protocol::{NodeId, RoomId};
use redis::{FromRedisValue, ScriptInvocation, Value};

use super::RedisDirectory;
use super::core::Core;
use super::keeper::ms;
use super::lease::Standing;
use super::wire::WireError;
use crate::{Claim, Directory, DirectoryAway, Later, Owner};

impl Directory for RedisDirectory {
    fn rooms_of<'a>(&'a self, member: &'a Member) -> Later<'a, Result<Vec<RoomId>, DirectoryAway>> {
        Box::pin(self.core.rooms_of(member))
    }

    fn holds(&self) -> bool {
        self.core.judge() != Standing::None
    }

    fn is_away(&self) -> bool {
        self.core.is_away()
    }

    fn claim<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Claim, DirectoryAway>> {
        Box::pin(self.core.claim(room))
    }

    fn lookup<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Option<Owner>, DirectoryAway>> {
        Box::pin(self.core.lookup(room))
    }

    fn release<'a>(&'a self, room: &'a RoomId, epoch: u64) -> Later<'a, Result<(), DirectoryAway>> {
        Box::pin(self.core.release(room, epoch))
    }

    fn hand_over<'a>(
        &'a self,
        room: &'a RoomId,
        epoch: u64,
        to: &'a Member,
    ) -> Later<'a, Result<Option<u64>, DirectoryAway>> {
        Box::pin(self.core.hand_over(room, epoch, to))
    }

    fn keep<'a>(&'a self, room: &'a RoomId, epoch: u64, state: Bytes) -> Later<'a, Result<bool, DirectoryAway>> {
        Box::pin(self.core.keep(room, epoch, state))
    }
}

impl Core {
    async fn claim(&self, room: &RoomId) -> Result<Claim, DirectoryAway> {
        let _entry = self.entries.read().await;
        let fences = match self.judge() {
            Standing::Leased(fences) => fences,
            Standing::Suspended => return Ok(self.claim_without_redis(room)),
            Standing::None => return Err(self.no_lease()),
        };
        let not_after = self.not_after();
        let mut call = self.scripts.claim.prepare_invoke();
        {
            let state = self.locked();
            self.about(&mut call, room)
                .arg(ms(self.settings.lease))
                .arg(ms(self.times.doubt))
                .arg(ms(self.times.gap))
                .arg(not_after)
                .arg(state.lone_since().map_or(String::new(), |since| since.to_string()))
                .arg(u8::from(state.mine.contains_key(room)));
        }
        let answer: Result<Vec<Value>, _> = self.wire.call(&call).await;
        // The lease may have run out while we waited.
        let standing = self.judge();
        let mut state = self.locked();
        match answer.and_then(|answer| self.claimed(&answer)) {
            Ok(Claim::Granted { .. }) if standing == Standing::None || state.lease.fences() != fences => {
                state.doubt(room);
                Err(self.no_lease())
            }
            Ok(Claim::Granted { epoch, kept }) => {
                state.take(room, epoch);
                Ok(Claim::Granted { epoch, kept })
            }
            Ok(Claim::Taken(owner)) => {
                state.saw(room, Some(&owner));
                Ok(Claim::Taken(owner))
            }
            Ok(settling) => Ok(settling),
            Err(error) => {
                if error != WireError::Disconnected && !state.mine.contains_key(room) {
                    state.doubt(room);
                }
                Err(Self::away_because(&error))
            }
        }
    }

    fn claimed(&self, answer: &[Value]) -> Result<Claim, WireError> {
        let [status, rest @ ..] = answer else {
            return Err(WireError::Nonsense);
        };
        let status: String = read(status)?;
        match (status.as_str(), rest) {
            ("granted", [epoch, kept @ ..]) => Ok(Claim::Granted {
                epoch: read(epoch)?,
                kept: kept
                    .first()
                    .map(read::<Option<Vec<u8>>>)
                    .transpose()?
                    .flatten()
                    .map(Bytes::from),
            }),
            ("taken", owner) => Ok(Claim::Taken(owner_from(owner)?)),
            ("settling", [rest]) => Ok(Claim::Settling(Duration::from_millis(read(rest)?))),
            // Redis has lost our lease, and with it perhaps all: the next renewal finds out.
            ("unleased", _) => {
                self.hurry.notify_one();
                Ok(Claim::Settling(self.settings.renew))
            }
            ("late", _) => Err(WireError::Timeout),
            _ => Err(WireError::Nonsense),
        }
    }

    fn claim_without_redis(&self, room: &RoomId) -> Claim {
        let mut state = self.locked();
        if !state.mine.contains_key(room)
            && let Some(owner) = state.last_seen(room)
        {
            return Claim::Taken(owner.clone());
        }
        let epoch = state.next_epoch();
        state.take(room, epoch);
        Claim::Granted { epoch, kept: None }
    }

    async fn lookup(&self, room: &RoomId) -> Result<Option<Owner>, DirectoryAway> {
        match self.judge() {
            Standing::Suspended => {
                let epoch = self.locked().mine.get(room).copied();
                let owner = epoch.map(|epoch| Owner {
                    member: self.me.clone(),
                    epoch,
                });
                return owner.map(Some).ok_or_else(|| DirectoryAway {
                    reason: "Redis is away for everybody".to_owned(),
                });
            }
            Standing::Leased(_) | Standing::None => {}
        }
        let owner = self.ask_owner(room).await.map_err(|error| Self::away_because(&error))?;
        self.locked().saw(room, owner.as_ref());
        Ok(owner)
    }

    async fn ask_owner(&self, room: &RoomId) -> Result<Option<Owner>, WireError> {
        let mut call = self.scripts.lookup.prepare_invoke();
        call.key(self.room_key(room)).arg(&self.settings.prefix);
        let answer: Vec<Value> = self.wire.call(&call).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        owner_from(&answer).map(Some)
    }

    /// Whether this member owns a room under this epoch. What was handed to it is its own from the first time it is asked for.
    async fn holds(&self, room: &RoomId, epoch: u64) -> Result<bool, DirectoryAway> {
        let Standing::Leased(fences) = self.judge() else {
            return Ok(self.locked().mine.get(room) == Some(&epoch));
        };
        {
            let state = self.locked();
            if let Some(ours) = state.mine.get(room) {
                return Ok(*ours == epoch);
            }
            if !state.is_fresh(epoch) {
                return Ok(false);
            }
        }
        let owner = self.ask_owner(room).await.map_err(|error| Self::away_because(&error))?;
        let handed = owner.is_some_and(|owner| owner.member == self.me && owner.epoch == epoch);
        let leased = self.judge() == Standing::Leased(fences);
        let mut state = self.locked();
        if handed && leased && state.lease.fences() == fences {
            state.take(room, epoch);
        }
        Ok(state.mine.get(room) == Some(&epoch))
    }

    async fn release(&self, room: &RoomId, epoch: u64) -> Result<(), DirectoryAway> {
        let _entry = self.entries.read().await;
        if !self.holds(room, epoch).await? {
            return Ok(());
        }
        let standing = self.judge();
        {
            let mut state = self.locked();
            state.mine.remove(room);
            if standing == Standing::Suspended {
                state.doubt(room);
                return Ok(());
            }
        }
        // It is given up here in any case; Redis hears of it when it can.
        if self.release_entry(room, Some(epoch)).await.is_err() {
            self.locked().doubt(room);
        }
        Ok(())
    }

    /// Removes a room's entry if it names this member, and this epoch when one is given.
    pub(super) async fn release_entry(&self, room: &RoomId, epoch: Option<u64>) -> Result<(), WireError> {
        let mut call = self.scripts.release.prepare_invoke();
        self.about(&mut call, room)
            .arg(epoch.map_or(String::new(), |epoch| epoch.to_string()));
        self.wire.call(&call).await
    }

    async fn hand_over(&self, room: &RoomId, epoch: u64, to: &Member) -> Result<Option<u64>, DirectoryAway> {
        let _entry = self.entries.read().await;
        match self.judge() {
            Standing::Leased(_) => {}
            Standing::Suspended => {
                return Err(DirectoryAway {
                    reason: "Redis is away for everybody".to_owned(),
                });
            }
            Standing::None => return Ok(None),
        }
        if !self.holds(room, epoch).await? {
            return Ok(None);
        }
        let mut call = self.scripts.hand_over.prepare_invoke();
        self.about(&mut call, room)
            .arg(epoch)
            .arg(to.node.as_str())
            .arg(to.incarnation)
            .arg(self.not_after());
        let answer: Result<Vec<Value>, _> = self.wire.call(&call).await;
        // Without an answer the room stays here until a comparison tells that it does not.
        let answer = answer.map_err(|error| Self::away_because(&error))?;
        let outcome = || -> Result<Option<u64>, WireError> {
            match answer.as_slice() {
                [status, epoch] if read::<String>(status)? == "done" => Ok(Some(read(epoch)?)),
                [status] if read::<String>(status)? == "refused" => Ok(None),
                [_] => Err(WireError::Timeout),
                _ => Err(WireError::Nonsense),
            }
        };
        let next = outcome().map_err(|error| Self::away_because(&error))?;
        if let Some(next) = next {
            let mut state = self.locked();
            if *to == self.me {
                state.take(room, next);
            } else if state.mine.get(room) == Some(&epoch) {
                state.mine.remove(room);
            }
            state.saw(
                room,
                Some(&Owner {
                    member: to.clone(),
                    epoch: next,
                }),
            );
        }
        Ok(next)
    }

    async fn keep(&self, room: &RoomId, epoch: u64, kept: Bytes) -> Result<bool, DirectoryAway> {
        if !self.holds(room, epoch).await? {
            return Ok(false);
        }
        let standing = self.judge();
        if standing == Standing::None {
            return Ok(false);
        }
        if standing == Standing::Suspended {
            return Err(DirectoryAway {
                reason: "Redis is away for everybody".to_owned(),
            });
        }
        let mut call = self.scripts.keep.prepare_invoke();
        call.key(self.room_key(room))
            .arg(self.me.node.as_str())
            .arg(self.me.incarnation)
            .arg(epoch)
            .arg(self.keeps.fetch_add(1, Ordering::Relaxed))
            .arg(&kept[..]);
        let answer: Result<bool, _> = self.wire.call(&call).await;
        let done = answer.map_err(|error| Self::away_because(&error))?;
        if self.judge() == Standing::None {
            return Ok(false);
        }
        if !done {
            self.compare.notify_one();
            // Redis may have lost the entry, which is then asserted.
            return if self.locked().mine.get(room) == Some(&epoch) {
                Err(DirectoryAway {
                    reason: "Redis does not have this room as ours now".to_owned(),
                })
            } else {
                Ok(false)
            };
        }
        Ok(true)
    }

    /// Breaks a member's lease. That it is over is told when Redis knows it, for whoever is told takes its rooms at once; or when
    /// Redis does not answer.
    pub(super) async fn bury(&self, member: &Member) -> Result<(), DirectoryAway> {
        let is_news = self.locked().buried(member);
        let is_away = self.is_away();
        if is_news && is_away {
            self.tell_end_of(member);
        }
        let mut call = self.scripts.bury.prepare_invoke();
        let prefix = &self.settings.prefix;
        call.key(format!("{prefix}node:{}", member.node))
            .key(format!("{prefix}nodes"))
            .arg(prefix)
            .arg(member.node.as_str())
            .arg(member.incarnation);
        let answer: Result<(), _> = self.wire.call(&call).await;
        if is_news && !is_away {
            self.tell_end_of(member);
        }
        answer.map_err(|error| Self::away_because(&error))
    }

    pub(super) async fn rooms_of(&self, member: &Member) -> Result<Vec<RoomId>, DirectoryAway> {
        let answer: Result<Vec<String>, _> = self.wire.members_of(&self.rooms_key(member)).await;
        let names = answer.map_err(|error| Self::away_because(&error))?;
        Ok(names.into_iter().filter_map(|name| RoomId::new(name).ok()).collect())
    }

    pub(super) async fn leave(&self) {
        {
            let mut state = self.locked();
            state.lease.leave();
            state.mine.clear();
        }
        loop {
            let mut call = self.scripts.leave.prepare_invoke();
            let prefix = &self.settings.prefix;
            call.key(format!("{prefix}node:{}", self.me.node))
                .key(format!("{prefix}nodes"))
                .key(self.rooms_key(&self.me))
                .arg(prefix)
                .arg(self.me.node.as_str())
                .arg(self.me.incarnation);
            match self.wire.call::<bool>(&call).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "the lease was not given up: it runs out");
                    return;
                }
            }
        }
    }

    fn room_key(&self, room: &RoomId) -> String {
        format!("{}room:{room}", self.settings.prefix)
    }

    /// Key of the set of a member's rooms.
    pub(super) fn rooms_key(&self, member: &Member) -> String {
        format!("{}rooms:{member}", self.settings.prefix)
    }

    /// How every script about one room of ours begins.
    fn about<'a, 'b>(&self, call: &'b mut ScriptInvocation<'a>, room: &RoomId) -> &'b mut ScriptInvocation<'a> {
        call.key(self.room_key(room))
            .arg(&self.settings.prefix)
            .arg(self.me.node.as_str())
            .arg(self.me.incarnation)
            .arg(room.as_str())
    }
}

fn read<T: FromRedisValue>(value: &Value) -> Result<T, WireError> {
    redis::from_redis_value_ref(value).map_err(|_| WireError::Nonsense)
}

fn owner_from(answer: &[Value]) -> Result<Owner, WireError> {
    let [node, incarnation, epoch] = answer else {
        return Err(WireError::Nonsense);
    };
    Ok(Owner {
        member: Member {
            node: NodeId::new(read::<String>(node)?).map_err(|_| WireError::Nonsense)?,
            incarnation: read(incarnation)?,
        },
        epoch: read(epoch)?,
    })
}
