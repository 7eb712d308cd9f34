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
use caside_store::spool::SpoolError;
use caside_store::{JournalEntry, StoreError};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::part::Part;
use super::recordings::Keeping;

/// How long rows are waited for before segments are deleted.
const ROWS_LIMIT: Duration = Duration::from_secs(30);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
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
    #[error("the spool failed")]
    Spool(#[from] SpoolError),
    #[error("the database failed")]
    Database(#[from] StoreError),
    #[error("the rows of the files are not written yet: {0}")]
    Rows(String),
}

/// Pauses between tries, longer and longer.
struct Patience {
    recording: RecordingId,
    pause: Duration,
}

impl Patience {
    fn new(recording: RecordingId) -> Self {
        Self {
            recording,
            pause: Duration::from_secs(1),
        }
    }

    async fn wait(&mut self, error: &FinalizeError) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(recording.id = %self.recording, %error, cause, "a recording cannot be finished now; tried again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// What came of making files.
enum Made {
    /// They are in the object store.
    Files(Outcome),
    /// It was done before.
    Before(RecordingState, Option<String>),
}

/// What a recording's segments became.
struct Outcome {
    files: Vec<StoredFile>,
    /// What is missing from the files, for people.
    missing: Vec<String>,
    /// Segments that are in the files and of no more use.
    used: Vec<SegmentId>,
}

impl Keeping {
    /// Finishes a recording, trying again until it succeeds: its state, and why it failed or what is missing from it.
    pub(super) async fn finalize(
        self: &Arc<Self>,
        recording: RecordingId,
        missing: Vec<String>,
    ) -> (RecordingState, Option<String>) {
        let mut patience = Patience::new(recording);
        let outcome = loop {
            match self.make_files(recording, &missing).await {
                Ok(Made::Files(outcome)) => break outcome,
                Ok(Made::Before(state, error)) => return (state, error),
                Err(error) => patience.wait(&error).await,
            }
        };
        // The files are there: from here on only their rows are tried again.
        loop {
            match self.list(recording, &outcome).await {
                Ok(listed) => {
                    self.delete_segments(recording, outcome.used).await;
                    return listed;
                }
                Err(error) => patience.wait(&error).await,
            }
        }
    }

    async fn make_files(&self, recording: RecordingId, missing: &[String]) -> Result<Made, FinalizeError> {
        let _turn = self.finalizers.acquire().await;
        let mut parts: BTreeMap<Part, Vec<StoredSegment>> = BTreeMap::new();
        for segment in self.segments(recording).await? {
            parts.entry(Part::of(&segment.id)).or_default().push(segment);
        }
        // Segments of a recording that was finished before are left over from deleting them: files made of those alone would
        // replace the whole ones.
        if let Some(before) = self.store.recording(recording).await?
            && matches!(before.recording.state, RecordingState::Ready | RecordingState::Failed)
            && !before.recording.files.is_empty()
        {
            let left = parts.into_values().flatten().map(|s| s.id).collect();
            self.delete_segments(recording, left).await;
            return Ok(Made::Before(before.recording.state, before.recording.error));
        }
        let mut outcome = Outcome {
            files: Vec::new(),
            missing: missing.to_vec(),
            used: Vec::new(),
        };
        for (part, segments) in &parts {
            match self
                .finish_part(recording, *part, segments, &mut outcome.missing)
                .await?
            {
                Some(file) => {
                    outcome.files.push(file);
                    outcome.used.extend(segments.iter().map(|s| s.id));
                }
                // Its segments are kept: somebody may make more of them than we can.
                None => outcome
                    .missing
                    .push(format!("nothing of {} could be made a file", part.participant)),
            }
        }
        Ok(Made::Files(outcome))
    }

    /// Writes the rows of the files and of the recording, and sees that they are there.
    async fn list(
        &self,
        recording: RecordingId,
        outcome: &Outcome,
    ) -> Result<(RecordingState, Option<String>), FinalizeError> {
        let missing = (!outcome.missing.is_empty()).then(|| outcome.missing.join("; "));
        let (state, error) = match (outcome.files.is_empty(), missing) {
            (true, None) => (
                RecordingState::Failed,
                Some("nothing was published while it ran".to_owned()),
            ),
            (true, missing) => (RecordingState::Failed, missing),
            (false, missing) => (RecordingState::Ready, missing),
        };
        let duration_ms = Some(
            outcome
                .files
                .iter()
                .map(|f| f.offset_ms + f.duration_ms)
                .max()
                .unwrap_or_default(),
        );
        let files = outcome.files.iter().cloned().map(JournalEntry::RecordingFileAdded);
        let entries = files.chain([JournalEntry::RecordingState {
            recording,
            state,
            error: error.clone(),
            duration_ms,
        }]);
        for entry in entries {
            self.journal
                .append(entry)
                .map_err(|e| FinalizeError::Rows(e.to_string()))?;
        }
        self.journal
            .flush(ROWS_LIMIT)
            .await
            .map_err(|e| FinalizeError::Rows(e.to_string()))?;
        let listed = self.store.recording_files(recording).await?;
        match outcome
            .files
            .iter()
            .find(|file| listed.iter().all(|l| l.name != file.name))
        {
            Some(absent) => Err(FinalizeError::Rows(format!("{} is not listed", absent.name))),
            None => Ok((state, error)),
        }
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
        let damaged = finisher.damaged();
        if !damaged.is_empty() {
            missing.push(format!(
                "{} segments of {} were damaged",
                damaged.len(),
                part.participant
            ));
        }
        Ok(Some(stored_file(recording, part, name, storage_key, size_bytes, &meta)))
    }

    /// A segment's bytes from here, else from the object store; `None` when neither has them whole.
    async fn segment_bytes(&self, segment: &StoredSegment) -> Result<Option<Bytes>, FinalizeError> {
        match self.spool.read(segment.id).await {
            Ok((_, bytes)) => return Ok(Some(bytes)),
            Err(SpoolError::Missing(_) | SpoolError::Damaged { .. }) => {}
            // Not lost, only not to be had now.
            Err(error) => return Err(error.into()),
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

    /// The files are listed: their segments are of no more use. One that stays is deleted at the next start.
    async fn delete_segments(&self, recording: RecordingId, segments: Vec<SegmentId>) {
        // First here, so that none is shipped any more; then every copy that may have been.
        for id in &segments {
            if let Err(error) = self.spool.remove(*id).await {
                tracing::warn!(recording.id = %recording, %error, "a segment stays in the spool");
            }
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
