//! Recordings, their files and segments.

use std::time::Duration;

use caside_protocol::rest::{FileKind, RecordingState};
use caside_protocol::view::Source;
use caside_protocol::{CallId, NodeId, ParticipantId, RecordingId, RoomId, UserId};
use caside_store::journal::RecordingStarted;
use caside_store::recordings::{RecordingFilter, SegmentId, SegmentPlace, StoredFile, StoredSegment};
use caside_store::{JournalEntry, PageRequest};
use serde_json::json;

use crate::calls::{at, joined, started};
use crate::database::{Database, on_both};

on_both!(
    a_recording_from_start_to_its_files,
    a_segment_moves_from_the_spool_to_the_object_store,
    recordings_are_listed_for_whoever_may_see_them,
    what_a_dead_node_recorded_is_found,
    all_that_a_dead_node_recorded_is_paged_through,
    shipped_segments_are_paged_through_in_the_order_of_their_ids,
    a_deleted_recording_takes_its_rows_along,
    a_late_segment_does_not_bring_a_deleted_recording_back,
);

fn begun(recording: RecordingId, call: Option<CallId>, node: &str, epoch: u64) -> JournalEntry {
    JournalEntry::RecordingStarted(RecordingStarted {
        recording,
        room: RoomId::new("standup").unwrap(),
        call,
        owner: Some(UserId::new("ada").unwrap()),
        node: NodeId::new(node).unwrap(),
        epoch,
        started_at: at(10),
    })
}

fn segment(recording: RecordingId, participant: ParticipantId, n: u32) -> StoredSegment {
    StoredSegment {
        id: SegmentId {
            recording,
            epoch: u64::from(u32::MAX) + 1,
            participant,
            source: Source::ScreenAudio,
            n,
        },
        place: SegmentPlace::Spool,
        size_bytes: 1_000,
        checksum: [7; 32],
        start_ms: u64::from(n) * 2_000,
        end_ms: u64::from(n) * 2_000 + 2_000,
        metadata: json!({"codec": "opus"}),
    }
}

fn file(recording: RecordingId, name: &str, participant: ParticipantId) -> StoredFile {
    StoredFile {
        recording,
        name: name.to_owned(),
        kind: FileKind::Participant,
        participant: Some(participant),
        source: Some(Source::Camera),
        content_type: "video/webm".to_owned(),
        codecs: vec!["vp8".to_owned(), "opus".to_owned()],
        encryption: None,
        size_bytes: 5_000_000_000,
        duration_ms: 20_000,
        offset_ms: 40,
        storage_key: format!("recordings/{recording}/{name}"),
    }
}

async fn a_recording_from_start_to_its_files(db: Database) {
    let (id, call, ada) = (RecordingId::new(), CallId::new(), ParticipantId::new());
    db.store
        .apply(&[started(call, "standup", "n1", 1), begun(id, Some(call), "n1", 1)])
        .await
        .unwrap();
    assert!(db.store.call(call).await.unwrap().unwrap().recording);
    let segments: Vec<_> = (0..3).map(|n| segment(id, ada, n)).collect();
    let added: Vec<_> = segments.iter().cloned().map(JournalEntry::SegmentAdded).collect();
    db.store.apply(&added).await.unwrap();
    let running = db.store.recording(id).await.unwrap().unwrap();
    assert_eq!(running.recording.state, RecordingState::Recording);
    assert_eq!(
        (running.recording.size_bytes, running.recording.participants),
        (3_000, vec![ada])
    );
    assert_eq!(db.store.segments(id).await.unwrap(), segments);

    let finish = [
        JournalEntry::RecordingStopped {
            recording: id,
            ended_at: at(30),
        },
        JournalEntry::RecordingFileAdded(file(id, "b.webm", ada)),
        JournalEntry::RecordingFileAdded(file(id, "a.webm", ada)),
        JournalEntry::SegmentsRemoved {
            segments: segments.iter().map(|segment| segment.id).collect(),
        },
        JournalEntry::RecordingState {
            recording: id,
            state: RecordingState::Ready,
            error: Some("2 packets lost".to_owned()),
            duration_ms: Some(20_040),
        },
    ];
    for _ in 0..2 {
        db.store.apply(&finish).await.unwrap();
        db.store.apply(&[begun(id, Some(call), "n1", 1)]).await.unwrap();
        let stored = db.store.recording(id).await.unwrap().unwrap();
        let shown = stored.recording;
        assert_eq!((stored.node.unwrap().as_str(), stored.epoch), ("n1", 1));
        assert_eq!(stored.owner.unwrap().as_str(), "ada");
        assert_eq!(
            (shown.state, shown.error.as_deref()),
            (RecordingState::Ready, Some("2 packets lost"))
        );
        assert_eq!(
            (shown.started_at, shown.ended_at, shown.duration_ms),
            (at(10), Some(at(30)), Some(20_040))
        );
        assert_eq!((shown.size_bytes, shown.participants), (10_000_000_000, vec![ada]));
        let names: Vec<_> = shown.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a.webm", "b.webm"]);
        assert!(db.store.segments(id).await.unwrap().is_empty());
    }
    let stored = db.store.recording_file(id, "a.webm").await.unwrap();
    assert_eq!(stored, Some(file(id, "a.webm", ada)));
    assert_eq!(db.store.recording_file(id, "../a.webm").await.unwrap(), None);
    assert_eq!(db.store.recording_files(id).await.unwrap().len(), 2);
}

async fn a_segment_moves_from_the_spool_to_the_object_store(db: Database) {
    let (id, ada) = (RecordingId::new(), ParticipantId::new());
    let spooled = segment(id, ada, 0);
    let moved = StoredSegment {
        place: SegmentPlace::Object,
        ..spooled.clone()
    };
    // Both in one transaction, as when the journal catches up.
    db.store
        .apply(&[
            begun(id, None, "n1", 1),
            JournalEntry::SegmentAdded(spooled),
            JournalEntry::SegmentAdded(moved.clone()),
        ])
        .await
        .unwrap();
    assert_eq!(db.store.segments(id).await.unwrap(), [moved]);
}

async fn recordings_are_listed_for_whoever_may_see_them(db: Database) {
    let (with_bob, with_eve) = (CallId::new(), CallId::new());
    let ids = [RecordingId::new(), RecordingId::new()];
    for (id, call, user) in [(ids[0], with_bob, "bob"), (ids[1], with_eve, "eve")] {
        let (_, join) = joined(call, user);
        db.store
            .apply(&[started(call, "standup", "n1", 1), join, begun(id, Some(call), "n1", 1)])
            .await
            .unwrap();
    }
    let list = async |filter: RecordingFilter| -> Vec<_> {
        let page = db.store.recordings(&filter, &PageRequest::default()).await.unwrap();
        assert_eq!(page.next_cursor, None);
        page.items.into_iter().map(|stored| stored.recording.id).collect()
    };
    let visible_to = |user| RecordingFilter {
        visible_to: Some(UserId::new(user).unwrap()),
        ..RecordingFilter::default()
    };
    assert_eq!(list(RecordingFilter::default()).await, [ids[1], ids[0]]);
    assert_eq!(list(visible_to("ada")).await, [ids[1], ids[0]], "of her room");
    assert_eq!(list(visible_to("bob")).await, [ids[0]], "he was in the call");
    assert_eq!(list(visible_to("mallory")).await, []);
    let of_call = RecordingFilter {
        call: Some(with_eve),
        state: Some(RecordingState::Recording),
        room: Some(RoomId::new("standup").unwrap()),
        visible_to: None,
        since: None,
    };
    assert_eq!(list(of_call).await, [ids[1]]);
    let since = |moment| RecordingFilter {
        since: Some(moment),
        ..RecordingFilter::default()
    };
    let now = time::OffsetDateTime::now_utc();
    assert_eq!(list(since(now - Duration::from_secs(60))).await, [ids[1], ids[0]]);
    assert_eq!(list(since(now + Duration::from_secs(60))).await, []);
    let ready = RecordingFilter {
        state: Some(RecordingState::Ready),
        ..RecordingFilter::default()
    };
    assert_eq!(list(ready).await, []);
    let first = db
        .store
        .recordings(&RecordingFilter::default(), &PageRequest::new(Some(1), None))
        .await
        .unwrap();
    let second = PageRequest::new(Some(1), first.next_cursor);
    let second = db.store.recordings(&RecordingFilter::default(), &second).await.unwrap();
    assert_eq!(second.items[0].recording.id, ids[0]);
}

async fn what_a_dead_node_recorded_is_found(db: Database) {
    let (running, stopped, ready, left_over, moved) = (
        RecordingId::new(),
        RecordingId::new(),
        RecordingId::new(),
        RecordingId::new(),
        RecordingId::new(),
    );
    for id in [running, stopped, ready, left_over, moved] {
        db.store.apply(&[begun(id, None, "n1", 1)]).await.unwrap();
    }
    let state = |recording, state| JournalEntry::RecordingState {
        recording,
        state,
        error: None,
        duration_ms: None,
    };
    let entries = [
        state(stopped, RecordingState::Finalizing),
        state(ready, RecordingState::Ready),
        state(left_over, RecordingState::Ready),
        JournalEntry::SegmentAdded(segment(left_over, ParticipantId::new(), 0)),
        begun(moved, None, "n2", 2),
        begun(moved, None, "n1", 1),
    ];
    db.store.apply(&entries).await.unwrap();
    let found = async |node| -> Vec<_> {
        let found = db
            .store
            .unfinished_recordings(&NodeId::new(node).unwrap(), None)
            .await
            .unwrap();
        found.into_iter().map(|stored| stored.recording.id).collect()
    };
    assert_eq!(found("n1").await, [running, stopped, left_over]);
    assert_eq!(found("n2").await, [moved]);
}

async fn a_deleted_recording_takes_its_rows_along(db: Database) {
    let (id, ada) = (RecordingId::new(), ParticipantId::new());
    db.store
        .apply(&[
            begun(id, None, "n1", 1),
            JournalEntry::SegmentAdded(segment(id, ada, 0)),
            JournalEntry::RecordingFileAdded(file(id, "a.webm", ada)),
        ])
        .await
        .unwrap();
    assert!(db.store.delete_recording(id).await.unwrap());
    assert!(!db.store.delete_recording(id).await.unwrap());
    assert_eq!(db.store.recording(id).await.unwrap(), None);
    assert!(db.store.segments(id).await.unwrap().is_empty());
    assert!(db.store.recording_files(id).await.unwrap().is_empty());
}

async fn all_that_a_dead_node_recorded_is_paged_through(db: Database) {
    let ids: Vec<_> = (0..2_001).map(|_| RecordingId::new()).collect();
    for some in ids.chunks(200) {
        let entries: Vec<_> = some.iter().map(|id| begun(*id, None, "n1", 1)).collect();
        db.store.apply(&entries).await.unwrap();
    }
    let node = NodeId::new("n1").unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = db.store.unfinished_recordings(&node, after).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.recording.id);
        found.extend(page.into_iter().map(|stored| stored.recording.id));
    }
    assert_eq!(found, ids);
}

async fn shipped_segments_are_paged_through_in_the_order_of_their_ids(db: Database) {
    let id = RecordingId::new();
    let mut people = [ParticipantId::new(), ParticipantId::new()];
    people.sort_unstable();
    let mut all = Vec::new();
    for participant in people {
        for source in [Source::Camera, Source::Screen] {
            for epoch in [1, 2] {
                for n in 0..2 {
                    let mut shipped = segment(id, participant, n);
                    (shipped.id.source, shipped.id.epoch) = (source, epoch);
                    shipped.place = SegmentPlace::Object;
                    all.push(shipped);
                }
            }
        }
    }
    let mut entries = vec![begun(id, None, "n1", 1)];
    entries.extend(all.iter().cloned().map(JournalEntry::SegmentAdded));
    entries.push(JournalEntry::SegmentAdded(segment(id, people[0], 77)));
    db.store.apply(&entries).await.unwrap();
    assert_eq!(
        db.store.shipped_segments(id, None).await.unwrap(),
        all,
        "the one in the spool is not"
    );
    for (index, shipped) in all.iter().enumerate() {
        let after = db.store.shipped_segments(id, Some(&shipped.id)).await.unwrap();
        assert_eq!(after, all[index + 1..]);
    }
}

async fn a_late_segment_does_not_bring_a_deleted_recording_back(db: Database) {
    let (gone, here, ada) = (RecordingId::new(), RecordingId::new(), ParticipantId::new());
    db.store
        .apply(&[begun(gone, None, "n1", 1), begun(here, None, "n1", 1)])
        .await
        .unwrap();
    assert!(db.store.delete_recording(gone).await.unwrap());
    // It hurts nobody else either.
    let late = [segment(gone, ada, 0), segment(here, ada, 0)].map(JournalEntry::SegmentAdded);
    db.store.apply(&late).await.unwrap();
    assert_eq!(db.store.recording(gone).await.unwrap(), None);
    assert!(db.store.segments(gone).await.unwrap().is_empty());
    assert_eq!(db.store.segments(here).await.unwrap().len(), 1);
}
