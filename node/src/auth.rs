//! Who somebody is, and what proves it: passwords, refresh tokens, API keys and JWTs.
//!
//! Absent on purpose: what a caller may do in a room (`http::access`, and the room itself).

pub(crate) mod hex;
pub(crate) mod keys;
pub(crate) mod password;
pub(crate) mod secret;
pub(crate) mod session;
pub(crate) mod signed;

use std::time::Duration;

use caside_protocol::claims::Claims;
use caside_protocol::error::Refusal;
use caside_protocol::{ErrorCode, Role, RoomId, UserId};
use caside_store::{Journal, JournalEntry, Store, StoreError};
use jsonwebtoken::jwk::JwkSet;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::limit::{AddressLimit, Rate};
use keys::{KeyRing, TokenError};
use password::{PasswordError, Passwords};
use signed::UrlSigner;

/// Who makes our tokens.
pub(crate) const ISSUER: &str = "caside";
/// Failed logins of one address: 20 a minute.
const LOGIN_RATE: Rate = Rate {
    per_second: 20.0 / 60.0,
    burst: 20.0,
};
/// The use of an API key is noted at most this often.
const KEY_USE_NOTED: Duration = Duration::from_secs(60);

/// Who makes a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Caller {
    /// What is known of them.
    pub(crate) claims: Claims,
    /// Until when what they give to others may last, in seconds since 1970; `None`: as long as it may.
    pub(crate) gives_until: Option<i64>,
}

impl Caller {
    /// The user, or `apikey:…`.
    pub(crate) fn user(&self) -> &UserId {
        &self.claims.sub
    }

    /// Whether they administer the whole deployment; API keys do.
    pub(crate) fn is_admin(&self) -> bool {
        self.claims.is_admin()
    }

    /// What they are in this room: what their token says, else host of a room of their own. A token of a lower role stays
    /// that, whoever made the room.
    pub(crate) fn role_in(&self, room: &RoomId, owner: Option<&UserId>) -> Option<Role> {
        if !self.claims.admits(room) {
            return None;
        }
        if self.is_admin() {
            return Some(Role::Host);
        }
        let owns = owner.is_some_and(|owner| owner == self.user());
        self.claims.role.or(owns.then_some(Role::Host))
    }
}

/// Proves identities and makes proofs.
pub(crate) struct Auth {
    keys: KeyRing,
    passwords: Passwords,
    failed_logins: AddressLimit,
    store: Store,
    journal: Journal,
    urls: UrlSigner,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Auth {
    /// With its keys and the database.
    pub(crate) fn new(keys: KeyRing, passwords: Passwords, store: Store, journal: Journal) -> Self {
        let urls = UrlSigner::new(keys.derive("recording urls"));
        Self {
            keys,
            passwords,
            failed_logins: AddressLimit::new(LOGIN_RATE),
            store,
            journal,
            urls,
        }
    }

    /// The public keys.
    pub(crate) fn public_keys(&self) -> JwkSet {
        self.keys.public_keys()
    }

    /// Signs URLs of recordings.
    pub(crate) fn urls(&self) -> &UrlSigner {
        &self.urls
    }

    /// Whose credential this is: a JWT or an API key.
    ///
    /// # Errors
    /// `unauthorized`, `token_expired`, or that the database is away (for API keys).
    pub(crate) async fn authenticate(&self, credential: &str) -> Result<Caller, Refusal> {
        if credential.starts_with(secret::API_KEY) {
            return self.api_key(credential).await;
        }
        let claims = self.keys.verify(credential).map_err(|e| refused_token(&e))?;
        self.not_lapsed(&claims).await?;
        let gives_until = Some(claims.exp);
        Ok(Caller { claims, gives_until })
    }

    /// Refuses a token for a room that ended, once somebody else made another of its id. While the database is away it is
    /// let pass: rooms that run look for themselves, and all else needs the database too.
    async fn not_lapsed(&self, claims: &Claims) -> Result<(), Refusal> {
        let (Some(room), Some(since)) = (&claims.room, claims.right_since()) else {
            return Ok(());
        };
        match self.store.has_lapsed(room, since).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(lapsed()),
            Err(e) if e.is_unavailable() => Ok(()),
            Err(e) => Err(refused_by_store(&e)),
        }
    }

    async fn api_key(&self, credential: &str) -> Result<Caller, Refusal> {
        let unknown = || Refusal::new(ErrorCode::Unauthorized, "the API key is not valid");
        let hash = secret::hash(secret::API_KEY, credential).ok_or_else(unknown)?;
        let key = self
            .store
            .api_key(hash)
            .await
            .map_err(|e| refused_by_store(&e))?
            .ok_or_else(unknown)?;
        let now = OffsetDateTime::now_utc();
        if key.last_used_at.is_none_or(|used| now - used > KEY_USE_NOTED) {
            let noted = self.journal.append(JournalEntry::ApiKeyUsed { key: key.id, at: now });
            if let Err(e) = noted {
                tracing::debug!(error = %e, "the use of an API key was not noted");
            }
        }
        Ok(Caller {
            claims: api_key_claims(key.id, &key.name, now),
            gives_until: None,
        })
    }
}

/// What an API key may: everything, for the programs that hold one act for the deployment.
fn api_key_claims(id: Uuid, name: &str, now: OffsetDateTime) -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        sub: UserId::new(format!("apikey:{id}")).expect("a UUID with a prefix is a user id"),
        name: Some(name.to_owned()),
        iat: now.unix_timestamp(),
        nbf: None,
        exp: now.unix_timestamp().saturating_add(3600),
        jti: None,
        scope: "user admin".to_owned(),
        room: None,
        role: None,
        grants: None,
        room_since_us: None,
    }
}

/// The answer to a token that outlived its room.
pub(crate) fn lapsed() -> Refusal {
    Refusal::new(
        ErrorCode::Forbidden,
        "the token was made for an earlier room of this id; get a new one",
    )
}

fn refused_token(error: &TokenError) -> Refusal {
    let code = match error {
        TokenError::Expired => ErrorCode::TokenExpired,
        _ => ErrorCode::Unauthorized,
    };
    Refusal::new(code, error.to_string())
}

fn refused_password(error: PasswordError) -> Refusal {
    let code = match error {
        PasswordError::Overloaded => ErrorCode::Overloaded,
        PasswordError::TooLong | PasswordError::TooShort => ErrorCode::InvalidPayload,
        PasswordError::Failed => ErrorCode::Internal,
    };
    Refusal::new(code, error.to_string())
}

/// The answer to whoever needed the database. What is wrong with it is for the log alone.
pub(crate) fn refused_by_store(error: &StoreError) -> Refusal {
    match error {
        StoreError::Cursor => Refusal::new(ErrorCode::InvalidPayload, "cursor: not one of this list"),
        StoreError::Rejected(_) => {
            tracing::debug!(error = ?error, "the database refuses a value");
            Refusal::new(
                ErrorCode::InvalidPayload,
                "the database cannot hold a value of this request",
            )
        }
        e if e.is_unavailable() => {
            tracing::warn!(error = %e, "the database is away");
            Refusal::new(ErrorCode::DependencyUnavailable, "the database is away; try again").retry_after_ms(1000)
        }
        e => {
            tracing::error!(error = ?e, "the database failed");
            Refusal::new(ErrorCode::Internal, "the database failed")
        }
    }
}
