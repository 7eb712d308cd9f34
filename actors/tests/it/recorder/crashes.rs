//! A node that dies at any step of recording, shipping, finishing, cleaning up and deleting, several times over.
//!
//! `CASIDE_CRASH_SEED=n` replays one seed, `CASIDE_CRASH_SEEDS=n` runs that many.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use caside_actors::ports::RecorderCommand;
use caside_protocol::rest::RecordingState;
use caside_protocol::{ParticipantId, RecordingId};
use caside_store::objects::ObjectError;
use caside_store::{ObjectStore, Spool};

use super::life;
use crate::support::{SegmentFrames, Shelf, Studio, Voice, away};

/// Seeds of one run.
const SEEDS: u64 = 24;

#[test]
fn whenever_a_node_dies_the_files_are_whole_and_nothing_stays_behind() {
    let number = |name| std::env::var(name).ok().and_then(|n: String| n.parse::<u64>().ok());
    let seeds = match number("CASIDE_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CASIDE_CRASH_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        eprintln!("CASIDE_CRASH_SEED={seed}");
        Trial::new(seed).run();
    }
}

/// Numbers that look random (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n ^ (n >> 31)) % bound
    }
}

struct Trial {
    dice: Dice,
    dir: tempfile::TempDir,
    shelf: Arc<Shelf>,
    /// Whether somebody deletes the recording once it is ready, and succeeded.
    deletes: bool,
    deleted: bool,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let deletes = dice.below(3) == 0;
        Self {
            dice,
            dir: tempfile::tempdir().unwrap(),
            shelf: Arc::default(),
            deletes,
            deleted: false,
        }
    }

    fn run(mut self) {
        let (id, who) = self.record();
        let safe = self.safe(id, who);
        for _ in 0..self.dice.below(4) {
            self.finish_and_die(id);
        }
        self.shelf.works();
        self.shelf.node_dies_in(None);
        let (dir, shelf, deletes) = (self.dir.path().to_owned(), self.shelf.clone(), self.deletes);
        life(async {
            let studio = Studio::open(&dir, &shelf).await;
            studio.recordings.recover().await.unwrap();
            studio
                .until("the spool is empty", async || studio.spool.recordings().is_empty())
                .await;
            studio
                .until("it is over", async || {
                    let state = studio.recording(id).await.map(|recording| recording.state);
                    matches!(state, None | Some(RecordingState::Ready | RecordingState::Failed))
                })
                .await;
            studio
                .until("its segments are forgotten", async || {
                    studio.store.segments(id).await.unwrap().is_empty()
                })
                .await;
            if deletes && studio.recording(id).await.is_some() {
                delete(&studio, &shelf, id).await.unwrap();
            }
        });
        self.check(id, who, &safe);
    }

    /// The first life: somebody talks, perhaps until the recording is stopped, and the node dies.
    fn record(&mut self) -> (RecordingId, ParticipantId) {
        self.store_fails_now_and_then();
        let (listed, stopped) = (self.dice.below(2) == 0, self.dice.below(2) == 0);
        let talked = Duration::from_millis(4_000 + self.dice.below(6_000));
        let (steps, last) = (self.dice.below(60), self.dice.below(60));
        let (dir, shelf) = (self.dir.path().to_owned(), self.shelf.clone());
        life(async {
            let studio = Studio::open(&dir, &shelf).await;
            let (id, recorder) = match listed {
                true => studio.record().await,
                false => {
                    let job = studio.job();
                    (job.recording, studio.start(job).await)
                }
            };
            let mut ada = Voice::new();
            ada.publish(&*recorder);
            studio.until("tapped", async || ada.is_tapped()).await;
            ada.talk(talked).await;
            studio
                .until("something is safe", async || !studio.spool.outline(id).is_empty())
                .await;
            if stopped {
                recorder.send(RecorderCommand::Stop);
            }
            shelf.node_dies_in(Some(u32::try_from(steps).unwrap() + 1));
            live(&studio, &shelf, last).await;
            (id, ada.participant)
        })
    }

    /// Another life, which takes up what the last one left and dies at some step too.
    fn finish_and_die(&mut self, id: RecordingId) {
        self.store_fails_now_and_then();
        let (steps, last) = (self.dice.below(60), self.dice.below(200));
        self.shelf.node_dies_in(Some(u32::try_from(steps).unwrap() + 1));
        let (dir, shelf, deletes) = (self.dir.path().to_owned(), self.shelf.clone(), self.deletes);
        self.deleted |= life(async {
            let studio = Studio::open(&dir, &shelf).await;
            studio.recordings.recover().await.unwrap();
            for _ in 0..last {
                if shelf.node_is_dead() {
                    return false;
                }
                live(&studio, &shelf, 1).await;
                let state = studio.recording(id).await.map(|recording| recording.state);
                if deletes && state == Some(RecordingState::Ready) {
                    // Whoever deletes does not wait for a store that hangs, and asks again after an error.
                    let limit = Duration::from_secs(1);
                    let done = async { tokio::time::timeout(limit, delete(&studio, &shelf, id)).await };
                    let clock = async {
                        for _ in 0..25 {
                            studio.breathe_and_pass(Duration::from_millis(50)).await;
                        }
                    };
                    if let (Ok(Ok(())), ()) = tokio::join!(done, clock) {
                        return true;
                    }
                }
            }
            false
        });
    }

    fn store_fails_now_and_then(&mut self) {
        let mut dice = Dice(self.dice.below(u64::MAX));
        self.shelf.fails(move |_, _| (dice.below(8) == 0).then(away));
    }

    /// What is safe after the first life.
    fn safe(&self, id: RecordingId, who: ParticipantId) -> BTreeSet<u32> {
        let mut safe = frames_in_spool(&self.dir.path().join("spool"), id, who);
        // Finished already: the files have it all.
        safe.extend(self.frames_in_files(id, who));
        assert!(!safe.is_empty());
        safe
    }

    fn frames_in_files(&self, id: RecordingId, who: ParticipantId) -> Vec<u32> {
        let is_file = |key: &String| key.starts_with(&format!("recordings/{id}/")) && key.ends_with(".webm");
        let files = self.shelf.keys().into_iter().filter(is_file);
        files
            .flat_map(|key| self.shelf.bytes(&key).unwrap().frames_of(who))
            .collect()
    }

    fn check(&self, id: RecordingId, who: ParticipantId, safe: &BTreeSet<u32>) {
        let (dir, shelf) = (self.dir.path().to_owned(), self.shelf.clone());
        let row = life(async {
            let studio = Studio::open(&dir, &shelf).await;
            assert_eq!(studio.recordings.recover().await.unwrap(), 0, "nothing is left to do");
            studio.recording(id).await
        });
        if self.deletes {
            assert_eq!(row, None);
            assert_eq!(self.shelf.keys(), Vec::<String>::new());
            return;
        }
        assert!(!self.deleted);
        let row = row.expect("a recording is listed");
        assert_eq!((row.state, row.error), (RecordingState::Ready, None));
        assert!(row.ended_at.is_some());
        let listed = row.files.iter().map(|file| format!("recordings/{id}/{}", file.name));
        assert_eq!(
            self.shelf.keys(),
            listed.collect::<Vec<_>>(),
            "every file is there, and nothing else"
        );
        let there = self.frames_in_files(id, who);
        assert!(there.is_sorted_by(|a, b| a < b), "each once and in order: {there:?}");
        let there: BTreeSet<u32> = there.into_iter().collect();
        assert!(there.is_superset(safe), "missing: {:?}", safe.difference(&there));
    }
}

/// Lets a node live for so many steps, or until it dies.
async fn live(studio: &Studio, shelf: &Shelf, steps: u64) {
    for _ in 0..steps {
        if shelf.node_is_dead() {
            return;
        }
        studio.breathe_and_pass(Duration::from_millis(50)).await;
    }
}

/// As `DELETE /recordings/{id}` does it.
async fn delete(studio: &Studio, shelf: &Arc<Shelf>, id: RecordingId) -> Result<(), ObjectError> {
    let objects = ObjectStore::Custom(shelf.clone());
    for file in studio.store.recording_files(id).await.unwrap() {
        objects.delete(&file.storage_key).await?;
    }
    objects.delete_all(&format!("recordings/{id}/")).await?;
    studio.store.delete_recording(id).await.unwrap();
    Ok(())
}

/// The numbers of somebody's packets that are safe.
pub(super) fn frames_in_spool(dir: &Path, id: RecordingId, who: ParticipantId) -> BTreeSet<u32> {
    life(async {
        let (spool, _) = Spool::open(dir, 1 << 30).await.unwrap();
        let mut frames = BTreeSet::new();
        for extent in spool.outline(id) {
            let (_, bytes) = spool.read(extent.id).await.unwrap();
            frames.extend(bytes.frames_of(who));
        }
        frames
    })
}
