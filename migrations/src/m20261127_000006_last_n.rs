//! How many cameras and voices a room gives its members at a time; 0: all.

use sea_orm_migration::prelude::*;

/// Cameras, then voices.
const COLUMNS: [&str; 2] = ["last_n", "audio_last_n"];

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in COLUMNS {
            let column = ColumnDef::new(name).big_integer().not_null().default(0).take();
            manager
                .alter_table(Table::alter().table("rooms").add_column(column).take())
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in COLUMNS {
            manager
                .alter_table(Table::alter().table("rooms").drop_column(name).take())
                .await?;
        }
        Ok(())
    }
}
