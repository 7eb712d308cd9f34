//! Database and object store calls as spans of whoever makes them, by OpenTelemetry's semantic conventions. While nobody records the
//! caller, there is nothing to tell.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use sea_orm::{DatabaseConnection, DbBackend};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::objects::ObjectError;

/// Who makes the spans.
const SCOPE: &str = "caside";

/// The identity of the current span, if somebody records it.
pub(crate) fn current() -> Option<SpanContext> {
    let span = Span::current();
    if span.is_disabled() {
        return None;
    }
    let context = span.context().span().span_context().clone();
    context.is_valid().then_some(context)
}

/// Something that is over.
pub(crate) struct Told<'a> {
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) began: SystemTime,
    pub(crate) attributes: Vec<KeyValue>,
    /// A stable word for why it failed.
    pub(crate) error: Option<&'a str>,
}

/// Tells of something that is over and ended just now.
pub(crate) fn tell(parent: SpanContext, told: Told<'_>) {
    let tracer = global::tracer(SCOPE);
    let builder = tracer
        .span_builder(told.name)
        .with_kind(told.kind)
        .with_start_time(told.began)
        .with_attributes(told.attributes);
    let mut span = tracer.build_with_context(builder, &Context::new().with_remote_span_context(parent));
    if let Some(error) = told.error {
        span.set_attribute(KeyValue::new("error.type", error.to_owned()));
        span.set_status(Status::error(error.to_owned()));
    }
    span.end();
}

/// Has each statement told. Values are not: statements have places for them.
pub(crate) fn watch(connection: &mut DatabaseConnection) {
    let system = match connection.get_database_backend() {
        DbBackend::Sqlite => "sqlite",
        DbBackend::Postgres => "postgresql",
        _ => "other_sql",
    };
    connection.set_metric_callback(move |info| {
        if let Some(parent) = current() {
            tell_statement(parent, system, &info.statement.sql, info.elapsed, info.failed);
        }
    });
}

fn tell_statement(parent: SpanContext, system: &'static str, sql: &str, took: Duration, failed: bool) {
    let now = SystemTime::now();
    let (operation, table) = summary(sql);
    let mut attributes = vec![
        KeyValue::new("db.system.name", system),
        KeyValue::new("db.operation.name", operation.to_owned()),
        KeyValue::new("db.query.text", sql.to_owned()),
    ];
    let name = match table {
        Some(table) => {
            attributes.push(KeyValue::new("db.collection.name", table.to_owned()));
            format!("{operation} {table}")
        }
        None => operation.to_owned(),
    };
    let told = Told {
        name,
        kind: SpanKind::Client,
        began: now.checked_sub(took).unwrap_or(now),
        attributes,
        error: failed.then_some("db_error"),
    };
    tell(parent, told);
}

/// What a statement does, and to which table.
fn summary(sql: &str) -> (&str, Option<&str>) {
    let mut words = sql.split_whitespace();
    let operation = words.next().unwrap_or("EXECUTE");
    let before = match operation.to_ascii_uppercase().as_str() {
        "SELECT" | "DELETE" => "FROM",
        "INSERT" => "INTO",
        "UPDATE" => {
            let table = words.next().map(bare);
            return (operation, table);
        }
        _ => return (operation, None),
    };
    let table = words.skip_while(|word| !word.eq_ignore_ascii_case(before)).nth(1);
    (operation, table.map(bare))
}

fn bare(table: &str) -> &str {
    table.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// Makes a call to object storage a span.
pub(crate) async fn object<T>(
    operation: &'static str,
    is_remote: bool,
    key: &str,
    call: impl Future<Output = Result<T, ObjectError>> + Send,
) -> Result<T, ObjectError> {
    if Span::current().is_disabled() {
        return call.await;
    }
    let span = tracing::debug_span!(
        "object_store",
        otel.name = %format_args!("object_store {operation}"),
        otel.kind = if is_remote { "client" } else { "internal" },
        caside.object.operation = operation,
        caside.object.key = key,
        error.type = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    );
    let result = call.instrument(span.clone()).await;
    if let Err(error) = &result {
        span.record("error.type", error.word());
        if !matches!(error, ObjectError::NotFound { .. }) {
            span.record("otel.status_code", "ERROR");
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_what_it_does_to_which_table() {
        for (sql, want) in [
            (
                r#"SELECT "rooms"."id" FROM "rooms" WHERE "id" = $1"#,
                ("SELECT", Some("rooms")),
            ),
            (r#"INSERT INTO "calls" ("id") VALUES (?)"#, ("INSERT", Some("calls"))),
            (r#"UPDATE "api_keys" SET "x" = 1"#, ("UPDATE", Some("api_keys"))),
            (r#"DELETE FROM "users""#, ("DELETE", Some("users"))),
            ("PRAGMA user_version", ("PRAGMA", None)),
            ("SELECT 1", ("SELECT", None)),
            ("", ("EXECUTE", None)),
        ] {
            assert_eq!(summary(sql), want, "{sql}");
        }
    }
}
