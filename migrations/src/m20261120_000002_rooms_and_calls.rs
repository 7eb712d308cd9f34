//! Rooms, calls, who was in them, and which node runs them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::{create, drop_all, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            rooms(),
            calls(),
            call_owners(),
            participants(manager.get_database_backend()),
        ];
        let indices = [
            index("rooms", &["ordinal"]).unique().take(),
            index("rooms", &["owner", "ordinal"]),
            index("calls", &["room_id", "id"]),
            index("calls", &["status", "id"]),
            index("call_owners", &["node"]),
            index("participants", &["call_id", "id"]),
            index("participants", &["user_id", "call_id"]),
        ];
        create(manager, tables, indices).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["participants", "call_owners", "calls", "rooms"]).await
    }
}

fn rooms() -> TableCreateStatement {
    Table::create()
        .table("rooms")
        .col(ColumnDef::new("id").text().not_null().primary_key())
        // A UUIDv7: lists are ordered by it, for the id may be anybody's choice.
        .col(ColumnDef::new("ordinal").uuid().not_null())
        .col(ColumnDef::new("name").text())
        .col(ColumnDef::new("mode").text().not_null())
        .col(ColumnDef::new("max_participants").big_integer().not_null())
        .col(ColumnDef::new("record").text().not_null())
        .col(ColumnDef::new("locked").boolean().not_null())
        .col(ColumnDef::new("metadata").json_binary().not_null())
        .col(ColumnDef::new("owner").text())
        .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
        .take()
}

fn calls() -> TableCreateStatement {
    Table::create()
        .table("calls")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("room_id").text().not_null())
        .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("started_at").timestamp_with_time_zone())
        .col(ColumnDef::new("ended_at").timestamp_with_time_zone())
        .col(ColumnDef::new("status").text().not_null().default("active"))
        .col(ColumnDef::new("recording").boolean().not_null().default(false))
        .col(ColumnDef::new("metadata").json_binary().not_null().default("{}"))
        .take()
}

/// Calls that run: gone when they end, so that what a crash left behind is quickly found.
fn call_owners() -> TableCreateStatement {
    Table::create()
        .table("call_owners")
        .col(ColumnDef::new("call_id").uuid().not_null().primary_key())
        .col(ColumnDef::new("node").text().not_null())
        .col(ColumnDef::new("epoch").big_integer().not_null())
        .foreign_key(
            ForeignKey::create()
                .name("call_owners_call")
                .from("call_owners", "call_id")
                .to("calls", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take()
}

fn participants(backend: DbBackend) -> TableCreateStatement {
    let mut client_ip = ColumnDef::new("client_ip");
    match backend {
        DbBackend::Postgres => client_ip.custom("inet"),
        _ => client_ip.text(),
    };
    Table::create()
        .table("participants")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("call_id").uuid().not_null())
        .col(ColumnDef::new("user_id").text().not_null())
        .col(ColumnDef::new("display_name").text().not_null())
        .col(ColumnDef::new("role").text().not_null().default("participant"))
        .col(ColumnDef::new("joined_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("left_at").timestamp_with_time_zone())
        .col(client_ip)
        .col(ColumnDef::new("metadata").json_binary().not_null().default("{}"))
        .foreign_key(
            ForeignKey::create()
                .name("participants_call")
                .from("participants", "call_id")
                .to("calls", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take()
}
