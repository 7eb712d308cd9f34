//! The one list of outward error codes, with their HTTP status and WebSocket close code.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A stable code for whoever called; `docs/errors.md` has a paragraph on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// No credential, or one that does not hold.
    Unauthorized,
    /// Wrong user name or password.
    InvalidCredentials,
    /// The token was good once.
    TokenExpired,
    /// The credential does not permit this.
    Forbidden,
    /// The room takes nobody below moderator now.
    RoomLocked,
    /// No such path or thing.
    NotFound,
    /// No such room.
    RoomNotFound,
    /// No such call.
    CallNotFound,
    /// No such recording.
    RecordingNotFound,
    /// No such participant in this room.
    ParticipantNotFound,
    /// No such user.
    UserNotFound,
    /// Nobody publishes here.
    NothingPublished,
    /// The message or body is not what it should be.
    InvalidPayload,
    /// The session description cannot be used.
    BadSdp,
    /// No message has this type.
    UnknownType,
    /// A peer-to-peer room with several others needs `to`.
    TargetRequired,
    /// Join a room first.
    NotJoined,
    /// `last_seq` names an event that was never sent.
    BadSequence,
    /// No codec in common.
    NoCommonCodec,
    /// Somebody else owns a room of this id.
    RoomExists,
    /// The room is full.
    RoomFull,
    /// This session is in another room.
    AlreadyJoined,
    /// The user has no session.
    UserOffline,
    /// The final chunk came before others.
    MissingChunks,
    /// The upload was closed.
    UploadClosed,
    /// Too late, or the resume token was used.
    ResumeExpired,
    /// The invitation ran out.
    InviteExpired,
    /// Larger than allowed.
    TooLarge,
    /// Too many requests; try again after `retry_after_ms`.
    RateLimited,
    /// The node has all the connections it may have.
    TooManyConnections,
    /// A queue is full; try again.
    Overloaded,
    /// The node is going away.
    Draining,
    /// The room is between two nodes; soon it is at one.
    Moving,
    /// The database, the object store or the directory is away.
    DependencyUnavailable,
    /// An offer was not answered in time.
    NegotiationTimeout,
    /// Our fault.
    Internal,
}

impl ErrorCode {
    /// Every code, for documentation and its tests.
    pub const ALL: &'static [Self] = &[
        Self::Unauthorized,
        Self::InvalidCredentials,
        Self::TokenExpired,
        Self::Forbidden,
        Self::RoomLocked,
        Self::NotFound,
        Self::RoomNotFound,
        Self::CallNotFound,
        Self::RecordingNotFound,
        Self::ParticipantNotFound,
        Self::UserNotFound,
        Self::NothingPublished,
        Self::InvalidPayload,
        Self::BadSdp,
        Self::UnknownType,
        Self::TargetRequired,
        Self::NotJoined,
        Self::BadSequence,
        Self::NoCommonCodec,
        Self::RoomExists,
        Self::RoomFull,
        Self::AlreadyJoined,
        Self::UserOffline,
        Self::MissingChunks,
        Self::UploadClosed,
        Self::ResumeExpired,
        Self::InviteExpired,
        Self::TooLarge,
        Self::RateLimited,
        Self::TooManyConnections,
        Self::Overloaded,
        Self::Draining,
        Self::Moving,
        Self::DependencyUnavailable,
        Self::NegotiationTimeout,
        Self::Internal,
    ];

    /// The code as written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::InvalidCredentials => "invalid_credentials",
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::RoomLocked => "room_locked",
            Self::NotFound => "not_found",
            Self::RoomNotFound => "room_not_found",
            Self::CallNotFound => "call_not_found",
            Self::RecordingNotFound => "recording_not_found",
            Self::ParticipantNotFound => "participant_not_found",
            Self::UserNotFound => "user_not_found",
            Self::NothingPublished => "nothing_published",
            Self::InvalidPayload => "invalid_payload",
            Self::BadSdp => "bad_sdp",
            Self::UnknownType => "unknown_type",
            Self::TargetRequired => "target_required",
            Self::NotJoined => "not_joined",
            Self::BadSequence => "bad_sequence",
            Self::NoCommonCodec => "no_common_codec",
            Self::RoomExists => "room_exists",
            Self::RoomFull => "room_full",
            Self::AlreadyJoined => "already_joined",
            Self::UserOffline => "user_offline",
            Self::MissingChunks => "missing_chunks",
            Self::UploadClosed => "upload_closed",
            Self::ResumeExpired => "resume_expired",
            Self::InviteExpired => "invite_expired",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::TooManyConnections => "too_many_connections",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::Moving => "moving",
            Self::DependencyUnavailable => "dependency_unavailable",
            Self::NegotiationTimeout => "negotiation_timeout",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that goes with it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Unauthorized | Self::InvalidCredentials | Self::TokenExpired => 401,
            Self::Forbidden | Self::RoomLocked => 403,
            Self::NotFound
            | Self::RoomNotFound
            | Self::CallNotFound
            | Self::RecordingNotFound
            | Self::ParticipantNotFound
            | Self::UserNotFound
            | Self::NothingPublished => 404,
            Self::InvalidPayload
            | Self::BadSdp
            | Self::UnknownType
            | Self::TargetRequired
            | Self::NotJoined
            | Self::BadSequence => 400,
            Self::NoCommonCodec => 406,
            Self::RoomExists
            | Self::RoomFull
            | Self::AlreadyJoined
            | Self::UserOffline
            | Self::MissingChunks
            | Self::UploadClosed => 409,
            Self::ResumeExpired | Self::InviteExpired => 410,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::TooManyConnections
            | Self::Overloaded
            | Self::Draining
            | Self::Moving
            | Self::DependencyUnavailable => 503,
            Self::NegotiationTimeout => 504,
            Self::Internal => 500,
        }
    }

    /// Whether the same request may succeed later without change.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::TooManyConnections
                | Self::Overloaded
                | Self::Draining
                | Self::Moving
                | Self::DependencyUnavailable
                | Self::NegotiationTimeout
                | Self::UserOffline
                | Self::RoomFull
                | Self::RoomLocked
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal on its way to whoever asked: a code, and a sentence that says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// For people; not to be parsed.
    pub message: String,
    /// When to try again, for `rate_limited` and `draining`.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// The same, with the time to wait.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}

/// WebSocket close codes (RFC 6455 §7.4; 4000–4999 are ours).
pub mod close {
    /// Clean end by the client or us.
    pub const NORMAL: u16 = 1000;
    /// The server goes away.
    pub const GOING_AWAY: u16 = 1001;
    /// Rates, malformed messages, slow consumer.
    pub const POLICY: u16 = 1008;
    /// A message over the size limit.
    pub const TOO_BIG: u16 = 1009;
    /// Our fault.
    pub const INTERNAL: u16 = 1011;
    /// Another socket resumed this session.
    pub const REPLACED: u16 = 4001;
    /// The credential was refused.
    pub const UNAUTHORIZED: u16 = 4401;
    /// The participant was removed by a moderator.
    pub const KICKED: u16 = 4403;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_name_is_the_serialized_name_and_every_status_is_an_error() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!((400..600).contains(&code.http_status()), "{code}");
        }
    }
}
