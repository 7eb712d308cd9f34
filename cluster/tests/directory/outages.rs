//! Redis away, back, and without its memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caside_cluster::{Claim, Directory};
use tokio::time::{Instant, sleep};

use crate::support::{LONG, Mesh, Node, Proxy, Redis, member, members, room, settings, until};

/// Long enough for a busy machine not to look like one that stood still.
const LEASE_MS: u64 = 2000;

async fn all_suspended(nodes: &[Node]) {
    for node in nodes {
        until("Redis is away", LONG, async || node.directory.is_away()).await;
    }
    // Past the end of every lease.
    sleep(Duration::from_millis(LEASE_MS * 3 / 2)).await;
    for node in nodes {
        assert_eq!(
            node.log.fences(),
            0,
            "{} was fenced: {:?}",
            node.member,
            node.log.lines()
        );
    }
}

/// Lets Redis go away by `stop` and come back by `start`: rooms run on, new ones are granted, and all are known afterwards.
async fn survives(mut redis: Redis, stop: impl FnOnce(&mut Redis), start: impl FnOnce(&mut Redis)) {
    let (mesh, nodes) = members::<3>(&redis, LEASE_MS).await;
    let [a, b, c] = &nodes;
    let (old, new) = (room("old"), room("new"));
    let (epoch, _) = a.own(&old).await;
    assert!(
        a.directory
            .keep(&old, epoch, Bytes::from_static(b"state"))
            .await
            .unwrap()
    );
    let released = room("released");
    let (of_released, _) = b.own(&released).await;
    assert!(matches!(c.claim(&old).await, Some(Claim::Taken(_))));

    stop(&mut redis);
    all_suspended(&nodes).await;
    assert_eq!(a.directory.lookup(&old).await.unwrap().map(|o| o.epoch), Some(epoch));
    b.directory.lookup(&old).await.unwrap_err();
    let (granted, kept) = b.own(&new).await;
    assert_eq!(kept, None);
    assert!(granted > epoch);
    // Who has seen the owner does not take its room.
    assert!(matches!(c.claim(&old).await, Some(Claim::Taken(owner)) if owner.member == a.member));
    b.directory.release(&released, of_released).await.unwrap();
    mesh.locked().lose(&released, &b.member);

    start(&mut redis);
    let start = Instant::now();
    let mut claimed_early = 0;
    until("all rooms are known again", Duration::from_secs(10), async || {
        let fenced = nodes.iter().find(|node| node.log.fences() > 0);
        assert!(fenced.is_none(), "{:?}", fenced.map(|node| node.log.lines()));
        // Before it is back itself it would grant itself what it does not know: then those who route ask the peers.
        for room in [&old, &new].into_iter().filter(|_| !c.directory.is_away()) {
            if matches!(c.claim(room).await, Some(Claim::Granted { .. })) {
                claimed_early += 1;
            }
        }
        let of = async |room| c.directory.lookup(room).await.ok().flatten();
        of(&old).await.is_some_and(|o| o.member == a.member && o.epoch == epoch)
            && of(&new)
                .await
                .is_some_and(|o| o.member == b.member && o.epoch == granted)
    })
    .await;
    assert_eq!(claimed_early, 0);
    assert!(c.own(&released).await.0 > of_released);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    for node in &nodes {
        until("all are told", LONG, async || {
            node.log.has("away") && node.log.has("back")
        })
        .await;
        assert_eq!(node.log.fences(), 0, "{:?}", node.log.lines());
        assert!(
            !node
                .log
                .lines()
                .iter()
                .any(|l| l.starts_with("lost") || l.starts_with("expired"))
        );
    }
    assert!(a.directory.keep(&old, epoch, Bytes::new()).await.unwrap());
    assert!(b.directory.keep(&new, granted, Bytes::new()).await.unwrap());
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stands_still_for_a_while() {
    survives(Redis::start(), |r| r.pause(), |r| r.resume()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_started_with_its_data() {
    survives(Redis::start(), Redis::kill, |r| r.restart(true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_started_without_its_data() {
    survives(Redis::start(), Redis::kill, |r| r.restart(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_alone_outlasts_redis_and_settles_at_once() {
    let mut redis = Redis::start();
    let (mesh, nodes) = members::<1>(&redis, LEASE_MS).await;
    let [a] = &nodes;
    let (epoch, _) = a.own(&room("old")).await;
    redis.kill();
    all_suspended(&nodes).await;
    redis.restart(false);
    until("Redis is back", LONG, async || !a.directory.is_away()).await;
    assert!(matches!(a.claim(&room("new")).await, Some(Claim::Granted { .. })));
    until("its room is known", LONG, async || {
        a.directory
            .lookup(&room("old"))
            .await
            .unwrap()
            .is_some_and(|o| o.epoch == epoch)
    })
    .await;
    assert_eq!(a.log.fences(), 0);
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_alone_is_cut_off_from_redis_is_fenced_within_its_lease() {
    let redis = Redis::start();
    let mesh = Arc::new(Mesh::default());
    let proxy = Proxy::to(redis.port()).await;
    let a = mesh.join(member("a", 1), settings(proxy.url(), LEASE_MS)).await;
    let b = mesh.join(member("b", 1), settings(redis.url(), LEASE_MS)).await;
    let room = room("standup");
    let (epoch, _) = a.own(&room).await;
    assert!(
        a.directory
            .keep(&room, epoch, Bytes::from_static(b"state"))
            .await
            .unwrap()
    );
    let cut = Instant::now();
    proxy.cut(true);
    until("the one cut off is fenced", LONG, async || a.log.has("fenced")).await;
    assert!(cut.elapsed() < Duration::from_millis(LEASE_MS), "{:?}", cut.elapsed());
    let (next, kept) = b.own(&room).await;
    assert!(next > epoch);
    assert_eq!(kept.as_deref(), Some(&b"state"[..]));
    a.directory.claim(&room).await.unwrap_err();
    proxy.cut(false);
    until("it has a lease again", LONG, async || a.log.has("reinstated")).await;
    assert!(matches!(a.claim(&room).await, Some(Claim::Taken(owner)) if owner.member == b.member));
    assert_eq!(b.log.fences(), 0);
    assert_eq!(a.log.fences(), 1);
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_member_gets_its_room_back_with_its_state_when_nobody_took_it() {
    let redis = Redis::start();
    let mesh = Arc::new(Mesh::default());
    let proxy = Proxy::to(redis.port()).await;
    let a = mesh.join(member("a", 1), settings(proxy.url(), LEASE_MS)).await;
    let _b = mesh.join(member("b", 1), settings(redis.url(), LEASE_MS)).await;
    let room = room("standup");
    let (epoch, _) = a.own(&room).await;
    assert!(
        a.directory
            .keep(&room, epoch, Bytes::from_static(b"state"))
            .await
            .unwrap()
    );
    proxy.cut(true);
    until("the one cut off is fenced", LONG, async || a.log.has("fenced")).await;
    proxy.cut(false);
    until("it has a lease again", LONG, async || a.log.has("reinstated")).await;
    // The entry still names it, but the room stopped.
    assert!(!a.directory.keep(&room, epoch, Bytes::new()).await.unwrap());
    let (next, kept) = a.own(&room).await;
    assert!(next > epoch);
    assert_eq!(kept.as_deref(), Some(&b"state"[..]));
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_redis_and_the_majority_are_away_the_minority_is_fenced() {
    let redis = Redis::start();
    let (mesh, [a, b, c]) = members::<3>(&redis, LEASE_MS).await;
    let (epoch, _) = a.own(&room("of-a")).await;
    c.own(&room("of-c")).await;
    c.cut_links(true);
    redis.pause();
    until("the minority is fenced", LONG, async || c.log.has("fenced")).await;
    until("all leases are over", LONG, async || {
        a.directory.is_away() && b.directory.is_away()
    })
    .await;
    assert_eq!((a.log.fences(), b.log.fences()), (0, 0));
    redis.resume();
    until("the majority has kept its room", LONG, async || {
        b.directory
            .lookup(&room("of-a"))
            .await
            .is_ok_and(|o| o.is_some_and(|o| o.epoch == epoch))
    })
    .await;
    assert_eq!((a.log.fences(), b.log.fences()), (0, 0));
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_that_still_has_redis_takes_nothing_from_a_majority_without_it() {
    let redis = Redis::start();
    let mesh = Arc::new(Mesh::default());
    let (to_a, to_b) = (Proxy::to(redis.port()).await, Proxy::to(redis.port()).await);
    let a = mesh.join(member("a", 1), settings(to_a.url(), LEASE_MS)).await;
    let b = mesh.join(member("b", 1), settings(to_b.url(), LEASE_MS)).await;
    let c = mesh.join(member("c", 1), settings(redis.url(), LEASE_MS)).await;
    let room = room("standup");
    let (epoch, _) = a.own(&room).await;
    c.cut_links(true);
    to_a.cut(true);
    to_b.cut(true);
    let end = Instant::now() + Duration::from_millis(LEASE_MS * 4);
    while Instant::now() < end {
        assert!(!matches!(c.claim(&room).await, Some(Claim::Granted { .. })));
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((a.log.fences(), b.log.fences(), c.log.fences()), (0, 0, 0));
    // The links are mended: the majority hears that Redis works, and cannot get there.
    c.cut_links(false);
    until("the majority is fenced", LONG, async || {
        a.log.has("fenced") && b.log.has("fenced")
    })
    .await;
    to_a.cut(false);
    to_b.cut(false);
    until("it is back", LONG, async || {
        a.log.has("reinstated") && b.log.has("reinstated")
    })
    .await;
    let (next, _) = a.own(&room).await;
    assert!(next > epoch);
    assert_eq!(c.log.fences(), 0);
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_flushall_owners_assert_first_and_no_room_has_two_owners() {
    let redis = Redis::start();
    let (mesh, [a, b, c]) = members::<3>(&redis, LEASE_MS).await;
    let rooms: Vec<_> = (0..50).map(|i| room(&format!("r{i}"))).collect();
    for room in &rooms {
        a.own(room).await;
    }
    for _ in 0..3 {
        redis.flush();
        let start = Instant::now();
        let mut left = rooms.clone();
        // Everybody tries to take every room, all the while.
        while start.elapsed() < Duration::from_millis(LEASE_MS * 3 / 2) || !left.is_empty() {
            assert!(start.elapsed() < LONG, "{} rooms are not known again", left.len());
            for node in [&b, &c] {
                let room = &rooms[usize::try_from(start.elapsed().as_micros()).unwrap() % rooms.len()];
                assert!(!matches!(node.claim(room).await, Some(Claim::Granted { .. })));
            }
            if let Some(room) = left.last() {
                let owner = b.directory.lookup(room).await.ok().flatten();
                if owner.is_some_and(|o| o.member == a.member) {
                    left.pop();
                }
            }
            sleep(Duration::from_millis(2)).await;
        }
    }
    b.own(&room("fresh")).await;
    assert_eq!([a.log.fences(), b.log.fences(), c.log.fences()], [0, 0, 0]);
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_redis_forgot_is_asserted_within_a_lease() {
    let redis = Redis::start();
    let (mesh, [a, b]) = members::<2>(&redis, LEASE_MS).await;
    let room = room("standup");
    let (epoch, _) = a.own(&room).await;
    redis.lose("caside:room:standup");
    assert_eq!(b.directory.lookup(&room).await.unwrap(), None);
    until(
        "it is known again",
        Duration::from_millis(LEASE_MS * 3 / 2),
        async || {
            b.directory
                .lookup(&room)
                .await
                .unwrap()
                .is_some_and(|o| o.epoch == epoch)
        },
    )
    .await;
    assert!(a.directory.keep(&room, epoch, Bytes::new()).await.unwrap());
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_grant_themselves_one_room_without_redis_one_is_told_that_it_lost() {
    let redis = Redis::start();
    let (_, nodes) = members::<2>(&redis, LEASE_MS).await;
    let [a, b] = &nodes;
    let room = room("standup");
    redis.pause();
    all_suspended(&nodes).await;
    let (of_a, _) = a.own(&room).await;
    sleep(Duration::from_millis(5)).await;
    let (of_b, _) = b.own(&room).await;
    assert!(of_b > of_a);
    redis.resume();
    until("the older one is told", LONG, async || {
        a.log.has(&format!("lost {room}"))
    })
    .await;
    let owner = b.directory.lookup(&room).await.unwrap().unwrap();
    assert_eq!((owner.member, owner.epoch), (b.member.clone(), of_b));
    assert!(!b.log.has(&format!("lost {room}")));
    assert!(!a.directory.keep(&room, of_a, Bytes::new()).await.unwrap());
    assert!(b.directory.keep(&room, of_b, Bytes::new()).await.unwrap());
}
