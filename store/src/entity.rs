//! The tables as this version reads and writes them.
#![allow(
    unreachable_pub,
    unnameable_types,
    reason = "the derive makes public items of what stays in this crate"
)]

use sea_orm::entity::prelude::*;
use time::OffsetDateTime;

macro_rules! entity {
    ($module:ident, $table:literal, { $($(#[$attribute:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        pub(crate) mod $module {
            use super::*;

            #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub struct Model {
                $($(#[$attribute])* pub $field: $type),+
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

entity!(users, "users", {
    #[sea_orm(primary_key, auto_increment = false)]
    id: String,
    username: String,
    username_key: String,
    password_hash: String,
    admin: bool,
    disabled: bool,
    created_at: OffsetDateTime,
});

entity!(refresh_tokens, "refresh_tokens", {
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    user_id: String,
    family: Uuid,
    token_hash: Vec<u8>,
    expires_at: OffsetDateTime,
    used_at: Option<OffsetDateTime>,
    revoked_at: Option<OffsetDateTime>,
});

entity!(api_keys, "api_keys", {
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    name: String,
    key_hash: Vec<u8>,
    created_at: OffsetDateTime,
    last_used_at: Option<OffsetDateTime>,
    revoked_at: Option<OffsetDateTime>,
});

entity!(rooms, "rooms", {
    #[sea_orm(primary_key, auto_increment = false)]
    id: String,
    ordinal: Uuid,
    name: Option<String>,
    mode: String,
    max_participants: i64,
    last_n: i64,
    audio_last_n: i64,
    record: String,
    locked: bool,
    #[sea_orm(column_type = "JsonBinary")]
    metadata: Json,
    owner: Option<String>,
    created_at: OffsetDateTime,
    tokens_since: Option<OffsetDateTime>,
});

entity!(former_rooms, "former_rooms", {
    #[sea_orm(primary_key, auto_increment = false)]
    id: String,
    owner: Option<String>,
    deleted_at: OffsetDateTime,
    tokens_since: Option<OffsetDateTime>,
});

entity!(calls, "calls", {
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    room_id: String,
    created_at: OffsetDateTime,
    started_at: Option<OffsetDateTime>,
    ended_at: Option<OffsetDateTime>,
    status: String,
    recording: bool,
    #[sea_orm(column_type = "JsonBinary")]
    metadata: Json,
    owner: Option<String>,
});

entity!(call_owners, "call_owners", {
    #[sea_orm(primary_key, auto_increment = false)]
    call_id: Uuid,
    node: String,
    epoch: i64,
});

entity!(call_timelines, "call_timelines", {
    #[sea_orm(primary_key, auto_increment = false)]
    call_id: Uuid,
    written_at: OffsetDateTime,
    #[sea_orm(column_type = "JsonBinary")]
    explained: Json,
});

// Without `client_ip`: its type differs between the databases (`participants.rs`).
entity!(participants, "participants", {
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    call_id: Uuid,
    user_id: String,
    display_name: String,
    role: String,
    joined_at: OffsetDateTime,
    left_at: Option<OffsetDateTime>,
    #[sea_orm(column_type = "JsonBinary")]
    metadata: Json,
});

entity!(recordings, "recordings", {
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    room_id: String,
    call_id: Option<Uuid>,
    owner: Option<String>,
    node: Option<String>,
    epoch: i64,
    state: String,
    error: Option<String>,
    started_at: OffsetDateTime,
    ended_at: Option<OffsetDateTime>,
    duration_ms: Option<i64>,
});

entity!(recording_files, "recording_files", {
    #[sea_orm(primary_key, auto_increment = false)]
    recording_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    name: String,
    kind: String,
    participant_id: Option<Uuid>,
    source: Option<String>,
    content_type: String,
    #[sea_orm(column_type = "JsonBinary")]
    codecs: Json,
    encryption: Option<String>,
    size_bytes: i64,
    duration_ms: i64,
    offset_ms: i64,
    storage_key: String,
});

entity!(recording_segments, "recording_segments", {
    #[sea_orm(primary_key, auto_increment = false)]
    recording_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    participant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    source: String,
    #[sea_orm(primary_key, auto_increment = false)]
    epoch: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    n: i64,
    place: String,
    size_bytes: i64,
    checksum: Vec<u8>,
    start_ms: i64,
    end_ms: i64,
    #[sea_orm(column_type = "JsonBinary")]
    metadata: Json,
});

entity!(invites, "invites", {
    #[sea_orm(primary_key, auto_increment = false)]
    id: Uuid,
    room_id: String,
    from_user: String,
    from_name: String,
    to_user: String,
    kind: String,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    answer: Option<String>,
});
