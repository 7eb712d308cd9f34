//! Makes a recording's files of its segments. Can be repeated at any point: a crash costs the work, never the media.
//!
//! The order is what makes that true: the files are in the object store before they are listed, they are listed before the
//! spool is marked, it is marked before the recording is said to be ready, and a segment goes only after that, its copy in
//! the object store before the one in the spool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use caside_protocol::RecordingId;
use caside_protocol::rest::RecordingState;
use caside_protocol::server::{FinishedFile, MAX_FINISHED_FILES, RecordingFinished};
use caside_store::JournalEntry;
use caside_store::journal::RecordingStarted;
use caside_store::recordings::{SegmentId, StoredFile, StoredRecording};
use caside_store::spool::Extent;
use time::OffsetDateTime;

use super::origin;
use super::part::Part;
use super::recordings::Keeping;

mod clean;
mod file;
mod patience;

use self::patience::{FinalizeError, Patience};

/// How long rows are waited for in one try.
const ROWS_LIMIT: Duration = Duration::from_secs(30);

/// A recording that is to be finished.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) recording: RecordingId,
    /// Its beginning, for when the database was never told; `None` when only the segments may know.
    pub(super) begun: Option<RecordingStarted>,
    /// When it ended; `None`: with the last media that is safe.
    pub(super) ended_at: Option<OffsetDateTime>,
    /// What is not recorded, for people.
    pub(super) missing: Vec<String>,
}

impl Ending {
    /// Of a recording that a crash cut off.
    pub(super) fn cut_off(recording: RecordingId) -> Self {
        Self {
            recording,
            begun: None,
            ended_at: None,
            missing: Vec::new(),
        }
    }
}

/// What became of a recording.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    /// `Ready` or `Failed`.
    pub(super) state: RecordingState,
    /// Why it failed, or what is missing.
    pub(super) error: Option<String>,
    pub(super) files: Vec<StoredFile>,
    /// Segments that are of no more use.
    used: BTreeSet<SegmentId>,
}

/// How it went.
pub(super) enum Outcome {
    /// Its files are there, or will not be.
    Finished(Box<Finished>),
    /// It was deleted.
    Deleted,
    /// Another node goes on with it; what is here is on its way there.
    Elsewhere,
}

/// How the database knows a recording.
enum Standing {
    /// Its files are to be made.
    Open,
    /// It was finished before.
    Over(Box<StoredRecording>),
    /// It was deleted.
    Deleted,
    /// Another node goes on with it.
    Elsewhere,
}

impl Keeping {
    /// Finishes a recording, trying again until it succeeds. What is of no more use then is for [`Keeping::clean`].
    pub(super) async fn finalize(self: &Arc<Self>, ending: &Ending) -> Outcome {
        let recording = ending.recording;
        let mut patience = Patience::new(recording);
        loop {
            match self.standing(ending).await {
                Ok(Standing::Open) => break,
                Ok(Standing::Over(stored)) => match self.over(*stored).await {
                    Ok(finished) => return Outcome::Finished(Box::new(finished)),
                    Err(error) => patience.wait(&self.journal, &error).await,
                },
                Ok(Standing::Deleted) => return Outcome::Deleted,
                Ok(Standing::Elsewhere) => {
                    for extent in self.spool.outline(recording) {
                        self.shipping.ship(extent.id);
                    }
                    return Outcome::Elsewhere;
                }
                Err(error) => patience.wait(&self.journal, &error).await,
            }
        }
        let finished = loop {
            match self.make_files(ending).await {
                Ok(finished) => break finished,
                Err(error) => patience.wait(&self.journal, &error).await,
            }
        };
        // No copy of a segment is made after its recording is known to be finished.
        self.shipping.forget(recording).await;
        // The files are there: from here on only their rows are tried again.
        loop {
            match self.list(recording, &finished).await {
                Ok(()) => return Outcome::Finished(Box::new(finished)),
                Err(error) => patience.wait(&self.journal, &error).await,
            }
        }
    }

    /// Sees that the database knows the recording, and that it ended.
    async fn standing(&self, ending: &Ending) -> Result<Standing, FinalizeError> {
        let recording = ending.recording;
        self.flush().await?;
        if let Some(stored) = self.store.recording(recording).await? {
            let (state, kept) = (stored.recording.state, self.keeps_any(recording));
            let over = match state {
                RecordingState::Ready => true,
                // What could not be made files may be when another version tries.
                RecordingState::Failed => !stored.recording.files.is_empty() || !kept,
                RecordingState::Recording | RecordingState::Finalizing => false,
            };
            let is_ours = stored.node.as_ref().is_none_or(|node| *node == self.node);
            if state == RecordingState::Recording && !is_ours && ending.ended_at.is_none() {
                return Ok(Standing::Elsewhere);
            }
            if over {
                return Ok(Standing::Over(Box::new(stored)));
            }
            if state == RecordingState::Recording {
                let ended_at = self.ended_at(ending, stored.recording.started_at).await?;
                self.append(JournalEntry::RecordingStopped { recording, ended_at })?;
            }
            return Ok(Standing::Open);
        }
        if self.spool.is_finished(recording).await? {
            return Ok(Standing::Deleted);
        }
        let told = || origin::of(recording, &self.spool.metadata(recording)?);
        let begun = ending.begun.clone().or_else(told).ok_or(FinalizeError::Unknown)?;
        tracing::warn!(recording.id = %recording, "the database was never told of a recording; it is now");
        let ended_at = self.ended_at(ending, begun.started_at).await?;
        self.append(JournalEntry::RecordingStarted(begun))?;
        self.append(JournalEntry::RecordingStopped { recording, ended_at })?;
        self.flush().await?;
        match self.store.recording(recording).await? {
            Some(_) => Ok(Standing::Open),
            None => Err(FinalizeError::NotListed("the recording".to_owned())),
        }
    }

    fn keeps_any(&self, recording: RecordingId) -> bool {
        !self.spool.outline(recording).is_empty()
    }

    async fn ended_at(&self, ending: &Ending, started_at: OffsetDateTime) -> Result<OffsetDateTime, FinalizeError> {
        if let Some(ended_at) = ending.ended_at {
            return Ok(ended_at);
        }
        let segments = self.segments(ending.recording).await?;
        let last_ms = segments.iter().map(|extent| extent.end_ms).max();
        Ok(started_at + Duration::from_millis(last_ms.unwrap_or_default()))
    }

    /// What is left of a recording that was finished before: segments of its files.
    async fn over(&self, stored: StoredRecording) -> Result<Finished, FinalizeError> {
        let recording = stored.recording;
        let listed: BTreeSet<&str> = recording.files.iter().map(|file| file.name.as_str()).collect();
        let is_used = |extent: &Extent| {
            let mut names = Part::of(&extent.id).file_names();
            names.any(|name| listed.contains(name.as_str()))
        };
        let left = self.segments(recording.id).await?;
        let used = left.iter().filter(|e| is_used(e)).map(|extent| extent.id).collect();
        let files = self.store.recording_files(recording.id).await?;
        Ok(Finished {
            used,
            state: recording.state,
            error: recording.error,
            files,
        })
    }

    async fn make_files(&self, ending: &Ending) -> Result<Finished, FinalizeError> {
        let recording = ending.recording;
        let _turn = self.finalizers.acquire().await;
        loop {
            let kept = self.spool.outline(recording).len();
            let finished = self.make_files_once(ending).await?;
            // A segment whose writer was given up may have been on its way to the disk.
            if self.spool.outline(recording).len() <= kept {
                return Ok(finished);
            }
        }
    }

    async fn make_files_once(&self, ending: &Ending) -> Result<Finished, FinalizeError> {
        let mut parts: BTreeMap<Part, Vec<Extent>> = BTreeMap::new();
        for extent in self.segments(ending.recording).await? {
            parts.entry(Part::of(&extent.id)).or_default().push(extent);
        }
        let (mut files, mut missing, mut used) = (Vec::new(), ending.missing.clone(), BTreeSet::new());
        for (part, segments) in parts {
            match self
                .finish_part(ending.recording, part, &segments, &mut missing)
                .await?
            {
                Some(file) => {
                    files.push(file);
                    used.extend(segments.iter().map(|extent| extent.id));
                }
                // Its segments are kept: somebody may make more of them than we can.
                None => missing.push(format!("nothing of {} could be made a file", part.participant)),
            }
        }
        let missing = (!missing.is_empty()).then(|| missing.join("; "));
        let (state, error) = match (files.is_empty(), missing) {
            (true, None) => (
                RecordingState::Failed,
                Some("nothing was published while it ran".to_owned()),
            ),
            (true, missing) => (RecordingState::Failed, missing),
            (false, missing) => (RecordingState::Ready, missing),
        };
        Ok(Finished {
            state,
            error,
            files,
            used,
        })
    }

    /// Writes the rows of the files and of the recording, and sees that they are there.
    async fn list(&self, recording: RecordingId, finished: &Finished) -> Result<(), FinalizeError> {
        for file in &finished.files {
            self.append(JournalEntry::RecordingFileAdded(file.clone()))?;
        }
        self.flush().await?;
        let listed = self.store.recording_files(recording).await?;
        let absent = |file: &&StoredFile| listed.iter().all(|l| l.name != file.name);
        if let Some(file) = finished.files.iter().find(absent) {
            return Err(FinalizeError::NotListed(file.name.clone()));
        }
        // Before it can be deleted, which those that are ready can: what is left here of one that the database does not know
        // was deleted from then on. A full disk must not keep what would make room on it.
        if let Err(error) = self.spool.mark_finished(recording).await {
            tracing::warn!(recording.id = %recording, %error, "the spool does not know that a recording is finished");
        }
        // Only now: whoever reads that it is ready finds every file.
        self.append(JournalEntry::RecordingState {
            recording,
            state: finished.state,
            error: finished.error.clone(),
            duration_ms: Some(finished.duration_ms()),
        })?;
        self.flush().await
    }

    fn append(&self, entry: JournalEntry) -> Result<(), FinalizeError> {
        self.journal
            .append(entry)
            .map_err(|e| FinalizeError::Rows(e.to_string()))
    }

    async fn flush(&self) -> Result<(), FinalizeError> {
        self.journal
            .flush(ROWS_LIMIT)
            .await
            .map_err(|e| FinalizeError::Rows(e.to_string()))
    }

    /// Every segment of a recording that is left, here or in the object store, in order.
    async fn segments(&self, recording: RecordingId) -> Result<Vec<Extent>, FinalizeError> {
        let mut all: BTreeMap<SegmentId, Extent> = BTreeMap::new();
        let mut after: Option<SegmentId> = None;
        while self.shipping.is_on() {
            let page = self.store.shipped_segments(recording, after.as_ref()).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            all.extend(page.iter().map(|segment| {
                let (id, start_ms, end_ms) = (segment.id, segment.start_ms, segment.end_ms);
                (id, Extent { id, start_ms, end_ms })
            }));
        }
        all.extend(
            self.spool
                .outline(recording)
                .into_iter()
                .map(|extent| (extent.id, extent)),
        );
        Ok(all.into_values().collect())
    }
}

impl Finished {
    /// What the room is told.
    pub(super) fn message(&self, recording_id: RecordingId) -> RecordingFinished {
        let mut files: Vec<FinishedFile> = self.files.iter().map(finished_file).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.truncate(MAX_FINISHED_FILES);
        RecordingFinished {
            recording_id,
            state: self.state,
            error: self.error.clone(),
            duration_ms: self.duration_ms(),
            size_bytes: self.files.iter().map(|file| file.size_bytes).sum(),
            files,
        }
    }

    /// To the end of the last file.
    pub(super) fn duration_ms(&self) -> u64 {
        let ends = self.files.iter().map(|file| file.offset_ms + file.duration_ms);
        ends.max().unwrap_or_default()
    }
}

fn finished_file(file: &StoredFile) -> FinishedFile {
    FinishedFile {
        name: file.name.clone(),
        participant_id: file.participant,
        source: file.source,
        content_type: file.content_type.clone(),
        size_bytes: file.size_bytes,
        duration_ms: file.duration_ms,
        offset_ms: file.offset_ms,
    }
}
