//! The log: for people or as JSON, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::Layer;
use tracing_subscriber::fmt::Layer as Lines;
use tracing_subscriber::registry::LookupSpan;

use crate::config::Settings;
use crate::config::kinds::LogFormat;

/// How they look.
pub(super) fn layer<S>(settings: &Settings) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
{
    let lines = Lines::default().with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Human => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// Makes a panic a line.
pub(super) fn catch_panics() {
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
