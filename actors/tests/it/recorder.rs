//! The recorder with a database, a spool and an object store: stopped in order, failing, and what is left over.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caside_actors::ports::{RecorderCommand, RecorderEvent};
use caside_protocol::RecordingId;
use caside_protocol::rest::{Recording, RecordingState};
use caside_store::journal::JournalOptions;
use caside_store::objects::ObjectStore;
use caside_store::{Store, StoreOptions};
use sea_orm::ConnectionTrait;
use tokio::time::Instant;

use crate::support::{SegmentFrames, Shelf, Studio, Voice, away, refused};

mod crashes;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_stopped_recording_is_one_whole_file_and_nothing_else() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let studio = Studio::open(dir.path(), &shelf).await;
    let (id, ada) = recorded(&studio, 5 * SECOND).await;
    let over = studio.until_state(id, RecordingState::Ready).await;
    assert_eq!(over.error, None);
    // Nobody but the recorder wrote it down: its room may have failed.
    assert!(over.ended_at.is_some());
    studio
        .until("the room is told", async || !studio.events.lock().unwrap().is_empty())
        .await;
    match &studio.events.lock().unwrap()[..] {
        [RecorderEvent::Finished(told)] => {
            assert_eq!((told.recording_id, told.state), (id, RecordingState::Ready));
            assert_eq!((&told.files[0].name, told.files.len()), (&over.files[0].name, 1));
            assert_eq!(told.size_bytes, over.files[0].size_bytes);
        }
        other => panic!("told {other:?}"),
    }
    studio
        .until("the spool is empty", async || studio.spool.recordings().is_empty())
        .await;
    assert_whole(&shelf, &over, &ada);
    assert!(studio.store.segments(id).await.unwrap().is_empty());
}

/// A recording of one voice that talked for so long and was stopped.
async fn recorded(studio: &Studio, time: Duration) -> (RecordingId, Voice) {
    let (id, recorder) = studio.record().await;
    let mut ada = Voice::new();
    ada.publish(&*recorder);
    studio.until("tapped", async || ada.is_tapped()).await;
    ada.talk(time).await;
    recorder.send(RecorderCommand::Stop);
    (id, ada)
}

/// A whole file, and no object beside it.
fn assert_whole(shelf: &Shelf, over: &Recording, ada: &Voice) {
    assert_eq!((over.state, over.files.len()), (RecordingState::Ready, 1));
    let key = format!("recordings/{}/{}", over.id, over.files[0].name);
    assert_eq!(shelf.keys(), std::slice::from_ref(&key));
    let said: Vec<u32> = (0..ada.said()).collect();
    assert_eq!(shelf.bytes(&key).unwrap().frames_of(ada.participant), said);
}

/// Runs one life of a node to its end, which comes as that of a process does: nothing is finished or said.
fn life<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(test)
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_is_named_and_asked_less_and_less_until_it_does_not() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let studio = Studio::open(dir.path(), &shelf).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    shelf.fails(move |what, _| {
        let refuses = what == "put_stream";
        if refuses {
            noted.lock().unwrap().push(Instant::now());
        }
        refuses.then(refused)
    });
    let (id, ada) = recorded(&studio, 3 * SECOND).await;
    let named = async || {
        let shown = studio.recording(id).await.unwrap();
        shown.state == RecordingState::Finalizing && shown.error.is_some_and(|e| e.contains("AccessDenied"))
    };
    studio.until("the recording names the refusal", named).await;
    // An hour, of which up to a half is left to chance.
    let rare = |asked: &Vec<Instant>| asked.windows(2).any(|two| two[1] - two[0] >= 1_800 * SECOND);
    studio
        .until_in_steps_of(60 * SECOND, "two tries far apart", async || {
            rare(&asked.lock().unwrap())
        })
        .await;
    let tries = asked.lock().unwrap().len();
    assert!((8..=30).contains(&tries), "{tries} tries until they were rare");
    assert!(named().await);
    assert!(!studio.spool.recordings().is_empty(), "what was recorded is kept");
    shelf.works();
    studio
        .until_in_steps_of(60 * SECOND, "ready", async || {
            studio.recording(id).await.unwrap().state == RecordingState::Ready
        })
        .await;
    studio
        .until("the spool is empty", async || studio.spool.recordings().is_empty())
        .await;
    let over = studio.recording(id).await.unwrap();
    assert_eq!(over.error, None);
    assert_whole(&shelf, &over, &ada);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_minutes_is_waited_for() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let studio = Studio::open(dir.path(), &shelf).await;
    shelf.fails(|_, _| Some(away()));
    let (id, ada) = recorded(&studio, 3 * SECOND).await;
    studio.pass(600 * SECOND).await;
    let waits = studio.recording(id).await.unwrap();
    assert_eq!(waits.state, RecordingState::Finalizing);
    assert!(waits.error.unwrap().contains("does not answer"));
    shelf.works();
    studio.until_state(id, RecordingState::Ready).await;
    studio
        .until("the spool is empty", async || studio.spool.recordings().is_empty())
        .await;
    let over = studio.recording(id).await.unwrap();
    assert_eq!(over.error, None);
    assert_whole(&shelf, &over, &ada);
}

#[tokio::test(start_paused = true)]
async fn one_segment_that_is_refused_holds_up_no_other() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let studio = Studio::open(dir.path(), &shelf).await;
    shelf.fails(|what, key| (what == "put" && key.ends_with("/0.mkv")).then(refused));
    let (_, recorder) = studio.record().await;
    let mut ada = Voice::new();
    ada.publish(&*recorder);
    studio.until("tapped", async || ada.is_tapped()).await;
    ada.talk(10 * SECOND).await;
    let shipped = |n: u32| shelf.keys().iter().any(|key| key.ends_with(&format!("/{n}.mkv")));
    studio.until("those behind it", async || (1..=4).all(shipped)).await;
    assert!(!shipped(0));
    shelf.works();
    studio.until("itself", async || shipped(0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_recording_that_the_database_never_heard_of_is_listed_when_it_ends() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let studio = Studio::open(dir.path(), &shelf).await;
    let job = studio.job();
    let recorder = studio.start(job.clone()).await;
    let mut ada = Voice::new();
    ada.publish(&*recorder);
    studio.until("tapped", async || ada.is_tapped()).await;
    ada.talk(3 * SECOND).await;
    assert_eq!(studio.recording(job.recording).await, None);
    recorder.send(RecorderCommand::Stop);
    let over = studio.until_state(job.recording, RecordingState::Ready).await;
    assert_eq!((over.room_id, over.call_id), (job.room, Some(job.call)));
    assert!(over.ended_at.is_some());
    let stored = studio.store.recording(job.recording).await.unwrap().unwrap();
    assert_eq!(stored.owner, job.owner);
}

#[test]
fn a_recording_that_the_database_never_heard_of_survives_a_crash() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let (job, ada, kept) = life(async {
        let studio = Studio::open(dir.path(), &shelf).await;
        let (job, mut ada) = (studio.job(), Voice::new());
        let recorder = studio.start(job.clone()).await;
        ada.publish(&*recorder);
        studio.until("tapped", async || ada.is_tapped()).await;
        ada.talk(5 * SECOND).await;
        studio
            .until("kept", async || studio.spool.outline(job.recording).len() > 2)
            .await;
        let kept = studio.spool.outline(job.recording);
        (job, ada, kept)
    });
    let frames = crashes::frames_in_spool(&dir.path().join("spool"), job.recording, ada.participant);
    life(async {
        let studio = Studio::open(dir.path(), &shelf).await;
        assert_eq!(studio.recordings.recover().await.unwrap(), 1);
        let over = studio.until_state(job.recording, RecordingState::Ready).await;
        assert_eq!((&over.room_id, over.call_id), (&job.room, Some(job.call)));
        // As long as what was safe, of which nothing is missing.
        let safe = Duration::from_millis(kept.last().unwrap().end_ms);
        assert!(over.ended_at.unwrap() - over.started_at >= safe);
        let key = format!("recordings/{}/{}", over.id, over.files[0].name);
        let there = shelf.bytes(&key).unwrap().frames_of(ada.participant);
        assert!(frames.iter().all(|n| there.contains(n)), "{frames:?}: {there:?}");
        studio
            .until("the spool is empty", async || studio.spool.recordings().is_empty())
            .await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_journal_at_its_bound_delays_the_rows_and_loses_nothing() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let bound = JournalOptions {
        max_entries: 2,
        ..JournalOptions::default()
    };
    let objects = ObjectStore::Custom(shelf.clone());
    let studio = Studio::with(dir.path(), objects, 1 << 30, bound).await;
    // Locked as by another writer: the journal fills, and loses the rows of the segments.
    let (job, mut ada) = (studio.job(), Voice::new());
    let lock = lock_database(dir.path()).await;
    let recorder = studio.start(job.clone()).await;
    ada.publish(&*recorder);
    studio.until("tapped", async || ada.is_tapped()).await;
    ada.talk(10 * SECOND).await;
    studio
        .until("refusals", async || studio.journal.stats().refused > 2)
        .await;
    recorder.send(RecorderCommand::Stop);
    studio.pass(60 * SECOND).await;
    drop(lock);
    let over = studio.until_state(job.recording, RecordingState::Ready).await;
    studio
        .until("the spool is empty", async || studio.spool.recordings().is_empty())
        .await;
    assert_whole(&shelf, &over, &ada);
}

/// Keeps every other writer out of the database, until dropped.
async fn lock_database(dir: &Path) -> Store {
    let url = format!("sqlite:{}", dir.join("caside.db").display());
    let store = Store::connect(&url, StoreOptions::default()).await.unwrap();
    store.connection().execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    store
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_is_named_and_the_recording_goes_on_with_what_there_is_room_for() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let objects = ObjectStore::Custom(shelf.clone());
    let studio = Studio::with(dir.path(), objects, 10_000, JournalOptions::default()).await;
    let (id, ada) = recorded(&studio, 20 * SECOND).await;
    let over = studio.until_state(id, RecordingState::Ready).await;
    let error = over.error.unwrap();
    assert!(
        error.contains("could not be kept") && error.contains("the spool is full"),
        "{error}"
    );
    assert_eq!(error.matches("could not be kept").count(), 1, "{error}");
    let key = format!("recordings/{id}/{}", over.files[0].name);
    let there = shelf.bytes(&key).unwrap().frames_of(ada.participant);
    assert!(there.len() > 50 && there.len() < ada.said() as usize);
    studio
        .until("the spool is empty", async || studio.spool.recordings().is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn who_publishes_nothing_takes_nothing_and_goes_on_in_the_same_file() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let studio = Studio::open(dir.path(), &shelf).await;
    let (id, recorder) = studio.record().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    studio.pass(2 * SECOND).await;
    let before = tasks();
    let mut ada = Voice::new();
    for away in [0, 10, 60] {
        studio.pass(away * SECOND).await;
        ada.publish(&*recorder);
        studio.until("tapped", async || ada.is_tapped()).await;
        ada.talk(3 * SECOND).await;
        assert!(tasks() > before);
        ada.unpublish(&*recorder);
        studio.until("no longer", async || !ada.is_tapped()).await;
    }
    studio.pass(20 * SECOND).await;
    assert!(tasks() > before, "somebody may come back soon");
    studio
        .until("all of it is given back", async || tasks() == before)
        .await;
    let there = studio.spool.outline(id).len();
    studio
        .until("all is shipped", async || shelf.keys().len() == there)
        .await;
    recorder.send(RecorderCommand::Stop);
    let over = studio.until_state(id, RecordingState::Ready).await;
    studio
        .until("the spool is empty", async || studio.spool.recordings().is_empty())
        .await;
    assert_eq!(over.error, None);
    assert_whole(&shelf, &over, &ada);
}

#[tokio::test(start_paused = true)]
async fn a_recording_of_nothing_says_so() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let studio = Studio::open(dir.path(), &shelf).await;
    let (id, recorder) = studio.record().await;
    recorder.send(RecorderCommand::Stop);
    let over = studio.until_state(id, RecordingState::Failed).await;
    assert_eq!(over.error.as_deref(), Some("nothing was published while it ran"));
    assert_eq!(shelf.keys(), Vec::<String>::new());
}

#[test]
fn what_is_left_of_a_deleted_recording_is_removed_and_does_not_bring_it_back() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let id = life(async {
        let studio = Studio::open(dir.path(), &shelf).await;
        shelf.fails(|what, _| (what == "delete").then(away));
        let (id, _) = recorded(&studio, 3 * SECOND).await;
        studio.until_state(id, RecordingState::Ready).await;
        studio.pass(5 * SECOND).await;
        assert!(studio.store.delete_recording(id).await.unwrap());
        id
    });
    shelf.works();
    let copies = |key: &String| key.ends_with(".mkv");
    assert!(shelf.keys().iter().any(copies), "{:?}", shelf.keys());
    life(async {
        let studio = Studio::open(dir.path(), &shelf).await;
        assert_eq!(studio.recordings.recover().await.unwrap(), 1);
        studio
            .until("the spool is empty", async || studio.spool.recordings().is_empty())
            .await;
        assert_eq!(studio.recording(id).await, None);
        assert!(!shelf.keys().iter().any(copies), "{:?}", shelf.keys());
    });
}

#[test]
fn what_a_crash_left_of_a_finished_recording_is_removed_and_its_files_stay() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let (id, ada) = life(async {
        let studio = Studio::open(dir.path(), &shelf).await;
        shelf.fails(|what, _| (what == "delete").then(away));
        let (id, ada) = recorded(&studio, 3 * SECOND).await;
        studio.until_state(id, RecordingState::Ready).await;
        (id, ada)
    });
    shelf.works();
    life(async {
        let studio = Studio::open(dir.path(), &shelf).await;
        assert_eq!(studio.recordings.recover().await.unwrap(), 1);
        studio
            .until("the spool is empty", async || studio.spool.recordings().is_empty())
            .await;
        assert_whole(&shelf, &studio.recording(id).await.unwrap(), &ada);
        assert!(studio.store.segments(id).await.unwrap().is_empty());
        assert_eq!(studio.recordings.recover().await.unwrap(), 0);
    });
}
