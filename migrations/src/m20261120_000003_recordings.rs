//! Recordings, their files, and the segments that files are made of.

use sea_orm_migration::prelude::*;

use crate::{create, drop_all, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let indices = [
            index("recordings", &["room_id", "id"]),
            index("recordings", &["call_id", "id"]),
            index("recordings", &["owner", "id"]),
            index("recordings", &["state", "id"]),
        ];
        create(
            manager,
            [recordings(), recording_files(), recording_segments()],
            indices,
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["recording_segments", "recording_files", "recordings"]).await
    }
}

/// Size and participants are not kept: they are those of the files and segments.
fn recordings() -> TableCreateStatement {
    Table::create()
        .table("recordings")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("room_id").text().not_null())
        .col(ColumnDef::new("call_id").uuid())
        .col(ColumnDef::new("owner").text())
        .col(ColumnDef::new("node").text())
        .col(ColumnDef::new("epoch").big_integer().not_null().default(0))
        .col(ColumnDef::new("state").text().not_null())
        .col(ColumnDef::new("error").text())
        .col(ColumnDef::new("started_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("ended_at").timestamp_with_time_zone())
        .col(ColumnDef::new("duration_ms").big_integer())
        .take()
}

fn recording_files() -> TableCreateStatement {
    Table::create()
        .table("recording_files")
        .col(ColumnDef::new("recording_id").uuid().not_null())
        .col(ColumnDef::new("name").text().not_null())
        .col(ColumnDef::new("kind").text().not_null())
        .col(ColumnDef::new("participant_id").uuid())
        .col(ColumnDef::new("source").text())
        .col(ColumnDef::new("content_type").text().not_null())
        .col(ColumnDef::new("codecs").json_binary().not_null())
        .col(ColumnDef::new("size_bytes").big_integer().not_null())
        .col(ColumnDef::new("duration_ms").big_integer().not_null())
        .col(ColumnDef::new("offset_ms").big_integer().not_null())
        .col(ColumnDef::new("storage_key").text().not_null())
        .primary_key(Index::create().col("recording_id").col("name"))
        .foreign_key(&mut of_recording("recording_files", "recording_files_recording"))
        .take()
}

fn recording_segments() -> TableCreateStatement {
    Table::create()
        .table("recording_segments")
        .col(ColumnDef::new("recording_id").uuid().not_null())
        .col(ColumnDef::new("participant_id").uuid().not_null())
        .col(ColumnDef::new("source").text().not_null())
        .col(ColumnDef::new("epoch").big_integer().not_null())
        .col(ColumnDef::new("n").big_integer().not_null())
        .col(ColumnDef::new("place").text().not_null())
        .col(ColumnDef::new("size_bytes").big_integer().not_null())
        .col(ColumnDef::new("checksum").blob().not_null())
        .col(ColumnDef::new("start_ms").big_integer().not_null())
        .col(ColumnDef::new("end_ms").big_integer().not_null())
        .col(ColumnDef::new("metadata").json_binary().not_null())
        .primary_key(
            Index::create()
                .col("recording_id")
                .col("participant_id")
                .col("source")
                .col("epoch")
                .col("n"),
        )
        .foreign_key(&mut of_recording("recording_segments", "recording_segments_recording"))
        .take()
}

fn of_recording(table: &'static str, name: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(name)
        .from(table, "recording_id")
        .to("recordings", "id")
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}
