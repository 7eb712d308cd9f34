//! Rooms as configured.

use caside_protocol::rest::UpdateRoom;
use caside_protocol::view::{Mode, RecordPolicy};
use caside_protocol::{RoomId, UserId};
use caside_store::rooms::StoredRoom;
use caside_store::{JournalEntry, MAX_LIMIT, PageRequest, StoreError};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::database::{Database, on_both};

on_both!(
    a_room_is_made_once_and_keeps_its_first_owner,
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
        record: RecordPolicy::Auto,
        locked: false,
        metadata: json!({"a": [1, 2.5, null, "ü"]}),
        owner: Some(UserId::new(owner).unwrap()),
        created_at: NOW,
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

    assert!(db.store.delete_room(&made.id).await.unwrap());
    assert!(!db.store.delete_room(&made.id).await.unwrap());
    assert_eq!(db.store.room(&made.id).await.unwrap(), None);
    let (again, new) = db.store.create_room(&room("standup", "eve")).await.unwrap();
    assert_eq!((again.owner.unwrap().as_str(), new), ("eve", true));
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
