//! Recordings, their files, and the segments that files are made of.

use std::collections::{BTreeSet, HashMap};

use caside_protocol::rest::{FileKind, Page, Recording, RecordingFile, RecordingState};
use caside_protocol::view::Source;
use caside_protocol::{CallId, NodeId, ParticipantId, RecordingId, RoomId, UserId};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::calls::was_in;
use crate::entity::{recording_files, recording_segments, recordings};
use crate::names::{Named, TextId, first_id_at, signed, unreadable, unsigned};
use crate::{PageRequest, Store, StoreError};

mod write;

pub(crate) use write::{add_file, add_segments, begin, remove_segments, set_state, stop};

/// Marks the cursors of this list.
const CURSOR: char = 'm';
/// Most recordings of one answer of [`Store::unfinished_recordings`].
const UNFINISHED_PAGE: u64 = 1_000;
/// Most segments of one answer of [`Store::shipped_segments`].
const SHIPPED_PAGE: u64 = 10_000;

/// A recording with what only the server knows.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecording {
    /// As REST shows it; the files' `url`s are empty.
    pub recording: Recording,
    /// The room's owner when it began: a host sees it.
    pub owner: Option<UserId>,
    /// The node that records or finishes it.
    pub node: Option<NodeId>,
    /// The epoch of the room's owner.
    pub epoch: u64,
}

/// A file of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFile {
    /// Of which recording.
    pub recording: RecordingId,
    /// Its name in the recording; unique there.
    pub name: String,
    /// Who made it.
    pub kind: FileKind,
    /// Whose media.
    pub participant: Option<ParticipantId>,
    /// From which source.
    pub source: Option<Source>,
    /// A media type.
    pub content_type: String,
    /// As in `codecs=`.
    pub codecs: Vec<String>,
    /// What its frames are encrypted with end to end, if they are.
    pub encryption: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// Its length.
    pub duration_ms: u64,
    /// Its first frame after the recording's start.
    pub offset_ms: u64,
    /// Where the object store has it.
    pub storage_key: String,
}

/// Where a segment's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentPlace {
    /// In the spool of the recording's node.
    Spool,
    /// In the object store, under the key of [`SegmentId::object_key`].
    Object,
}

/// Names one segment: at most 2 s of one participant's source group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId {
    /// Of which recording.
    pub recording: RecordingId,
    /// Under which epoch of the room it was recorded.
    pub epoch: u64,
    /// Whose media.
    pub participant: ParticipantId,
    /// From which source; its group's first.
    pub source: Source,
    /// Counted from 0 in that epoch.
    pub n: u32,
}

impl SegmentId {
    /// Its key in the object store.
    pub fn object_key(&self) -> String {
        format!(
            "recordings/{}/{}/{}/{}/{}.mkv",
            self.recording,
            self.epoch,
            self.participant,
            self.source.as_str(),
            self.n
        )
    }
}

/// A segment that is safe on disk or in the object store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSegment {
    /// Which one.
    pub id: SegmentId,
    /// Where its bytes are.
    pub place: SegmentPlace,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of its bytes.
    pub checksum: [u8; 32],
    /// Its first frame after the recording's start.
    pub start_ms: u64,
    /// The end of its last frame after the recording's start.
    pub end_ms: u64,
    /// What whoever finishes the file has to know (tracks, codec headers).
    pub metadata: Value,
}

/// Which recordings to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordingFilter {
    /// Of this room.
    pub room: Option<RoomId>,
    /// Of this call.
    pub call: Option<CallId>,
    /// In this state.
    pub state: Option<RecordingState>,
    /// Whose room it was, or who was in its call.
    pub visible_to: Option<UserId>,
    /// Begun at this moment or later.
    pub since: Option<OffsetDateTime>,
}

impl Store {
    /// A recording with its files.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recording(&self, id: RecordingId) -> Result<Option<StoredRecording>, StoreError> {
        let query = recordings::Entity::find_by_id(id.0);
        let found = self.timed(self.with_parts(query)).await?;
        assemble(found).map(|mut recordings| recordings.pop())
    }

    /// Recordings with their files, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or when the database fails.
    pub async fn recordings(
        &self,
        filter: &RecordingFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredRecording>, StoreError> {
        let mut query = recordings::Entity::find()
            .order_by_desc(recordings::Column::Id)
            .limit(page.fetch());
        if let Some(room) = &filter.room {
            query = query.filter(recordings::Column::RoomId.eq(room.as_str()));
        }
        if let Some(call) = filter.call {
            query = query.filter(recordings::Column::CallId.eq(call.0));
        }
        if let Some(state) = filter.state {
            query = query.filter(recordings::Column::State.eq(state.name()));
        }
        if let Some(user) = &filter.visible_to {
            let owns = recordings::Column::Owner.eq(user.as_str());
            let was_in = was_in(user, (recordings::Entity, recordings::Column::CallId));
            query = query.filter(Condition::any().add(owns).add(was_in));
        }
        if let Some(since) = filter.since {
            query = query.filter(recordings::Column::Id.gte(first_id_at(since)));
        }
        if let Some(after) = page.after(CURSOR)? {
            query = query.filter(recordings::Column::Id.lt(after));
        }
        let found = self.timed(self.with_parts(query)).await?;
        page.page(CURSOR, assemble(found)?, |stored| stored.recording.id.0, Ok)
    }

    /// Recordings that this node had not finished when it last died, or of which it had not removed all segments, oldest
    /// first, at most 1,000 of those after `after`.
    /// An empty answer says that there are no more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unfinished_recordings(
        &self,
        node: &NodeId,
        after: Option<RecordingId>,
    ) -> Result<Vec<StoredRecording>, StoreError> {
        let open = [RecordingState::Recording.name(), RecordingState::Finalizing.name()];
        let with_segments = Query::select()
            .distinct()
            .column("recording_id")
            .from(recording_segments::Entity)
            .take();
        let left = Condition::any()
            .add(recordings::Column::State.is_in(open))
            .add(recordings::Column::Id.in_subquery(with_segments));
        let mut query = recordings::Entity::find()
            .filter(left)
            .filter(recordings::Column::Node.eq(node.as_str()))
            .order_by_asc(recordings::Column::Id)
            .limit(UNFINISHED_PAGE);
        if let Some(after) = after {
            query = query.filter(recordings::Column::Id.gt(after.0));
        }
        assemble(self.timed(self.with_parts(query)).await?)
    }

    /// Finds recordings and what they are made of, in three queries however many they are.
    async fn with_parts(&self, query: Select<recordings::Entity>) -> Result<Found, StoreError> {
        let rows = query.all(self.read()).await?;
        if rows.is_empty() {
            return Ok(Found::default());
        }
        let ids = || rows.iter().map(|row| row.id);
        let files = recording_files::Entity::find()
            .filter(recording_files::Column::RecordingId.is_in(ids()))
            .order_by_asc(recording_files::Column::RecordingId)
            .order_by_asc(recording_files::Column::Name)
            .all(self.read())
            .await?;
        let segments = Query::select()
            .columns(["recording_id", "participant_id"])
            // PostgreSQL sums 64 bits into a decimal.
            .expr_as(Expr::col("size_bytes").sum().cast_as("bigint"), "size_bytes")
            .from(recording_segments::Entity)
            .and_where(Expr::col("recording_id").is_in(ids()))
            .group_by_columns(["recording_id", "participant_id"])
            .take();
        let segments = self
            .read()
            .query_all(&segments)
            .await?
            .iter()
            .map(|row| {
                let sum = SegmentSum {
                    recording: row.try_get("", "recording_id")?,
                    participant: row.try_get("", "participant_id")?,
                    size_bytes: row.try_get("", "size_bytes")?,
                };
                Ok(sum)
            })
            .collect::<Result<_, DbErr>>()?;
        Ok(Found { rows, files, segments })
    }

    /// A recording's files, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recording_files(&self, id: RecordingId) -> Result<Vec<StoredFile>, StoreError> {
        let query = recording_files::Entity::find()
            .filter(recording_files::Column::RecordingId.eq(id.0))
            .order_by_asc(recording_files::Column::Name);
        let rows = self.timed(async { Ok(query.all(self.read()).await?) }).await?;
        rows.into_iter().map(StoredFile::try_from).collect()
    }

    /// A recording's file of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recording_file(&self, id: RecordingId, name: &str) -> Result<Option<StoredFile>, StoreError> {
        let query = recording_files::Entity::find_by_id((id.0, name.to_owned()));
        self.timed(async { query.one(self.read()).await?.map(StoredFile::try_from).transpose() })
            .await
    }

    /// A recording's segments by participant, source, epoch and number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn segments(&self, id: RecordingId) -> Result<Vec<StoredSegment>, StoreError> {
        use recording_segments::Column;
        let query = recording_segments::Entity::find()
            .filter(Column::RecordingId.eq(id.0))
            .order_by_asc(Column::ParticipantId)
            .order_by_asc(Column::Source)
            .order_by_asc(Column::Epoch)
            .order_by_asc(Column::N);
        let rows = self.timed(async { Ok(query.all(self.read()).await?) }).await?;
        rows.into_iter().map(StoredSegment::try_from).collect()
    }

    /// A recording's segments that are in the object store, in the order of their ids, at most 10,000 of those after
    /// `after`. An empty answer says that there are no more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn shipped_segments(
        &self,
        id: RecordingId,
        after: Option<&SegmentId>,
    ) -> Result<Vec<StoredSegment>, StoreError> {
        use recording_segments::Column;
        let mut query = recording_segments::Entity::find()
            .filter(Column::RecordingId.eq(id.0))
            .filter(Column::Place.eq(SegmentPlace::Object.name()))
            .order_by_asc(Column::ParticipantId)
            .order_by_asc(Column::Source)
            .order_by_asc(Column::Epoch)
            .order_by_asc(Column::N)
            .limit(SHIPPED_PAGE);
        if let Some(after) = after {
            let (participant, source) = (after.participant.0, after.source.name());
            let (epoch, n) = (signed(after.epoch), i64::from(after.n));
            let of_source = Condition::any()
                .add(Column::Source.gt(source))
                .add(Column::Source.eq(source).and(Column::Epoch.gt(epoch)))
                .add(
                    Column::Source
                        .eq(source)
                        .and(Column::Epoch.eq(epoch))
                        .and(Column::N.gt(n)),
                );
            let later = Condition::any().add(Column::ParticipantId.gt(participant)).add(
                Condition::all()
                    .add(Column::ParticipantId.eq(participant))
                    .add(of_source),
            );
            query = query.filter(later);
        }
        let rows = self.timed(async { Ok(query.all(self.read()).await?) }).await?;
        rows.into_iter().map(StoredSegment::try_from).collect()
    }

    /// Forgets a recording with its files and segments; `false` when there is no such recording. The objects are the
    /// caller's to delete, before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_recording(&self, id: RecordingId) -> Result<bool, StoreError> {
        self.timed(async {
            let gone = recordings::Entity::delete_by_id(id.0).exec(self.write()).await?;
            Ok(gone.rows_affected > 0)
        })
        .await
    }
}

/// Recordings and what they are made of.
#[derive(Default)]
struct Found {
    rows: Vec<recordings::Model>,
    files: Vec<recording_files::Model>,
    segments: Vec<SegmentSum>,
}

/// What one participant's segments of a recording take.
struct SegmentSum {
    recording: Uuid,
    participant: Uuid,
    size_bytes: i64,
}

fn assemble(found: Found) -> Result<Vec<StoredRecording>, StoreError> {
    let mut files: HashMap<Uuid, Vec<recording_files::Model>> = HashMap::new();
    for file in found.files {
        files.entry(file.recording_id).or_default().push(file);
    }
    let mut segments: HashMap<Uuid, Vec<SegmentSum>> = HashMap::new();
    for sum in found.segments {
        segments.entry(sum.recording).or_default().push(sum);
    }
    found
        .rows
        .into_iter()
        .map(|row| {
            let files = files.remove(&row.id).unwrap_or_default();
            let segments = segments.remove(&row.id).unwrap_or_default();
            recording(row, files, &segments)
        })
        .collect()
}

fn recording(
    row: recordings::Model,
    files: Vec<recording_files::Model>,
    segments: &[SegmentSum],
) -> Result<StoredRecording, StoreError> {
    let files: Vec<StoredFile> = files.into_iter().map(StoredFile::try_from).collect::<Result<_, _>>()?;
    let in_files = files.iter().filter_map(|file| file.participant);
    let in_segments = segments.iter().map(|sum| ParticipantId(sum.participant));
    let participants: BTreeSet<ParticipantId> = in_files.chain(in_segments).collect();
    let size_bytes = files.iter().map(|file| file.size_bytes).sum::<u64>()
        + segments.iter().map(|sum| unsigned(sum.size_bytes)).sum::<u64>();
    Ok(StoredRecording {
        recording: Recording {
            id: RecordingId(row.id),
            room_id: RoomId::of("recordings", "room_id", &row.room_id)?,
            call_id: row.call_id.map(CallId),
            state: RecordingState::of("recordings", "state", &row.state)?,
            error: row.error,
            started_at: row.started_at,
            ended_at: row.ended_at,
            duration_ms: row.duration_ms.map(unsigned),
            size_bytes,
            participants: participants.into_iter().collect(),
            files: files.into_iter().map(RecordingFile::from).collect(),
            composition: None,
        },
        owner: UserId::of_option("recordings", "owner", row.owner.as_deref())?,
        node: NodeId::of_option("recordings", "node", row.node.as_deref())?,
        epoch: unsigned(row.epoch),
    })
}

impl From<StoredFile> for RecordingFile {
    /// As REST shows it, without its `url`.
    fn from(file: StoredFile) -> Self {
        Self {
            name: file.name,
            kind: file.kind,
            participant_id: file.participant,
            source: file.source,
            content_type: file.content_type,
            codecs: file.codecs,
            encryption: file.encryption,
            size_bytes: file.size_bytes,
            duration_ms: file.duration_ms,
            offset_ms: file.offset_ms,
            url: String::new(),
        }
    }
}

impl TryFrom<recording_files::Model> for StoredFile {
    type Error = StoreError;

    fn try_from(row: recording_files::Model) -> Result<Self, StoreError> {
        const TABLE: &str = "recording_files";
        let source = match &row.source {
            Some(source) => Some(Source::of(TABLE, "source", source)?),
            None => None,
        };
        let codecs = serde_json::from_value(row.codecs.clone())
            .map_err(|_| unreadable(TABLE, "codecs", &row.codecs.to_string()))?;
        Ok(Self {
            recording: RecordingId(row.recording_id),
            name: row.name,
            kind: FileKind::of(TABLE, "kind", &row.kind)?,
            participant: row.participant_id.map(ParticipantId),
            source,
            content_type: row.content_type,
            codecs,
            encryption: row.encryption,
            size_bytes: unsigned(row.size_bytes),
            duration_ms: unsigned(row.duration_ms),
            offset_ms: unsigned(row.offset_ms),
            storage_key: row.storage_key,
        })
    }
}

impl TryFrom<recording_segments::Model> for StoredSegment {
    type Error = StoreError;

    fn try_from(row: recording_segments::Model) -> Result<Self, StoreError> {
        const TABLE: &str = "recording_segments";
        let checksum = <[u8; 32]>::try_from(row.checksum.as_slice())
            .map_err(|_| unreadable(TABLE, "checksum", &format!("{} bytes", row.checksum.len())))?;
        Ok(Self {
            id: SegmentId {
                recording: RecordingId(row.recording_id),
                epoch: unsigned(row.epoch),
                participant: ParticipantId(row.participant_id),
                source: Source::of(TABLE, "source", &row.source)?,
                n: u32::try_from(row.n).map_err(|_| unreadable(TABLE, "n", &row.n.to_string()))?,
            },
            place: SegmentPlace::of(TABLE, "place", &row.place)?,
            size_bytes: unsigned(row.size_bytes),
            checksum,
            start_ms: unsigned(row.start_ms),
            end_ms: unsigned(row.end_ms),
            metadata: row.metadata,
        })
    }
}
