//! Those whom we dial: for a link, or to learn whether they are there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use caside_protocol::node::Member;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

use super::connection::Connection;
use super::opening::{self, Answer, Opening, OpeningError, Purpose, Verdict, versions_fit};
use super::shared::Shared;
use super::stream::{Socket, prepare};

/// Pauses between looks at one who has just hung up: its sockets are closed one after the other, and the listener may be the last.
const QUICK: [Duration; 4] = [
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
];
/// All of them take no longer.
const QUICK_LIMIT: Duration = Duration::from_millis(100);
/// A look at leisure takes no longer.
const PROBE_LIMIT: Duration = Duration::from_millis(500);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("its address refuses connections")]
    Refused,
    #[error("another run of its node is there")]
    Succeeded,
    #[error("another node is at its address")]
    OtherNode,
    #[error("its wire version does not fit ours")]
    Version,
    #[error("it does not let us in: {0:?}")]
    NotLetIn(Verdict),
    #[error("it does not know who we are yet")]
    NotKnown,
    #[error("it cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    #[error("it does not answer as a member does: {0}")]
    Opening(#[source] OpeningError),
    #[error("nothing came in time")]
    Late,
}

impl DialError {
    /// Whether the member's process is known to be gone.
    pub(crate) fn proves_gone(&self) -> bool {
        matches!(self, Self::Refused | Self::Succeeded)
    }
}

/// Dials a member for a link, and hands the connection over.
pub(crate) async fn dial(shared: &Arc<Shared>, member: &Member, address: &str) -> Result<Arc<Connection>, DialError> {
    let deadline = Instant::now() + shared.settings.handshake;
    let talk = ask(shared, member, address, Purpose::Link);
    let (socket, id, answer) = timeout(shared.settings.handshake, talk)
        .await
        .unwrap_or(Err(DialError::Late))?;
    match answer.verdict {
        Verdict::Welcome if versions_fit(shared.settings.version, answer.version) => {}
        Verdict::Welcome | Verdict::Version => {
            shared.misfit(member, answer.version);
            return Err(DialError::Version);
        }
        Verdict::Unknown => return Err(DialError::NotKnown),
        verdict => return Err(DialError::NotLetIn(verdict)),
    }
    let connection = Arc::new(Connection::new(id, member.clone(), deadline, None));
    // Of two random numbers of 64 bits that are the same, the later loses.
    if !shared.hand_over(socket, &connection, false) {
        return Err(DialError::NotLetIn(Verdict::Full));
    }
    Ok(connection)
}

/// Whether a member's process is known to be gone, within [`PROBE_LIMIT`].
pub(crate) async fn probe(shared: &Shared, member: &Member, address: &str) -> bool {
    let looks = async {
        loop {
            match ask(shared, member, address, Purpose::Probe).await {
                Ok(_) => return false,
                Err(error) if error.proves_gone() => return true,
                // Cut off amid the first words: it may be about to go.
                Err(DialError::Opening(OpeningError::Io(_))) => sleep(QUICK[2]).await,
                Err(_) => return false,
            }
        }
    };
    timeout(PROBE_LIMIT, looks).await.unwrap_or(false)
}

/// [`probe`] for one who has just hung up.
pub(crate) async fn probe_quickly(shared: &Shared, member: &Member, address: &str) -> bool {
    let looks = async {
        for pause in QUICK {
            match ask(shared, member, address, Purpose::Probe).await {
                Ok(_) => return false,
                Err(error) if error.proves_gone() => return true,
                Err(_) => sleep(pause).await,
            }
        }
        false
    };
    timeout(QUICK_LIMIT, looks).await.unwrap_or(false)
}

/// Connects, and says the first words.
async fn ask(
    shared: &Shared,
    member: &Member,
    address: &str,
    purpose: Purpose,
) -> Result<(Socket, u64, Answer), DialError> {
    let stream = connect(address).await?;
    prepare(&stream, shared.settings.user_timeout).map_err(DialError::Unreachable)?;
    let mut socket = match &shared.tls {
        Some(tls) => {
            let secured = tls.connect(host(address), stream).await;
            Socket::Tls(Box::new(secured.map_err(|error| DialError::Opening(error.into()))?))
        }
        None => Socket::Plain(stream),
    };
    let opening = Opening {
        purpose,
        version: shared.settings.version,
        connection: rand::random(),
        from: shared.settings.me.clone(),
        to: member.clone(),
    };
    let asked = opening::ask(&mut socket, &shared.secret, &opening, shared.settings.handshake).await;
    let answer = asked.map_err(DialError::Opening)?;
    if answer.member == *member {
        return Ok((socket, opening.connection, answer));
    }
    Err(if answer.member.node == member.node {
        DialError::Succeeded
    } else {
        DialError::OtherNode
    })
}

/// Connects to any of the addresses that a name has. Refused is who is refused at each.
async fn connect(address: &str) -> Result<TcpStream, DialError> {
    // A name without addresses refuses nothing.
    let mut failure = Some(io::ErrorKind::NotFound.into());
    for (nth, address) in lookup_host(address).await.map_err(DialError::Unreachable)?.enumerate() {
        if nth == 0 {
            failure = None;
        }
        match TcpStream::connect(address).await {
            // The kernel gave us the port that we dial: this is us, and nobody else.
            Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => {}
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.map_or(DialError::Refused, DialError::Unreachable))
}

/// The host in "host:port".
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_ports() {
        for (address, expected) in [
            ("node-a:7000", "node-a"),
            ("10.0.0.1:7000", "10.0.0.1"),
            ("[::1]:7000", "::1"),
        ] {
            assert_eq!(host(address), expected);
        }
    }

    #[tokio::test]
    async fn an_address_without_a_listener_refuses() {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        assert!(matches!(
            connect(&format!("127.0.0.1:{port}")).await,
            Err(DialError::Refused)
        ));
    }
}
