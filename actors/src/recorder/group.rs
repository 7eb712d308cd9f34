//! One source group's task: packets in, segments safe in the spool.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caside_media::control::TapItem;
use caside_media::parameters::MediaKind;
use caside_media::record::segment::{CodecChanged, GroupParameters, GroupStats, Segment, TrackGroupWriter};
use caside_protocol::ParticipantId;
use caside_store::JournalEntry;
use caside_store::journal::RecordingStarted;
use caside_store::recordings::SegmentId;
use caside_store::spool::{SegmentInfo, SpoolError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::numbering::Numbering;
use super::origin;
use super::part::Part;
use super::recordings::Keeping;
use super::sink::{GroupItem, GroupTrack, QUEUE};
use crate::sfu::SfuCommand;

/// The longest sleep without a deadline of the writer's.
const IDLE: Duration = Duration::from_secs(5);

/// What came of a group.
#[derive(Debug, Default)]
pub(super) struct GroupOutcome {
    /// What is missing from its files, for people; empty when nothing is.
    pub(super) missing: Vec<String>,
    not_kept: Vec<NotKept>,
}

/// Media that could not be written, for one cause.
#[derive(Debug)]
struct NotKept {
    from_ms: u64,
    to_ms: u64,
    segments: u64,
    why: &'static str,
    error: String,
}

impl GroupOutcome {
    /// Of a source that cannot begin another file.
    pub(super) fn too_many_files(who: ParticipantId) -> Self {
        Self {
            missing: vec![too_many_files(who)],
            ..Self::default()
        }
    }

    fn not_kept(&mut self, from_ms: u64, to_ms: u64, error: &SpoolError) {
        let why = cause(error);
        if let Some(known) = self.not_kept.iter_mut().find(|known| known.why == why) {
            known.to_ms = known.to_ms.max(to_ms);
            known.segments += 1;
            return;
        }
        self.not_kept.push(NotKept {
            from_ms,
            to_ms,
            segments: 1,
            why,
            error: error.to_string(),
        });
    }

    /// One sentence a cause is enough for a recording.
    fn tell_not_kept(&mut self, who: ParticipantId) {
        for lost in std::mem::take(&mut self.not_kept) {
            let (from, to, segments) = (lost.from_ms, lost.to_ms, lost.segments);
            let pieces = if segments == 1 { "piece" } else { "pieces" };
            self.missing.push(format!(
                "between {from} and {to} ms {segments} {pieces} of {who} could not be kept: {}",
                lost.error
            ));
        }
    }
}

fn too_many_files(who: ParticipantId) -> String {
    format!("{who} changed codecs or tracks too often; the rest is missing")
}

/// Names an error's kind, of which there are a few.
fn cause(error: &SpoolError) -> &'static str {
    match error {
        SpoolError::Full { .. } => "full",
        SpoolError::DiskFull => "disk full",
        SpoolError::Busy => "busy",
        _ => "failed",
    }
}

/// What a group's task needs.
pub(super) struct Group {
    pub(super) begun: Arc<RecordingStarted>,
    pub(super) numbering: Numbering,
    /// Where a later group of the same source goes on.
    pub(super) left_off: oneshot::Sender<Numbering>,
    pub(super) start: Instant,
    pub(super) keeping: Arc<Keeping>,
    pub(super) dropped: Arc<AtomicU64>,
    /// Whether a segment tells of the recording's beginning.
    pub(super) told_origin: bool,
    /// Cancelled when the recording stops, or nothing was published for a while.
    pub(super) stopping: CancellationToken,
}

/// Makes a group's queue.
pub(super) fn queue() -> (mpsc::Sender<GroupItem>, mpsc::Receiver<GroupItem>) {
    mpsc::channel(QUEUE)
}

/// Waits until groups have ended, and gathers what is missing from their files.
pub(super) async fn ended(mut groups: JoinSet<GroupOutcome>, limit: Duration, missing: &mut Vec<String>) {
    let ended = async {
        while let Some(outcome) = groups.join_next().await {
            match outcome {
                Ok(outcome) => missing.extend(outcome.missing),
                Err(error) => missing.push(format!("recording one source failed: {error}")),
            }
        }
    };
    if tokio::time::timeout(limit, ended).await.is_err() {
        tracing::error!(
            ?limit,
            "some sources of a recording did not end in time; what they kept is used"
        );
        missing.push("some sources did not end in time; their last moments are missing".to_owned());
        groups.shutdown().await;
    }
}

impl Group {
    /// Runs until the recording stops or every sender of the queue is gone, then writes what is left.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<GroupItem>) -> GroupOutcome {
        let mut outcome = GroupOutcome::default();
        let mut tracks: HashMap<MediaKind, GroupTrack> = HashMap::new();
        let mut writer = self.writer(&tracks);
        loop {
            let due = writer
                .poll_timeout()
                .map_or_else(|| Instant::now() + IDLE, Instant::from_std);
            tokio::select! {
                // Closed, the queue still gives what is in it.
                () = self.stopping.cancelled(), if !queue.is_closed() => queue.close(),
                item = queue.recv() => match item {
                    None => break,
                    Some(GroupItem::Track(track)) => {
                        writer.set_track(track.kind, track.codecs.clone());
                        writer.set_encryption(track.kind, track.encryption.as_deref());
                        tracks.insert(track.kind, track);
                    }
                    Some(GroupItem::Media { kind, item }) => self.take(&mut writer, &tracks, kind, item, &mut outcome).await,
                },
                () = tokio::time::sleep_until(due) => writer.handle_timeout(Instant::now().into_std()),
            }
            self.keep_segments(&mut writer, &mut outcome).await;
            if writer.wants_key_frame(Instant::now().into_std())
                && let Some(GroupTrack { track, sfu, .. }) = tracks.get(&MediaKind::Video)
                && sfu.send(SfuCommand::RequestKeyFrame { track: *track }).is_err()
            {
                tracing::debug!(recording.id = %self.begun.recording, "no key frame asked for: the SFU is gone or busy");
            }
        }
        self.end(&mut writer, &tracks, &mut outcome).await;
        outcome.tell_not_kept(self.numbering.part().participant);
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            outcome.missing.push(format!(
                "{dropped} packets were dropped because the recorder did not keep up"
            ));
        }
        if self.left_off.send(self.numbering).is_err() {
            tracing::trace!(recording.id = %self.begun.recording, "nobody goes on where a source left off");
        }
        outcome
    }

    fn writer(&self, tracks: &HashMap<MediaKind, GroupTrack>) -> TrackGroupWriter {
        let codecs = |kind| tracks.get(&kind).map(|track| track.codecs.clone());
        let mut writer = TrackGroupWriter::new(GroupParameters {
            audio: codecs(MediaKind::Audio),
            video: codecs(MediaKind::Video),
            recording_start: self.start.into_std(),
            first_segment: self.numbering.next(),
            writing_app: self.keeping.writing_app.clone(),
        });
        for (kind, track) in tracks {
            writer.set_encryption(*kind, track.encryption.as_deref());
        }
        writer
    }

    async fn take(
        &mut self,
        writer: &mut TrackGroupWriter,
        tracks: &HashMap<MediaKind, GroupTrack>,
        kind: MediaKind,
        item: TapItem,
        outcome: &mut GroupOutcome,
    ) {
        let now = Instant::now().into_std();
        let Err(CodecChanged { item, from, to, .. }) = writer.push(now, kind, item) else {
            return;
        };
        tracing::info!(recording.id = %self.begun.recording, from = from.name(), to = to.name(), "the codec changed: another file begins");
        self.end(writer, tracks, outcome).await;
        *writer = self.writer(tracks);
        if let Err(changed) = writer.push(now, kind, item) {
            tracing::warn!(recording.id = %self.begun.recording, error = %changed, "a packet fits no file and is left out");
        }
    }

    async fn end(
        &mut self,
        writer: &mut TrackGroupWriter,
        tracks: &HashMap<MediaKind, GroupTrack>,
        outcome: &mut GroupOutcome,
    ) {
        writer.finish(Instant::now().into_std());
        self.keep_segments(writer, outcome).await;
        let GroupStats {
            packets,
            lost,
            frames,
            frames_dropped,
            malformed,
            unknown,
            ..
        } = writer.stats();
        tracing::info!(
            recording.id = %self.begun.recording,
            participant.id = %self.numbering.part().participant,
            source = self.numbering.part().source.as_str(),
            packets, lost, frames, frames_dropped, malformed, unknown,
            "a source was recorded",
        );
        let encrypted = tracks.values().any(|track| track.encryption.is_some());
        if encrypted && malformed > 0 {
            let Part {
                participant, source, ..
            } = self.numbering.part();
            outcome.missing.push(format!(
                "{malformed} frames of {participant}'s {} are missing: they are encrypted end to end, headers that a file needs included",
                source.as_str()
            ));
        }
    }

    async fn keep_segments(&mut self, writer: &mut TrackGroupWriter, outcome: &mut GroupOutcome) {
        while let Some(segment) = writer.poll_segment() {
            self.keep(segment, outcome).await;
        }
    }

    /// Makes a segment safe. What cannot be kept is named in the recording; the call goes on.
    async fn keep(&mut self, segment: Segment, outcome: &mut GroupOutcome) {
        let Part {
            participant, source, ..
        } = self.numbering.part();
        let Some(n) = self.numbering.place(&segment.meta) else {
            let sentence = too_many_files(participant);
            if !outcome.missing.contains(&sentence) {
                outcome.missing.push(sentence);
            }
            return;
        };
        let id = SegmentId {
            recording: self.begun.recording,
            epoch: self.begun.epoch,
            participant,
            source,
            n,
        };
        let (start_ms, end_ms) = (segment.meta.start_ms, segment.meta.end_ms);
        let info = SegmentInfo {
            start_ms,
            end_ms,
            // Once a source is enough to know the recording by.
            metadata: match self.told_origin {
                true => serde_json::Value::Null,
                false => origin::metadata(&self.begun),
            },
        };
        match self.keeping.spool.append(id, info, segment.bytes).await {
            Ok(stored) => {
                self.told_origin = true;
                if let Err(error) = self.keeping.journal.append(JournalEntry::SegmentAdded(stored)) {
                    tracing::warn!(recording.id = %self.begun.recording, %error, "a segment is safe but not listed");
                }
                self.keeping.shipping.ship(id);
            }
            Err(error) => {
                tracing::error!(recording.id = %self.begun.recording, %error, start_ms, end_ms, "a segment could not be kept");
                outcome.not_kept(start_ms, end_ms, &error);
            }
        }
    }
}
