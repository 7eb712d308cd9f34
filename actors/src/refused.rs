//! What clients were refused, by reason, since the process started: for `/metrics`.
//!
//! One table a process, like the log: whoever refuses counts here, wherever it is. Media has its own counts, by worker.

use std::sync::atomic::{AtomicU64, Ordering};

/// Makes the reasons, their names and their table of one list.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why something was refused. The names are values of the label `reason`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        /// Every reason with its name, in the order of the enumeration.
        pub const ALL: &[(Reason, &str)] = &[$((Reason::$variant, $name),)+];
    };
}

reasons! {
    // Before HTTP.
    /// A connection beyond those that the node may have for plain HTTP.
    Connections = "connections",
    /// A connection beyond those that one address may have.
    ConnectionsAddress = "connections_address",
    /// A TLS handshake beyond those that may be under way.
    Handshakes = "handshakes",
    /// A TLS handshake beyond those that one address may have under way.
    HandshakesAddress = "handshakes_address",
    /// A TLS handshake that failed: no TLS, no version, cipher or protocol in common.
    HandshakeFailed = "handshake_failed",
    /// A TLS handshake that did not end in time.
    HandshakeTimeout = "handshake_timeout",
    // A request.
    /// The head of a request did not arrive in time.
    HeaderTimeout = "header_timeout",
    /// The head of a request was too long.
    HeaderTooLarge = "header_too_large",
    /// What came was not HTTP/1.1, or ambiguous.
    MalformedRequest = "malformed_request",
    /// The body of a request did not arrive in time.
    BodyTimeout = "body_timeout",
    /// The body of a request, or a field in it, was too large.
    BodyTooLarge = "body_too_large",
    /// Requests of one address beyond its rate.
    RequestsAddress = "requests_address",
    /// Requests of one user beyond their rate.
    RequestsUser = "requests_user",
    // Who asks.
    /// A credential that does not hold, or none.
    Unauthorized = "unauthorized",
    /// A credential that does not suffice.
    Forbidden = "forbidden",
    /// A wrong password, or a refresh token that is not good.
    Credentials = "credentials",
    /// A refresh token that was used before: its session is ended.
    RefreshReplayed = "refresh_replayed",
    /// A login of an address that failed too often.
    LoginsAddress = "logins_address",
    // WebSockets.
    /// An upgrade by a page of an origin that is not permitted.
    Origin = "origin",
    /// A socket beyond those that the node may have.
    Sockets = "sockets",
    /// New sockets of one address beyond its rate.
    SocketsAddress = "sockets_address",
    /// A socket without a token beyond those that one address may have.
    SocketsUnknown = "sockets_unknown",
    /// A socket that sent no token in time.
    AuthTimeout = "auth_timeout",
    /// A frame that is no message; the last of too many closes.
    MessageMalformed = "message_malformed",
    /// A message that is too long, which closes.
    MessageTooLarge = "message_too_large",
    /// Messages of one socket beyond its rate.
    MessagesConnection = "messages_connection",
    /// Messages of one user, over all sockets, beyond their rate.
    MessagesUser = "messages_user",
    // Rooms.
    /// Joins of one user beyond their rate.
    JoinsUser = "joins_user",
    /// Joins of one address beyond its rate.
    JoinsAddress = "joins_address",
    /// A room that is full.
    RoomFull = "room_full",
    /// A room beyond those that may run on the node.
    Rooms = "rooms",
    /// A room beyond those that one user may have.
    RoomsUser = "rooms_user",
}

static COUNTS: [AtomicU64; ALL.len()] = [const { AtomicU64::new(0) }; ALL.len()];

/// One more for this reason.
pub fn count(reason: Reason) {
    if let Some(count) = COUNTS.get(reason as usize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many of each.
pub fn report() -> impl Iterator<Item = (&'static str, u64)> {
    let counts = COUNTS.iter().map(|count| count.load(Ordering::Relaxed));
    ALL.iter().map(|(_, name)| *name).zip(counts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_is_counted_under_a_name_of_its_own() {
        let names: BTreeSet<_> = ALL.iter().map(|(_, name)| *name).collect();
        assert_eq!(names.len(), ALL.len());
        for (n, (reason, name)) in ALL.iter().enumerate() {
            assert_eq!(*reason as usize, n, "{name}");
            let before: Vec<_> = report().collect();
            count(*reason);
            for (one, was) in report().zip(before) {
                // Other tests of this process may count too.
                assert!(one.1 >= was.1 + u64::from(one.0 == *name), "{name}");
            }
        }
    }
}
