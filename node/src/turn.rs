//! Credentials for TURN that run out, as coturn's `use-auth-secret` checks them ("A REST API for access to TURN services",
//! draft-uberti-behave-turn-rest): the user name begins with the time of its end, and the password is its HMAC.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use caside_protocol::UserId;
use caside_protocol::server::IceServer;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use time::OffsetDateTime;

/// How long a credential is good for beginning an allocation. Clients get another with each `auth` and resume.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// What of a user's id is written otherwise: TURN prepares user names (RFC 8489 §9.2), and not everybody does it alike.
const UNUSUAL: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"').add(b'\\');

/// Makes credentials for some servers.
pub(crate) struct TurnCredentials {
    key: hmac::Key,
    urls: Vec<String>,
}

impl TurnCredentials {
    /// With the secret that the servers share with us.
    pub(crate) fn new(secret: &str, urls: Vec<String>) -> Self {
        // The servers' choice, which they have for legacy's sake.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        Self { key, urls }
    }

    /// The servers with a credential for this user, good for six hours from `now`.
    pub(crate) fn server(&self, user: &UserId, now: OffsetDateTime) -> IceServer {
        let expires = (now + LIFETIME).unix_timestamp();
        let username = format!("{expires}:{}", utf8_percent_encode(user.as_str(), UNUSUAL));
        let tag = hmac::sign(&self.key, username.as_bytes());
        IceServer {
            urls: self.urls.clone(),
            credential: Some(BASE64_STANDARD.encode(tag.as_ref())),
            username: Some(username),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_hmac_of_the_name_with_its_end() {
        let turn = TurnCredentials::new("north", vec!["turn:turn.example".to_owned()]);
        let now = OffsetDateTime::from_unix_timestamp(1_433_895_918 - 6 * 3600).unwrap();
        let server = turn.server(&UserId::new("ada").unwrap(), now);
        assert_eq!(server.urls, ["turn:turn.example"]);
        assert_eq!(server.username.as_deref(), Some("1433895918:ada"));
        // printf '1433895918:ada' | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(server.credential.as_deref(), Some("KJ5PTMBeGkZIwdEVUss3BPdY8wE="));
    }

    #[test]
    fn unusual_users_have_plain_names() {
        let turn = TurnCredentials::new("north", Vec::new());
        let user = UserId::new("zoë b%\"c").unwrap();
        let username = turn.server(&user, OffsetDateTime::UNIX_EPOCH).username.unwrap();
        assert_eq!(username, "21600:zo%C3%AB%20b%25%22c");
    }
}
