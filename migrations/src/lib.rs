//! The database schema, one file a step. A step that was released is frozen; the entities of `caside-store` change
//! without it.

mod m20261120_000001_accounts;
mod m20261120_000002_rooms_and_calls;
mod m20261120_000003_recordings;
mod m20261120_000004_invites;
mod m20261121_000005_former_rooms;
mod m20261127_000006_last_n;
mod m20261127_000007_encryption;
mod m20261128_000008_timelines;

use std::collections::BTreeSet;

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};

/// Of `pg_advisory_xact_lock`: nodes that start together migrate one after the other.
const LOCK: i64 = 0x0063_6173_6964_6521;

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_000001_accounts::Migration),
            Box::new(m20261120_000002_rooms_and_calls::Migration),
            Box::new(m20261120_000003_recordings::Migration),
            Box::new(m20261120_000004_invites::Migration),
            Box::new(m20261121_000005_former_rooms::Migration),
            Box::new(m20261127_000006_last_n::Migration),
            Box::new(m20261127_000007_encryption::Migration),
            Box::new(m20261128_000008_timelines::Migration),
        ]
    }
}

/// One step and whether it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name, which begins with its date.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
    /// Whether this version has it: not when a newer version has migrated the database.
    pub known: bool,
}

/// Applies every pending step; says which. All or none, and one node at a time.
///
/// A database that a newer version has migrated is left as it is, for that version keeps it readable by this one.
///
/// # Errors
/// When a step or the database fails; then nothing has changed.
pub async fn up(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let lock = lock(db).await?;
    Migrator::install(&lock).await?;
    let pending: Vec<String> = names_where(&steps(&lock).await?, |step| !step.applied);
    if !pending.is_empty() {
        Migrator::up(&lock, None).await?;
    }
    lock.commit().await?;
    Ok(pending)
}

/// Takes back the newest `count` steps, with their data; says which, newest first. All or none.
///
/// # Errors
/// When a step or the database fails, or a newer version has migrated it; then nothing has changed.
pub async fn down(db: &DatabaseConnection, count: u32) -> Result<Vec<String>, DbErr> {
    let lock = lock(db).await?;
    Migrator::install(&lock).await?;
    let mut undone = names_where(&steps(&lock).await?, |step| step.applied);
    undone.reverse();
    undone.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    if !undone.is_empty() {
        Migrator::down(&lock, Some(count)).await?;
    }
    lock.commit().await?;
    Ok(undone)
}

/// Every step, oldest first. Changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn status(db: &DatabaseConnection) -> Result<Vec<Step>, DbErr> {
    if !SchemaManager::new(db).has_table("seaql_migrations").await? {
        return Ok(merge(BTreeSet::new()));
    }
    steps(db).await
}

/// Begins a transaction that no other process migrates beside.
async fn lock(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = db.begin_with_options(options).await?;
    if transaction.get_database_backend() == DbBackend::Postgres {
        let statement =
            Statement::from_sql_and_values(DbBackend::Postgres, "SELECT pg_advisory_xact_lock($1)", [LOCK.into()]);
        transaction.query_one_raw(statement).await?;
    }
    Ok(transaction)
}

async fn steps<C: ConnectionTrait>(db: &C) -> Result<Vec<Step>, DbErr> {
    let query = Query::select().column("version").from("seaql_migrations").take();
    let rows = db.query_all(&query).await?;
    Ok(merge(
        rows.iter()
            .map(|row| row.try_get("", "version"))
            .collect::<Result<_, _>>()?,
    ))
}

/// The steps we have and those that the database has.
fn merge(applied: BTreeSet<String>) -> Vec<Step> {
    let known: BTreeSet<String> = Migrator::migrations()
        .iter()
        .map(|step| step.name().to_owned())
        .collect();
    known
        .union(&applied)
        .map(|name| Step {
            name: name.clone(),
            applied: applied.contains(name),
            known: known.contains(name),
        })
        .collect()
}

fn names_where(steps: &[Step], which: impl Fn(&Step) -> bool) -> Vec<String> {
    steps
        .iter()
        .filter(|step| which(step))
        .map(|step| step.name.clone())
        .collect()
}

/// Makes the tables, then their indices.
async fn create(
    manager: &SchemaManager<'_>,
    tables: impl IntoIterator<Item = TableCreateStatement>,
    indices: impl IntoIterator<Item = IndexCreateStatement>,
) -> Result<(), DbErr> {
    for table in tables {
        manager.create_table(table).await?;
    }
    for index in indices {
        manager.create_index(index).await?;
    }
    Ok(())
}

/// Drops the tables, in this order.
async fn drop_all(manager: &SchemaManager<'_>, tables: &[&'static str]) -> Result<(), DbErr> {
    for table in tables {
        manager.drop_table(Table::drop().table(*table).take()).await?;
    }
    Ok(())
}

/// An index named after its table and columns.
fn index(table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(format!("{table}_{}", columns.join("_"))).table(table);
    for column in columns {
        index.col(*column);
    }
    index
}
