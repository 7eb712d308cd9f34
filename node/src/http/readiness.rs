//! Whether this node should be sent new clients.

use std::time::Duration;

use caside_store::{ObjectStore, Store};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer is good: asking in a loop costs the database nothing.
const FRESH: Duration = Duration::from_secs(1);
/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks what the node depends on, at most once a second.
pub(crate) struct Readiness {
    store: Store,
    objects: ObjectStore,
    last: Mutex<Option<(Instant, Vec<String>)>>,
}

impl Readiness {
    /// Of these dependencies.
    pub(crate) fn new(store: Store, objects: ObjectStore) -> Self {
        Self {
            store,
            objects,
            last: Mutex::default(),
        }
    }

    /// What is missing now.
    pub(crate) async fn missing(&self) -> Vec<String> {
        let mut last = self.last.lock().await;
        if let Some((at, missing)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return missing.clone();
        }
        let database = tokio::time::timeout(PATIENCE, self.store.ping());
        let objects = tokio::time::timeout(PATIENCE, self.objects.ping());
        let (database, objects) = futures_util::join!(database, objects);
        let mut missing = Vec::new();
        if !matches!(database, Ok(Ok(()))) {
            missing.push("database".to_owned());
        }
        if !matches!(objects, Ok(Ok(()))) {
            missing.push("object_store".to_owned());
        }
        *last = Some((Instant::now(), missing.clone()));
        missing
    }
}
