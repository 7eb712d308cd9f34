//! `caside token`.

use anyhow::Context;
use caside_protocol::claims::Claims;
use caside_protocol::{Role, RoomId, UserId};
use clap::Args;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::{self, Act};
use crate::auth::ISSUER;
use crate::auth::keys::KeyRing;
use crate::config::Settings;
use crate::config::kinds::Span;
use crate::{output, private};

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Whose token it is: any name of 1 to 128 characters
    #[arg(long)]
    user: UserId,
    /// The only room it is good for; every room when left out
    #[arg(long)]
    room: Option<RoomId>,
    /// host, moderator, participant or viewer; by default what the room says
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// How long it is good, like 30m, 1h or 7d
    #[arg(long, default_value = "1h")]
    ttl: Span,
    /// The name to show
    #[arg(long, value_parser = name)]
    name: Option<String>,
}

fn name(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("must not have control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| "must be host, moderator, participant or viewer".to_owned())
}

impl TokenArgs {
    /// Prints the token.
    pub(super) fn run(self, settings: &Settings) -> anyhow::Result<()> {
        anyhow::ensure!(self.ttl.0.as_secs() >= 1, "--ttl: must be 1s at least");
        private::data_dir(settings.data_dir())?;
        let keys = KeyRing::load(settings).context("cannot load the keys for tokens")?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let role = self.role.map_or("as the room says", Role::as_str);
        let act = Act {
            action: "token.mint",
            target: Some(self.user.to_string()),
            room: self.room.as_ref().map(ToString::to_string),
            detail: Some(format!("role {role}, ttl_s {}", self.ttl.0.as_secs())),
            ..Act::default()
        };
        let token = keys.sign(&Claims {
            iss: ISSUER.to_owned(),
            sub: self.user,
            name: self.name,
            iat: now,
            nbf: None,
            exp: now.saturating_add_unsigned(self.ttl.0.as_secs()),
            jti: Some(Uuid::now_v7().to_string()),
            scope: "user".to_owned(),
            room: self.room,
            role: self.role,
            grants: None,
            room_since_us: None,
        });
        let token = token.context("the token could not be signed");
        audit::command(act, &token);
        output::line(token?);
        Ok(())
    }
}
