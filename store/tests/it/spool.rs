//! The spool on a real file system.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use caside_protocol::view::Source;
use caside_protocol::{ParticipantId, RecordingId};
use caside_store::Spool;
use caside_store::recordings::{SegmentId, SegmentPlace};
use caside_store::spool::{MAX_CONCURRENT, SegmentInfo, SpoolError};
use serde_json::json;

const ROOMY: u64 = 1 << 30;

fn id(recording: RecordingId, n: u32) -> SegmentId {
    SegmentId {
        recording,
        epoch: 3,
        participant: ParticipantId(uuid::Uuid::nil()),
        source: Source::ScreenAudio,
        n,
    }
}

fn info(n: u32) -> SegmentInfo {
    SegmentInfo {
        start_ms: u64::from(n) * 2_000,
        end_ms: u64::from(n) * 2_000 + 1_960,
        metadata: json!({"codec_private": "T3B1cw==", "n": n}),
    }
}

fn body(n: u32) -> Bytes {
    format!("segment {n} ").repeat(500).into()
}

async fn open(dir: &Path) -> Spool {
    let (spool, report) = Spool::open(dir, ROOMY).await.unwrap();
    assert!(report.dropped.is_empty(), "{report:?}");
    spool
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_or_itself(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            files.push(path);
        }
    }
    files
}

/// An empty directory counts as something left.
fn files_or_itself(dir: &Path) -> Vec<PathBuf> {
    let below = files(dir);
    if below.is_empty() { vec![dir.to_owned()] } else { below }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).await;
    let recordings = [RecordingId::new(), RecordingId::new()];
    let mut stored = Vec::new();
    for n in [11, 2, 0] {
        stored.push(spool.append(id(recordings[0], n), info(n), body(n)).await.unwrap());
    }
    spool.append(id(recordings[1], 0), info(0), Bytes::new()).await.unwrap();
    stored.reverse();
    assert_eq!(stored[0].place, SegmentPlace::Spool);
    assert_eq!(stored[0].size_bytes, body(0).len() as u64);
    let used = spool.used_bytes();
    drop(spool);

    let (spool, report) = Spool::open(dir.path(), ROOMY).await.unwrap();
    assert_eq!((report.segments, report.used_bytes, report.dropped.len()), (4, used, 0));
    assert_eq!(spool.recordings(), recordings);
    assert_eq!(spool.segments(recordings[0]), stored, "in order of number, not of name");
    let (segment, bytes) = spool.read(id(recordings[0], 2)).await.unwrap();
    assert_eq!((segment, bytes), (stored[1].clone(), body(2)));
    assert_eq!(spool.read(id(recordings[1], 0)).await.unwrap().1, Bytes::new());
}

#[tokio::test]
async fn a_torn_or_unfinished_file_is_dropped_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).await;
    let recording = RecordingId::new();
    for n in 0..6 {
        spool.append(id(recording, n), info(n), body(n)).await.unwrap();
    }
    drop(spool);
    let path = |n: u32, extension: &str| {
        let parts = format!("{recording}/3/{}/screen-audio/{n}.{extension}", uuid::Uuid::nil());
        dir.path().join(parts)
    };
    let damage = |n, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path(n, "seg")).unwrap();
        change(&mut bytes);
        fs::write(path(n, "seg"), bytes).unwrap();
    };
    damage(1, &|bytes| bytes.truncate(bytes.len() - 1));
    damage(2, &|bytes| *bytes.last_mut().unwrap() ^= 1);
    damage(3, &|bytes| bytes.clear());
    damage(4, &|bytes| bytes[12..20].fill(0xff));
    fs::rename(path(5, "seg"), path(50, "seg")).unwrap();
    fs::write(path(6, "tmp"), b"half").unwrap();
    fs::write(path(7, "note"), b"not ours").unwrap();
    fs::write(dir.path().join("README"), b"not ours").unwrap();
    fs::create_dir(dir.path().join("not-a-recording")).unwrap();

    let (spool, report) = Spool::open(dir.path(), ROOMY).await.unwrap();
    let mut dropped: Vec<_> = report.dropped.iter().map(|(path, _)| path.clone()).collect();
    dropped.sort();
    let expected = [
        path(1, "seg"),
        path(2, "seg"),
        path(3, "seg"),
        path(4, "seg"),
        path(50, "seg"),
        path(6, "tmp"),
    ];
    assert_eq!(dropped, expected);
    assert!(dropped.iter().all(|path| !path.exists()));
    assert!(path(7, "note").exists() && dir.path().join("README").exists());
    assert_eq!(report.segments, 1);
    let left: Vec<_> = spool.segments(recording).iter().map(|segment| segment.id.n).collect();
    assert_eq!(left, [0]);
}

#[tokio::test]
async fn damage_after_opening_is_noticed_on_reading() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).await;
    let segment = id(RecordingId::new(), 0);
    spool.append(segment, info(0), body(0)).await.unwrap();
    let path = files(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = spool.read(segment).await.unwrap_err();
    assert!(matches!(error, SpoolError::Damaged { .. }), "{error:?}");
    fs::remove_file(&path).unwrap();
    assert!(matches!(spool.read(segment).await.unwrap_err(), SpoolError::Missing(_)));
}

#[tokio::test]
async fn it_never_holds_more_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(dir.path(), 20_000).await.unwrap();
    let recording = RecordingId::new();
    let mut kept = 0;
    let error = loop {
        match spool.append(id(recording, kept), info(kept), body(kept)).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SpoolError::Full { max_bytes: 20_000, .. }), "{error:?}");
    assert_eq!(spool.segments(recording).len(), kept as usize);
    let on_disk: u64 = files(dir.path())
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert_eq!(spool.used_bytes(), on_disk);
    assert!(on_disk > 10_000 && on_disk <= 20_000, "{on_disk}");

    spool.remove(id(recording, 0)).await.unwrap();
    spool.append(id(recording, kept), info(kept), body(kept)).await.unwrap();
}

#[tokio::test]
async fn what_is_removed_leaves_nothing_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).await;
    let recordings = [RecordingId::new(), RecordingId::new()];
    for recording in recordings {
        for n in 0..3 {
            spool.append(id(recording, n), info(n), body(n)).await.unwrap();
        }
    }
    spool.remove_recording(recordings[0]).await.unwrap();
    assert_eq!(spool.recordings(), [recordings[1]]);
    for n in 0..3 {
        spool.remove(id(recordings[1], n)).await.unwrap();
        spool.remove(id(recordings[1], n)).await.unwrap();
    }
    assert_eq!(spool.used_bytes(), 0);
    assert!(files(dir.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_write_and_remove_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).await;
    let recording = RecordingId::new();
    let tasks: Vec<_> = (0..MAX_CONCURRENT as u32 * 4)
        .map(|n| {
            let spool = spool.clone();
            tokio::spawn(async move {
                spool.append(id(recording, n), info(n), body(n)).await.unwrap();
                let twice = spool.append(id(recording, n), info(n), body(n)).await.unwrap_err();
                assert!(matches!(twice, SpoolError::Exists(_)), "{twice:?}");
                if n % 2 == 0 {
                    spool.remove(id(recording, n)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let left: Vec<_> = spool.segments(recording).iter().map(|segment| segment.id.n).collect();
    assert_eq!(
        left,
        (0..MAX_CONCURRENT as u32 * 4)
            .filter(|n| n % 2 == 1)
            .collect::<Vec<_>>()
    );
    for n in left {
        assert_eq!(spool.read(id(recording, n)).await.unwrap().1, body(n));
    }
}

#[tokio::test]
async fn one_process_at_a_time_has_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).await;
    let error = Spool::open(dir.path(), ROOMY).await.unwrap_err();
    assert!(matches!(error, SpoolError::InUse(_)), "{error:?}");
    drop(spool);
    open(dir.path()).await;
}

#[tokio::test]
async fn a_failed_write_takes_no_room_and_can_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).await;
    let recording = RecordingId::new();
    // A file where a directory has to be.
    let obstacle = dir.path().join(recording.to_string());
    fs::write(&obstacle, b"").unwrap();
    let error = spool.append(id(recording, 0), info(0), body(0)).await.unwrap_err();
    assert!(matches!(error, SpoolError::Io { .. }), "{error:?}");
    assert_eq!((spool.used_bytes(), spool.segments(recording).len()), (0, 0));
    fs::remove_file(&obstacle).unwrap();
    spool.append(id(recording, 0), info(0), body(0)).await.unwrap();
}

#[tokio::test]
async fn a_recording_leaves_as_a_whole_and_a_crash_on_the_way_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).await;
    let (gone, stays) = (RecordingId::new(), RecordingId::new());
    for recording in [gone, stays] {
        for n in 0..3 {
            spool.append(id(recording, n), info(n), body(n)).await.unwrap();
        }
        spool.mark_finished(recording).await.unwrap();
        assert!(spool.is_finished(recording).await.unwrap());
    }
    let used = spool.used_bytes();
    spool.remove_recording(gone).await.unwrap();
    spool.remove_recording(gone).await.unwrap();
    assert_eq!(spool.used_bytes(), used / 2);
    assert!(!spool.is_finished(gone).await.unwrap());
    assert_eq!(spool.recordings(), [stays]);
    drop(spool);
    // As when the process died between the two steps of a removal.
    fs::rename(dir.path().join(stays.to_string()), dir.path().join(".gone-1")).unwrap();
    let spool = open(dir.path()).await;
    assert_eq!(spool.recordings(), []);
    drop(spool);
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn the_mark_of_a_recording_goes_with_its_last_segment() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path()).await;
    let recording = RecordingId::new();
    spool.mark_finished(recording).await.unwrap();
    assert!(!spool.is_finished(recording).await.unwrap(), "nothing of it is here");
    for n in 0..2 {
        spool.append(id(recording, n), info(n), body(n)).await.unwrap();
    }
    spool.mark_finished(recording).await.unwrap();
    spool.remove(id(recording, 0)).await.unwrap();
    assert!(spool.is_finished(recording).await.unwrap());
    spool.remove(id(recording, 1)).await.unwrap();
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
}
