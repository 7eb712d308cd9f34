//! The log: for people or as JSON, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Settings;
use crate::config::kinds::LogFormat;

/// What others would print that must not be in a log, whatever is asked: message payloads, what any stranger's connection makes
/// them say, and spans that stay open for an actor's whole life.
const NEVER: [&str; 2] = ["ractor_cluster=error", "ractor=warn"];

/// What says again what we say ourselves, unless somebody asks for it.
const REPEATS: [&str; 2] = ["sea_orm_migration", "sqlx"];

/// Starts the log; a panic becomes a line of it.
pub(crate) fn start(settings: &Settings) {
    let mut filter = EnvFilter::new(settings.rust_log.as_str());
    for repeats in REPEATS {
        if !settings.rust_log.as_str().contains(repeats) {
            filter = filter.add_directive(format!("{repeats}=warn").parse().expect("a constant directive"));
        }
    }
    for directive in NEVER {
        filter = filter.add_directive(directive.parse().expect("a constant directive"));
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
