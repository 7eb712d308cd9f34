//! A node's recordings with a database, a spool and an object store, and people who talk.
//!
//! The clock is paused and stands: blocking work and the database's own threads are outside of it, so it moves only when a
//! test moves it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use caside_actors::ports::{RecorderCommand, RecorderEvent, RecorderFactory, RecorderHandle, RecorderJob};
use caside_actors::recorder::{Recordings, RecordingsArgs};
use caside_actors::sfu::{PublishedTrack, SfuCommand, SfuHandle};
use caside_media::control::{TapItem, TapPacket, TapSink};
use caside_media::parameters::{
    Codec, CodecKind, ExtensionIds, Feedback, MediaKind, PayloadType, ProducerParameters, Ssrc,
};
use caside_protocol::rest::{Recording, RecordingState};
use caside_protocol::view::{Source, Track, TrackKind};
use caside_protocol::{CallId, NodeId, ParticipantId, RecordingId, RoomId, TrackId, UserId};
use caside_store::journal::{JournalOptions, RecordingStarted};
use caside_store::objects::ObjectStore;
use caside_store::{Journal, JournalEntry, Spool, Store, StoreOptions};
use tokio::time::Instant;

use super::Shelf;

/// One life of a node's recordings.
pub(crate) struct Studio {
    pub(crate) recordings: Recordings,
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) spool: Spool,
    pub(crate) node: NodeId,
    /// What rooms were told.
    pub(crate) events: Arc<Mutex<Vec<RecorderEvent>>>,
    _still: std::sync::mpsc::Sender<()>,
}

/// Keeps the paused clock from moving by itself, as blocking work does, until the sender is dropped.
fn hold_the_clock() -> std::sync::mpsc::Sender<()> {
    let (sender, held) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || held.recv());
    sender
}

impl Studio {
    /// Opens what is in `dir`, as a start of the node does.
    pub(crate) async fn open(dir: &Path, shelf: &Arc<Shelf>) -> Self {
        Self::with(
            dir,
            ObjectStore::Custom(shelf.clone()),
            1 << 30,
            JournalOptions::default(),
        )
        .await
    }

    pub(crate) async fn with(dir: &Path, objects: ObjectStore, spool_bytes: u64, journal: JournalOptions) -> Self {
        let still = hold_the_clock();
        let url = format!("sqlite:{}", dir.join("caside.db").display());
        let store = Store::connect(&url, StoreOptions::default()).await.unwrap();
        caside_migrations::up(store.connection()).await.unwrap();
        let journal = Journal::start(store.clone(), journal);
        let (spool, _) = Spool::open(dir.join("spool"), spool_bytes).await.unwrap();
        let node = NodeId::new("n1").unwrap();
        let args = RecordingsArgs {
            node: node.clone(),
            spool: spool.clone(),
            objects,
            journal: journal.clone(),
            store: store.clone(),
            writing_app: "test".to_owned(),
            observed: caside_actors::observed::Observed::default(),
        };
        Self {
            recordings: Recordings::start(None, args).await.unwrap(),
            store,
            journal,
            spool,
            node,
            events: Arc::default(),
            _still: still,
        }
    }

    pub(crate) fn job(&self) -> RecorderJob {
        RecorderJob {
            recording: RecordingId::new(),
            call: CallId::new(),
            room: RoomId::new("standup").unwrap(),
            owner: Some(UserId::new("ada").unwrap()),
            epoch: 1,
            started_at: time::OffsetDateTime::now_utc(),
            continued: false,
        }
    }

    /// Starts a recording whose room has written its beginning down.
    pub(crate) async fn record(&self) -> (RecordingId, Box<dyn RecorderHandle>) {
        let job = self.job();
        let recording = job.recording;
        let begun = RecordingStarted {
            recording,
            room: job.room.clone(),
            call: Some(job.call),
            owner: job.owner.clone(),
            node: self.node.clone(),
            epoch: job.epoch,
            started_at: job.started_at,
        };
        self.journal.append(JournalEntry::RecordingStarted(begun)).unwrap();
        (recording, self.start(job).await)
    }

    pub(crate) async fn start(&self, job: RecorderJob) -> Box<dyn RecorderHandle> {
        let told = self.events.clone();
        let events = Box::new(move |event| told.lock().unwrap().push(event));
        RecorderFactory::start(&self.recordings, job, events).await.unwrap()
    }

    pub(crate) async fn recording(&self, id: RecordingId) -> Option<Recording> {
        self.store.recording(id).await.unwrap().map(|stored| stored.recording)
    }

    /// Waits for a condition, while the clock moves by `step` at a time, for an hour of real work at most.
    pub(crate) async fn until_in_steps_of(&self, step: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        for _ in 0..20_000 {
            if condition().await {
                return;
            }
            breathe().await;
            tokio::time::advance(step).await;
        }
        panic!("never: {what}");
    }

    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFnMut() -> bool) {
        self.until_in_steps_of(Duration::from_millis(100), what, condition)
            .await;
    }

    pub(crate) async fn until_state(&self, id: RecordingId, state: RecordingState) -> Recording {
        self.until(&format!("{state:?}"), async || {
            self.recording(id).await.is_some_and(|r| r.state == state)
        })
        .await;
        self.recording(id).await.unwrap()
    }

    /// Lets other threads work for a moment, and so much time pass.
    pub(crate) async fn breathe_and_pass(&self, time: Duration) {
        breathe().await;
        tokio::time::advance(time).await;
    }

    /// Lets time pass, in whole seconds.
    pub(crate) async fn pass(&self, time: Duration) {
        for _ in 0..time.as_secs() {
            breathe().await;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}

/// Gives the threads outside of the clock some real time.
pub(crate) async fn breathe() {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(2)))
        .await
        .unwrap();
}

/// The bytes of somebody's `n`th packet: 20 ms of Opus (RFC 6716 §3.1: configuration 31, one frame), unlike any other.
pub(crate) fn frame(participant: ParticipantId, n: u32) -> Bytes {
    let mut bytes = vec![0xf8];
    bytes.extend_from_slice(participant.0.as_bytes());
    bytes.extend_from_slice(&n.to_be_bytes());
    bytes.extend_from_slice(b"end");
    bytes.into()
}

/// The numbers of somebody's packets that are in a file or segment.
pub(crate) trait SegmentFrames {
    fn frames_of(&self, participant: ParticipantId) -> Vec<u32>;
}

impl SegmentFrames for [u8] {
    fn frames_of(&self, participant: ParticipantId) -> Vec<u32> {
        let length = frame(participant, 0).len();
        let mark = frame(participant, 0).slice(..17);
        let mut found: Vec<u32> = self
            .windows(length)
            .filter(|window| window.starts_with(&mark) && window.ends_with(b"end"))
            .map(|window| u32::from_be_bytes(window[17..21].try_into().unwrap()))
            .collect();
        found.dedup();
        found
    }
}

/// Somebody's microphone, as the recorder's tap hears it.
pub(crate) struct Voice {
    pub(crate) participant: ParticipantId,
    pub(crate) track: TrackId,
    ssrc: Ssrc,
    sinks: Arc<Mutex<Vec<Box<dyn TapSink>>>>,
    sfu: SfuHandle,
    next: u32,
}

impl Voice {
    pub(crate) fn new() -> Self {
        let sinks: Arc<Mutex<Vec<Box<dyn TapSink>>>> = Arc::default();
        let taken = sinks.clone();
        let sfu = SfuHandle::new(
            move |command| {
                match command {
                    SfuCommand::Tap { sink, .. } => taken.lock().unwrap().push(sink),
                    SfuCommand::Untap { .. } => taken.lock().unwrap().clear(),
                    _ => {}
                }
                Ok(())
            },
            || {},
        );
        Self {
            participant: ParticipantId::new(),
            track: TrackId::new(),
            ssrc: Ssrc(7),
            sinks,
            sfu,
            next: 0,
        }
    }

    /// Publishes the microphone, once more under another track when it was unpublished.
    pub(crate) fn publish(&mut self, recorder: &dyn RecorderHandle) {
        self.track = TrackId::new();
        self.ssrc.0 += 1;
        let opus = Codec {
            kind: CodecKind::Opus,
            payload_type: PayloadType(111),
            clock_rate: 48_000,
            channels: 2,
            fmtp: String::new(),
            feedback: Feedback::default(),
            rtx: None,
            red: None,
        };
        let track = PublishedTrack {
            track: Track {
                track: self.track,
                participant_id: self.participant,
                kind: TrackKind::Audio,
                source: Source::Microphone,
                label: None,
                encryption: None,
                codec: "opus".to_owned(),
                muted: false,
                held: false,
                layers: Vec::new(),
            },
            mid: "0".to_owned(),
            parameters: ProducerParameters {
                kind: MediaKind::Audio,
                mid: "0".to_owned(),
                codecs: vec![opus],
                extensions: ExtensionIds::default(),
                encodings: Vec::new(),
            },
        };
        recorder.send(RecorderCommand::TrackPublished {
            participant: self.participant,
            track: Box::new(track),
            sfu: self.sfu.clone(),
        });
    }

    pub(crate) fn unpublish(&self, recorder: &dyn RecorderHandle) {
        recorder.send(RecorderCommand::TrackUnpublished { track: self.track });
    }

    /// Whether a recorder listens.
    pub(crate) fn is_tapped(&self) -> bool {
        !self.sinks.lock().unwrap().is_empty()
    }

    /// How many packets were sent so far.
    pub(crate) fn said(&self) -> u32 {
        self.next
    }

    /// Talks for this long, in packets of 20 ms.
    pub(crate) async fn talk(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / 20 {
            let packet = TapPacket {
                received: Instant::now().into_std(),
                ssrc: self.ssrc,
                payload_type: PayloadType(111),
                sequence: self.next as u16,
                timestamp: self.next.wrapping_mul(960),
                marker: false,
                payload: frame(self.participant, self.next),
            };
            self.next += 1;
            for sink in self.sinks.lock().unwrap().iter_mut() {
                assert!(
                    sink.push(TapItem::Packet(packet.clone())),
                    "the recorder does not keep up"
                );
            }
            tokio::time::advance(Duration::from_millis(20)).await;
            if self.next.is_multiple_of(25) {
                breathe().await;
            }
        }
    }
}
