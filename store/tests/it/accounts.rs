//! Users, refresh tokens, API keys and invitations.

use caside_protocol::server::{InviteAnswer, InviteKind};
use caside_protocol::{InviteId, RoomId, UserId};
use caside_store::invites::StoredInvite;
use caside_store::refresh_tokens::{Rotation, SecretHash};
use caside_store::{JournalEntry, PageRequest, StoreError};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::database::{Database, on_both};

on_both!(
    a_name_is_unique_without_regard_to_case,
    users_are_listed_newest_first_page_by_page,
    a_refresh_token_is_good_once,
    a_replayed_refresh_token_revokes_its_family,
    of_two_rotations_at_once_one_wins,
    a_new_password_or_a_disabled_account_ends_its_sessions,
    a_deleted_account_takes_its_tokens_along,
    an_api_key_works_until_it_is_revoked,
    an_invitation_waits_until_it_is_answered_or_expires,
);

const NOW: OffsetDateTime = datetime!(2026-05-06 07:08:09.123456 UTC);
const LATER: OffsetDateTime = datetime!(2026-06-06 00:00:00 UTC);

fn secret(n: u8) -> SecretHash {
    SecretHash([n; 32])
}

async fn a_name_is_unique_without_regard_to_case(db: Database) {
    let ada = db.store.create_user("Ädä", "$argon2id$…", true, NOW).await.unwrap();
    let error = db.store.create_user("äDÄ", "x", false, NOW).await.unwrap_err();
    assert!(error.is_conflict(), "{error:?}");
    assert_eq!(db.store.user_by_name("ÄDÄ").await.unwrap(), Some(ada.clone()));
    assert_eq!(db.store.user(&ada.id).await.unwrap(), Some(ada));
    assert_eq!(db.store.user_by_name("eve").await.unwrap(), None);
}

async fn users_are_listed_newest_first_page_by_page(db: Database) {
    for n in 0..5 {
        db.store
            .create_user(&format!("user{n}"), "x", false, NOW)
            .await
            .unwrap();
    }
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        let page = db.store.users(&PageRequest::new(Some(2), cursor)).await.unwrap();
        names.extend(page.items.into_iter().map(|user| user.username));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names, ["user4", "user3", "user2", "user1", "user0"]);
}

async fn a_refresh_token_is_good_once(db: Database) {
    let ada = db.store.create_user("ada", "x", false, NOW).await.unwrap();
    db.store.add_refresh_token(&ada.id, secret(1), LATER).await.unwrap();
    let rotate = async |presented, next| {
        db.store
            .rotate_refresh_token(presented, next, LATER, NOW)
            .await
            .unwrap()
    };

    assert_eq!(rotate(secret(9), secret(2)).await, Rotation::Refused, "unknown");
    assert_eq!(rotate(secret(1), secret(2)).await, Rotation::Rotated(ada.clone()));
    assert_eq!(rotate(secret(2), secret(3)).await, Rotation::Rotated(ada.clone()));
    let late = db
        .store
        .rotate_refresh_token(secret(3), secret(4), LATER, LATER)
        .await
        .unwrap();
    assert_eq!(late, Rotation::Refused, "expired");

    assert_eq!(db.store.purge_refresh_tokens(LATER).await.unwrap(), 0);
    assert_eq!(
        db.store.purge_refresh_tokens(LATER + Duration::SECOND).await.unwrap(),
        3
    );
    let nobody = UserId::new("nobody").unwrap();
    let error = db.store.add_refresh_token(&nobody, secret(1), LATER).await.unwrap_err();
    assert!(matches!(error, StoreError::Dangling { .. }), "{error:?}");
}

async fn a_replayed_refresh_token_revokes_its_family(db: Database) {
    let ada = db.store.create_user("ada", "x", false, NOW).await.unwrap();
    db.store.add_refresh_token(&ada.id, secret(1), LATER).await.unwrap();
    db.store.add_refresh_token(&ada.id, secret(100), LATER).await.unwrap();
    let rotate = async |presented, next| {
        db.store
            .rotate_refresh_token(presented, next, LATER, NOW)
            .await
            .unwrap()
    };

    rotate(secret(1), secret(2)).await;
    assert_eq!(
        rotate(secret(1), secret(3)).await,
        Rotation::Replayed { user: ada.id.clone() }
    );
    assert_eq!(
        rotate(secret(2), secret(4)).await,
        Rotation::Refused,
        "the thief's or the victim's"
    );
    assert_eq!(
        rotate(secret(100), secret(101)).await,
        Rotation::Rotated(ada),
        "another family"
    );

    assert!(db.store.revoke_refresh_family(secret(101), NOW).await.unwrap());
    assert_eq!(rotate(secret(101), secret(102)).await, Rotation::Refused);
    assert!(!db.store.revoke_refresh_family(secret(200), NOW).await.unwrap());
}

async fn of_two_rotations_at_once_one_wins(db: Database) {
    let ada = db.store.create_user("ada", "x", false, NOW).await.unwrap();
    db.store.add_refresh_token(&ada.id, secret(1), LATER).await.unwrap();
    let tasks: Vec<_> = (2..10)
        .map(|n| {
            let store = db.store.clone();
            tokio::spawn(async move {
                store
                    .rotate_refresh_token(secret(1), secret(n), LATER, NOW)
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut rotated = 0;
    for task in tasks {
        rotated += usize::from(matches!(task.await.unwrap(), Rotation::Rotated(_)));
    }
    assert_eq!(rotated, 1);
}

async fn a_new_password_or_a_disabled_account_ends_its_sessions(db: Database) {
    let ada = db.store.create_user("ada", "x", false, NOW).await.unwrap();
    let begin = async |n| db.store.add_refresh_token(&ada.id, secret(n), LATER).await.unwrap();
    let end = async |n| {
        db.store
            .rotate_refresh_token(secret(n), secret(n + 1), LATER, NOW)
            .await
            .unwrap()
    };

    begin(1).await;
    assert!(db.store.set_password(&ada.id, "y", NOW).await.unwrap());
    assert_eq!(end(1).await, Rotation::Refused);
    assert_eq!(db.store.user(&ada.id).await.unwrap().unwrap().password_hash, "y");

    begin(10).await;
    assert!(db.store.set_user_disabled(&ada.id, true, NOW).await.unwrap());
    assert_eq!(end(10).await, Rotation::Refused);
    begin(20).await;
    assert_eq!(end(20).await, Rotation::Refused, "still disabled");
    assert!(db.store.set_user_disabled(&ada.id, false, NOW).await.unwrap());
    assert!(matches!(end(20).await, Rotation::Rotated(_)));

    let nobody = UserId::new("nobody").unwrap();
    assert!(!db.store.set_password(&nobody, "y", NOW).await.unwrap());
}

async fn a_deleted_account_takes_its_tokens_along(db: Database) {
    let ada = db.store.create_user("ada", "x", false, NOW).await.unwrap();
    db.store.add_refresh_token(&ada.id, secret(1), LATER).await.unwrap();
    assert!(db.store.delete_user(&ada.id).await.unwrap());
    assert!(!db.store.delete_user(&ada.id).await.unwrap());
    assert_eq!(db.store.purge_refresh_tokens(LATER + Duration::DAY).await.unwrap(), 0);
}

async fn an_api_key_works_until_it_is_revoked(db: Database) {
    let key = db.store.create_api_key("ci", secret(1), NOW).await.unwrap();
    assert!(
        db.store
            .create_api_key("again", secret(1), NOW)
            .await
            .unwrap_err()
            .is_conflict()
    );
    assert_eq!(db.store.api_key(secret(1)).await.unwrap(), Some(key.clone()));
    assert_eq!(db.store.api_key(secret(2)).await.unwrap(), None);

    let used = |at| JournalEntry::ApiKeyUsed { key: key.id, at };
    db.store.apply(&[used(LATER), used(NOW)]).await.unwrap();
    let listed = db.store.api_keys(&PageRequest::default()).await.unwrap().items;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        listed[0].last_used_at,
        Some(LATER),
        "the latest, in whatever order they arrive"
    );

    assert!(db.store.revoke_api_key(key.id, NOW).await.unwrap());
    assert!(!db.store.revoke_api_key(key.id, LATER).await.unwrap());
    assert_eq!(db.store.api_key(secret(1)).await.unwrap(), None);
    let listed = db.store.api_keys(&PageRequest::default()).await.unwrap().items;
    assert_eq!(listed[0].revoked_at, Some(NOW));
}

fn invite(to: &str, expires_at: OffsetDateTime) -> StoredInvite {
    StoredInvite {
        id: InviteId::new(),
        room: RoomId::new("standup").unwrap(),
        from_user: UserId::new("ada").unwrap(),
        from_name: "Ada".to_owned(),
        to_user: UserId::new(to).unwrap(),
        kind: InviteKind::Invite,
        expires_at,
        answer: None,
    }
}

async fn an_invitation_waits_until_it_is_answered_or_expires(db: Database) {
    let mut invites = [
        invite("bob", LATER),
        invite("bob", LATER),
        invite("eve", LATER),
        invite("bob", NOW - Duration::SECOND),
    ];
    invites.sort_by_key(|invite| invite.id);
    let made = |invite: &StoredInvite| JournalEntry::InviteMade {
        invite: invite.clone(),
        at: NOW,
    };
    let entries: Vec<JournalEntry> = invites.iter().map(made).collect();
    db.store.apply(&entries).await.unwrap();
    let (gone, live): (Vec<_>, Vec<_>) = invites.into_iter().partition(|invite| invite.expires_at < NOW);
    let waiting = async |after, limit| db.store.waiting_invites(after, limit, NOW).await.unwrap();
    assert_eq!(waiting(None, 10).await, live);
    assert_eq!(waiting(None, 2).await, live[..2]);
    assert_eq!(waiting(Some(live[1].id), 2).await, live[2..]);

    let answered = |answer| JournalEntry::InviteAnswered {
        invite: live[0].id,
        answer,
    };
    db.store
        .apply(&[answered(InviteAnswer::Declined), answered(InviteAnswer::Accepted)])
        .await
        .unwrap();
    db.store.apply(&[made(&live[0])]).await.unwrap();
    assert_eq!(waiting(None, 10).await, live[1..], "answered once and for all");
    let kept = db.store.invite(live[0].id).await.unwrap().unwrap();
    assert_eq!(kept.answer, Some(InviteAnswer::Declined), "the first answer counts");

    assert_eq!(db.store.purge_invites(NOW).await.unwrap(), 1);
    assert_eq!(db.store.invite(gone[0].id).await.unwrap(), None);
}
