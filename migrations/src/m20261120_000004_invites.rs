//! Calls and invitations to users that wait for an answer.

use sea_orm_migration::prelude::*;

use crate::{create, drop_all, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let indices = [index("invites", &["to_user", "id"]), index("invites", &["expires_at"])];
        create(manager, [invites()], indices).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["invites"]).await
    }
}

fn invites() -> TableCreateStatement {
    Table::create()
        .table("invites")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("room_id").text().not_null())
        .col(ColumnDef::new("from_user").text().not_null())
        .col(ColumnDef::new("from_name").text().not_null())
        .col(ColumnDef::new("to_user").text().not_null())
        .col(ColumnDef::new("kind").text().not_null())
        .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("expires_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("answer").text())
        .take()
}
