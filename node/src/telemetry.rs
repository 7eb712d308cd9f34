//! The log: for people or as JSON, on standard error.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::Settings;
use crate::config::kinds::LogFormat;

/// What others would print that must not be in a log, whatever is asked: message payloads, what any stranger's connection makes
/// them say, and spans that stay open for an actor's whole life.
const NEVER: [&str; 2] = ["ractor_cluster=error", "ractor=warn"];

/// What says again what we say ourselves, unless somebody asks for it.
const REPEATS: [&str; 2] = ["sea_orm_migration", "sqlx"];

/// By which the levels are changed while the process runs.
static LEVELS: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();

/// Which lines are written: those that are asked for, and acts that are to be written down whatever is asked.
fn filter(settings: &Settings) -> EnvFilter {
    let mut filter = EnvFilter::new(settings.rust_log.as_str());
    for repeats in REPEATS {
        if !settings.rust_log.as_str().contains(repeats) {
            filter = filter.add_directive(format!("{repeats}=warn").parse().expect("a constant directive"));
        }
    }
    for directive in NEVER {
        filter = filter.add_directive(directive.parse().expect("a constant directive"));
    }
    let audit = if settings.audit_log { "info" } else { "off" };
    let directive = format!("{}={audit}", caside_actors::audit::TARGET);
    filter.add_directive(directive.parse().expect("a constant directive"))
}

/// Writes the lines that these settings ask for from now on; `false` when there is no log.
pub(crate) fn reload(settings: &Settings) -> bool {
    LEVELS
        .get()
        .is_some_and(|levels| levels.reload(filter(settings)).is_ok())
}

/// Starts the log; a panic becomes a line of it.
pub(crate) fn start(settings: &Settings) {
    let (filter, levels) = reload::Layer::new(filter(settings));
    if LEVELS.set(levels).is_err() {
        crate::output::complaint("the log is started already");
    }
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::Human => registry
            .with(lines.with_ansi(std::io::stderr().is_terminal()).with_target(false))
            .try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    if let Err(e) = started {
        crate::output::complaint(format_args!("the log could not be started: {e}"));
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let said = panic.payload();
        let text = said
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| said.downcast_ref::<String>().map(String::as_str));
        tracing::error!(
            panic.place = place,
            panic.message = text.unwrap_or_default(),
            "a part of the node panicked"
        );
    }));
}
