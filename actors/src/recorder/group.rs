//! One source group's task: packets in, segments safe in the spool.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caside_media::control::TapItem;
use caside_media::parameters::MediaKind;
use caside_media::record::segment::{CodecChanged, GroupParameters, GroupStats, Segment, TrackGroupWriter};
use caside_protocol::RecordingId;
use caside_store::JournalEntry;
use caside_store::recordings::SegmentId;
use caside_store::spool::SegmentInfo;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actor::MAX_SENTENCES;
use super::part::Part;
use super::recordings::Keeping;
use super::sink::{GroupItem, GroupTrack, QUEUE};
use crate::sfu::SfuCommand;

/// The longest sleep without a deadline of the writer's.
const IDLE: Duration = Duration::from_secs(5);
/// Files that one source may become.
const MAX_PARTS: u32 = 64;

/// What came of a group.
#[derive(Debug, Default)]
pub(super) struct GroupOutcome {
    /// What is missing from its files, for people; empty when nothing is.
    pub(super) missing: Vec<String>,
}

/// What a group's task needs.
pub(super) struct Group {
    pub(super) recording: RecordingId,
    pub(super) epoch: u64,
    pub(super) part: Part,
    /// Where the next part of this participant and source begins, shared with the others of that source.
    pub(super) parts: Arc<AtomicU64>,
    pub(super) start: Instant,
    pub(super) keeping: Arc<Keeping>,
    pub(super) dropped: Arc<AtomicU64>,
    /// Cancelled when the recording stops.
    pub(super) stopping: CancellationToken,
}

/// Makes a group's queue.
pub(super) fn queue() -> (mpsc::Sender<GroupItem>, mpsc::Receiver<GroupItem>) {
    mpsc::channel(QUEUE)
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
                tracing::debug!(recording.id = %self.recording, "no key frame asked for: the SFU is gone or busy");
            }
        }
        self.end(&mut writer, &mut outcome).await;
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            outcome.missing.push(format!(
                "{dropped} packets were dropped because the recorder did not keep up"
            ));
        }
        outcome
    }

    fn writer(&self, tracks: &HashMap<MediaKind, GroupTrack>) -> TrackGroupWriter {
        let codecs = |kind| tracks.get(&kind).map(|track| track.codecs.clone());
        TrackGroupWriter::new(GroupParameters {
            audio: codecs(MediaKind::Audio),
            video: codecs(MediaKind::Video),
            recording_start: self.start.into_std(),
            first_segment: self.part.first_segment(),
            writing_app: self.keeping.writing_app.clone(),
        })
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
        if self.part.index + 1 >= MAX_PARTS {
            let sentence = format!(
                "{} changed codecs too often; the rest is missing",
                self.part.participant
            );
            if !outcome.missing.contains(&sentence) {
                outcome.missing.push(sentence);
            }
            return;
        }
        tracing::info!(recording.id = %self.recording, from = from.name(), to = to.name(), "the codec changed: another file begins");
        self.end(writer, outcome).await;
        self.part.index = u32::try_from(self.parts.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX);
        *writer = self.writer(tracks);
        if let Err(changed) = writer.push(now, kind, item) {
            tracing::warn!(recording.id = %self.recording, error = %changed, "a packet fits no file and is left out");
        }
    }

    async fn end(&self, writer: &mut TrackGroupWriter, outcome: &mut GroupOutcome) {
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
            recording.id = %self.recording,
            participant.id = %self.part.participant,
            source = self.part.source.as_str(),
            packets, lost, frames, frames_dropped, malformed, unknown,
            "a source was recorded",
        );
    }

    async fn keep_segments(&self, writer: &mut TrackGroupWriter, outcome: &mut GroupOutcome) {
        while let Some(segment) = writer.poll_segment() {
            self.keep(segment, outcome).await;
        }
    }

    /// Makes a segment safe. What cannot be kept is named in the recording; the call goes on.
    async fn keep(&self, segment: Segment, outcome: &mut GroupOutcome) {
        let id = SegmentId {
            recording: self.recording,
            epoch: self.epoch,
            participant: self.part.participant,
            source: self.part.source,
            n: segment.meta.number,
        };
        let (start_ms, end_ms) = (segment.meta.start_ms, segment.meta.end_ms);
        let info = SegmentInfo {
            start_ms,
            end_ms,
            metadata: serde_json::Value::Null,
        };
        match self.keeping.spool.append(id, info, segment.bytes).await {
            Ok(stored) => {
                if let Err(error) = self.keeping.journal.append(JournalEntry::SegmentAdded(stored.clone())) {
                    tracing::warn!(recording.id = %self.recording, %error, "a segment is safe but not listed");
                }
                self.keeping.shipping.ship(stored);
            }
            Err(error) => {
                tracing::error!(recording.id = %self.recording, %error, start_ms, end_ms, "a segment could not be kept");
                // One sentence a cause is enough for the recording.
                let sentence = format!("from {start_ms} ms on some media could not be kept: {error}");
                if outcome.missing.len() < MAX_SENTENCES {
                    outcome.missing.push(sentence);
                }
            }
        }
    }
}
