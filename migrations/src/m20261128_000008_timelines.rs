//! What happened in calls that went badly, and why; gone with the call.

use sea_orm_migration::prelude::*;

use crate::{create, drop_all, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, [call_timelines()], [index("call_timelines", &["written_at"])]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["call_timelines"]).await
    }
}

fn call_timelines() -> TableCreateStatement {
    Table::create()
        .table("call_timelines")
        .col(ColumnDef::new("call_id").uuid().not_null().primary_key())
        .col(ColumnDef::new("written_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("explained").json_binary().not_null())
        .foreign_key(
            ForeignKey::create()
                .name("call_timelines_call")
                .from("call_timelines", "call_id")
                .to("calls", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take()
}
