//! Tokens in exchange for a password, a refresh token, or a right to make some for others.

use std::time::Duration;

use caside_actors::refused::{self, Reason};
use caside_protocol::claims::Claims;
use caside_protocol::error::Refusal;
use caside_protocol::rest::{MintRequest, TokenResponse};
use caside_protocol::{ErrorCode, Grants, Role};
use caside_store::refresh_tokens::Rotation;
use caside_store::users::User;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Auth, Caller, ISSUER, refused_by_store, refused_password, secret};
use crate::audit::{Act, Outcome, Via};
use crate::client::Client;
use crate::limit::wait_ms;
use crate::text::printable;

/// How long an access token holds.
pub(crate) const ACCESS_TTL: Duration = Duration::from_secs(3600);
/// How long a refresh token may lie unused.
const REFRESH_TTL: Duration = Duration::from_secs(30 * 86_400);
/// Longest life of a minted token.
const MAX_MINT_S: u64 = 30 * 86_400;
/// Longest name in a minted token, in characters.
const MAX_NAME: usize = 128;

impl Auth {
    /// A token for a password. An unknown user takes as long as a wrong password.
    ///
    /// # Errors
    /// `invalid_credentials`; `rate_limited` when this address failed too often; the database may be away.
    pub(crate) async fn login(&self, from: &Client, username: &str, password: &str) -> Result<TokenResponse, Refusal> {
        printable("username", username)?;
        self.may_fail(from)?;
        let user = self
            .store
            .user_by_name(username)
            .await
            .map_err(|e| refused_by_store(&e));
        let user = user.inspect_err(|_| self.failed_logins.give_back(from))?;
        let usable = user.filter(|user| !user.disabled);
        let hash = usable.as_ref().map(|user| user.password_hash.as_str());
        let right = self.passwords.verify(password, hash).await.map_err(refused_password);
        match (right, usable) {
            (Ok(true), Some(user)) => {
                self.failed_logins.give_back(from);
                self.begin(&user).await
            }
            (Err(e), _) => {
                self.failed_logins.give_back(from);
                Err(e)
            }
            _ => Err(Refusal::new(
                ErrorCode::InvalidCredentials,
                "wrong user name or password",
            )),
        }
    }

    /// Takes the place of a failure, which success gives back.
    fn may_fail(&self, from: &Client) -> Result<(), Refusal> {
        self.failed_logins.take(from, Instant::now()).map_err(|wait| {
            refused::count(Reason::LoginsAddress);
            Refusal::new(ErrorCode::RateLimited, "too many failed logins").retry_after_ms(wait_ms(wait))
        })
    }

    /// The first tokens of a session.
    async fn begin(&self, user: &User) -> Result<TokenResponse, Refusal> {
        let now = OffsetDateTime::now_utc();
        let (token, hash) = new_refresh_token()?;
        let added = self.store.add_refresh_token(&user.id, hash, now + REFRESH_TTL).await;
        added.map_err(|e| refused_by_store(&e))?;
        self.answer(&user_claims(user, now), Some(token))
    }

    /// The next tokens of a session. A token that was used before ends the session, for somebody has a copy of it.
    ///
    /// # Errors
    /// `invalid_credentials`; `rate_limited` when this address failed too often; the database may be away.
    pub(crate) async fn refresh(&self, from: &Client, presented: &str) -> Result<TokenResponse, Refusal> {
        self.may_fail(from)?;
        let refused = || Refusal::new(ErrorCode::InvalidCredentials, "the refresh token is not valid");
        let presented = secret::hash(secret::REFRESH_TOKEN, presented).ok_or_else(refused)?;
        let now = OffsetDateTime::now_utc();
        let (next, hash) = new_refresh_token()?;
        let rotated = self
            .store
            .rotate_refresh_token(presented, hash, now + REFRESH_TTL, now)
            .await;
        let rotated = rotated.map_err(|e| {
            self.failed_logins.give_back(from);
            refused_by_store(&e)
        });
        match rotated? {
            Rotation::Rotated(user) => {
                self.failed_logins.give_back(from);
                self.answer(&user_claims(&user, now), Some(next))
            }
            Rotation::Replayed { user } => {
                refused::count(Reason::RefreshReplayed);
                let act = Act {
                    action: "session.revoke",
                    target: Some(user.to_string()),
                    client: Some(from.address),
                    detail: Some("a used refresh token was presented".to_owned()),
                    ..Act::default()
                };
                act.log(Via::Node, Outcome::Success);
                tracing::warn!(user.id = %user, "a used refresh token was presented; its session is ended");
                Err(refused())
            }
            Rotation::Refused => Err(refused()),
        }
    }

    /// Ends the session of a refresh token. One that is unknown is ended already.
    ///
    /// # Errors
    /// The database may be away.
    pub(crate) async fn logout(&self, presented: &str) -> Result<(), Refusal> {
        let Some(hash) = secret::hash(secret::REFRESH_TOKEN, presented) else {
            return Ok(());
        };
        let revoked = self.store.revoke_refresh_family(hash, OffsetDateTime::now_utc()).await;
        revoked.map(|_| ()).map_err(|e| refused_by_store(&e))
    }

    /// A token for one room, for anyone: by an admin, an API key or that room's host.
    ///
    /// # Errors
    /// `forbidden` when the minter is none of these, or asks for more than they have; `invalid_payload`.
    pub(crate) async fn mint(&self, minter: &Caller, request: MintRequest) -> Result<TokenResponse, Refusal> {
        let ttl_s = request.ttl_s.unwrap_or(ACCESS_TTL.as_secs());
        if !(1..=MAX_MINT_S).contains(&ttl_s) {
            return Err(Refusal::new(
                ErrorCode::InvalidPayload,
                format!("ttl_s: must be 1 to {MAX_MINT_S}"),
            ));
        }
        if request
            .name
            .as_ref()
            .is_some_and(|name| name.chars().count() > MAX_NAME)
        {
            let why = format!("name: may have {MAX_NAME} characters at most");
            return Err(Refusal::new(ErrorCode::InvalidPayload, why));
        }
        if let Some(name) = &request.name {
            printable("name", name)?;
        }
        let now = OffsetDateTime::now_utc();
        let (grants, since) = self.given(minter, &request, now).await?;
        let now = now.unix_timestamp();
        // Nobody gives what lasts longer than their own right to give it. An API key's has no end.
        let exp = now.saturating_add_unsigned(ttl_s);
        let exp = minter.gives_until.map_or(exp, |until| exp.min(until));
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: request.user,
            name: request.name,
            iat: now,
            nbf: None,
            exp,
            jti: Some(Uuid::now_v7().to_string()),
            scope: "user".to_owned(),
            room: Some(request.room),
            role: Some(request.role.unwrap_or(Role::Participant)),
            grants,
            room_since_us: Some(microseconds(since)),
        };
        self.answer(&claims, None)
    }

    /// What an admin, an API key or the room's host may give, and since when there is the right to the room.
    async fn given(
        &self,
        minter: &Caller,
        request: &MintRequest,
        now: OffsetDateTime,
    ) -> Result<(Option<Grants>, OffsetDateTime), Refusal> {
        let forbidden = |why: &str| Refusal::new(ErrorCode::Forbidden, why);
        let room = match self.store.room(&request.room).await {
            // An admin's word is good for whatever room is there, or will be next.
            Err(e) if e.is_unavailable() && minter.is_admin() => None,
            found => found.map_err(|e| refused_by_store(&e))?,
        };
        let owner = room.as_ref().and_then(|room| room.owner.as_ref());
        if minter.role_in(&request.room, owner) != Some(Role::Host) {
            return Err(forbidden(
                "only an admin, an API key or the room's host makes tokens for it",
            ));
        }
        // A token for this room alone hands on its own right, so that it cannot be made younger than it is.
        let since = minter.claims.right_since();
        let since = since.unwrap_or_else(|| room.as_ref().map_or(now, |room| room.created_at));
        if minter.is_admin() {
            return Ok((request.grants, since));
        }
        let asked = request.grants.unwrap_or_default();
        let grants = bounded(asked, minter.claims.grants());
        let grants = grants.ok_or_else(|| forbidden("grants: more than the minter's own"))?;
        Ok((Some(grants), since))
    }

    /// Signs claims that were checked.
    ///
    /// # Errors
    /// `internal` when the key does not sign.
    pub(crate) fn answer(&self, claims: &Claims, refresh_token: Option<String>) -> Result<TokenResponse, Refusal> {
        let token = self.keys.sign(claims).map_err(|e| {
            tracing::error!(error = %e, "a token could not be signed");
            Refusal::new(ErrorCode::Internal, "the token could not be signed")
        })?;
        Ok(TokenResponse {
            token,
            token_type: "Bearer".to_owned(),
            expires_in: u64::try_from(claims.exp - claims.iat).unwrap_or(0),
            refresh_token,
        })
    }
}

fn microseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(0)
}

/// The grants asked for, with everything forbidden that the minter is forbidden; `None` when that was asked for.
fn bounded(asked: Grants, own: Grants) -> Option<Grants> {
    let one = |asked: Option<bool>, own: Option<bool>| match (asked, own) {
        (Some(true), Some(false)) => None,
        (_, Some(false)) => Some(Some(false)),
        (asked, _) => Some(asked),
    };
    Some(Grants {
        publish: one(asked.publish, own.publish)?,
        subscribe: one(asked.subscribe, own.subscribe)?,
        data: one(asked.data, own.data)?,
        record: one(asked.record, own.record)?,
        moderate: one(asked.moderate, own.moderate)?,
        create: one(asked.create, own.create)?,
    })
}

fn new_refresh_token() -> Result<(String, caside_store::refresh_tokens::SecretHash), Refusal> {
    let token = secret::generate(secret::REFRESH_TOKEN);
    let token = token.map_err(|_| Refusal::new(ErrorCode::Internal, "the system has no randomness"))?;
    let hash = secret::hash(secret::REFRESH_TOKEN, &token).expect("a token that was just made is one");
    Ok((token, hash))
}

/// What the token of an account says.
pub(crate) fn user_claims(user: &User, now: OffsetDateTime) -> Claims {
    let now_s = now.unix_timestamp();
    Claims {
        iss: ISSUER.to_owned(),
        sub: user.id.clone(),
        name: Some(user.username.clone()),
        iat: now_s,
        nbf: None,
        exp: now_s.saturating_add_unsigned(ACCESS_TTL.as_secs()),
        jti: Some(Uuid::now_v7().to_string()),
        scope: if user.admin { "user admin" } else { "user" }.to_owned(),
        room: None,
        role: None,
        grants: None,
        room_since_us: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gives_away_what_they_are_forbidden() {
        let forbidden = Grants {
            record: Some(false),
            ..Grants::default()
        };
        let record = Grants {
            record: Some(true),
            ..Grants::default()
        };
        assert_eq!(bounded(record, forbidden), None);
        assert_eq!(bounded(Grants::default(), forbidden), Some(forbidden));
        assert_eq!(bounded(record, Grants::default()), Some(record));
    }
}
