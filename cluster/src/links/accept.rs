//! Those who dial us. Nothing of a stranger gets beyond here: who is silent, wrong or loud is dropped before an actor hears of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use caside_protocol::node::Member;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::opening::{self, Answer, Opening, OpeningError, Purpose, Verdict, versions_fit};
use super::shared::{Shared, count, lock};
use super::stream::{Socket, prepare};

/// After the system refused to accept (it has no file descriptors left, for one).
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the links are stopped.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut strangers: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stopping.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        strangers.retain(|stranger| !stranger.is_finished());
        while strangers.len() >= shared.settings.max_handshakes {
            // The oldest makes way: whoever means it is through in milliseconds, a flood of others keeps nobody out.
            if let Some(oldest) = strangers.pop_front() {
                oldest.abort();
                count(&shared.counts.refused);
            }
        }
        strangers.push_back(tokio::spawn(greet(shared.clone(), stream)).abort_handle());
    }
}

/// Hears a stranger's first words.
async fn greet(shared: Arc<Shared>, stream: TcpStream) {
    let deadline = Instant::now() + shared.settings.handshake;
    let heard = tokio::select! {
        heard = timeout_at(deadline, hear(&shared, stream)) => heard.unwrap_or(Err(OpeningError::Late)),
        () = shared.stopping.cancelled() => return,
    };
    match heard {
        // No stranger any more, so that it does not have to make way for one.
        Ok((socket, opening)) => drop(tokio::spawn(receive(shared, socket, opening, deadline))),
        Err(error) => {
            count(&shared.counts.refused);
            tracing::debug!(%error, "a stranger was not let in");
        }
    }
}

async fn hear(shared: &Shared, stream: TcpStream) -> Result<(Socket, Opening), OpeningError> {
    prepare(&stream, shared.settings.user_timeout)?;
    let mut socket = match &shared.tls {
        Some(tls) => Socket::Tls(Box::new(tls.accept(stream).await?)),
        None => Socket::Plain(stream),
    };
    let opening = opening::hear(&mut socket, &shared.secret).await?;
    Ok((socket, opening))
}

/// Answers one who knows the cookie.
async fn receive(shared: Arc<Shared>, mut socket: Socket, opening: Opening, deadline: Instant) {
    let judged = timeout_at(deadline, judge(&shared, &opening)).await;
    let (verdict, permit) = judged.unwrap_or((Verdict::Unknown, None));
    let answer = Answer {
        verdict,
        version: shared.settings.version,
        member: shared.settings.me.clone(),
    };
    let limit = deadline.max(Instant::now() + PAUSE);
    let answered = timeout_at(limit, opening::answer(&mut socket, &shared.secret, &opening, &answer)).await;
    if opening.purpose == Purpose::Probe {
        return;
    }
    if verdict != Verdict::Welcome || !matches!(answered, Ok(Ok(()))) {
        count(&shared.counts.refused);
        tracing::debug!(member = %opening.from, ?verdict, "a member was not let in");
        return;
    }
    let connection = Arc::new(Connection::new(opening.connection, opening.from, deadline, permit));
    if !shared.hand_over(socket, &connection, true) {
        count(&shared.counts.refused);
    }
}

/// Whether it gets what it asks for; waits for its name to become known.
async fn judge(shared: &Shared, opening: &Opening) -> (Verdict, Option<OwnedSemaphorePermit>) {
    if opening.to != shared.settings.me {
        return (Verdict::Elsewhere, None);
    }
    if opening.purpose == Purpose::Probe {
        return (Verdict::Welcome, None);
    }
    if !versions_fit(shared.settings.version, opening.version) {
        shared.misfit(&opening.from, opening.version);
        return (Verdict::Version, None);
    }
    let Ok(permit) = shared.room.clone().try_acquire_owned() else {
        return (Verdict::Full, None);
    };
    if opening.from.node >= shared.settings.me.node || !known(shared, &opening.from).await {
        return (Verdict::Unknown, None);
    }
    (Verdict::Welcome, Some(permit))
}

/// A member may hear of us before we hear of it. Ends when it is known; the caller waits for so long.
async fn known(shared: &Shared, member: &Member) -> bool {
    let mut changed = shared.known_changed.subscribe();
    loop {
        if lock(&shared.known).contains_key(member) {
            return true;
        }
        if changed.changed().await.is_err() {
            return false;
        }
    }
}
