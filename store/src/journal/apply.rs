//! Entries become rows.

use std::collections::HashSet;

use sea_orm::sea_query::{Condition, Expr};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use time::OffsetDateTime;
use uuid::Uuid;

use super::JournalEntry;
use crate::entity::api_keys;
use crate::names::second;
use crate::{Store, StoreError, calls, invites, participants, recordings, rooms, timelines};

impl Store {
    /// Applies entries in order and in one transaction, waiting for it: for writes that somebody waits for.
    ///
    /// # Errors
    /// The first one that fails; then nothing has changed.
    pub async fn apply(&self, entries: &[JournalEntry]) -> Result<(), StoreError> {
        self.timed(async {
            let transaction = self.begin().await?;
            let mut rest = entries;
            while let Some((first, others)) = rest.split_first() {
                let done = match first {
                    JournalEntry::RoomEnsured(_)
                    | JournalEntry::CallStarted(_)
                    | JournalEntry::ParticipantJoined(_) => apply_beginnings(&transaction, rest).await?,
                    JournalEntry::SegmentAdded(_) => apply_segments(&transaction, rest).await?,
                    _ => {
                        apply_one(&transaction, first).await?;
                        1
                    }
                };
                rest = others.get(done - 1..).unwrap_or_default();
            }
            Ok(transaction.commit().await?)
        })
        .await
    }
}

/// Applies the rooms, calls and joins that `entries` begins with in a few statements, up to one of something that was among them
/// already; how many. Thousands come at once when many rooms begin.
async fn apply_beginnings(db: &impl ConnectionTrait, entries: &[JournalEntry]) -> Result<usize, StoreError> {
    let (mut rooms, mut calls, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    let (mut of_rooms, mut of_calls) = (HashSet::new(), HashSet::new());
    for entry in entries {
        match entry {
            JournalEntry::RoomEnsured(room) if of_rooms.insert(&room.id) => rooms.push(room),
            JournalEntry::CallStarted(started) if of_calls.insert(started.call) => calls.push(started),
            JournalEntry::ParticipantJoined(join) => joined.push(join),
            _ => break,
        }
    }
    // Each is there before what refers to it.
    rooms::insert_all(db, &rooms).await?;
    calls::start(db, &calls).await?;
    participants::join(db, &joined).await?;
    Ok(rooms.len() + calls.len() + joined.len())
}

/// Applies the segments that `entries` begins with in one statement, up to one that was among them already; how many.
async fn apply_segments(db: &impl ConnectionTrait, entries: &[JournalEntry]) -> Result<usize, StoreError> {
    let mut seen = HashSet::new();
    let run: Vec<_> = entries
        .iter()
        .map_while(|entry| match entry {
            JournalEntry::SegmentAdded(segment) if seen.insert(segment.id) => Some(segment),
            _ => None,
        })
        .collect();
    recordings::add_segments(db, &run).await?;
    Ok(run.len())
}

async fn apply_one(db: &impl ConnectionTrait, entry: &JournalEntry) -> Result<(), StoreError> {
    match entry {
        JournalEntry::RoomEnsured(room) => rooms::insert(db, room).await.map(drop),
        JournalEntry::RoomLocked { room, locked } => rooms::set_locked(db, room, *locked).await,
        JournalEntry::CallStarted(started) => calls::start(db, &[started]).await,
        JournalEntry::ParticipantJoined(joined) => participants::join(db, &[joined]).await,
        JournalEntry::ParticipantLeft { participant, left_at } => participants::leave(db, *participant, *left_at).await,
        JournalEntry::ParticipantRole { participant, role } => participants::set_role(db, *participant, *role).await,
        JournalEntry::CallRecording { call } => calls::mark_recorded(db, *call).await,
        JournalEntry::CallEnded { call, ended_at } => calls::end(db, &[call.0], *ended_at).await.map(drop),
        JournalEntry::CallExplained { call, at, explained } => timelines::keep(db, *call, *at, explained).await,
        JournalEntry::RecordingStarted(started) => {
            recordings::begin(db, started).await?;
            match started.call {
                Some(call) => calls::mark_recorded(db, call).await,
                None => Ok(()),
            }
        }
        JournalEntry::RecordingStopped { recording, ended_at } => recordings::stop(db, *recording, *ended_at).await,
        JournalEntry::RecordingState {
            recording,
            state,
            error,
            duration_ms,
        } => recordings::set_state(db, *recording, *state, error.as_deref(), *duration_ms).await,
        JournalEntry::RecordingFileAdded(file) => recordings::add_file(db, file).await,
        JournalEntry::SegmentAdded(segment) => recordings::add_segments(db, &[segment]).await,
        JournalEntry::SegmentsRemoved { segments } => recordings::remove_segments(db, segments).await,
        JournalEntry::InviteMade { invite, at } => invites::make(db, invite, *at).await,
        JournalEntry::InviteAnswered { invite, answer } => invites::answer(db, *invite, *answer).await,
        JournalEntry::ApiKeyUsed { key, at } => touch_api_key(db, *key, *at).await,
    }
}

async fn touch_api_key(db: &impl ConnectionTrait, key: Uuid, at: OffsetDateTime) -> Result<(), StoreError> {
    let at = second(at);
    let earlier = Condition::any()
        .add(api_keys::Column::LastUsedAt.is_null())
        .add(api_keys::Column::LastUsedAt.lt(at));
    api_keys::Entity::update_many()
        .col_expr(api_keys::Column::LastUsedAt, Expr::value(at))
        .filter(api_keys::Column::Id.eq(key))
        .filter(earlier)
        .exec(db)
        .await?;
    Ok(())
}
