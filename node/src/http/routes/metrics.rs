//! What the node counts, as Prometheus reads it (text exposition format 0.0.4).

use std::borrow::Cow;
use std::fmt::{self, Write};

use caside_protocol::ErrorCode;
use caside_protocol::error::Refusal;
use warp::Filter;
use warp::http::Method;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::reply::Response;

use crate::auth::secret;
use crate::client::Client;
use crate::http::endpoint::Endpoint;
use crate::http::openapi::{Busy, Forbidden, Unauthenticated};
use crate::http::{App, SharedApp, extract};
use crate::metrics::{self, Family, Kind, Value};

/// `/metrics`.
pub(crate) fn endpoint(app: &SharedApp) -> Endpoint {
    let filter = extract::app(app)
        .and(extract::client())
        .and(extract::credential())
        .then(metrics);
    Endpoint::new(Method::GET, "/metrics", filter)
}

/// Counters, gauges and histograms. Open to whoever asks on this machine without a proxy, while HTTP is on loopback only; else for
/// `CASIDE_METRICS_TOKEN` and admins.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "Prometheus text", content_type = "text/plain", body = String),
    Unauthenticated, Forbidden, Busy), security((), ("bearer" = [])))]
async fn metrics(app: SharedApp, client: Client, credential: Option<String>) -> Result<Response, Refusal> {
    if !(app.loopback_only && client.is_local()) {
        app.may_read_metrics(credential).await?;
    }
    let mut response = Response::new(text(&metrics::gather(&app).await).into());
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl App {
    async fn may_read_metrics(&self, credential: Option<String>) -> Result<(), Refusal> {
        let missing = || Refusal::new(ErrorCode::Unauthorized, "a token is needed: `Authorization: Bearer …`");
        let credential = credential.ok_or_else(missing)?;
        // Hashes are compared: how long that takes tells nothing of the token.
        if self
            .metrics_token
            .is_some_and(|token| token == secret::digest(credential.as_bytes()))
        {
            return Ok(());
        }
        if self.auth.authenticate(&credential).await?.is_admin() {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::Forbidden, "metrics are for admins"))
    }
}

/// Families as text.
fn text(families: &[Family]) -> String {
    let mut page = String::new();
    for family in families {
        write(&mut page, family).expect("a string takes any text");
    }
    page
}

fn write(page: &mut String, family: &Family) -> fmt::Result {
    let name = family.name;
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}", family.help)?;
    for point in &family.points {
        let labels = Labels(&point.labels);
        match &point.value {
            Value::Count(value) => writeln!(page, "{name}{labels} {value}")?,
            Value::Signed(value) => writeln!(page, "{name}{labels} {value}")?,
            Value::Real(value) => writeln!(page, "{name}{labels} {value}")?,
            Value::Micros(us) => writeln!(page, "{name}{labels} {}", Seconds(*us))?,
            Value::Histogram(histogram) => {
                let mut so_far = 0;
                let bounds = histogram.bounds.iter().map(ToString::to_string);
                for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&histogram.counts) {
                    so_far += count;
                    let mut labels = point.labels.clone();
                    labels.push(("le", bound.into()));
                    writeln!(page, "{name}_bucket{} {so_far}", Labels(&labels))?;
                }
                writeln!(page, "{name}_sum{labels} {}", Seconds(histogram.sum_us))?;
                writeln!(page, "{name}_count{labels} {so_far}")?;
            }
        }
    }
    Ok(())
}

/// Labels in braces; nothing of none.
struct Labels<'a>(&'a [(&'static str, Cow<'static, str>)]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, value)) in self.0.iter().enumerate() {
            f.write_str(if n == 0 { "{" } else { "," })?;
            write!(f, "{name}=\"")?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => f.write_char(c)?,
                }
            }
            f.write_char('"')?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_char('}') }
    }
}

/// µs as seconds, none of them lost.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Histogram, word};

    #[test]
    fn a_family_has_its_head_once_and_a_line_for_each_point() {
        let family = Family::counter("x_seconds_total", "time")
            .with([("actor", word("room"))], Duration::from_micros(1_500_000))
            .with([("actor", word("a \"b\" \\"))], Duration::from_micros(7));
        let want = "# HELP x_seconds_total time\n# TYPE x_seconds_total counter\n\
            x_seconds_total{actor=\"room\"} 1.500000\nx_seconds_total{actor=\"a \\\"b\\\" \\\\\"} 0.000007\n";
        assert_eq!(text(&[family]), want);
        let gauges = [
            Family::gauge("x", "one").of(2_u64),
            Family::gauge("y_ratio", "none yet").of(0.25),
        ];
        let want = "# HELP x one\n# TYPE x gauge\nx 2\n# HELP y_ratio none yet\n# TYPE y_ratio gauge\ny_ratio 0.25\n";
        assert_eq!(text(&gauges), want);
    }

    #[test]
    fn buckets_are_told_with_those_below_them() {
        let histogram = Value::Histogram(Histogram {
            bounds: &[0.000_05, 1.0],
            counts: vec![2, 0, 3],
            sum_us: 9_000_001,
        });
        let family = Family::histogram("x_seconds", "time").with([("actor", word("room"))], histogram);
        let want = "# HELP x_seconds time\n# TYPE x_seconds histogram\n\
            x_seconds_bucket{actor=\"room\",le=\"0.00005\"} 2\nx_seconds_bucket{actor=\"room\",le=\"1\"} 2\n\
            x_seconds_bucket{actor=\"room\",le=\"+Inf\"} 5\nx_seconds_sum{actor=\"room\"} 9.000001\n\
            x_seconds_count{actor=\"room\"} 5\n";
        assert_eq!(text(&[family]), want);
    }
}
