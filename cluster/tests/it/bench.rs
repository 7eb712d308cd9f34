//! What it costs. `cargo test -p caside-cluster --release --test it -- --ignored --nocapture cost`

use std::time::Duration;

use bytes::Bytes;
use caside_cluster::Directory;
use tokio::time::Instant;

use crate::support::{LONG, Redis, members, room, until};

fn say(what: &str, each: Duration) {
    eprintln!("{what}: {:.0} µs", each.as_secs_f64() * 1e6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, which depend on the machine"]
async fn cost() {
    const N: u32 = 2000;
    let redis = Redis::start();
    let (_, [a, b, _c]) = members(&redis, 3000).await;
    let start = Instant::now();
    for _ in 0..N {
        a.directory.lookup(&room("nobody")).await.unwrap();
    }
    say("lookup", start.elapsed() / N);
    let mut epochs = Vec::new();
    let start = Instant::now();
    for i in 0..N {
        epochs.push(a.own(&room(&format!("r{i}"))).await.0);
    }
    say("claim", start.elapsed() / N);
    let state = Bytes::from(vec![7; 4096]);
    let start = Instant::now();
    for (i, epoch) in epochs.iter().enumerate() {
        assert!(
            a.directory
                .keep(&room(&format!("r{i}")), *epoch, state.clone())
                .await
                .unwrap()
        );
    }
    say("keep of 4 KiB", start.elapsed() / N);
    for i in N..10_000 {
        a.own(&room(&format!("r{i}"))).await;
    }
    redis.flush();
    let start = Instant::now();
    until("all is asserted", LONG, async || {
        b.directory
            .rooms_of(&a.member)
            .await
            .is_ok_and(|rooms| rooms.len() == 10_000)
    })
    .await;
    say(
        "10,000 rooms back after FLUSHALL, with the wait for a renewal",
        start.elapsed(),
    );
    assert_eq!(a.log.fences(), 0);
    redis.figures(&["evalsha"]);
}
