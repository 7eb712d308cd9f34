//! Requests as metrics count them: by route, method and status, and how long their answers took.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::{Method, StatusCode};

use super::endpoint::Endpoint;
use crate::metrics::{Family, Histogram, Value, word};

/// Statuses that are told apart. The last stands for all others.
const STATUSES: [&str; 32] = [
    "101", "200", "201", "202", "204", "206", "301", "302", "304", "400", "401", "403", "404", "405", "406", "408",
    "409", "410", "412", "413", "415", "416", "422", "423", "426", "429", "431", "500", "501", "503", "504", "other",
];
/// The longest that each bucket but the last takes, in µs.
const BOUNDS_US: [u64; BOUNDS.len()] = [
    1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];
/// The same in seconds.
const BOUNDS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// What is asked for by a method that its route does not have.
const NO_METHOD: &str = "_OTHER";

/// All requests.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// One for each endpoint, in the table's order; then of files, and of what no endpoint answers.
    rows: OnceLock<Box<[Row]>>,
}

/// Requests of one endpoint.
#[derive(Debug)]
struct Row {
    route: &'static str,
    method: &'static str,
    statuses: [AtomicU64; STATUSES.len()],
    took: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

impl Row {
    fn new(route: &'static str, method: &'static str) -> Self {
        Self {
            route,
            method,
            statuses: [const { AtomicU64::new(0) }; STATUSES.len()],
            took: [const { AtomicU64::new(0) }; BOUNDS.len() + 1],
            sum_us: AtomicU64::new(0),
        }
    }

    fn count(&self, status: StatusCode, took: Duration) {
        let at = STATUSES.iter().position(|known| *known == status.as_str());
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound);
        self.statuses[at.unwrap_or(STATUSES.len() - 1)].fetch_add(1, Ordering::Relaxed);
        self.took[bucket.unwrap_or(BOUNDS.len())].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// The methods that endpoints have.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => NO_METHOD,
    }
}

impl Traffic {
    /// Counts from here on, for these endpoints. Only once.
    pub(super) fn begin(&self, endpoints: &[Endpoint], files: &'static str) {
        self.rows.get_or_init(|| {
            let own = endpoints.iter().map(|it| Row::new(it.template, name(&it.method)));
            own.chain([Row::new(files, "GET"), Row::new("", NO_METHOD)]).collect()
        });
    }

    /// Counts an answer. `HEAD` counts as the `GET` whose answer it is.
    pub(super) fn count(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let Some(rows) = self.rows.get() else { return };
        let method = match *method {
            Method::HEAD => "GET",
            _ => name(method),
        };
        let own = rows.iter().find(|row| row.route == route && row.method == method);
        if let Some(row) = own.or(rows.last()) {
            row.count(status, took);
        }
    }

    /// As metrics: of endpoints that somebody asked.
    pub(crate) fn families(&self) -> [Family; 2] {
        let mut requests = Family::counter(
            "caside_http_requests_total",
            "requests, by route, method and status; without a route those that no endpoint answers",
        );
        let mut durations = Family::histogram(
            "caside_http_request_duration_seconds",
            "how long requests took until their answer began",
        );
        for row in self.rows.get().into_iter().flatten() {
            let place = [("route", word(row.route)), ("method", word(row.method))];
            let counts: Vec<u64> = row.took.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            if counts.iter().all(|count| *count == 0) {
                continue;
            }
            for (status, count) in STATUSES.into_iter().zip(&row.statuses) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let [route, method] = place.clone();
                    requests.add([route, method, ("status", word(status))], count);
                }
            }
            let took = Value::Histogram(Histogram {
                bounds: &BOUNDS,
                counts,
                sum_us: row.sum_us.load(Ordering::Relaxed),
            });
            durations.add(place, took);
        }
        [requests, durations]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_where_they_belong() {
        for (us, seconds) in BOUNDS_US.iter().zip(BOUNDS) {
            assert!((*us as f64 / 1e6 - seconds).abs() < 1e-9);
        }
        let traffic = Traffic::default();
        traffic.begin(&[], "(files)");
        let count = |route, method, status, ms| {
            let status = StatusCode::from_u16(status).unwrap();
            traffic.count(route, &method, status, Duration::from_millis(ms));
        };
        count("(files)", Method::GET, 200, 1);
        count("(files)", Method::HEAD, 200, 3);
        count("(files)", Method::PUT, 405, 20_000);
        count("/rooms", Method::GET, 418, 0);
        let [requests, durations] = traffic.families();
        let said: Vec<_> = requests
            .points
            .iter()
            .map(|point| (&*point.labels[0].1, &*point.labels[2].1, &point.value))
            .collect();
        let one = Value::Count(1);
        assert_eq!(
            said,
            [
                ("(files)", "200", &Value::Count(2)),
                ("", "405", &one),
                ("", "other", &one)
            ]
        );
        let Value::Histogram(files) = &durations.points[0].value else {
            panic!()
        };
        assert_eq!((files.counts[0], files.counts[1], files.sum_us), (1, 1, 4_000));
        let Value::Histogram(others) = &durations.points[1].value else {
            panic!()
        };
        assert_eq!(others.counts.last(), Some(&1));
    }
}
