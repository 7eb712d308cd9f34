//! What a member's process does: it takes commands on standard input, and tells on standard output what happens, a line each.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use caside_cluster::{LinkEvents, LinkTls, Links, LinksSettings, SendError};
use caside_protocol::NodeId;
use caside_protocol::node::Member;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Settings of a member, "name=value" and a space between two.
pub(crate) const SETTINGS: &str = "CASIDE_TEST_MEMBER";
/// What lines of a member begin with; others are the test harness's.
pub(crate) const MARK: &str = "@ ";

/// A message: what it is, its number, when it was sent.
const HEAD: usize = 1 + 8 + 8;
const PLAIN: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;

#[test]
#[ignore = "is a member, for the other tests"]
fn run() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(be(&settings));
}

/// `node-incarnation`
pub(crate) fn member(name: &str) -> Member {
    let (node, incarnation) = name.rsplit_once('-').unwrap();
    Member {
        node: NodeId::new(node).unwrap(),
        incarnation: incarnation.parse().unwrap(),
    }
}

fn say(line: &str) {
    // As one write, so that lines of several threads stay whole.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{MARK}{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn unix_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

#[derive(Default)]
struct Events {
    links: OnceLock<Links>,
    seen: Mutex<Seen>,
    pong: Notify,
}

#[derive(Default)]
struct Seen {
    messages: u64,
    disorder: u64,
    next: u64,
    oldest: Duration,
    slow: Duration,
    round_trips: Vec<Duration>,
}

impl LinkEvents for Events {
    fn up(&self, member: &Member) {
        // Each run counts from nought.
        self.seen.lock().unwrap().next = 0;
        say(&format!("up {member}"));
    }

    fn down(&self, member: &Member, proof: bool) {
        say(&format!("down {member} {proof}"));
    }

    fn received(&self, from: &Member, message: Bytes) {
        let mut head = message.clone();
        let (kind, number, sent_ns) = (head.get_u8(), head.get_u64(), head.get_u64());
        let age = Duration::from_nanos(unix_ns().saturating_sub(sent_ns));
        let mut seen = self.seen.lock().unwrap();
        match kind {
            PING => {
                let mut pong = BytesMut::from(&message[..]);
                pong[0] = PONG;
                self.links.get().unwrap().send(from, pong.freeze()).unwrap();
            }
            PONG => {
                seen.round_trips.push(age);
                self.pong.notify_one();
            }
            _ => {
                seen.disorder += u64::from(number < seen.next);
                seen.next = number + 1;
                seen.messages += 1;
                seen.oldest = seen.oldest.max(age);
                let slow = seen.slow;
                drop(seen);
                std::thread::sleep(slow);
            }
        }
    }
}

async fn be(settings: &str) {
    let value = |name: &str| {
        settings
            .split(' ')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")))
    };
    let me = member(value("me").unwrap());
    let version = value("version").map_or(1, |version| version.parse().unwrap());
    let listen = value("listen").unwrap_or("127.0.0.1:0").parse().unwrap();
    let mut links = LinksSettings::new(me, version, listen, value("cookie").unwrap_or("a test's cookie"));
    links.tls = value("tls").map(|folder| {
        let file = |name| PathBuf::from(folder).join(name);
        LinkTls {
            cert: file("cert.pem"),
            key: file("key.pem"),
            ca: file("ca.pem"),
        }
    });
    if let Some(ms) = value("handshake_ms") {
        links.handshake = Duration::from_millis(ms.parse().unwrap());
    }
    if let Some(ms) = value("heartbeat_ms") {
        links.heartbeat = Duration::from_millis(ms.parse().unwrap());
    }
    if let Some(ms) = value("deadline_ms") {
        links.deadline = Duration::from_millis(ms.parse().unwrap());
    }
    let events = Arc::new(Events::default());
    let links = Links::start(links, events.clone()).await.unwrap();
    events.links.set(links.clone()).unwrap();
    say(&format!("ready {}", links.local_addr()));

    let (lines, mut commands) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let mut numbers = 0;
    while let Some(line) = commands.recv().await {
        obey(&links, &events, &mut numbers, &line).await;
    }
    links.stop().await;
}

async fn obey(links: &Links, events: &Events, numbers: &mut u64, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |nth: usize| words[nth].parse::<u64>().unwrap();
    match words[0] {
        "know" => {
            let known = words[1..].iter().filter_map(|pair| pair.split_once('='));
            links.know(
                known
                    .map(|(name, address)| (member(name), address.to_owned()))
                    .collect(),
            );
        }
        // to, how many, bytes each, whether to wait for room
        "send" => {
            let to = member(words[1]);
            let patient = words[4] == "patient";
            let began = Instant::now();
            let (mut sent, mut overloaded) = (0, 0);
            for _ in 0..number(2) {
                let message = message(PLAIN, *numbers, usize::try_from(number(3)).unwrap());
                loop {
                    match links.send(&to, message.clone()) {
                        Ok(()) => sent += 1,
                        Err(SendError::Overloaded) if patient => {
                            sleep(Duration::from_millis(1)).await;
                            continue;
                        }
                        Err(SendError::Overloaded) => overloaded += 1,
                        Err(error) => say(&format!("error {error:?}")),
                    }
                    break;
                }
                *numbers += 1;
            }
            say(&format!("sent {sent} {overloaded} {}", began.elapsed().as_micros()));
        }
        "ping" => {
            let to = member(words[1]);
            events.seen.lock().unwrap().round_trips.clear();
            for nth in 0..usize::try_from(number(2)).unwrap() {
                links
                    .send(&to, message(PING, 0, usize::try_from(number(3)).unwrap()))
                    .unwrap();
                while events.seen.lock().unwrap().round_trips.len() <= nth {
                    events.pong.notified().await;
                }
            }
            let mut trips = events.seen.lock().unwrap().round_trips.clone();
            trips.sort();
            let at = |part: usize| trips[(trips.len() - 1) * part / 100].as_micros();
            say(&format!("pinged {} {}", at(50), at(99)));
        }
        "slow" => events.seen.lock().unwrap().slow = Duration::from_micros(number(1)),
        "received" => {
            let seen = events.seen.lock().unwrap();
            say(&format!(
                "received {} {} {}",
                seen.messages,
                seen.disorder,
                seen.oldest.as_millis()
            ));
        }
        "gone" => {
            let began = Instant::now();
            let gone = links.prove_gone(&member(words[1])).await;
            say(&format!("gone {} {gone} {}", words[1], began.elapsed().as_millis()));
        }
        "status" => links.set_status(Bytes::copy_from_slice(words[1].as_bytes())),
        "status-of" => {
            let status = links.status_of(&member(words[1])).unwrap_or_default();
            say(&format!("status-of {} {}", words[1], String::from_utf8_lossy(&status)));
        }
        "linked" => {
            let mut names: Vec<String> = links.linked().iter().map(ToString::to_string).collect();
            names.sort();
            say(&format!("linked {}", names.join(" ")));
        }
        "counts" => {
            let counts = links.counts();
            say(&format!(
                "counts {} {} {} {}",
                counts.refused, counts.undecodable, counts.stray, counts.expired
            ));
        }
        other => panic!("no command: {other}"),
    }
}

fn message(kind: u8, number: u64, bytes: usize) -> Bytes {
    let mut message = BytesMut::with_capacity(bytes.max(HEAD));
    message.put_u8(kind);
    message.put_u64(number);
    message.put_u64(unix_ns());
    message.resize(bytes.max(HEAD), b'.');
    message.freeze()
}
