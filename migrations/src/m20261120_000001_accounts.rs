//! Users, their refresh tokens, and API keys.

use sea_orm_migration::prelude::*;

use crate::{create, drop_all, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let indices = [
            index("users", &["username_key"]).unique().take(),
            index("refresh_tokens", &["token_hash"]).unique().take(),
            index("refresh_tokens", &["family"]),
            index("refresh_tokens", &["user_id"]),
            index("refresh_tokens", &["expires_at"]),
            index("api_keys", &["key_hash"]).unique().take(),
        ];
        create(manager, [users(), refresh_tokens(), api_keys()], indices).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["api_keys", "refresh_tokens", "users"]).await
    }
}

fn users() -> TableCreateStatement {
    Table::create()
        .table("users")
        .col(ColumnDef::new("id").text().not_null().primary_key())
        .col(ColumnDef::new("username").text().not_null())
        // The name in lower case by Unicode's rules, which the two databases' own `lower` do not share.
        .col(ColumnDef::new("username_key").text().not_null())
        .col(ColumnDef::new("password_hash").text().not_null())
        .col(ColumnDef::new("admin").boolean().not_null().default(false))
        .col(ColumnDef::new("disabled").boolean().not_null().default(false))
        .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
        .take()
}

fn refresh_tokens() -> TableCreateStatement {
    Table::create()
        .table("refresh_tokens")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("user_id").text().not_null())
        .col(ColumnDef::new("family").uuid().not_null())
        .col(ColumnDef::new("token_hash").blob().not_null())
        .col(ColumnDef::new("expires_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("used_at").timestamp_with_time_zone())
        .col(ColumnDef::new("revoked_at").timestamp_with_time_zone())
        .foreign_key(
            ForeignKey::create()
                .name("refresh_tokens_user")
                .from("refresh_tokens", "user_id")
                .to("users", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take()
}

fn api_keys() -> TableCreateStatement {
    Table::create()
        .table("api_keys")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("name").text().not_null())
        .col(ColumnDef::new("key_hash").blob().not_null())
        .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
        .col(ColumnDef::new("last_used_at").timestamp_with_time_zone())
        .col(ColumnDef::new("revoked_at").timestamp_with_time_zone())
        .take()
}
