//! What it costs. `cargo test -p caside-cluster --release --test directory -- --ignored --nocapture cost`

use std::time::Duration;

use bytes::Bytes;
use caside_cluster::Directory;
use tokio::time::{Instant, sleep};

use crate::support::{LONG, Redis, members, room, until};

fn say(redis: &Redis, what: &str, each: Duration) {
    let (_, of_redis) = redis.script_cost();
    eprintln!(
        "{what}: {:.0} µs, of these {of_redis:.0} µs of Redis a script",
        each.as_secs_f64() * 1e6
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, which depend on the machine"]
async fn cost() {
    const N: u32 = 2000;
    let redis = Redis::start();
    redis.keep_no_data();
    let (_, [a, b, _c]) = members(&redis, 3000).await;
    redis.script_cost();
    sleep(Duration::from_secs(3)).await;
    let (calls, each) = redis.script_cost();
    eprintln!("renewal, three members without rooms: {each:.0} µs of Redis, {calls} in 3 s");
    let start = Instant::now();
    for _ in 0..N {
        a.directory.lookup(&room("nobody")).await.unwrap();
    }
    say(&redis, "lookup", start.elapsed() / N);
    let mut epochs = Vec::new();
    let start = Instant::now();
    for i in 0..N {
        epochs.push(a.own(&room(&format!("r{i}"))).await.0);
    }
    say(&redis, "claim", start.elapsed() / N);
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
    say(&redis, "keep of 4 KiB", start.elapsed() / N);
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
        &redis,
        "10,000 rooms back after FLUSHALL, with the wait for a renewal",
        start.elapsed(),
    );
    assert_eq!(a.log.fences(), 0);
    redis.script_cost();
    sleep(Duration::from_secs(9)).await;
    let (calls, each) = redis.script_cost();
    let busy = each / 9e6 * f64::from(u32::try_from(calls).unwrap()) * 100.0;
    eprintln!("at rest with 10,000 rooms, three members: {calls} scripts of {each:.0} µs in 9 s, {busy:.1} % of Redis");
}
