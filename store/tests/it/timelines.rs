//! What is kept of calls that went badly.

use caside_protocol::{CallId, RoomId};
use caside_store::JournalEntry;
use caside_store::journal::{Journal, JournalOptions};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::calls::{at, started};
use crate::database::{Database, on_both};

on_both!(
    the_last_word_on_a_call_is_kept_and_found_by_its_room,
    it_goes_with_its_call,
    a_call_that_is_not_there_leaves_nothing_behind,
);

fn explained(call: CallId, what: &str) -> JournalEntry {
    JournalEntry::CallExplained {
        call,
        at: at(70),
        explained: json!({ "what": what }),
    }
}

fn is(written: Option<Value>, what: &str) -> bool {
    written == Some(json!({ "what": what }))
}

async fn the_last_word_on_a_call_is_kept_and_found_by_its_room(db: Database) {
    let (first, second, well) = (CallId::new(), CallId::new(), CallId::new());
    let journal = Journal::start(db.store.clone(), JournalOptions::default());
    for call in [first, second, well] {
        journal.append(started(call, "standup", "n1", 1)).unwrap();
    }
    let entries = [explained(first, "a"), explained(second, "b"), explained(second, "c")];
    for entry in entries {
        journal.append(entry).unwrap();
    }
    journal.flush(std::time::Duration::from_secs(30)).await.unwrap();
    assert!(is(db.store.timeline(first).await.unwrap(), "a"));
    assert!(is(db.store.timeline(second).await.unwrap(), "c"));
    assert_eq!(db.store.timeline(well).await.unwrap(), None);
    let room = |id: &str| RoomId::new(id).unwrap();
    assert!(is(db.store.last_timeline(&room("standup")).await.unwrap(), "c"));
    assert_eq!(db.store.last_timeline(&room("other")).await.unwrap(), None);
}

async fn it_goes_with_its_call(db: Database) {
    let call = CallId::new();
    db.store
        .apply(&[started(call, "standup", "n1", 1), explained(call, "a")])
        .await
        .unwrap();
    db.store
        .connection()
        .execute_unprepared("DELETE FROM calls")
        .await
        .unwrap();
    assert_eq!(db.store.timeline(call).await.unwrap(), None);
}

async fn a_call_that_is_not_there_leaves_nothing_behind(db: Database) {
    let call = CallId::new();
    db.store.apply(&[explained(call, "a")]).await.unwrap();
    assert_eq!(db.store.timeline(call).await.unwrap(), None);
}
