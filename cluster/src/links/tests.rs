//! Those who know the first words, by having overheard them, and nothing else. What whole members do is in `tests/it`.

use std::sync::atomic::{AtomicUsize, Ordering};

use caside_protocol::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::opening::{Opening, OpeningError, Purpose, Verdict};
use super::*;

const LONG: Duration = Duration::from_secs(10);
const HANDSHAKE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Events(AtomicUsize);

impl LinkEvents for Events {
    fn up(&self, _: &Member) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn down(&self, _: &Member, _: bool) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn received(&self, _: &Member, _: Bytes) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn member(node: &str, incarnation: u64) -> Member {
    Member {
        node: NodeId::new(node).unwrap(),
        incarnation,
    }
}

fn opening(connection: u64) -> Opening {
    Opening {
        purpose: Purpose::Link,
        version: 1,
        connection,
        from: member("a", 1),
        to: member("b", 1),
    }
}

async fn open(links: &Links, opening: &Opening) -> (TcpStream, Result<Verdict, OpeningError>) {
    let mut stream = TcpStream::connect(links.local_addr()).await.unwrap();
    let answer = opening::ask(&mut stream, &Secret::new("cookie"), opening, LONG).await;
    (stream, answer.map(|answer| answer.verdict))
}

/// How long it takes until the other end has closed.
async fn until_closed(stream: &mut TcpStream) -> Duration {
    let at = Instant::now();
    let mut rest = Vec::new();
    // Whether by a reset or not.
    drop(timeout(LONG, stream.read_to_end(&mut rest)).await.expect("closed"));
    assert!(rest.len() < 1_024, "a handshake at most, not {} bytes", rest.len());
    at.elapsed()
}

/// Waits until what a connection took is given back.
async fn all_is_given_back(links: &Links) {
    let shared = &links.shared;
    let given_back = async {
        while shared.room.available_permits() < shared.settings.max_connections || !lock(&shared.connections).is_empty()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, given_back).await.expect("given back");
}

// One test for all: a process has one member's links.
#[tokio::test]
async fn who_only_knows_the_first_words_gets_no_link() {
    let mut settings = LinksSettings::new(member("b", 1), 1, SocketAddr::from(([127, 0, 0, 1], 0)), "cookie");
    settings.handshake = HANDSHAKE;
    settings.max_connections = 2;
    let events = Arc::new(Events::default());
    let links = Links::start(settings, events.clone()).await.unwrap();
    links.know(vec![(member("a", 1), "127.0.0.1:1".to_owned())]);

    // Silent: has no longer than a stranger.
    let (mut silent, verdict) = open(&links, &opening(1)).await;
    assert_eq!(verdict.unwrap(), Verdict::Welcome);
    // The same words once more: there is one connection with this number.
    let (mut again, _) = open(&links, &opening(1)).await;
    assert!(until_closed(&mut again).await < HANDSHAKE / 2);
    // A third has room again; two at a time have not.
    let (mut second, verdict) = open(&links, &opening(2)).await;
    assert_eq!(verdict.unwrap(), Verdict::Welcome);
    assert_eq!(open(&links, &opening(3)).await.1.unwrap(), Verdict::Full);
    until_closed(&mut silent).await;
    until_closed(&mut second).await;
    all_is_given_back(&links).await;

    // A frame of 17 MiB.
    let (mut large, _) = open(&links, &opening(4)).await;
    large.write_all(&(17_u64 << 20).to_be_bytes()).await.unwrap();
    assert!(until_closed(&mut large).await < HANDSHAKE / 2);

    // Frames that ractor_cluster can read, without end; each is an empty message to an actor.
    let (flood, _) = open(&links, &opening(5)).await;
    let (mut read, mut write) = flood.into_split();
    let frames = [0, 0, 0, 0, 0, 0, 0, 2, 0x12, 0].repeat(1_000);
    let flooding = async { while write.write_all(&frames).await.is_ok() {} };
    let closed = async { drop(timeout(LONG, read.read_to_end(&mut Vec::new())).await.expect("closed")) };
    let at = Instant::now();
    tokio::join!(flooding, closed);
    assert!(at.elapsed() < HANDSHAKE, "after 16 KiB, not when its time is over");

    // Of another version, for another member, from one that should not dial.
    for (spoil, verdict) in [
        ((|o| o.version = 9) as fn(&mut Opening), Verdict::Version),
        (|o| o.to = member("b", 2), Verdict::Elsewhere),
        (|o| o.from = member("c", 1), Verdict::Unknown),
    ] {
        let mut spoilt = opening(6);
        spoil(&mut spoilt);
        assert_eq!(open(&links, &spoilt).await.1.unwrap(), verdict);
    }

    all_is_given_back(&links).await;
    assert_eq!(links.linked(), []);
    assert_eq!(events.0.load(Ordering::Relaxed), 0);
    timeout(LONG, links.stop()).await.expect("stopped");
}
