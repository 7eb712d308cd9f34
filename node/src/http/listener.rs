//! Sockets that take HTTP connections, and the connections themselves.
//!
//! warp's own server has no limits on headers, idle time or the number of connections, and hides the upgrade; here they
//! are ours.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use caside_actors::refused::{self, Reason};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::dispatch::Dispatcher;
use super::patient::{Patient, Wire};
use super::tls::Tls;
use crate::client::{Share, Shares};

/// How long a request's head may take to arrive, and a connection may lie idle before it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest head of a request, in bytes; also the read buffer's bound.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Plain HTTP connections at a time; more are closed at once. WebSockets have left this count.
const MAX_HTTP_CONNECTIONS: usize = 4096;
/// How long to wait when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub(crate) struct BindError {
    /// Which one.
    pub(crate) address: SocketAddr,
    /// Why.
    #[source]
    source: io::Error,
}

/// What one client may take up.
#[derive(Clone)]
pub(crate) struct Bounds {
    /// Plain HTTP connections of one address; loopback and trusted proxies have no such bound.
    pub(crate) per_address: usize,
    /// How long a client may take nothing of an answer.
    pub(crate) write_timeout: Duration,
    /// TLS, when it is on.
    pub(crate) tls: Option<Tls>,
}

/// Sockets that are bound and not yet served: clients that come meanwhile wait in the system's queue.
pub(crate) struct Listeners(Vec<(TcpListener, SocketAddr)>);

impl Listeners {
    /// Binds all addresses.
    ///
    /// # Errors
    /// The first that cannot be.
    pub(crate) async fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let mut bound = Vec::with_capacity(addresses.len());
        for &address in addresses {
            let failed = |source| BindError { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let actual = listener.local_addr().map_err(failed)?;
            bound.push((listener, actual));
        }
        Ok(Self(bound))
    }

    /// The addresses, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|(_, address)| *address)
    }

    /// Serves all of them.
    pub(crate) fn serve(self, dispatcher: Dispatcher, bounds: Bounds) -> Server {
        let dispatcher = Arc::new(dispatcher);
        let shares = Shares::new(bounds.per_address);
        let places = Arc::new(Semaphore::new(MAX_HTTP_CONNECTIONS));
        let (stop, stopped) = watch::channel(false);
        let mut accepting = JoinSet::new();
        for (listener, _) in self.0 {
            let line = Line {
                dispatcher: dispatcher.clone(),
                places: places.clone(),
                shares: shares.clone(),
                write_timeout: bounds.write_timeout,
                tls: bounds.tls.clone(),
                stopped: stopped.clone(),
            };
            accepting.spawn(line.accept(listener));
        }
        Server {
            accepting,
            places,
            stop,
        }
    }
}

/// Listeners that are served.
pub(crate) struct Server {
    accepting: JoinSet<()>,
    places: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Takes no new connections and finishes the requests that are under way. WebSockets are not waited for.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.accepting.join_next().await.is_some() {}
        // Every place is free when the last connection has ended.
        let all = u32::try_from(MAX_HTTP_CONNECTIONS).unwrap_or(u32::MAX);
        if self.places.acquire_many(all).await.is_err() {
            tracing::debug!("the places of connections were closed");
        }
    }
}

/// One listener's work.
struct Line {
    dispatcher: Arc<Dispatcher>,
    places: Arc<Semaphore>,
    shares: Shares,
    write_timeout: Duration,
    tls: Option<Tls>,
    stopped: watch::Receiver<bool>,
}

impl Line {
    async fn accept(mut self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop(&mut self.stopped) => return,
            };
            match accepted {
                Ok((stream, from)) => self.serve(stream, from),
                Err(e) => {
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, from: SocketAddr) {
        // One address must not lock all others out.
        let peer = self.dispatcher.proxies().peer(from.ip());
        let Some(share) = self.shares.take(&peer) else {
            refused::count(Reason::ConnectionsAddress);
            tracing::debug!("a connection was closed: its address has as many as it may have");
            return;
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            refused::count(Reason::Connections);
            tracing::debug!("a connection was closed: there are as many as there may be");
            return;
        };
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "a connection was lost before its first request");
            return;
        }
        let (dispatcher, tls, limit) = (self.dispatcher.clone(), self.tls.clone(), self.write_timeout);
        let mut stopped = self.stopped.clone();
        tokio::spawn(async move {
            let wire = match &tls {
                None => Wire::Plain(stream),
                Some(tls) => {
                    let greeted = tokio::select! {
                        greeted = Box::pin(tls.greet(stream, &peer)) => greeted,
                        () = stop(&mut stopped) => None,
                    };
                    let Some(stream) = greeted else { return };
                    Wire::Tls(Box::new(stream))
                }
            };
            connection(
                dispatcher,
                Patient::new(wire, limit),
                from.ip(),
                stopped,
                (place, share),
            )
            .await;
        });
    }
}

/// One connection, until it ends or becomes something else.
async fn connection(
    dispatcher: Arc<Dispatcher>,
    stream: Patient,
    from: IpAddr,
    mut stopped: watch::Receiver<bool>,
    place: (OwnedSemaphorePermit, Share),
) {
    // Whether something has come that is no request yet: what tells a head that is dripped from a client that rests.
    let unanswered = Arc::new(AtomicBool::new(false));
    let stream = stream.watched(unanswered.clone());
    let answered = unanswered.clone();
    let service = service_fn(move |request| {
        let (dispatcher, answered) = (dispatcher.clone(), answered.clone());
        async move {
            let response = boxed(&dispatcher, request, from).await;
            answered.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop(&mut stopped) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection ended early");
        if let Some(reason) = reason(&e, unanswered.load(Ordering::Relaxed)) {
            refused::count(reason);
        }
    }
    drop(place);
}

/// What hyper refused by ending a connection, if it did.
fn reason(error: &hyper::Error, unanswered: bool) -> Option<Reason> {
    if error.is_timeout() {
        return unanswered.then_some(Reason::HeaderTimeout);
    }
    if error.is_parse_too_large() {
        return Some(Reason::HeaderTooLarge);
    }
    error.is_parse().then_some(Reason::MalformedRequest)
}

/// Waits until the server is to stop.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    // Whoever would say it is gone: then there is nothing to wait for either.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// The answer, on the heap: a connection that waits for its next request is then small.
async fn boxed(
    dispatcher: &Arc<Dispatcher>,
    request: hyper::Request<hyper::body::Incoming>,
    from: IpAddr,
) -> warp::reply::Response {
    match Box::pin(dispatcher.handle(request, from)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
