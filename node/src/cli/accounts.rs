//! `caside user` and `caside apikey`.

use std::io::{BufRead, stdin};

use anyhow::{Context, bail};
use caside_store::users::User;
use caside_store::{MAX_LIMIT, PageRequest, Store};
use clap::{Args, Subcommand};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::audit::{self, Act};
use crate::auth::password::Passwords;
use crate::auth::secret;
use crate::config::Settings;
use crate::{output, private, wiring};

/// Longest user name, in characters.
const MAX_USERNAME: usize = 128;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account
    Add {
        /// The name to log in with
        username: String,
        /// May administer the whole deployment
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List accounts, newest first
    List,
    /// Give an account another password, which ends its sessions
    Passwd {
        /// The name it logs in with
        username: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Remove an account
    Rm {
        /// The name it logs in with
        username: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeyCommand {
    /// Make a key and print it, this once
    Add {
        /// What it is for
        name: String,
    },
    /// List keys, newest first
    List,
    /// Revoke a key
    Rm {
        /// Its id, from `list`
        id: Uuid,
    },
}

#[derive(Debug, Args)]
pub(super) struct PasswordArgs {
    /// Read the password from the first line of standard input; otherwise one is made and printed
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordArgs {
    /// The password, and whether it is to be shown.
    fn take(&self) -> anyhow::Result<(String, bool)> {
        if !self.password_stdin {
            return Ok((secret::password().context("the system has no randomness")?, true));
        }
        let mut line = String::new();
        stdin()
            .lock()
            .read_line(&mut line)
            .context("cannot read the password")?;
        Ok((line.trim_end_matches(['\n', '\r']).to_owned(), false))
    }
}

async fn open(settings: &Settings) -> anyhow::Result<Store> {
    private::data_dir(settings.data_dir())?;
    wiring::open_store(settings).await
}

async fn named(store: &Store, username: &str) -> anyhow::Result<User> {
    let user = store.user_by_name(username).await?;
    user.with_context(|| format!("there is no user {username:?}"))
}

impl UserCommand {
    /// Does it.
    pub(super) async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let act = self.act();
        let done = Box::pin(self.done(settings)).await;
        if let Some(act) = act {
            audit::command(act, &done);
        }
        done
    }

    /// What of it is written down.
    fn act(&self) -> Option<Act> {
        let (action, target, detail) = match self {
            Self::Add { username, admin, .. } => ("user.create", username, admin.then_some("admin")),
            Self::Passwd { username, .. } => ("user.password", username, None),
            Self::Rm { username } => ("user.delete", username, None),
            Self::List => return None,
        };
        Some(Act {
            action,
            target: Some(target.clone()),
            detail: detail.map(str::to_owned),
            ..Act::default()
        })
    }

    async fn done(self, settings: &Settings) -> anyhow::Result<()> {
        let store = open(settings).await?;
        let now = OffsetDateTime::now_utc();
        match self {
            Self::Add {
                username,
                admin,
                password,
            } => {
                if username.is_empty()
                    || username.chars().count() > MAX_USERNAME
                    || username.chars().any(char::is_control)
                {
                    bail!("a user name has 1 to {MAX_USERNAME} printable characters");
                }
                let (password, show) = password.take()?;
                let hash = Passwords::new()?.hash(&password).await?;
                match store.create_user(&username, &hash, admin, now).await {
                    Err(e) if e.is_conflict() => bail!("there is a user {username:?} already"),
                    made => output::line(format_args!("user: {}", made?.id)),
                }
                if show {
                    output::line(format_args!("password: {password}"));
                }
            }
            Self::List => list_users(&store).await?,
            Self::Passwd { username, password } => {
                let user = named(&store, &username).await?;
                let (password, show) = password.take()?;
                let hash = Passwords::new()?.hash(&password).await?;
                store.set_password(&user.id, &hash, now).await?;
                if show {
                    output::line(format_args!("password: {password}"));
                }
            }
            Self::Rm { username } => {
                let user = named(&store, &username).await?;
                store.delete_user(&user.id).await?;
            }
        }
        Ok(store.close().await?)
    }
}

async fn list_users(store: &Store) -> anyhow::Result<()> {
    let mut cursor = None;
    loop {
        let page = store.users(&PageRequest::new(Some(MAX_LIMIT), cursor)).await?;
        for user in page.items {
            let standing = match (user.admin, user.disabled) {
                (_, true) => "disabled",
                (true, _) => "admin",
                _ => "user",
            };
            output::line(format_args!(
                "{}  {standing:8}  {}  {}",
                user.id,
                date(user.created_at),
                user.username
            ));
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

impl ApiKeyCommand {
    /// Does it.
    pub(super) async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let act = self.act();
        let done = self.done(settings).await;
        if let Some(act) = act {
            audit::command(act, &done);
        }
        done
    }

    /// What of it is written down: names and ids, never a key.
    fn act(&self) -> Option<Act> {
        let (action, target) = match self {
            Self::Add { name } => ("apikey.create", name.clone()),
            Self::Rm { id } => ("apikey.revoke", id.to_string()),
            Self::List => return None,
        };
        let target = Some(target);
        Some(Act {
            action,
            target,
            ..Act::default()
        })
    }

    async fn done(self, settings: &Settings) -> anyhow::Result<()> {
        let store = open(settings).await?;
        let now = OffsetDateTime::now_utc();
        match self {
            Self::Add { name } => {
                if name.is_empty() || name.chars().count() > MAX_USERNAME || name.chars().any(char::is_control) {
                    bail!("a name has 1 to {MAX_USERNAME} printable characters");
                }
                let key = secret::generate(secret::API_KEY).context("the system has no randomness")?;
                let hash = secret::hash(secret::API_KEY, &key).context("a key that was just made is one")?;
                let made = store.create_api_key(&name, hash, now).await?;
                output::line(format_args!("id: {}", made.id));
                output::line(format_args!("key: {key}"));
            }
            Self::List => list_keys(&store).await?,
            Self::Rm { id } => {
                if !store.revoke_api_key(id, now).await? {
                    bail!("there is no key {id} that could be revoked");
                }
            }
        }
        Ok(store.close().await?)
    }
}

async fn list_keys(store: &Store) -> anyhow::Result<()> {
    let mut cursor = None;
    loop {
        let page = store.api_keys(&PageRequest::new(Some(MAX_LIMIT), cursor)).await?;
        for key in page.items {
            let state = if key.revoked_at.is_some() { "revoked" } else { "good" };
            let used = key.last_used_at.map_or_else(|| "never used".to_owned(), date);
            output::line(format_args!(
                "{}  {state:8}  {}  {used}  {}",
                key.id,
                date(key.created_at),
                key.name
            ));
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn date(at: OffsetDateTime) -> String {
    let whole = at.replace_nanosecond(0).unwrap_or(at);
    whole
        .format(&Rfc3339)
        .unwrap_or_else(|_| whole.unix_timestamp().to_string())
}
