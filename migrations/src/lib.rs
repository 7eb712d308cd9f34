//! The database schema, one file a step. A step that was released is frozen; the entities of `caside-store` change
//! without it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseConnection;

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![]
    }
}

/// One step and whether it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name, which begins with its date.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// Applies every pending step; says which.
///
/// # Errors
/// When a step or the database fails; steps before it stay.
pub async fn up(_db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    todo!()
}

/// Takes back the newest `steps` steps, with their data; says which.
///
/// # Errors
/// When a step or the database fails; steps taken back before it stay so.
pub async fn down(_db: &DatabaseConnection, _steps: u32) -> Result<Vec<String>, DbErr> {
    todo!()
}

/// Every step, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn status(_db: &DatabaseConnection) -> Result<Vec<Step>, DbErr> {
    todo!()
}
