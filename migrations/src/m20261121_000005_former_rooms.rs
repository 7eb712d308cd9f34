//! What is known of rooms that were deleted, so that tokens made for them have no power over a later room of the same id;
//! and who owned a call's room while it was on.

use sea_orm_migration::prelude::*;

use crate::{create, drop_all};

/// Whose room a call was in that was made before there was the column: today's owner's, unless the room is newer.
const OWNERS: &str = "UPDATE calls SET owner = (SELECT rooms.owner FROM rooms \
    WHERE rooms.id = calls.room_id AND rooms.created_at <= calls.created_at)";

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, [former_rooms()], []).await?;
        add(manager, "rooms", tokens_since()).await?;
        add(manager, "calls", ColumnDef::new("owner").text().take()).await?;
        manager.get_connection().execute_unprepared(OWNERS).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [("calls", "owner"), ("rooms", "tokens_since")] {
            let drop = Table::alter().table(table).drop_column(column).take();
            manager.alter_table(drop).await?;
        }
        drop_all(manager, &["former_rooms"]).await
    }
}

async fn add(manager: &SchemaManager<'_>, table: &'static str, column: ColumnDef) -> Result<(), DbErr> {
    manager
        .alter_table(Table::alter().table(table).add_column(column).take())
        .await
}

fn former_rooms() -> TableCreateStatement {
    Table::create()
        .table("former_rooms")
        .col(ColumnDef::new("id").text().not_null().primary_key())
        .col(ColumnDef::new("owner").text())
        .col(ColumnDef::new("deleted_at").timestamp_with_time_zone().not_null())
        .col(tokens_since())
        .take()
}

fn tokens_since() -> ColumnDef {
    ColumnDef::new("tokens_since").timestamp_with_time_zone().take()
}
