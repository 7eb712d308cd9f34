//! Who may do what in a room.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A participant's standing in a room; ordered, `Host` highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees and hears.
    Viewer,
    /// Publishes, chats.
    Participant,
    /// Also mutes, removes and locks.
    Moderator,
    /// Also records, gives roles and ends the call.
    Host,
}

impl Role {
    /// The role as written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Participant => "participant",
            Self::Moderator => "moderator",
            Self::Host => "host",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "viewer" => Self::Viewer,
            "participant" => Self::Participant,
            "moderator" => Self::Moderator,
            "host" => Self::Host,
            _ => return None,
        })
    }

    /// What the role alone permits.
    pub fn permits(self, permission: Permission) -> bool {
        let least = match permission {
            Permission::Subscribe => Self::Viewer,
            Permission::Publish | Permission::Data => Self::Participant,
            Permission::Moderate => Self::Moderator,
            Permission::Record | Permission::SetRole | Permission::EndCall => Self::Host,
        };
        self >= least
    }
}

/// An act in a room that needs permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Receive tracks.
    Subscribe,
    /// Send tracks.
    Publish,
    /// Chat, data, DTMF.
    Data,
    /// Mute or remove others, lock the room.
    Moderate,
    /// Start and stop recordings.
    Record,
    /// Give roles.
    SetRole,
    /// End the call for everybody.
    EndCall,
}

/// What a token grants or forbids beyond its role; absent fields leave it to the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Grants {
    /// Send tracks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<bool>,
    /// Receive tracks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<bool>,
    /// Chat, data, DTMF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<bool>,
    /// Start and stop recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<bool>,
    /// Mute or remove others, lock the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moderate: Option<bool>,
    /// Make rooms, and own them. Left out: who has no explicit role or is a host may; participants and moderators make
    /// rooms by joining them and do not own them; viewers make none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<bool>,
}

impl Grants {
    /// Whether `role` with these grants may do it. An explicit `false` forbids whatever the role, now or later given.
    pub fn permit(&self, role: Role, permission: Permission) -> bool {
        let explicit = match permission {
            Permission::Subscribe => self.subscribe,
            Permission::Publish => self.publish,
            Permission::Data => self.data,
            Permission::Record => self.record,
            Permission::Moderate => self.moderate,
            Permission::SetRole | Permission::EndCall => None,
        };
        explicit.unwrap_or_else(|| role.permits(permission))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_grant_outranks_the_role() {
        let muted = Grants {
            publish: Some(false),
            ..Grants::default()
        };
        assert!(!muted.permit(Role::Host, Permission::Publish));
        let recorder = Grants {
            record: Some(true),
            ..Grants::default()
        };
        assert!(recorder.permit(Role::Participant, Permission::Record));
        assert!(!Grants::default().permit(Role::Moderator, Permission::Record));
    }

    #[test]
    fn roles_are_ordered() {
        assert!(Role::Host > Role::Moderator && Role::Moderator > Role::Participant);
        assert!(Role::Participant > Role::Viewer);
        for role in [Role::Viewer, Role::Participant, Role::Moderator, Role::Host] {
            assert_eq!(Role::from_name(role.as_str()), Some(role));
        }
    }
}
