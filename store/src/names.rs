//! How values are written in columns. What a released version wrote must stay readable.

use caside_protocol::rest::{CallStatus, FileKind, RecordingState};
use caside_protocol::server::{InviteAnswer, InviteKind};
use caside_protocol::view::{Mode, RecordPolicy, Source};
use caside_protocol::{NodeId, Role, RoomId, UserId};
use time::{Duration, OffsetDateTime, UtcOffset};
use uuid::Uuid;

use crate::StoreError;
use crate::recordings::SegmentPlace;

/// A value that is kept by name.
pub(crate) trait Named: Copy + Sized + 'static {
    /// Every value with its name.
    const NAMES: &'static [(Self, &'static str)];

    /// The value's name.
    fn name(self) -> &'static str;

    /// The value of this name in that column.
    fn of(table: &'static str, column: &'static str, name: &str) -> Result<Self, StoreError> {
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(value, _)| *value)
            .ok_or_else(|| unreadable(table, column, name))
    }
}

macro_rules! named {
    ($type:ty { $($value:ident => $name:literal),+ $(,)? }) => {
        impl Named for $type {
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$value, $name)),+];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }
        }
    };
}

named!(Mode { Sfu => "sfu", P2p => "p2p", Auto => "auto" });
named!(RecordPolicy { Off => "off", Manual => "manual", Auto => "auto" });
named!(Role { Viewer => "viewer", Participant => "participant", Moderator => "moderator", Host => "host" });
named!(CallStatus { Active => "active", Ended => "ended" });
named!(RecordingState { Recording => "recording", Finalizing => "finalizing", Ready => "ready", Failed => "failed" });
named!(FileKind { Participant => "participant", Upload => "upload", Composite => "composite" });
named!(Source {
    Camera => "camera",
    Microphone => "microphone",
    Screen => "screen",
    ScreenAudio => "screen-audio",
    File => "file",
});
named!(InviteKind { Call => "call", Invite => "invite" });
named!(InviteAnswer {
    Accepted => "accepted",
    Declined => "declined",
    Expired => "expired",
    Cancelled => "cancelled",
});
named!(SegmentPlace { Spool => "spool", Object => "object" });

/// An id that is kept as text.
pub(crate) trait TextId: Sized {
    /// Checks and takes it.
    fn parse(text: &str) -> Option<Self>;

    /// The id in that column.
    fn of(table: &'static str, column: &'static str, text: &str) -> Result<Self, StoreError> {
        Self::parse(text).ok_or_else(|| unreadable(table, column, text))
    }

    /// The id in that column, if there is one.
    fn of_option(table: &'static str, column: &'static str, text: Option<&str>) -> Result<Option<Self>, StoreError> {
        text.map(|text| Self::of(table, column, text)).transpose()
    }
}

impl TextId for UserId {
    fn parse(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

impl TextId for RoomId {
    fn parse(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

impl TextId for NodeId {
    fn parse(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

pub(crate) fn unreadable(table: &'static str, column: &'static str, value: &str) -> StoreError {
    StoreError::Unreadable {
        table,
        column,
        value: value.to_owned(),
    }
}

/// A moment in UTC as both databases keep it: PostgreSQL has microseconds.
pub(crate) fn instant(at: OffsetDateTime) -> OffsetDateTime {
    let at = at.to_offset(UtcOffset::UTC);
    at - Duration::nanoseconds(i64::from(at.nanosecond() % 1_000))
}

/// A moment that is compared in queries, in whole seconds: SQLite keeps text, and only texts of one length sort.
pub(crate) fn second(at: OffsetDateTime) -> OffsetDateTime {
    let at = at.to_offset(UtcOffset::UTC);
    at - Duration::nanoseconds(i64::from(at.nanosecond()))
}

/// The least UUIDv7 of a moment (RFC 9562 §5.7): its first 48 bits are the time in milliseconds since 1970.
pub(crate) fn first_id_at(moment: OffsetDateTime) -> Uuid {
    let ms = u128::try_from(moment.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    Uuid::from_u128(ms << 80)
}

/// A count as a signed column; what exceeds it is cut off, for nothing real does.
pub(crate) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A count from a signed column.
pub(crate) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn check<T: Named + PartialEq + std::fmt::Debug>() {
        for (value, name) in T::NAMES {
            assert_eq!(value.name(), *name);
            assert_eq!(T::of("t", "c", name).unwrap(), *value);
        }
        assert!(matches!(T::of("t", "c", "?"), Err(StoreError::Unreadable { .. })));
    }

    #[test]
    fn every_name_is_read_back_and_an_unknown_one_is_refused() {
        check::<Mode>();
        check::<RecordPolicy>();
        check::<Role>();
        check::<CallStatus>();
        check::<RecordingState>();
        check::<FileKind>();
        check::<Source>();
        check::<InviteKind>();
        check::<InviteAnswer>();
        check::<SegmentPlace>();
    }

    #[test]
    fn moments_are_cut_to_what_both_databases_keep() {
        let at = datetime!(2026-01-02 03:04:05.123456789 +02:00);
        assert_eq!(instant(at), datetime!(2026-01-02 01:04:05.123456 UTC));
        assert_eq!(second(at), datetime!(2026-01-02 01:04:05 UTC));
    }
}
