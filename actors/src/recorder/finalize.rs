//! Makes a recording's files of its segments. Can be repeated at any point: a crash costs the work, never the media.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caside_media::parameters::CodecKind;
use caside_media::record::finish::{FinishError, Finisher, Step};
use caside_media::record::inspect::inspect_segment;
use caside_media::record::meta::{FileMeta, SegmentMeta};
use caside_protocol::RecordingId;
use caside_protocol::rest::{FileKind, RecordingState};
use caside_store::objects::ObjectError;
use caside_store::recordings::{SegmentId, SegmentPlace, StoredFile, StoredSegment};
use caside_store::{JournalEntry, StoreError};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::part::Part;
use super::recordings::Keeping;

/// How long rows are waited for before segments are deleted.
const ROWS_LIMIT: Duration = Duration::from_secs(30);
/// Chunks of a file on their way to the object store.
const CHUNKS: usize = 16;
/// Largest segment fetched from the object store.
const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Why files could not be made now. The segments are still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum FinalizeError {
    #[error("the object store failed")]
    Objects(#[from] ObjectError),
    #[error("the database failed")]
    Database(#[from] StoreError),
    #[error("the rows of the files are not written yet: {0}")]
    Rows(String),
}

impl Keeping {
    /// Finishes a recording, trying again until it succeeds: its state, and why it failed or what is missing from it.
    pub(super) async fn finalize(
        self: &Arc<Self>,
        recording: RecordingId,
        missing: Vec<String>,
    ) -> (RecordingState, Option<String>) {
        let mut pause = Duration::from_secs(1);
        loop {
            match self.try_finalize(recording, &missing).await {
                Ok(outcome) => return outcome,
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(recording.id = %recording, %error, cause, "a recording cannot be finished now; tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(60));
                }
            }
        }
    }

    async fn try_finalize(
        &self,
        recording: RecordingId,
        missing: &[String],
    ) -> Result<(RecordingState, Option<String>), FinalizeError> {
        let mut parts: BTreeMap<Part, Vec<StoredSegment>> = BTreeMap::new();
        for segment in self.segments(recording).await? {
            parts.entry(Part::of(&segment.id)).or_default().push(segment);
        }
        let mut missing = missing.to_vec();
        let mut entries = Vec::new();
        let (mut duration_ms, mut used) = (0, Vec::new());
        for (part, segments) in &parts {
            match self.finish_part(recording, *part, segments, &mut missing).await? {
                Some(file) => {
                    duration_ms = duration_ms.max(file.offset_ms + file.duration_ms);
                    entries.push(JournalEntry::RecordingFileAdded(file));
                }
                None => missing.push(format!("nothing of {} could be made a file", part.participant)),
            }
            used.extend(segments.iter().map(|s| s.id));
        }
        let (state, error) = match (entries.is_empty(), missing.is_empty()) {
            (true, true) => (
                RecordingState::Failed,
                Some("nothing was published while it ran".to_owned()),
            ),
            (true, false) => (RecordingState::Failed, Some(missing.join("; "))),
            (false, true) => (RecordingState::Ready, None),
            (false, false) => (RecordingState::Ready, Some(missing.join("; "))),
        };
        let duration_ms = Some(duration_ms);
        entries.push(JournalEntry::RecordingState {
            recording,
            state,
            error: error.clone(),
            duration_ms,
        });
        self.write_rows(entries).await?;
        self.delete_segments(recording, used).await;
        Ok((state, error))
    }

    /// Every segment of a recording that is left, here or in the object store, in order. A database that is away is no hindrance
    /// for what is here.
    async fn segments(&self, recording: RecordingId) -> Result<Vec<StoredSegment>, FinalizeError> {
        let mut all: BTreeMap<SegmentId, StoredSegment> = match self.store.segments(recording).await {
            Ok(listed) => listed
                .into_iter()
                .filter(|s| s.place == SegmentPlace::Object)
                .map(|s| (s.id, s))
                .collect(),
            Err(error) if error.is_unavailable() => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        all.extend(self.spool.segments(recording).into_iter().map(|s| (s.id, s)));
        Ok(all.into_values().collect())
    }

    async fn finish_part(
        &self,
        recording: RecordingId,
        part: Part,
        segments: &[StoredSegment],
        missing: &mut Vec<String>,
    ) -> Result<Option<StoredFile>, FinalizeError> {
        let mut metas: Vec<SegmentMeta> = Vec::with_capacity(segments.len());
        let mut ids = Vec::with_capacity(segments.len());
        for segment in segments {
            let Some(bytes) = self.segment_bytes(segment).await? else {
                missing.push(format!(
                    "{}–{} ms of {} were lost",
                    segment.start_ms, segment.end_ms, part.participant
                ));
                continue;
            };
            match inspect_segment(&bytes) {
                Ok(meta) => {
                    metas.push(meta);
                    ids.push(segment.clone());
                }
                Err(error) => {
                    tracing::error!(segment = segment.id.object_key(), %error, "a segment cannot be read and is left out");
                    missing.push(format!(
                        "{}–{} ms of {} were damaged",
                        segment.start_ms, segment.end_ms, part.participant
                    ));
                }
            }
        }
        let mut finisher = match Finisher::new(metas, &self.writing_app) {
            Ok(finisher) => finisher,
            Err(FinishError::NoSegments) => return Ok(None),
            Err(error) => {
                tracing::error!(recording.id = %recording, %error, "segments do not make a file");
                missing.push(format!("{}: {error}", part.participant));
                return Ok(None);
            }
        };
        let meta = finisher.meta().clone();
        let name = part.file_name(meta.video.is_some(), meta.extension);
        let storage_key = format!("recordings/{recording}/{name}");
        let (chunks, mut waiting) = mpsc::channel::<io::Result<Bytes>>(CHUNKS);
        let produce = async {
            loop {
                match finisher.poll() {
                    Step::Chunk(chunk) => {
                        if chunks.send(Ok(chunk)).await.is_err() {
                            return Ok(());
                        }
                    }
                    Step::Need { index } => match ids.get(index) {
                        Some(segment) => match self.segment_bytes(segment).await {
                            Ok(bytes) => finisher.supply(bytes),
                            Err(error) => {
                                // The object store must not take what is there for the whole file.
                                if chunks
                                    .send(Err(io::Error::other("a segment cannot be read now")))
                                    .await
                                    .is_err()
                                {
                                    tracing::debug!("the upload ended before");
                                }
                                return Err(error);
                            }
                        },
                        None => finisher.supply(None),
                    },
                    Step::Done => {
                        drop(chunks);
                        return Ok(());
                    }
                }
            }
        };
        let body = StreamReader::new(futures_util::stream::poll_fn(move |context| waiting.poll_recv(context)));
        let put = Box::pin(self.objects.put_stream(&storage_key, meta.content_type, body));
        let (produced, put) = tokio::join!(produce, put);
        produced?;
        let size_bytes = put?;
        Ok(Some(stored_file(recording, part, name, storage_key, size_bytes, &meta)))
    }

    /// A segment's bytes from here, else from the object store; `None` when neither has them whole.
    async fn segment_bytes(&self, segment: &StoredSegment) -> Result<Option<Bytes>, FinalizeError> {
        if let Ok((_, bytes)) = self.spool.read(segment.id).await {
            return Ok(Some(bytes));
        }
        let object = match self.objects.get(&segment.id.object_key(), None).await {
            Ok(object) => object,
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        match object.reader.take(MAX_SEGMENT_BYTES).read_to_end(&mut bytes).await {
            Ok(_) => Ok(Some(bytes.into())),
            Err(source) => Err(ObjectError::Io {
                what: "a segment was not read whole".to_owned(),
                source,
            }
            .into()),
        }
    }

    async fn write_rows(&self, entries: Vec<JournalEntry>) -> Result<(), FinalizeError> {
        for entry in entries {
            self.journal
                .append(entry)
                .map_err(|e| FinalizeError::Rows(e.to_string()))?;
        }
        self.journal
            .flush(ROWS_LIMIT)
            .await
            .map_err(|e| FinalizeError::Rows(e.to_string()))
    }

    /// The files are listed: their segments are of no more use. One that stays is found and deleted at the next start.
    async fn delete_segments(&self, recording: RecordingId, segments: Vec<SegmentId>) {
        // First here, so that none is shipped any more; then every copy that may have been.
        if let Err(error) = self.spool.remove_recording(recording).await {
            tracing::warn!(recording.id = %recording, %error, "segments stay in the spool");
        }
        if self.shipping.is_on() {
            for id in &segments {
                if let Err(error) = self.objects.delete(&id.object_key()).await {
                    tracing::warn!(%error, "a segment stays in the object store");
                }
            }
        }
        if let Err(error) = self.journal.append(JournalEntry::SegmentsRemoved { segments }) {
            tracing::warn!(%error, "removed segments stay listed");
        }
    }
}

fn stored_file(
    recording: RecordingId,
    part: Part,
    name: String,
    storage_key: String,
    size_bytes: u64,
    meta: &FileMeta,
) -> StoredFile {
    let tracks = [&meta.video, &meta.audio];
    StoredFile {
        recording,
        name,
        kind: FileKind::Participant,
        participant: Some(part.participant),
        source: Some(part.source_of_file(meta.video.is_some())),
        content_type: meta.content_type.to_owned(),
        codecs: tracks
            .into_iter()
            .flatten()
            .map(|t| codec_name(t.codec).to_owned())
            .collect(),
        size_bytes,
        duration_ms: meta.duration_ms,
        offset_ms: meta.offset_ms,
        storage_key,
    }
}

/// As in `codecs=` of a media type (RFC 6381).
fn codec_name(codec: CodecKind) -> &'static str {
    match codec {
        CodecKind::Opus => "opus",
        CodecKind::Vp8 => "vp8",
        CodecKind::Vp9 => "vp9",
        CodecKind::H264 => "avc1",
        CodecKind::Av1 => "av01",
    }
}
