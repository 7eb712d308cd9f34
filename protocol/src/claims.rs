//! What a token says.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::{Grants, Role, RoomId, Timestamp, UserId};

/// How far the clocks of those who make and check tokens may differ, in seconds.
pub const LEEWAY_S: u64 = 5;

/// The claims of a Caside JWT (RFC 7519). Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made the token.
    pub iss: String,
    /// The user.
    pub sub: UserId,
    /// The name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was made.
    pub iat: i64,
    /// From when it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Until when it holds.
    pub exp: i64,
    /// The token's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Space-separated: `user`, `user admin`.
    #[serde(default)]
    pub scope: String,
    /// The only room it is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    /// The role in that room, or in every room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Permissions beyond the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Grants>,
    /// When the right to `room` was had, in microseconds since 1970: the room's creation, or when the token was made if
    /// that was before. `iat` counts when it is left out, as applications that sign tokens may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_since_us: Option<i64>,
}

/// Whom a JWT names, and which room, whether it holds or not: for saying who was turned away, and for nothing else.
pub fn named_in(token: &str) -> (Option<UserId>, Option<RoomId>) {
    #[derive(Deserialize)]
    struct Named {
        sub: Option<UserId>,
        #[serde(default)]
        room: Option<RoomId>,
    }
    let payload = token.split('.').nth(1).filter(|payload| payload.len() <= MAX_PAYLOAD);
    let bytes = payload.and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    let named: Option<Named> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    named.map_or((None, None), |named| (named.sub, named.room))
}

/// Longest payload of a token that is looked into, in bytes of base64.
const MAX_PAYLOAD: usize = 8192;

impl Claims {
    /// Whether `scope` lists this word.
    pub fn has_scope(&self, word: &str) -> bool {
        self.scope.split(' ').any(|s| s == word)
    }

    /// Whether the bearer administers the whole deployment.
    pub fn is_admin(&self) -> bool {
        self.has_scope("admin")
    }

    /// Whether the token's time is over, clocks differing by [`LEEWAY_S`] at most.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.exp.saturating_add_unsigned(LEEWAY_S) < now.unix_timestamp()
    }

    /// Whether the token is good for this room.
    pub fn admits(&self, room: &RoomId) -> bool {
        self.room.as_ref().is_none_or(|only| only == room)
    }

    /// Since when the bearer has the right to the token's one room; `None` when it is not for one room. Against it is
    /// held when the last room of that id ended: a token has no power over a later one of somebody else's.
    pub fn right_since(&self) -> Option<Timestamp> {
        self.room.as_ref()?;
        let ns = match self.room_since_us {
            Some(us) => i128::from(us) * 1_000,
            None => i128::from(self.iat) * 1_000_000_000,
        };
        // What is no moment at all is before every other.
        Some(Timestamp::from_unix_timestamp_nanos(ns).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// Whether the right to the token's one room came after `end`; always when it is not for one room, or nothing ended.
    pub fn right_is_later(&self, end: Option<Timestamp>) -> bool {
        match (self.right_since(), end) {
            (Some(right), Some(end)) => right > end,
            _ => true,
        }
    }

    /// Whether the bearer owns the rooms they make. Whom a token gives a lower role than `host` is to keep that role, so
    /// they do not come by a room in which they had a higher one, unless the token says that they may `create`.
    pub fn owns_what_it_makes(&self) -> bool {
        self.grants().create == Some(true) || self.role.is_none_or(|role| role == Role::Host)
    }

    /// Whether a room that nobody created is made when the bearer joins it: by default for all that take part.
    pub fn makes_rooms_by_joining(&self) -> bool {
        let takes_part = self.role.is_none_or(|role| role >= Role::Participant);
        self.grants().create.unwrap_or(takes_part)
    }

    /// Whether the bearer may make rooms on purpose, which they own then.
    pub fn may_create_rooms(&self) -> bool {
        self.grants().create != Some(false) && self.owns_what_it_makes()
    }

    /// The permissions beyond the role.
    pub fn grants(&self) -> Grants {
        self.grants.unwrap_or_default()
    }

    /// The name to show: `name`, else the user id. A name that could not be shown or kept counts as none.
    pub fn display_name(&self) -> &str {
        let shown = |name: &&str| !name.trim().is_empty() && !name.chars().any(char::is_control);
        let name = self.name.as_deref().filter(shown);
        name.unwrap_or(self.sub.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: serde_json::Value) -> Claims {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_right_to_one_room_is_as_old_as_the_token_says() {
        let everywhere = claims(serde_json::json!({"iss": "x", "sub": "ada", "iat": 7, "exp": 9}));
        assert_eq!(everywhere.right_since(), None);
        let mut one = Claims {
            room: Some(RoomId::new("r").unwrap()),
            ..everywhere
        };
        assert_eq!(one.right_since().unwrap().unix_timestamp_nanos(), 7_000_000_000);
        one.room_since_us = Some(5_000_001);
        assert_eq!(one.right_since().unwrap().unix_timestamp_nanos(), 5_000_001_000);
        one.room_since_us = Some(i64::MAX);
        assert_eq!(one.right_since(), Some(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn who_makes_rooms_and_who_owns_them() {
        for (role, create, joining, owning, on_purpose) in [
            (None, None, true, true, true),
            (None, Some(false), false, true, false),
            (Some("host"), None, true, true, true),
            (Some("moderator"), None, true, false, false),
            (Some("participant"), None, true, false, false),
            (Some("participant"), Some(true), true, true, true),
            (Some("viewer"), None, false, false, false),
            (Some("viewer"), Some(true), true, true, true),
        ] {
            let claims = claims(serde_json::json!({
                "iss": "x", "sub": "ada", "iat": 7, "exp": 9, "role": role, "grants": {"create": create},
            }));
            let all = (
                claims.makes_rooms_by_joining(),
                claims.owns_what_it_makes(),
                claims.may_create_rooms(),
            );
            assert_eq!(all, (joining, owning, on_purpose), "{role:?} {create:?}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_shown_is_none() {
        for (name, shown) in [
            ("Ada L.", "Ada L."),
            ("", "ada"),
            (" ", "ada"),
            ("A\u{0}", "ada"),
            ("A\nB", "ada"),
        ] {
            let claims = claims(serde_json::json!({"iss": "x", "sub": "ada", "iat": 7, "exp": 9, "name": name}));
            assert_eq!(claims.display_name(), shown, "{name:?}");
        }
    }
}
