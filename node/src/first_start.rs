//! What the very first start makes, so that somebody can sign in.

use anyhow::Context;
use caside_store::{PageRequest, Store};
use time::OffsetDateTime;

use crate::audit::{Act, Outcome, Via};
use crate::auth::password::Passwords;
use crate::auth::secret;
use crate::config::Settings;

/// The account that the first start makes.
pub(crate) const DEMO: &str = "demo";

/// Makes the demo admin when there are neither configured secrets nor accounts; its password.
///
/// # Errors
/// When the database fails.
pub(crate) async fn demo_user(
    settings: &Settings,
    store: &Store,
    passwords: &Passwords,
) -> anyhow::Result<Option<String>> {
    if settings.has_secrets() || !store.users(&PageRequest::new(Some(1), None)).await?.items.is_empty() {
        return Ok(None);
    }
    let password = secret::password().context("the system has no randomness")?;
    let hash = passwords.hash(&password).await?;
    match store.create_user(DEMO, &hash, true, OffsetDateTime::now_utc()).await {
        Ok(user) => {
            let act = Act {
                action: "user.create",
                target: Some(user.id.to_string()),
                detail: Some(format!("{DEMO}, admin")),
                ..Act::default()
            };
            act.log(Via::Node, Outcome::Success);
            Ok(Some(password))
        }
        // Another process was faster; its password is the one.
        Err(e) if e.is_conflict() => Ok(None),
        Err(e) => Err(e.into()),
    }
}
