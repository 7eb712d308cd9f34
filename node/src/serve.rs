//! `caside serve`: a node's life from its start to its exit.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::auth::keys::KeyRing;
use crate::auth::password::Passwords;
use crate::config::Settings;
use crate::config::layers::{ConfigError, Configuration};
use crate::http::dispatch::Dispatcher;
use crate::http::listener::{Bounds, Listeners, Server};
use crate::http::routes;
use crate::http::tls::{self, Tls};
use crate::telemetry::{Exporting, Telemetry};
use crate::wiring::{self, Running};
use crate::{first_start, notify, output, private, reload};

/// What the rest of a stop has beside the drain.
const TAIL: u32 = 4;
/// How long the end waits for a collector to take what is told of it.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);
/// How long it waits for a last reading of metrics.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// Runs a node until it is told to stop.
///
/// # Errors
/// What kept it from starting.
pub(crate) async fn run(configuration: Configuration, telemetry: Telemetry) -> anyhow::Result<ExitCode> {
    let mut exporting = telemetry.export();
    let ended = Box::pin(live(configuration, &mut exporting)).await;
    exporting.flush(FLUSH_LIMIT).await;
    ended
}

/// From the start to the end, but for what is told of it.
async fn live(configuration: Configuration, exporting: &mut Exporting) -> anyhow::Result<ExitCode> {
    let tls = tls(&configuration)?;
    let reloading = reload::start(configuration.clone(), tls.clone())?;
    let settings = configuration.settings;
    let mut signals = Signals::new()?;
    let listeners = Listeners::bind(&settings.listen).await?;
    let addresses: Vec<_> = listeners.addresses().collect();
    private::data_dir(settings.data_dir())?;
    let keys = KeyRing::load(&settings).context("cannot load the keys for tokens")?;
    // A stop that comes while the database is waited for ends the wait.
    let store = tokio::select! {
        store = wiring::await_store(&settings) => store?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let passwords = Passwords::new()?;
    let demo = first_start::demo_user(&settings, &store, &passwords).await?;
    let running = Running::start(&settings, keys, passwords, store, exporting.health()).await?;
    exporting.metrics(running.app.clone());
    let bounds = Bounds {
        per_address: usize::try_from(settings.max_connections_per_address.get()).unwrap_or(usize::MAX),
        write_timeout: settings.write_timeout.0,
        tls,
    };
    let scheme = if bounds.tls.is_some() { "https" } else { "http" };
    let dispatcher = Dispatcher::new(running.app.clone(), routes::table(&running.app));
    let server = listeners.serve(dispatcher, bounds);
    for address in addresses {
        output::line(format_args!("listening on {scheme}://{address}"));
    }
    if let Some(password) = demo {
        output::line(format_args!("demo password: {password}"));
    }
    notify::say(notify::READY);
    tracing::info!(node.id = %settings.node_id, version = wiring::VERSION, "the node is up");
    tokio::select! {
        () = signals.next() => {}
        () = running.stop.notified() => {}
    }
    notify::say(notify::STOPPING);
    reloading.abort();
    tracing::info!(
        sockets = running.app.sockets.open(),
        "stopping; a second signal exits at once"
    );
    tokio::select! {
        () = stop(&settings, running, server, exporting) => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = signals.next() => {
            tracing::warn!("exiting at once");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The listeners' TLS, if it is on.
///
/// # Errors
/// A line on the setting whose file cannot be used.
pub(crate) fn tls(configuration: &Configuration) -> Result<Option<Tls>, ConfigError> {
    let Some((cert, key)) = tls::files(&configuration.settings) else {
        return Ok(None);
    };
    let loaded = Tls::load(cert, key).map_err(|e| configuration.refuse(e.setting(), e.to_string(), None))?;
    private::warn_of_open_key(key);
    Ok(Some(loaded))
}

/// Ends calls, sockets and requests in this order, within the drain timeout.
async fn stop(settings: &Settings, running: Running, server: Server, exporting: &Exporting) {
    let limit = settings.drain_timeout.0;
    let deadline = Instant::now() + limit;
    // While rooms drain, HTTP still answers, so that a load balancer sees that the node is no longer ready.
    running.drain(limit - limit / TAIL).await;
    exporting.last_metrics(READ_LIMIT).await;
    let patience = deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(500))
        / 2;
    if tokio::time::timeout(patience, server.stop()).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    running.stop(deadline).await;
}

/// The signals that stop a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
