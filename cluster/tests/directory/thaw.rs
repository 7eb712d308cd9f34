//! A process that stood still: the first thing it does is to stop its rooms.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use caside_cluster::{Claim, Directory, DirectoryEvents, MemberInfo, Peers, Quorum, RedisDirectory};
use caside_protocol::RoomId;
use caside_protocol::node::Member;
use tokio::time::{Instant, sleep};

use crate::support::{LONG, Mesh, Redis, info, member, room, settings, signal};

const LEASE_MS: u64 = 2000;
const URL: &str = "CASIDE_TEST_REDIS";

/// Says everything on the standard output, in the order in which it happens.
struct Aloud(Mutex<std::io::Stdout>);

impl Aloud {
    fn say(&self, line: &str) {
        let mut out = self.0.lock().unwrap();
        writeln!(out, "\nchild {line}").unwrap();
        out.flush().unwrap();
    }
}

impl DirectoryEvents for Aloud {
    fn members(&self, _: &[MemberInfo]) {}
    fn expired(&self, _: &Member) {}
    fn fenced(&self) {
        self.say("fenced");
    }
    fn reinstated(&self) {
        self.say("reinstated");
    }
    fn room_lost(&self, _: &RoomId, _: u64) {
        self.say("lost");
    }
    fn away(&self) {}
    fn back(&self) {}
}

/// Reaches its one peer, for which Redis is away.
struct AwayForAll;

impl Peers for AwayForAll {
    fn quorum(&self) -> Quorum {
        Quorum {
            known: 1,
            reachable: 1,
            away: 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that other tests stop"]
async fn child() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let aloud = Arc::new(Aloud(Mutex::new(std::io::stdout())));
    let me = info(&member("child", 1));
    let directory = loop {
        let settings = settings(url.clone(), LEASE_MS);
        // A busy machine may take too long once.
        if let Ok(directory) = RedisDirectory::connect(settings, me.clone(), aloud.clone(), Arc::new(AwayForAll)).await
        {
            break directory;
        }
    };
    let room = room("standup");
    let mut owned = None;
    loop {
        match owned {
            Some(epoch) => {
                let kept = directory.keep(&room, epoch, Bytes::from_static(b"state")).await;
                if matches!(kept, Ok(true)) {
                    aloud.say("kept");
                }
            }
            None => {
                if let Ok(Claim::Granted { epoch, .. }) = directory.claim(&room).await {
                    owned = Some(epoch);
                    aloud.say("granted");
                }
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(redis: &Redis) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "thaw::child", "--ignored", "--nocapture"])
            .env(URL, redis.url())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("child ")
                    && tell.send(line.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn wait_for(&self, what: &str) {
        let end = Instant::now() + LONG;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == what => return,
                Ok(_) => {}
                Err(error) => panic!("the child does not say {what}: {error}"),
            }
        }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(LONG).expect("the child says nothing")
    }

    fn drain(&self) {
        while self.lines.recv_timeout(Duration::from_millis(100)).is_ok() {}
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_fences_itself_before_anything_else_when_it_goes_on() {
    let redis = Redis::start();
    let mesh = Arc::new(Mesh::default());
    let other = mesh.join(member("other", 1), settings(redis.url(), LEASE_MS)).await;
    let child = Process::start(&redis);
    child.wait_for("kept");
    signal(child.child.id(), "STOP");
    child.drain();
    let (epoch, kept) = other.own(&room("standup")).await;
    assert_eq!(kept.as_deref(), Some(&b"state"[..]));
    signal(child.child.id(), "CONT");
    assert_eq!(child.next(), "fenced");
    assert_eq!(child.next(), "reinstated");
    // What it kept doing under its old epoch changed nothing.
    assert!(
        other
            .directory
            .keep(&room("standup"), epoch, Bytes::new())
            .await
            .unwrap()
    );
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_peers_said_before_the_standstill_does_not_save_it() {
    let redis = Redis::start();
    let child = Process::start(&redis);
    child.wait_for("kept");
    redis.pause();
    // Past the end of its lease: it goes on without Redis.
    sleep(Duration::from_millis(LEASE_MS * 3 / 2)).await;
    while let Ok(line) = child.lines.try_recv() {
        assert_ne!(line, "fenced");
    }
    signal(child.child.id(), "STOP");
    sleep(Duration::from_millis(LEASE_MS)).await;
    signal(child.child.id(), "CONT");
    assert_eq!(child.next(), "fenced");
    redis.resume();
    assert_eq!(child.next(), "reinstated");
}
