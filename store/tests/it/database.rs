//! A migrated database for one test, and the macro that runs a test on both kinds.

use caside_store::{Store, StoreOptions};
use tempfile::TempDir;

use crate::postgres::Postgres;

/// A database of its own.
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) url: String,
    pub(crate) postgres: Option<Postgres>,
    _dir: Option<TempDir>,
}

/// An SQLite file in a directory of its own.
pub(crate) async fn sqlite() -> Database {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("caside.db").display());
    let store = Store::connect(&url, StoreOptions::default()).await.unwrap();
    caside_migrations::up(store.connection()).await.unwrap();
    Database {
        store,
        url,
        postgres: None,
        _dir: Some(dir),
    }
}

/// A PostgreSQL server of its own.
pub(crate) async fn postgres() -> Database {
    postgres_with(StoreOptions::default()).await
}

pub(crate) async fn postgres_with(options: StoreOptions) -> Database {
    let server = Postgres::start().await;
    let url = server.url();
    let store = Store::connect(&url, options).await.unwrap();
    caside_migrations::up(store.connection()).await.unwrap();
    Database {
        store,
        url,
        postgres: Some(server),
        _dir: None,
    }
}

/// Makes two tests of each function that takes a [`Database`].
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(crate::database::sqlite().await).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(crate::database::postgres().await).await;
                }
            )+
        }
    };
}
pub(crate) use on_both;
