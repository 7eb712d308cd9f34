//! What the journal writes of recordings. Each can be applied twice.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use caside_protocol::RecordingId;
use caside_protocol::rest::RecordingState;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::StoreError;
use crate::entity::{recording_files, recording_segments, recordings};
use crate::journal::RecordingStarted;
use crate::names::{Named, instant, signed};
use crate::recordings::{SegmentId, StoredFile, StoredSegment};

/// Most numbers in one query's list.
const MAX_IN_LIST: usize = 500;

/// Notes that a recording was begun, or that a node of a later epoch goes on with it.
pub(crate) async fn begin(db: &impl ConnectionTrait, started: &RecordingStarted) -> Result<(), StoreError> {
    let row = recordings::Model {
        id: started.recording.0,
        room_id: started.room.as_str().to_owned(),
        call_id: started.call.map(|call| call.0),
        owner: started.owner.as_ref().map(|owner| owner.as_str().to_owned()),
        node: Some(started.node.as_str().to_owned()),
        epoch: signed(started.epoch),
        state: RecordingState::Recording.name().to_owned(),
        error: None,
        started_at: instant(started.started_at),
        ended_at: None,
        duration_ms: None,
    };
    let later = Expr::col((recordings::Entity, recordings::Column::Epoch))
        .lte(Expr::col(("excluded", recordings::Column::Epoch)));
    recordings::Entity::insert(row.into_active_model())
        .on_conflict(
            OnConflict::column(recordings::Column::Id)
                .update_columns([recordings::Column::Node, recordings::Column::Epoch])
                .action_and_where(later)
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Notes that media is no longer written, of a recording that was.
pub(crate) async fn stop(
    db: &impl ConnectionTrait,
    id: RecordingId,
    ended_at: OffsetDateTime,
) -> Result<(), StoreError> {
    recordings::Entity::update_many()
        .col_expr(
            recordings::Column::State,
            Expr::value(RecordingState::Finalizing.name()),
        )
        .col_expr(recordings::Column::EndedAt, Expr::value(instant(ended_at)))
        .filter(recordings::Column::Id.eq(id.0))
        .filter(recordings::Column::State.eq(RecordingState::Recording.name()))
        .exec(db)
        .await?;
    Ok(())
}

/// Sets how far a recording is, and why it failed or what is missing from it.
pub(crate) async fn set_state(
    db: &impl ConnectionTrait,
    id: RecordingId,
    state: RecordingState,
    error: Option<&str>,
    duration_ms: Option<u64>,
) -> Result<(), StoreError> {
    let mut update = recordings::Entity::update_many()
        .col_expr(recordings::Column::State, Expr::value(state.name()))
        .col_expr(recordings::Column::Error, Expr::value(error))
        .filter(recordings::Column::Id.eq(id.0));
    if let Some(duration_ms) = duration_ms {
        update = update.col_expr(recordings::Column::DurationMs, Expr::value(signed(duration_ms)));
    }
    update.exec(db).await?;
    Ok(())
}

/// Notes a file, in place of one of its name.
pub(crate) async fn add_file(db: &impl ConnectionTrait, file: &StoredFile) -> Result<(), StoreError> {
    use recording_files::Column;
    let row = recording_files::Model {
        recording_id: file.recording.0,
        name: file.name.clone(),
        kind: file.kind.name().to_owned(),
        participant_id: file.participant.map(|participant| participant.0),
        source: file.source.map(|source| source.name().to_owned()),
        content_type: file.content_type.clone(),
        codecs: Value::from(file.codecs.clone()),
        encryption: file.encryption.clone(),
        size_bytes: signed(file.size_bytes),
        duration_ms: signed(file.duration_ms),
        offset_ms: signed(file.offset_ms),
        storage_key: file.storage_key.clone(),
    };
    recording_files::Entity::insert(row.into_active_model())
        .on_conflict(
            OnConflict::columns([Column::RecordingId, Column::Name])
                .update_columns([
                    Column::Kind,
                    Column::ParticipantId,
                    Column::Source,
                    Column::ContentType,
                    Column::Codecs,
                    Column::Encryption,
                    Column::SizeBytes,
                    Column::DurationMs,
                    Column::OffsetMs,
                    Column::StorageKey,
                ])
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Notes segments, each id at most once among them, or that they moved. Those of a recording that was deleted, or whose
/// beginning is not written, are left out: their bytes are the business of whoever keeps them.
pub(crate) async fn add_segments(db: &impl ConnectionTrait, segments: &[&StoredSegment]) -> Result<(), StoreError> {
    use recording_segments::Column;
    let there = existing(db, segments.iter().map(|segment| segment.id.recording)).await?;
    let listed: Vec<_> = segments
        .iter()
        .filter(|segment| there.contains(&segment.id.recording.0))
        .collect();
    if listed.len() < segments.len() {
        let left_out = segments.len() - listed.len();
        tracing::debug!(left_out, "segments of recordings that are not there are not listed");
    }
    if listed.is_empty() {
        return Ok(());
    }
    let rows = listed.into_iter().map(|segment| {
        recording_segments::Model {
            recording_id: segment.id.recording.0,
            participant_id: segment.id.participant.0,
            source: segment.id.source.name().to_owned(),
            epoch: signed(segment.id.epoch),
            n: i64::from(segment.id.n),
            place: segment.place.name().to_owned(),
            size_bytes: signed(segment.size_bytes),
            checksum: segment.checksum.to_vec(),
            start_ms: signed(segment.start_ms),
            end_ms: signed(segment.end_ms),
            metadata: segment.metadata.clone(),
        }
        .into_active_model()
    });
    recording_segments::Entity::insert_many(rows)
        .on_conflict(
            OnConflict::columns([
                Column::RecordingId,
                Column::ParticipantId,
                Column::Source,
                Column::Epoch,
                Column::N,
            ])
            .update_columns([
                Column::Place,
                Column::SizeBytes,
                Column::Checksum,
                Column::StartMs,
                Column::EndMs,
                Column::Metadata,
            ])
            .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Those of `ids` that are recordings.
async fn existing(
    db: &impl ConnectionTrait,
    ids: impl Iterator<Item = RecordingId>,
) -> Result<HashSet<Uuid>, StoreError> {
    let ids: BTreeSet<Uuid> = ids.map(|id| id.0).collect();
    let there: Vec<Uuid> = recordings::Entity::find()
        .select_only()
        .column(recordings::Column::Id)
        .filter(recordings::Column::Id.is_in(ids))
        .into_tuple()
        .all(db)
        .await?;
    Ok(there.into_iter().collect())
}

/// Forgets segments.
pub(crate) async fn remove_segments(db: &impl ConnectionTrait, segments: &[SegmentId]) -> Result<(), StoreError> {
    use recording_segments::Column;
    let mut runs: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for id in segments {
        let run = (id.recording, id.participant, id.source, id.epoch);
        runs.entry(run).or_default().push(id.n.into());
    }
    for ((recording, participant, source, epoch), numbers) in runs {
        for some in numbers.chunks(MAX_IN_LIST) {
            recording_segments::Entity::delete_many()
                .filter(Column::RecordingId.eq(recording.0))
                .filter(Column::ParticipantId.eq(participant.0))
                .filter(Column::Source.eq(source.name()))
                .filter(Column::Epoch.eq(signed(epoch)))
                .filter(Column::N.is_in(some.iter().copied()))
                .exec(db)
                .await?;
        }
    }
    Ok(())
}
