//! Rooms as configured.

use caside_protocol::rest::UpdateRoom;
use caside_protocol::view::{Mode, RecordPolicy};
use caside_protocol::{CallId, RoomId, UserId};
use caside_store::rooms::StoredRoom;
use caside_store::{JournalEntry, MAX_LIMIT, PageRequest, StoreError};
use serde_json::json;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::database::{Database, on_both};

on_both!(
    a_room_is_made_once_and_keeps_its_first_owner,
    what_was_given_for_a_room_ends_with_it_unless_its_owner_makes_it_anew,
    a_call_that_waits_ends_with_its_room,
    a_change_leaves_the_other_fields,
    rooms_are_listed_newest_first_whatever_their_ids,
    a_cursor_of_another_list_is_refused,
);

const NOW: OffsetDateTime = datetime!(2026-05-06 07:08:09.123456 UTC);

pub(crate) fn room(id: &str, owner: &str) -> StoredRoom {
    StoredRoom {
        id: RoomId::new(id).unwrap(),
        name: Some("Täglich 🦀".to_owned()),
        mode: Mode::Auto,
        max_participants: u32::MAX,
        last_n: 9,
        audio_last_n: u32::MAX,
        record: RecordPolicy::Auto,
        locked: false,
        metadata: json!({"a": [1, 2.5, null, "ü"]}),
        owner: Some(UserId::new(owner).unwrap()),
        created_at: NOW,
        tokens_since: None,
    }
}

async fn a_room_is_made_once_and_keeps_its_first_owner(db: Database) {
    let made = room("standup", "ada");
    assert_eq!(db.store.create_room(&made).await.unwrap(), (made.clone(), true));
    assert_eq!(
        db.store.create_room(&room("standup", "eve")).await.unwrap(),
        (made.clone(), false)
    );
    db.store
        .apply(&[JournalEntry::RoomEnsured(room("standup", "eve"))])
        .await
        .unwrap();
    assert_eq!(db.store.room(&made.id).await.unwrap(), Some(made.clone()));

    assert!(db.store.delete_room(&made.id, NOW).await.unwrap());
    assert!(!db.store.delete_room(&made.id, NOW).await.unwrap());
    assert_eq!(db.store.room(&made.id).await.unwrap(), None);
    let (again, new) = db.store.create_room(&room("standup", "eve")).await.unwrap();
    assert_eq!((again.owner.unwrap().as_str(), new), ("eve", true));
}

async fn what_was_given_for_a_room_ends_with_it_unless_its_owner_makes_it_anew(db: Database) {
    let seconds = |n| NOW + Duration::seconds(n);
    let made_by = |owner, at| StoredRoom {
        created_at: seconds(at),
        ..room("standup", owner)
    };
    let id = room("standup", "ada").id;
    let (adas, _) = db.store.create_room(&made_by("ada", 0)).await.unwrap();
    assert!(adas.admits(Some(seconds(-60))), "tokens may be made before their room");
    assert!(!db.store.has_lapsed(&id, seconds(1)).await.unwrap());

    db.store.delete_room(&id, seconds(10)).await.unwrap();
    assert!(
        !db.store.has_lapsed(&id, seconds(1)).await.unwrap(),
        "nobody else's is there"
    );
    let former = db.store.former_room(&id).await.unwrap().unwrap();
    let (ada, bob) = (UserId::new("ada").unwrap(), UserId::new("bob").unwrap());
    assert!(former.admits(Some(seconds(1)), Some(&ada)));
    for owner in [Some(&bob), None] {
        assert!(!former.admits(Some(seconds(10)), owner));
        assert!(former.admits(Some(seconds(11)), owner));
        assert!(former.admits(None, owner), "a right to no room in particular");
    }
    // The same owner's tokens stay good.
    let (adas, _) = db.store.create_room(&made_by("ada", 20)).await.unwrap();
    assert!(adas.admits(Some(seconds(1))));
    db.store.delete_room(&id, seconds(30)).await.unwrap();

    // Somebody else's room takes only what was given since, however it is made and whatever its clock says.
    db.store
        .apply(&[JournalEntry::RoomEnsured(made_by("bob", 29))])
        .await
        .unwrap();
    let bobs = db.store.room(&id).await.unwrap().unwrap();
    assert!(bobs.created_at > seconds(30));
    for (right, good) in [(1, false), (25, false), (30, false), (31, true)] {
        assert_eq!(bobs.admits(Some(seconds(right))), good, "{right}");
        assert_eq!(
            db.store.has_lapsed(&id, seconds(right)).await.unwrap(),
            !good,
            "{right}"
        );
    }
    // Nor do they come back when it is gone in its turn.
    db.store.delete_room(&id, seconds(40)).await.unwrap();
    assert!(db.store.has_lapsed(&id, seconds(25)).await.unwrap());
    let (adas, _) = db.store.create_room(&made_by("ada", 50)).await.unwrap();
    assert!(!adas.admits(Some(seconds(25))));
}

async fn a_call_that_waits_ends_with_its_room(db: Database) {
    let made = room("standup", "ada");
    db.store.create_room(&made).await.unwrap();
    let call = CallId::new();
    let owner = made.owner.as_ref();
    db.store
        .create_call(call, &made.id, owner, &json!({}), NOW)
        .await
        .unwrap();
    db.store.delete_room(&made.id, NOW).await.unwrap();
    assert_eq!(db.store.waiting_call(&made.id).await.unwrap(), None);
    assert_eq!(db.store.call(call).await.unwrap().unwrap().ended_at, Some(NOW));
}

async fn a_change_leaves_the_other_fields(db: Database) {
    let made = room("standup", "ada");
    db.store.create_room(&made).await.unwrap();
    let nothing = db.store.update_room(&made.id, &UpdateRoom::default()).await.unwrap();
    assert_eq!(nothing, Some(made.clone()));

    let change = UpdateRoom {
        mode: Some(Mode::P2p),
        locked: Some(true),
        metadata: Some(json!(null)),
        ..UpdateRoom::default()
    };
    let changed = StoredRoom {
        mode: Mode::P2p,
        locked: true,
        metadata: json!(null),
        ..made.clone()
    };
    assert_eq!(
        db.store.update_room(&made.id, &change).await.unwrap(),
        Some(changed.clone())
    );
    assert_eq!(db.store.room(&made.id).await.unwrap(), Some(changed));

    let unlock = JournalEntry::RoomLocked {
        room: made.id.clone(),
        locked: false,
    };
    db.store.apply(&[unlock]).await.unwrap();
    assert!(!db.store.room(&made.id).await.unwrap().unwrap().locked);
    assert_eq!(
        db.store.update_room(&RoomId::new("x").unwrap(), &change).await.unwrap(),
        None
    );
}

async fn rooms_are_listed_newest_first_whatever_their_ids(db: Database) {
    for id in ["m", "z", "a", "q", "b"] {
        db.store
            .create_room(&room(id, if id == "q" { "eve" } else { "ada" }))
            .await
            .unwrap();
    }
    let list = async |owner: Option<&str>, limit| {
        let owner = owner.map(|owner| UserId::new(owner).unwrap());
        let mut ids = Vec::new();
        let mut cursor = None;
        loop {
            let page = db
                .store
                .rooms(owner.as_ref(), &PageRequest::new(Some(limit), cursor))
                .await
                .unwrap();
            assert!(page.items.len() as u64 <= limit);
            ids.extend(page.items.into_iter().map(|room| room.id.to_string()));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return ids.concat();
            }
        }
    };
    for limit in [1, 2, 5, MAX_LIMIT] {
        assert_eq!(list(None, limit).await, "bqazm");
        assert_eq!(list(Some("ada"), limit).await, "bazm");
    }
    assert_eq!(list(Some("nobody"), 1).await, "");
}

async fn a_cursor_of_another_list_is_refused(db: Database) {
    for id in ["a", "b"] {
        db.store.create_room(&room(id, "ada")).await.unwrap();
    }
    let page = db.store.rooms(None, &PageRequest::new(Some(1), None)).await.unwrap();
    let request = PageRequest::new(None, page.next_cursor);
    assert_eq!(db.store.rooms(None, &request).await.unwrap().items.len(), 1);
    assert!(matches!(db.store.users(&request).await, Err(StoreError::Cursor)));
    for nonsense in ["", "r", "rx", "r'; DROP TABLE rooms", "🦀"] {
        let request = PageRequest::new(None, Some(nonsense.to_owned()));
        assert!(
            matches!(db.store.rooms(None, &request).await, Err(StoreError::Cursor)),
            "{nonsense}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_postgres_cannot_hold_is_a_fault_of_the_value() {
    let db = crate::database::postgres().await;
    for (name, metadata) in [("a\0b", json!({})), ("a", json!({"x": "\0"}))] {
        let refused = StoredRoom {
            name: Some(name.to_owned()),
            metadata,
            ..room("standup", "ada")
        };
        let error = db.store.create_room(&refused).await.unwrap_err();
        assert!(matches!(error, StoreError::Rejected(_)), "{error:?}");
    }
}
