//! Identifiers. Those we make are UUIDv7 (RFC 9562), which sort by time; room and user ids may be the caller's choice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Defines an id that Caside makes.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, later than every earlier one of this process.
            #[allow(clippy::new_without_default, reason = "a default id would hide that each call differs")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(s).map(Self)
            }
        }
    };
}

uuid_id!(
    /// One sitting of a room, first join to last leave.
    CallId
);
uuid_id!(
    /// One member of a call; stays the same over reconnects and node changes.
    ParticipantId
);
uuid_id!(
    /// One published track.
    TrackId
);
uuid_id!(
    /// One signaling session: what `resume` continues.
    SessionId
);
uuid_id!(
    /// One recording with its files.
    RecordingId
);
uuid_id!(
    /// One chat message.
    MessageId
);
uuid_id!(
    /// One call or invitation to a user.
    InviteId
);

/// Why a caller-chosen id was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Empty, or longer than [`MAX_ID_LEN`].
    #[error("must have 1 to {MAX_ID_LEN} characters")]
    Length,
    /// A character outside of the allowed set.
    #[error("may have letters, digits and . _ : - only")]
    Character,
}

/// Longest room, user or node id, in characters.
pub const MAX_ID_LEN: usize = 128;

/// Defines an id that a caller may choose.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes `id`.
            ///
            /// # Errors
            /// [`IdError`] names the rule that `id` breaks.
            pub fn new(id: impl Into<String>) -> Result<Self, IdError> {
                let id = id.into();
                if id.is_empty() || id.chars().count() > MAX_ID_LEN {
                    return Err(IdError::Length);
                }
                let allowed: fn(char) -> bool = $allowed;
                if !id.chars().all(allowed) {
                    return Err(IdError::Character);
                }
                Ok(Self(id))
            }

            /// A new UUIDv7.
            pub fn generate() -> Self {
                Self(Uuid::now_v7().to_string())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Self::new(s)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(s: String) -> Result<Self, Self::Error> {
                Self::new(s)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

/// `A-Z a-z 0-9 . _ : -`
fn url_safe(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-')
}

text_id!(
    /// A room's durable name: 1–128 of `A-Z a-z 0-9 . _ : -`.
    RoomId,
    url_safe
);
text_id!(
    /// A node of the cluster: 1–128 of `A-Z a-z 0-9 . _ : -`.
    NodeId,
    url_safe
);
text_id!(
    /// A user, ours (UUIDv7) or of the application that minted the token: 1–128 printable characters.
    UserId,
    |c| !c.is_control()
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_id_has_url_safe_characters_and_a_bounded_length() {
        for good in ["a", "team.standup_1:x-y", &"r".repeat(128)] {
            assert_eq!(RoomId::new(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", IdError::Length),
            (&*"r".repeat(129), IdError::Length),
            ("a b", IdError::Character),
            ("a/b", IdError::Character),
            ("ä", IdError::Character),
        ] {
            assert_eq!(RoomId::new(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn deserializing_checks_too() {
        assert!(serde_json::from_str::<RoomId>("\"../etc\"").is_err());
        assert!(serde_json::from_str::<UserId>("\"Zoë Ø\"").is_ok());
        assert!(serde_json::from_str::<UserId>("\"a\\u0000\"").is_err());
    }

    #[test]
    fn made_ids_sort_by_time() {
        let ids: Vec<_> = (0..100).map(|_| TrackId::new()).collect();
        assert!(ids.is_sorted());
    }
}
