//! What stands around the tree in tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caside_actors::ports::{
    Authenticator, CallJournal, CatalogEntry, CatalogError, CatalogRoom, InviteShelf, Later, RecorderCommand,
    RecorderEvent, RecorderEvents, RecorderFactory, RecorderHandle, RecorderJob, RecorderStartError, RoomCatalog,
    SfuEvents, SfuFactory, SfuStartError,
};
use caside_actors::sfu::{PublishedTrack, SfuCommand, SfuEvent, SfuHandle};
use caside_media::parameters::{ExtensionIds, MediaKind, ProducerParameters};
use caside_protocol::claims::Claims;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::view::{Mode, RecordPolicy, Source, Track, TrackKind};
use caside_protocol::{InviteId, ParticipantId, Role, RoomId, Timestamp, TrackId, UserId};
use caside_store::invites::StoredInvite;
use caside_store::journal::{AppendError, FlushError};
use caside_store::rooms::{FormerRoom, StoredRoom};
use caside_store::{JournalEntry, StoreError};
use ractor::ActorCell;

/// A token's content.
pub(crate) fn claims(user: &str) -> Claims {
    Claims {
        iss: "caside".to_owned(),
        sub: UserId::new(user).unwrap(),
        name: None,
        iat: 0,
        nbf: None,
        exp: i64::MAX,
        jti: None,
        scope: "user".to_owned(),
        room: None,
        role: None,
        grants: None,
        room_since_us: None,
    }
}

/// Reads tokens of the form `user`, `user:role` or `user@room`. `bad` does not hold, `slow` is never read, `away` cannot be.
pub(crate) struct Tokens;

impl Authenticator for Tokens {
    fn authenticate(&self, token: String) -> Later<'_, Result<Claims, Refusal>> {
        Box::pin(async move {
            match token.as_str() {
                "bad" => Err(Refusal::new(ErrorCode::Unauthorized, "no")),
                "away" => Err(Refusal::new(ErrorCode::DependencyUnavailable, "away")),
                "slow" => std::future::pending().await,
                "panic" => panic!("as the test wishes"),
                _ => {
                    let (who, room) = token.split_once('@').unwrap_or((&token, ""));
                    let (user, role) = who.split_once(':').unwrap_or((who, ""));
                    Ok(Claims {
                        role: Role::from_name(role),
                        room: RoomId::new(room).ok(),
                        ..claims(user)
                    })
                }
            }
        })
    }
}

#[derive(Default)]
pub(crate) struct Catalog {
    rooms: Mutex<HashMap<RoomId, CatalogRoom>>,
    former: Mutex<HashMap<RoomId, FormerRoom>>,
    pub(crate) away: AtomicBool,
    pub(crate) frozen: AtomicBool,
}

impl Catalog {
    pub(crate) fn add(&self, room: &str, change: impl FnOnce(&mut CatalogRoom)) {
        let id = RoomId::new(room).unwrap();
        let stored = StoredRoom {
            id: id.clone(),
            name: None,
            mode: Mode::Sfu,
            max_participants: 0,
            last_n: 0,
            audio_last_n: 0,
            record: RecordPolicy::Manual,
            locked: false,
            metadata: serde_json::Value::Null,
            owner: Some(UserId::new("owner").unwrap()),
            created_at: Timestamp::UNIX_EPOCH,
            tokens_since: None,
        };
        let mut room = CatalogRoom {
            room: stored,
            waiting_call: None,
        };
        change(&mut room);
        self.rooms.lock().unwrap().insert(id, room);
    }

    /// There was a room of this owner, until that second since 1970.
    pub(crate) fn forget(&self, room: &str, owner: &str, until: i64) {
        let former = FormerRoom {
            owner: Some(UserId::new(owner).unwrap()),
            deleted_at: Timestamp::from_unix_timestamp(until).unwrap(),
            tokens_since: None,
        };
        self.former.lock().unwrap().insert(RoomId::new(room).unwrap(), former);
    }
}

impl RoomCatalog for Catalog {
    fn load<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<CatalogEntry, CatalogError>> {
        Box::pin(async move {
            if self.frozen.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            if self.away.load(Ordering::Relaxed) {
                return Err(StoreError::Timeout {
                    after: Duration::from_secs(1),
                }
                .into());
            }
            Ok(match self.rooms.lock().unwrap().get(room).cloned() {
                Some(room) => CatalogEntry::Room(Box::new(room)),
                None => CatalogEntry::Free(self.former.lock().unwrap().get(room).cloned()),
            })
        })
    }
}

#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) entries: Mutex<Vec<JournalEntry>>,
    /// The room fails when this is written in its handler.
    pub(crate) panics_on_lock: AtomicBool,
    /// The room's thread stands still while this is written, until it is cleared.
    pub(crate) holds_on_lock: AtomicBool,
    pub(crate) full: AtomicBool,
    pub(crate) flushed: AtomicBool,
    /// Nothing can be read back.
    pub(crate) unreadable: AtomicBool,
}

impl Journal {
    pub(crate) fn count(&self, which: impl Fn(&JournalEntry) -> bool) -> usize {
        self.entries.lock().unwrap().iter().filter(|e| which(e)).count()
    }
}

impl CallJournal for Journal {
    fn append(&self, entry: JournalEntry) -> Result<(), AppendError> {
        let fails = self.panics_on_lock.load(Ordering::Relaxed);
        assert!(
            !(fails && matches!(entry, JournalEntry::RoomLocked { .. })),
            "as the test wishes"
        );
        while self.holds_on_lock.load(Ordering::Relaxed) && matches!(entry, JournalEntry::RoomLocked { .. }) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.full.load(Ordering::Relaxed) {
            return Err(AppendError::Full { max_entries: 0 });
        }
        self.entries.lock().unwrap().push(entry);
        Ok(())
    }

    fn flush(&self, _: Duration) -> Later<'_, Result<(), FlushError>> {
        self.flushed.store(true, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }
}

/// Reads back what was written.
impl InviteShelf for Journal {
    fn waiting(
        &self,
        after: Option<InviteId>,
        limit: u64,
        now: Timestamp,
    ) -> Later<'_, Result<Vec<StoredInvite>, StoreError>> {
        Box::pin(async move {
            if self.unreadable.load(Ordering::Relaxed) {
                return Err(StoreError::Timeout {
                    after: Duration::from_secs(1),
                });
            }
            let entries = self.entries.lock().unwrap();
            let is_answered = |id| {
                let answer =
                    |e: &JournalEntry| matches!(e, JournalEntry::InviteAnswered { invite, .. } if *invite == id);
                entries.iter().any(answer)
            };
            let mut waiting: Vec<StoredInvite> = entries
                .iter()
                .filter_map(|entry| match entry {
                    JournalEntry::InviteMade { invite, .. } => Some(invite.clone()),
                    _ => None,
                })
                .filter(|invite| !is_answered(invite.id) && invite.expires_at > now && Some(invite.id) > after)
                .collect();
            waiting.sort_by_key(|invite| invite.id);
            waiting.truncate(usize::try_from(limit).unwrap());
            Ok(waiting)
        })
    }

    fn purge(&self, _: Timestamp) -> Later<'_, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }
}

/// SFUs that publish what an offer's description names: `microphone camera` publishes two tracks, `silence` is never
/// answered, `nonsense` is refused, `full` is not taken.
#[derive(Default)]
pub(crate) struct Sfus {
    pub(crate) started: Mutex<Vec<Arc<Sfu>>>,
    pub(crate) fails: AtomicBool,
    open: Arc<AtomicUsize>,
}

pub(crate) struct Sfu {
    pub(crate) orders: Mutex<Vec<String>>,
    events: Mutex<SfuEvents>,
}

impl Sfus {
    /// How many are not closed.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn last(&self) -> Arc<Sfu> {
        self.started.lock().unwrap().last().expect("an SFU started").clone()
    }
}

impl Sfu {
    pub(crate) fn report(&self, event: SfuEvent) {
        (self.events.lock().unwrap())(event);
    }

    pub(crate) fn orders(&self) -> Vec<String> {
        std::mem::take(&mut self.orders.lock().unwrap())
    }

    fn take(&self, command: SfuCommand) -> Result<(), caside_actors::sfu::SfuOverloaded> {
        let order = match &command {
            SfuCommand::Attach { .. } => "attach".to_owned(),
            SfuCommand::Detach { .. } => "detach".to_owned(),
            SfuCommand::PublishOffer { .. } => "publish".to_owned(),
            SfuCommand::SetPaused { paused, .. } => format!("paused {paused}"),
            SfuCommand::Stats { .. } => "stats".to_owned(),
            other => format!("{other:?}"),
        };
        self.orders.lock().unwrap().push(order);
        match command {
            SfuCommand::PublishOffer {
                participant,
                request,
                sdp,
                ..
            } => match sdp.as_str() {
                "silence" => {}
                "full" => return Err(caside_actors::sfu::SfuOverloaded),
                sdp => self.report(published(participant, request, sdp)),
            },
            SfuCommand::SetReceiving { .. } => return Err(caside_actors::sfu::SfuOverloaded),
            SfuCommand::Stats { request, .. } => {
                self.report(SfuEvent::Stats {
                    request,
                    stats: serde_json::json!({ "connections": [1] }),
                });
            }
            _ => {}
        }
        Ok(())
    }
}

fn published(participant: ParticipantId, request: u64, sdp: &str) -> SfuEvent {
    let tracks: Vec<PublishedTrack> = sdp
        .split(' ')
        .enumerate()
        .filter_map(|(mid, source)| {
            let (kind, media, source) = match source {
                "microphone" => (TrackKind::Audio, MediaKind::Audio, Source::Microphone),
                "camera" => (TrackKind::Video, MediaKind::Video, Source::Camera),
                _ => return None,
            };
            let mid = mid.to_string();
            let track = Track {
                track: TrackId::new(),
                participant_id: participant,
                kind,
                source,
                label: None,
                encryption: None,
                codec: "opus".to_owned(),
                muted: false,
                held: false,
                layers: Vec::new(),
            };
            let parameters = ProducerParameters {
                kind: media,
                mid: mid.clone(),
                codecs: Vec::new(),
                extensions: ExtensionIds::default(),
                encodings: Vec::new(),
            };
            Some(PublishedTrack { track, mid, parameters })
        })
        .collect();
    let by_mid: BTreeMap<String, TrackId> = tracks.iter().map(|t| (t.mid.clone(), t.track.track)).collect();
    let result = match sdp {
        "nonsense" => Err(Refusal::new(ErrorCode::BadSdp, "no")),
        _ => Ok(("answer".to_owned(), by_mid)),
    };
    SfuEvent::PublishAnswered {
        participant,
        request,
        result,
        published: tracks,
        unpublished: Vec::new(),
    }
}

impl SfuFactory for Sfus {
    fn start(&self, _: ActorCell, events: SfuEvents) -> Later<'_, Result<SfuHandle, SfuStartError>> {
        Box::pin(async move {
            if self.fails.load(Ordering::Relaxed) {
                return Err(SfuStartError {
                    reason: "no worker".to_owned(),
                });
            }
            let sfu = Arc::new(Sfu {
                orders: Mutex::default(),
                events: Mutex::new(events),
            });
            self.started.lock().unwrap().push(sfu.clone());
            self.open.fetch_add(1, Ordering::Relaxed);
            let open = self.open.clone();
            Ok(SfuHandle::new(
                move |command| sfu.take(command),
                move || {
                    open.fetch_sub(1, Ordering::Relaxed);
                },
            ))
        })
    }
}

#[derive(Default)]
pub(crate) struct Recorders {
    pub(crate) started: Mutex<Vec<Arc<Recorder>>>,
    pub(crate) fails: AtomicBool,
}

pub(crate) struct Recorder {
    pub(crate) job: RecorderJob,
    pub(crate) told: Mutex<Vec<String>>,
    events: Mutex<RecorderEvents>,
}

#[derive(Debug)]
struct ToRecorder(Arc<Recorder>);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    pub(crate) fn report(&self, event: RecorderEvent) {
        (self.events.lock().unwrap())(event);
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl Recorders {
    pub(crate) fn last(&self) -> Arc<Recorder> {
        self.started.lock().unwrap().last().expect("a recorder started").clone()
    }
}

impl RecorderHandle for ToRecorder {
    fn send(&self, command: RecorderCommand) {
        self.0.told.lock().unwrap().push(match command {
            RecorderCommand::TrackPublished { .. } => "published".to_owned(),
            RecorderCommand::TrackUnpublished { .. } => "unpublished".to_owned(),
            RecorderCommand::TrackPaused { paused, .. } => format!("paused {paused}"),
            RecorderCommand::Stop => "stop".to_owned(),
            RecorderCommand::HandOver => "hand over".to_owned(),
        });
    }
}

impl RecorderFactory for Recorders {
    fn start(
        &self,
        job: RecorderJob,
        events: RecorderEvents,
    ) -> Later<'_, Result<Box<dyn RecorderHandle>, RecorderStartError>> {
        Box::pin(async move {
            if self.fails.load(Ordering::Relaxed) {
                return Err(RecorderStartError {
                    reason: "disk full".to_owned(),
                });
            }
            let recorder = Arc::new(Recorder {
                job,
                told: Mutex::default(),
                events: Mutex::new(events),
            });
            self.started.lock().unwrap().push(recorder.clone());
            Ok(Box::new(ToRecorder(recorder)) as Box<dyn RecorderHandle>)
        })
    }
}
