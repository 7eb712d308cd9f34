//! What a token says.

use serde::{Deserialize, Serialize};

use crate::{Grants, Role, RoomId, UserId};

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
}

impl Claims {
    /// Whether `scope` lists this word.
    pub fn has_scope(&self, word: &str) -> bool {
        self.scope.split(' ').any(|s| s == word)
    }

    /// Whether the bearer administers the whole deployment.
    pub fn is_admin(&self) -> bool {
        self.has_scope("admin")
    }

    /// Whether the token is good for this room.
    pub fn admits(&self, room: &RoomId) -> bool {
        self.room.as_ref().is_none_or(|only| only == room)
    }

    /// The permissions beyond the role.
    pub fn grants(&self) -> Grants {
        self.grants.unwrap_or_default()
    }

    /// The name to show: `name`, else the user id.
    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.sub.as_str())
    }
}
