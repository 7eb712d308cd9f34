//! Bounds and times of a node.

use std::time::Duration;

use crate::limit::Rate;

/// Bounds and times. The defaults are those of `docs/protocol.md`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Most participants of one room; a room's own limit may be lower.
    pub max_room_size: u32,
    /// Most rooms that run here.
    pub max_rooms: usize,
    /// Most sessions.
    pub max_sessions: usize,
    /// Whether joining makes rooms that nobody created.
    pub auto_create_rooms: bool,
    /// How long a session lives without a socket.
    pub grace: Duration,
    /// Events kept for each session's resume.
    pub history: usize,
    /// How often sockets are pinged, told in `welcome`.
    pub heartbeat: Duration,
    /// How long a socket may stay without a token.
    pub auth_timeout: Duration,
    /// How long a token's check, a room's loading or another actor's answer is waited for.
    pub call_timeout: Duration,
    /// How long the SFU's answer is waited for.
    pub media_timeout: Duration,
    /// How long a call rings.
    pub ring: Duration,
    /// How long an invitation waits when it does not say.
    pub invite: Duration,
    /// Most invitations that wait for one user.
    pub max_invites: usize,
    /// Requests of one session that may be under way.
    pub credits: usize,
    /// Messages of one user over all sessions here. Admins and API keys are exempt from this and the next.
    pub user_messages: Rate,
    /// Joins of one user over all sessions here.
    pub user_joins: Rate,
    /// Joins of one address.
    pub address_joins: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_room_size: 1000,
            max_rooms: 100_000,
            max_sessions: 100_000,
            auto_create_rooms: true,
            grace: Duration::from_secs(15),
            history: 256,
            heartbeat: Duration::from_secs(10),
            auth_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(5),
            media_timeout: Duration::from_secs(10),
            ring: Duration::from_secs(45),
            invite: Duration::from_secs(86_400),
            max_invites: 32,
            credits: 64,
            user_messages: Rate {
                per_second: 400.0,
                burst: 1600.0,
            },
            user_joins: Rate {
                per_second: 5.0,
                burst: 50.0,
            },
            // Behind one address may be a whole office.
            address_joins: Rate {
                per_second: 100.0,
                burst: 400.0,
            },
        }
    }
}
