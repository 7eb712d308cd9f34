//! Who owns what while Redis works.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caside_cluster::{Claim, ConnectError, Directory, Owner, RedisDirectory};
use tokio::time::{Instant, sleep};

use crate::support::{LONG, Mesh, Redis, info, member, members, room, settings, until};

const LEASE_MS: u64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_members_that_claim_200_rooms_at_once_each_room_has_one_owner() {
    let redis = Redis::start();
    let (mesh, [a, b]) = members(&redis, 1500).await;
    let (a, b) = (Arc::new(a), Arc::new(b));
    let mut races = Vec::new();
    for i in 0..200 {
        for node in [&a, &b] {
            let node = node.clone();
            races.push(tokio::spawn(async move {
                let room = room(&format!("race-{i}"));
                (room.clone(), node.member.clone(), node.claim(&room).await.unwrap())
            }));
        }
    }
    let (mut granted, mut taken) = (0, 0);
    for race in races {
        let (room, who, claim) = race.await.unwrap();
        match claim {
            Claim::Granted { epoch, kept } => {
                granted += 1;
                assert_eq!(kept, None);
                let owner = Owner { member: who, epoch };
                assert_eq!(a.directory.lookup(&room).await.unwrap(), Some(owner.clone()));
                assert_eq!(b.directory.lookup(&room).await.unwrap(), Some(owner));
            }
            Claim::Taken(owner) => {
                taken += 1;
                assert_ne!(owner.member, who);
            }
            Claim::Settling(rest) => panic!("settling for {rest:?}"),
        }
    }
    assert_eq!((granted, taken), (200, 200));
    let mut of_both = a.directory.rooms_of(&a.member).await.unwrap().len();
    of_both += a.directory.rooms_of(&b.member).await.unwrap().len();
    assert_eq!(of_both, 200);
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_lease_runs_out_its_rooms_are_taken_over_with_what_was_kept() {
    let redis = Redis::start();
    let (mesh, [a, b]) = members(&redis, LEASE_MS).await;
    let room = room("standup");
    let (epoch, _) = a.own(&room).await;
    assert!(
        a.directory
            .keep(&room, epoch, Bytes::from_static(b"one"))
            .await
            .unwrap()
    );
    assert!(
        a.directory
            .keep(&room, epoch, Bytes::from_static(b"\x00two\xff"))
            .await
            .unwrap()
    );
    let gone = a.kill();
    let start = Instant::now();
    until("expired is told", LONG, async || b.log.has(&format!("expired {gone}"))).await;
    assert_eq!(b.directory.rooms_of(&gone).await.unwrap(), std::slice::from_ref(&room));
    let (next, kept) = b.own(&room).await;
    assert!(
        start.elapsed() < Duration::from_millis(LEASE_MS * 2),
        "{:?}",
        start.elapsed()
    );
    assert!(next > epoch);
    assert_eq!(kept.as_deref(), Some(&b"\x00two\xff"[..]));
    assert_eq!(b.directory.rooms_of(&gone).await.unwrap(), []);
    assert_eq!(b.log.fences(), 0);
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proof_of_death_makes_rooms_free_at_once_and_the_buried_member_never_comes_back() {
    let redis = Redis::start();
    let (mesh, [a, b]) = members(&redis, 3000).await;
    let room = room("standup");
    let (epoch, _) = a.own(&room).await;
    assert!(matches!(b.claim(&room).await, Some(Claim::Taken(owner)) if owner.epoch == epoch));
    b.directory.bury(&a.member).await.unwrap();
    assert_eq!(b.directory.lookup(&room).await.unwrap(), None);
    assert!(b.log.has(&format!("expired {}", a.member)));
    mesh.locked().lose_all(&a.member);
    let start = Instant::now();
    let Some(Claim::Granted { epoch: next, .. }) = b.claim(&room).await else {
        panic!("not at once");
    };
    assert!(next > epoch);
    assert!(start.elapsed() < Duration::from_millis(500));
    // The proof was wrong: the member lives, and finds out at its next renewal.
    until("the buried one is fenced", LONG, async || a.log.has("fenced")).await;
    assert!(!a.directory.keep(&room, epoch, Bytes::new()).await.unwrap());
    a.directory.claim(&room).await.unwrap_err();
    assert!(!a.log.has("reinstated"));
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_told_when_rooms_can_be_taken() {
    let redis = Redis::start();
    let (mesh, [a, b]) = members(&redis, 3000).await;
    let room = room("standup");
    a.own(&room).await;
    let expired = format!("expired {}", a.member);
    mesh.prove_dead(&a.member);
    let dead = a.kill();
    // Redis takes a while to hear of it.
    redis.pause();
    let burying = tokio::spawn({
        let (directory, dead) = (b.directory.clone(), dead.clone());
        async move { directory.bury(&dead).await }
    });
    sleep(Duration::from_millis(150)).await;
    assert!(!b.log.has(&expired));
    redis.resume();
    burying.await.unwrap().unwrap();
    assert!(b.log.has(&expired));
    assert!(matches!(b.claim(&room).await, Some(Claim::Granted { .. })));
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_owner_cannot_keep_release_or_hand_over() {
    let redis = Redis::start();
    let (_, [a, b]) = members(&redis, LEASE_MS * 2).await;
    let room = room("standup");
    let (old, _) = a.own(&room).await;
    let (new, kept) = a.own(&room).await;
    assert!(new > old);
    assert_eq!(kept, None);
    assert!(!a.directory.keep(&room, old, Bytes::new()).await.unwrap());
    a.directory.release(&room, old).await.unwrap();
    assert_eq!(a.directory.hand_over(&room, old, &b.member).await.unwrap(), None);
    b.directory.release(&room, new).await.unwrap();
    assert!(!b.directory.keep(&room, new, Bytes::new()).await.unwrap());
    assert_eq!(b.directory.hand_over(&room, new, &b.member).await.unwrap(), None);
    let owner = Owner {
        member: a.member.clone(),
        epoch: new,
    };
    assert_eq!(b.directory.lookup(&room).await.unwrap(), Some(owner));
    assert!(a.directory.keep(&room, new, Bytes::new()).await.unwrap());
    a.directory.release(&room, new).await.unwrap();
    assert_eq!(b.directory.lookup(&room).await.unwrap(), None);
    let (last, kept) = b.own(&room).await;
    assert!(last > new);
    assert_eq!(kept, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_handed_over_to_a_live_member_once() {
    let redis = Redis::start();
    let (_, [a, b]) = members(&redis, LEASE_MS * 2).await;
    let room = room("standup");
    let (epoch, _) = a.own(&room).await;
    assert!(
        a.directory
            .keep(&room, epoch, Bytes::from_static(b"state"))
            .await
            .unwrap()
    );
    assert_eq!(
        a.directory.hand_over(&room, epoch, &member("nobody", 1)).await.unwrap(),
        None
    );
    let next = a.directory.hand_over(&room, epoch, &b.member).await.unwrap().unwrap();
    assert!(next > epoch);
    assert_eq!(a.directory.hand_over(&room, epoch, &b.member).await.unwrap(), None);
    assert!(!a.directory.keep(&room, epoch, Bytes::new()).await.unwrap());
    // The next owner has it without a claim.
    assert!(b.directory.keep(&room, next, Bytes::from_static(b"new")).await.unwrap());
    let again = b.directory.hand_over(&room, next, &a.member).await.unwrap().unwrap();
    assert!(again > next);
    a.directory.release(&room, again).await.unwrap();
    assert_eq!(b.directory.lookup(&room).await.unwrap(), None);
    assert!(!a.log.has(&format!("lost {room}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_know_each_other_and_what_each_tells() {
    let redis = Redis::start();
    let (mesh, [a, b, c, d, e]) = members(&redis, LEASE_MS * 2).await;
    e.directory.describe(|info| {
        info.draining = true;
        info.rooms = 7;
        info.load = 250;
        info.member = member("other", 9);
    });
    until("what it tells is known", LONG, async || {
        let members = a.directory.members();
        let e = members.iter().find(|info| info.member == e.member);
        e.is_some_and(|e| e.draining && e.rooms == 7 && e.load == 250)
    })
    .await;
    let room = room("left");
    let (epoch, _) = d.own(&room).await;
    d.directory.leave().await;
    assert_eq!(b.directory.lookup(&room).await.unwrap(), None);
    d.directory.claim(&room).await.unwrap_err();
    assert!(!d.log.has("fenced"));
    mesh.locked().lose_all(&d.member);
    until("who left is not listed", LONG, async || {
        b.directory.members().len() == 4
    })
    .await;
    assert!(b.log.has(&format!("expired {}", d.member)));
    assert!(b.own(&room).await.0 > epoch);
    assert_eq!(c.log.fences(), 0);
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_run_of_a_node_takes_its_place() {
    let redis = Redis::start();
    let (mesh, [a, b]) = members(&redis, 3000).await;
    let room = room("standup");
    let (epoch, _) = a.own(&room).await;
    let again = mesh.join(member("a", 2), settings(redis.url(), 3000)).await;
    // At once, although the lease of the run before has not run out.
    mesh.locked().lose_all(&a.member);
    assert!(again.own(&room).await.0 > epoch);
    until("the run before is fenced", LONG, async || a.log.has("fenced")).await;
    until("others are told", LONG, async || {
        b.log.has(&format!("expired {}", a.member))
    })
    .await;
    let late = RedisDirectory::connect(
        settings(redis.url(), 3000),
        info(&a.member),
        a.log.clone(),
        Arc::new(NoPeers),
    );
    assert!(matches!(
        late.await,
        Err(ConnectError::Buried | ConnectError::Superseded)
    ));
    mesh.assert_right();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_is_not_in_what_is_said_of_a_failure() {
    let redis = Redis::start();
    let mesh = Arc::new(Mesh::default());
    let node = mesh.join(member("a", 1), settings(redis.url(), LEASE_MS)).await;
    for url in [
        format!("redis://:hunter2@127.0.0.1:{}/", redis.port()),
        "redis://:hunter2@127.0.0.1:1/".to_owned(),
        "http://:hunter2@127.0.0.1/".to_owned(),
        "redis://:hunter2@nowhere.invalid/".to_owned(),
    ] {
        let failed = RedisDirectory::connect(
            settings(url, LEASE_MS),
            info(&member("b", 1)),
            node.log.clone(),
            Arc::new(NoPeers),
        );
        let error = failed.await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains("hunter2") && !said.contains("127.0.0.1"), "{said}");
    }
}

struct NoPeers;

impl caside_cluster::Peers for NoPeers {
    fn quorum(&self) -> caside_cluster::Quorum {
        caside_cluster::Quorum::default()
    }
}
