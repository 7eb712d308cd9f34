//! A member that is linked before it is ready to take messages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use caside_cluster::{Company, CompanySettings, Gateways, Inbox, LinksSettings};
use caside_protocol::RoomId;
use caside_protocol::node::{Member, NodeMessage};

use crate::support::{LONG, Redis, member, room, settings, until};

const MESSAGES: u64 = 500;

/// What was received.
#[derive(Default)]
struct Received(Mutex<Vec<u64>>);

impl Inbox for Received {
    fn received(&self, _: &Member, message: NodeMessage) {
        if let NodeMessage::Forget { epoch, .. } = message {
            self.0.lock().unwrap().push(epoch);
        }
    }
    fn linked(&self, _: &Member) {}
    fn unlinked(&self, _: &Member) {}
    fn gone(&self, _: &Member) {}
    fn fenced(&self) {}
    fn reinstated(&self) {}
    fn room_lost(&self, _: &RoomId, _: u64) {}
}

async fn join(redis: &Redis, name: &str) -> Arc<Company> {
    let company = CompanySettings {
        links: LinksSettings::new(
            member(name, 1),
            1,
            "127.0.0.1:0".parse().unwrap(),
            "a cookie for a test",
        ),
        advertise: None,
        redis: settings(redis.url(), 3000),
    };
    Company::join(company).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_a_member_is_ready_is_kept_in_order() {
    let redis = Redis::start();
    let (early, late) = (join(&redis, "early").await, join(&redis, "late").await);
    early.attend(Arc::new(Received::default())).await;
    let to = member("late", 1);
    until("they are linked", LONG, async || early.linked().contains(&to)).await;
    let send = |epoch| {
        let message = NodeMessage::Forget { room: room("r"), epoch };
        early.send(&to, &message).unwrap();
    };
    (0..MESSAGES).for_each(send);
    // They arrive while nobody takes them.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let received = Arc::new(Received::default());
    let attending = late.attend(received.clone());
    (MESSAGES..2 * MESSAGES).for_each(send);
    attending.await;
    let all = || received.0.lock().unwrap().clone();
    until("all have come", LONG, async || all().len() as u64 == 2 * MESSAGES).await;
    assert!(all().is_sorted());
    late.leave().await;
    early.leave().await;
}
