//! How a call went, and why something in it does not work: what `GET /admin/calls/{id}` answers, and the causes that clients
//! are told.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::error::ErrorCode;
use crate::{CallId, NodeId, ParticipantId, RoomId, TrackId, UserId};

/// Most entries of one call's timeline.
pub const MAX_ENTRIES: usize = 400;
/// Most entries of one participant in it.
pub const MAX_ENTRIES_EACH: usize = 64;
/// Most causes that are told of one call, those that are over among them.
pub const MAX_CAUSES: usize = 64;
/// Most participants that are told of one call, those who left among them.
pub const MAX_PARTICIPANTS: usize = 1_000;
/// Longest `detail` of an entry, in characters.
pub const MAX_DETAIL: usize = 200;

/// Why something does not work. `docs/troubleshooting.md` has a row for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CauseCode {
    /// Nothing of the client comes by UDP.
    UdpBlocked,
    /// Nobody reaches the address that clients are told.
    AddressUnreachable,
    /// The path was there and is not any more.
    PathLost,
    /// ICE has a path, but no DTLS comes over it.
    DtlsBlocked,
    /// The DTLS handshake went wrong.
    DtlsFailed,
    /// The client's certificate is not the one it signaled.
    FingerprintMismatch,
    /// The client and the server have no codec in common.
    CodecMismatch,
    /// A session description cannot be used.
    BadDescription,
    /// The client did not answer the server's offer.
    NoAnswer,
    /// Pictures come, but none that a receiver could begin with.
    NoKeyFrame,
    /// A track is muted, held, or nothing comes of it.
    SourceMuted,
    /// The token was good once.
    TokenExpired,
    /// There is no token, or it does not hold.
    TokenRefused,
    /// The token does not permit it.
    NoGrant,
    /// Newcomers are kept out.
    RoomLocked,
    /// Nobody may make such a room by joining it.
    NoSuchRoom,
    /// As many are in the room as may be.
    RoomFull,
    /// The node takes no more connections.
    NodeFull,
    /// The node has too much to do.
    Overloaded,
    /// The node is going away.
    Draining,
    /// The node that had the room is gone.
    OwnerLost,
    /// The room directory (Redis) does not answer.
    DirectoryAway,
    /// The database, or another thing that is needed, does not answer.
    DependencyAway,
    /// The participant's socket dropped.
    SignalingLost,
    /// Our fault.
    Internal,
}

impl CauseCode {
    /// Every code, for documentation and its tests.
    pub const ALL: &'static [Self] = &[
        Self::UdpBlocked,
        Self::AddressUnreachable,
        Self::PathLost,
        Self::DtlsBlocked,
        Self::DtlsFailed,
        Self::FingerprintMismatch,
        Self::CodecMismatch,
        Self::BadDescription,
        Self::NoAnswer,
        Self::NoKeyFrame,
        Self::SourceMuted,
        Self::TokenExpired,
        Self::TokenRefused,
        Self::NoGrant,
        Self::RoomLocked,
        Self::NoSuchRoom,
        Self::RoomFull,
        Self::NodeFull,
        Self::Overloaded,
        Self::Draining,
        Self::OwnerLost,
        Self::DirectoryAway,
        Self::DependencyAway,
        Self::SignalingLost,
        Self::Internal,
    ];

    /// The code as written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UdpBlocked => "udp_blocked",
            Self::AddressUnreachable => "address_unreachable",
            Self::PathLost => "path_lost",
            Self::DtlsBlocked => "dtls_blocked",
            Self::DtlsFailed => "dtls_failed",
            Self::FingerprintMismatch => "fingerprint_mismatch",
            Self::CodecMismatch => "codec_mismatch",
            Self::BadDescription => "bad_description",
            Self::NoAnswer => "no_answer",
            Self::NoKeyFrame => "no_key_frame",
            Self::SourceMuted => "source_muted",
            Self::TokenExpired => "token_expired",
            Self::TokenRefused => "token_refused",
            Self::NoGrant => "no_grant",
            Self::RoomLocked => "room_locked",
            Self::NoSuchRoom => "no_such_room",
            Self::RoomFull => "room_full",
            Self::NodeFull => "node_full",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::OwnerLost => "owner_lost",
            Self::DirectoryAway => "directory_away",
            Self::DependencyAway => "dependency_away",
            Self::SignalingLost => "signaling_lost",
            Self::Internal => "internal",
        }
    }

    /// One sentence on what is wrong.
    pub fn says(self) -> &'static str {
        match self {
            Self::UdpBlocked => "Nothing of this client reaches the media port by UDP, while others' datagrams do.",
            Self::AddressUnreachable => "No client reaches the media address that this node tells them.",
            Self::PathLost => "Media flowed, and then nothing of the client came for 30 seconds.",
            Self::DtlsBlocked => "The client's ICE checks arrive, but its DTLS handshake does not.",
            Self::DtlsFailed => "The DTLS handshake began and failed.",
            Self::FingerprintMismatch => {
                "The client showed another certificate than the one in its session description."
            }
            Self::CodecMismatch => "The client offered or accepts no codec that the server can forward.",
            Self::BadDescription => "The client sent a session description that cannot be used.",
            Self::NoAnswer => "The client did not answer the server's offer within 15 seconds.",
            Self::NoKeyFrame => "Packets of the picture come, but no key frame, however often it is asked for.",
            Self::SourceMuted => "The track is muted, on hold, or its device sends nothing.",
            Self::TokenExpired => "The token's time is over.",
            Self::TokenRefused => "There was no token, or one that does not hold here.",
            Self::NoGrant => "The token does not permit this in this room.",
            Self::RoomLocked => "The room is locked, and the newcomer is no moderator.",
            Self::NoSuchRoom => "There is no such room, and the token may not make one.",
            Self::RoomFull => "The room has all the participants it may have.",
            Self::NodeFull => "The node has all the connections it may have.",
            Self::Overloaded => "The node had more to do than it could, and refused some of it.",
            Self::Draining => "The node is going away and takes nobody new.",
            Self::OwnerLost => "The node that had the room is gone; another one has taken it over.",
            Self::DirectoryAway => {
                "Redis does not answer: rooms run on, but are not taken over should their node fail."
            }
            Self::DependencyAway => "The database, or another thing that is needed for this, did not answer.",
            Self::SignalingLost => "The participant's WebSocket dropped; it is waited for.",
            Self::Internal => "Something failed in the server.",
        }
    }

    /// One sentence on what to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::UdpBlocked => {
                "Let UDP to CASIDE_MEDIA_PORT out of the client's network, or offer a way around: CASIDE_MEDIA_PROTOCOLS with tcp, or TURN_URLS."
            }
            Self::AddressUnreachable => {
                "Set CASIDE_MEDIA_IP to the address that clients reach, and let UDP and TCP to CASIDE_MEDIA_PORT in."
            }
            Self::PathLost => "Look at the client's network; it comes back by itself when that does.",
            Self::DtlsBlocked => {
                "Look for a firewall or proxy between that lets STUN through and drops DTLS, or large datagrams (MTU)."
            }
            Self::DtlsFailed => {
                "Look at what the client's log says of DTLS; it needs DTLS 1.2 and a SRTP profile in common."
            }
            Self::FingerprintMismatch => {
                "Look for whatever changes session descriptions on their way, and send a=fingerprint as the client made it."
            }
            Self::CodecMismatch => {
                "Have the client offer Opus, and one of VP8, VP9, H.264 and AV1 that the server's settings permit."
            }
            Self::BadDescription => "Send the description as the browser made it; the error's message names the line.",
            Self::NoAnswer => "Look at the client's log: it must set each offer and answer it.",
            Self::NoKeyFrame => {
                "Look at the sender: its encoder, or what transforms its frames, must heed PLI and FIR."
            }
            Self::SourceMuted => "Unmute the track, or choose another camera or microphone.",
            Self::TokenExpired => "Get a new token and send auth with it; mind the clocks of who signs and who checks.",
            Self::TokenRefused => {
                "Sign with this deployment's key (JWT_SECRET or JWT_PRIVATE_KEY_FILE), and send the token."
            }
            Self::NoGrant => "Get a token for this room, with the role or the grants that it takes.",
            Self::RoomLocked => "Have a moderator unlock the room.",
            Self::NoSuchRoom => "Make the room first (POST /rooms), or set CASIDE_AUTO_CREATE_ROOMS.",
            Self::RoomFull => "Raise the room's max_participants, or CASIDE_MAX_ROOM_SIZE.",
            Self::NodeFull => "Raise CASIDE_MAX_CONNECTIONS, or add a node.",
            Self::Overloaded => "Look at the node's load (caside inspect nodes); add a node, or a media worker.",
            Self::Draining => "Connect again: the balancer leads to another node.",
            Self::OwnerLost => "Nothing for the call: clients move their media by themselves. See why the node died.",
            Self::DirectoryAway => "Bring Redis back; the nodes find it by themselves.",
            Self::DependencyAway => "Look at what /health/ready of this node says is missing.",
            Self::SignalingLost => "Nothing unless it lasts: the client resumes within its grace time.",
            Self::Internal => "Look at the node's log at this time.",
        }
    }

    /// The cause behind an error that a client was answered; `None` of those that say what the client did wrong.
    pub fn of_error(code: ErrorCode) -> Option<Self> {
        Some(match code {
            ErrorCode::TokenExpired => Self::TokenExpired,
            ErrorCode::Unauthorized | ErrorCode::InvalidCredentials => Self::TokenRefused,
            ErrorCode::Forbidden => Self::NoGrant,
            ErrorCode::RoomLocked => Self::RoomLocked,
            ErrorCode::RoomNotFound => Self::NoSuchRoom,
            ErrorCode::RoomFull => Self::RoomFull,
            ErrorCode::TooManyConnections => Self::NodeFull,
            ErrorCode::Overloaded => Self::Overloaded,
            ErrorCode::Draining => Self::Draining,
            ErrorCode::Moving => Self::OwnerLost,
            ErrorCode::DependencyUnavailable => Self::DependencyAway,
            ErrorCode::NoCommonCodec => Self::CodecMismatch,
            ErrorCode::BadSdp => Self::BadDescription,
            ErrorCode::NegotiationTimeout => Self::NoAnswer,
            ErrorCode::Internal => Self::Internal,
            _ => return None,
        })
    }

    /// Whether a call in which it was so went badly, and its timeline is kept when it has ended.
    pub fn is_bad(self) -> bool {
        !matches!(
            self,
            Self::SourceMuted | Self::SignalingLost | Self::DirectoryAway | Self::Draining
        )
    }
}

impl fmt::Display for CauseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A cause, and whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cause {
    /// Which.
    pub code: CauseCode,
    /// Whom; null: the call, or who was not let in.
    pub participant_id: Option<ParticipantId>,
    /// Who was not let in.
    #[serde(default)]
    pub user: Option<UserId>,
    /// Which track.
    #[serde(default)]
    pub track: Option<TrackId>,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Until when; null while it is so.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
    /// What is wrong.
    pub says: String,
    /// What to do.
    #[serde(rename = "do")]
    pub remedy: String,
    /// What it was seen by.
    #[serde(default)]
    pub detail: Option<String>,
}

/// Where in a call's way something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Who somebody is.
    Auth,
    /// Coming and going.
    Join,
    /// The socket.
    Signaling,
    /// Session descriptions.
    Negotiation,
    /// The path.
    Ice,
    /// The keys.
    Dtls,
    /// Sound and picture.
    Media,
    /// The room and its node.
    Room,
    /// A cause was found, or is over.
    Cause,
}

impl Stage {
    /// The stage as written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Join => "join",
            Self::Signaling => "signaling",
            Self::Negotiation => "negotiation",
            Self::Ice => "ice",
            Self::Dtls => "dtls",
            Self::Media => "media",
            Self::Room => "room",
            Self::Cause => "cause",
        }
    }
}

/// Something that happened in a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEntry {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// To whom; null: the call.
    pub participant_id: Option<ParticipantId>,
    /// Where in the call's way.
    pub stage: Stage,
    /// What: a few words that stay the same.
    pub what: String,
    /// What else is to be said of it, ≤ 200 characters.
    #[serde(default)]
    pub detail: Option<String>,
    /// So many entries were left out here, and this one is the last of them.
    #[serde(default)]
    pub left_out: u32,
}

/// Somebody who is in a call, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedParticipant {
    /// Their id in the call.
    pub participant_id: ParticipantId,
    /// The user behind it.
    pub user: UserId,
    /// The name shown.
    pub display_name: String,
    /// When they joined.
    #[serde(with = "time::serde::rfc3339")]
    pub joined_at: OffsetDateTime,
    /// When they left; null while they are there.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub left_at: Option<OffsetDateTime>,
    /// How far their publish connection came: `none`, `offered`, `checked`, `connected`, `secured`, `closed`.
    pub publish: String,
    /// How far their subscribe connection came.
    pub subscribe: String,
}

/// `GET /admin/calls/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedCall {
    /// The call; null when nobody got as far as to begin one.
    pub call: Option<CallId>,
    /// Its room.
    pub room: RoomId,
    /// The node that runs it, or ran it last.
    pub node: Option<NodeId>,
    /// `active`, `ended`, or `none`: nobody is in the room.
    pub status: String,
    /// What is wrong, then what was.
    pub causes: Vec<Cause>,
    /// Who is in it, and who was.
    pub participants: Vec<ExplainedParticipant>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

/// Somebody who was not let in: kept by the node that refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownRefusal {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Into which room, as far as that was known.
    pub room: Option<RoomId>,
    /// Who, as far as that was known.
    pub user: Option<UserId>,
    /// Where on the way in.
    pub stage: Stage,
    /// Why.
    pub cause: CauseCode,
    /// What the client was answered.
    pub error: ErrorCode,
    /// The answer's text.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_they_are_read_and_each_says_what_to_do() {
        for code in CauseCode::ALL {
            let written = serde_json::to_string(code).unwrap();
            assert_eq!(written, format!("\"{code}\""));
            assert!(code.says().ends_with('.') && code.remedy().ends_with('.'), "{code}");
        }
    }

    #[test]
    fn what_keeps_somebody_out_has_a_cause() {
        for (error, cause) in [
            (ErrorCode::TokenExpired, CauseCode::TokenExpired),
            (ErrorCode::Forbidden, CauseCode::NoGrant),
            (ErrorCode::NoCommonCodec, CauseCode::CodecMismatch),
            (ErrorCode::TooManyConnections, CauseCode::NodeFull),
        ] {
            assert_eq!(CauseCode::of_error(error), Some(cause));
        }
        assert_eq!(CauseCode::of_error(ErrorCode::NotJoined), None);
    }
}
