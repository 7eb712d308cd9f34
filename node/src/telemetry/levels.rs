//! Which lines are written and which records sent, which can change while the process runs.

use std::sync::OnceLock;

use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::Settings;

/// What others would print that must not be in a log, whatever is asked: message payloads, what any stranger's connection makes
/// them say, and spans that stay open for an actor's whole life.
const NEVER: [&str; 2] = ["ractor_cluster=error", "ractor=warn"];

/// What says again what we say ourselves, unless somebody asks for it.
const REPEATS: [&str; 2] = ["sea_orm_migration", "sqlx"];

/// What sends records, which must not be what is sent about.
const SENDERS: [&str; 5] = ["opentelemetry", "tonic", "hyper", "h2", "tower"];

type Levels = Handle<EnvFilter, Registry>;

static LINES: OnceLock<Levels> = OnceLock::new();
static RECORDS: OnceLock<Levels> = OnceLock::new();

/// Those of the log.
pub(super) fn of_lines(settings: &Settings) -> Layer<EnvFilter, Registry> {
    kept(lines(settings), &LINES)
}

/// Those of the records that go to a collector.
pub(super) fn of_records(settings: &Settings) -> Layer<EnvFilter, Registry> {
    kept(records(settings), &RECORDS)
}

/// Writes and sends what these settings ask for from now on; `false` when there is no log.
pub(crate) fn reload(settings: &Settings) -> bool {
    let sent = RECORDS
        .get()
        .is_none_or(|levels| levels.reload(records(settings)).is_ok());
    let written = LINES.get().is_some_and(|levels| levels.reload(lines(settings)).is_ok());
    sent && written
}

fn kept(filter: EnvFilter, place: &OnceLock<Levels>) -> Layer<EnvFilter, Registry> {
    let (layer, levels) = Layer::new(filter);
    if place.set(levels).is_err() {
        crate::output::complaint("the log is started already");
    }
    layer
}

/// What is asked for, and acts that are to be written down whatever is asked.
fn lines(settings: &Settings) -> EnvFilter {
    let mut filter = EnvFilter::new(settings.rust_log.as_str());
    for repeats in REPEATS {
        if !settings.rust_log.as_str().contains(repeats) {
            filter = with(filter, &format!("{repeats}=warn"));
        }
    }
    for directive in NEVER {
        filter = with(filter, directive);
    }
    let audit = if settings.audit_log { "info" } else { "off" };
    with(filter, &format!("{}={audit}", caside_actors::audit::TARGET))
}

fn records(settings: &Settings) -> EnvFilter {
    let lines = lines(settings);
    SENDERS
        .into_iter()
        .fold(lines, |filter, target| with(filter, &format!("{target}=off")))
}

fn with(filter: EnvFilter, directive: &str) -> EnvFilter {
    filter.add_directive(directive.parse().expect("a constant directive"))
}
