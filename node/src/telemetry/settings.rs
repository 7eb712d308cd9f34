//! OpenTelemetry's own settings, `OTEL_*`, as its specification has them. What it calls invalid is complained of and ignored, as it
//! asks for: telemetry never keeps a node from starting.

use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// What is exported, and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Otlp {
    /// Where spans go; `None`: nowhere, and none are made.
    pub(crate) traces: Option<Target>,
    /// Where metrics go.
    pub(crate) metrics: Option<Target>,
    /// Where log records go.
    pub(crate) logs: Option<Target>,
    /// Which traces are kept.
    pub(crate) sampling: Sampling,
    /// How spans are gathered.
    pub(crate) spans: Batch,
    /// How log records are gathered.
    pub(crate) records: Batch,
    /// How often metrics are sent.
    pub(crate) metric_interval: Duration,
    /// How long sending them may take.
    pub(crate) metric_timeout: Duration,
    /// `service.name`, when it is not to be ours.
    pub(crate) service_name: Option<String>,
    /// More about this process.
    pub(crate) attributes: Vec<(String, String)>,
    /// What was said and could not be understood.
    pub(crate) complaints: Vec<String>,
}

/// One signal's collector.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// How it is spoken to.
    pub(crate) protocol: Protocol,
    /// Its URL; with the signal's path when by HTTP.
    pub(crate) endpoint: String,
    /// Sent with each request; may have credentials.
    pub(crate) headers: Vec<(String, String)>,
    /// How long one request may take, with all its tries.
    pub(crate) timeout: Duration,
}

impl std::fmt::Debug for Target {
    /// Headers stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("protocol", &self.protocol)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `grpc`.
    Grpc,
    /// `http/protobuf`.
    Http,
}

/// How items are gathered before they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Most items that wait; more are dropped and counted.
    pub(crate) max_queue: usize,
    /// Most items sent at a time.
    pub(crate) max_batch: usize,
    /// How long the first of a batch waits for others.
    pub(crate) delay: Duration,
    /// How long sending one may take.
    pub(crate) timeout: Duration,
}

/// Which traces are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// Whether a trace that began elsewhere is kept when it is kept there.
    pub(crate) is_parent_based: bool,
    /// The share of all others that is kept, 0 to 1.
    pub(crate) ratio: f64,
    /// Whether the rest is looked through for errors and slow calls: not when none were wanted at all.
    pub(crate) keeps_bad: bool,
}

/// A signal's part of the names of variables, and its path by HTTP.
struct Signal {
    name: &'static str,
    path: &'static str,
}

const TRACES: Signal = Signal {
    name: "TRACES",
    path: "v1/traces",
};
const METRICS: Signal = Signal {
    name: "METRICS",
    path: "v1/metrics",
};
const LOGS: Signal = Signal {
    name: "LOGS",
    path: "v1/logs",
};

impl Otlp {
    /// By what `variable` says of each name.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut reader = Reader {
            // An empty value is as good as none.
            variable: &|name| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()),
            complaints: Vec::new(),
        };
        let is_disabled = reader
            .get("OTEL_SDK_DISABLED")
            .is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let mut target = |signal| match is_disabled {
            true => None,
            false => reader.target(signal),
        };
        let (traces, metrics, logs) = (target(&TRACES), target(&METRICS), target(&LOGS));
        let attributes = reader.pairs("OTEL_RESOURCE_ATTRIBUTES");
        Self {
            traces,
            metrics,
            logs,
            sampling: reader.sampling(),
            spans: reader.batch("OTEL_BSP", Duration::from_secs(5)),
            records: reader.batch("OTEL_BLRP", Duration::from_secs(1)),
            metric_interval: reader
                .millis("OTEL_METRIC_EXPORT_INTERVAL", Duration::from_mins(1))
                .max(Duration::from_millis(100)),
            metric_timeout: reader.millis("OTEL_METRIC_EXPORT_TIMEOUT", Duration::from_secs(30)),
            service_name: reader.get("OTEL_SERVICE_NAME"),
            attributes,
            complaints: reader.complaints,
        }
    }

    /// Whether anything is exported.
    pub(crate) fn exports(&self) -> bool {
        self.traces.is_some() || self.metrics.is_some() || self.logs.is_some()
    }
}

struct Reader<'v> {
    variable: &'v dyn Fn(&str) -> Option<String>,
    complaints: Vec<String>,
}

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name)
    }

    /// The signal's own variable, or the one for all.
    fn either(&self, signal: &Signal, rest: &str) -> Option<(String, String)> {
        let names = [
            format!("OTEL_EXPORTER_OTLP_{}_{rest}", signal.name),
            format!("OTEL_EXPORTER_OTLP_{rest}"),
        ];
        names.into_iter().find_map(|name| {
            let value = self.get(&name)?;
            Some((name, value))
        })
    }

    fn target(&mut self, signal: &Signal) -> Option<Target> {
        let exporter = format!("OTEL_{}_EXPORTER", signal.name);
        match self.get(&exporter).as_deref() {
            None | Some("otlp") => {}
            Some("none") => return None,
            Some(_) => {
                self.complaints.push(format!("{exporter}: must be otlp or none"));
                return None;
            }
        }
        let protocol = match self.either(signal, "PROTOCOL") {
            None => Protocol::Http,
            Some((_, word)) if word == "http/protobuf" => Protocol::Http,
            Some((_, word)) if word == "grpc" => Protocol::Grpc,
            Some((name, _)) => {
                self.complaints.push(format!("{name}: must be grpc or http/protobuf"));
                Protocol::Http
            }
        };
        let (name, base) = self.either(signal, "ENDPOINT")?;
        if !(base.starts_with("http://") || base.starts_with("https://")) {
            self.complaints.push(format!("{name}: must be an http or https URL"));
            return None;
        }
        let is_general = name == "OTEL_EXPORTER_OTLP_ENDPOINT";
        let endpoint = match protocol {
            Protocol::Http if is_general => format!("{}/{}", base.trim_end_matches('/'), signal.path),
            Protocol::Http | Protocol::Grpc => base,
        };
        let headers = self.either(signal, "HEADERS").map(|(name, _)| self.pairs(&name));
        let timeout = match self.either(signal, "TIMEOUT") {
            Some((name, _)) => self.millis(&name, Duration::from_secs(10)),
            None => Duration::from_secs(10),
        };
        Some(Target {
            protocol,
            endpoint,
            headers: headers.unwrap_or_default(),
            timeout,
        })
    }

    fn sampling(&mut self) -> Sampling {
        let given = self.get("OTEL_TRACES_SAMPLER");
        let word = given.as_deref().unwrap_or("parentbased_always_on");
        let (is_parent_based, rule) = match word.strip_prefix("parentbased_") {
            Some(rule) => (true, rule),
            None => (false, word),
        };
        let (ratio, keeps_bad) = match rule {
            "always_on" => (1.0, true),
            "always_off" => (0.0, false),
            "traceidratio" => {
                let ratio: Option<f64> = self.parsed("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1");
                let in_range = |ratio: &f64| (0.0..=1.0).contains(ratio);
                (ratio.filter(in_range).unwrap_or(1.0), true)
            }
            _ => {
                self.complaints.push(
                    "OTEL_TRACES_SAMPLER: must be always_on, always_off or traceidratio, also with parentbased_"
                        .to_owned(),
                );
                return Sampling {
                    is_parent_based: true,
                    ratio: 1.0,
                    keeps_bad: true,
                };
            }
        };
        Sampling {
            is_parent_based,
            ratio,
            keeps_bad,
        }
    }

    fn batch(&mut self, prefix: &str, delay: Duration) -> Batch {
        let at_least_one = |count: Option<usize>, default: usize| count.filter(|count| *count > 0).unwrap_or(default);
        let max_queue = self.parsed(&format!("{prefix}_MAX_QUEUE_SIZE"), "a positive number");
        let max_queue = at_least_one(max_queue, 2048).min(1 << 20);
        let max_batch = self.parsed(&format!("{prefix}_MAX_EXPORT_BATCH_SIZE"), "a positive number");
        Batch {
            max_queue,
            max_batch: at_least_one(max_batch, 512).min(max_queue),
            delay: self.millis(&format!("{prefix}_SCHEDULE_DELAY"), delay),
            timeout: self.millis(&format!("{prefix}_EXPORT_TIMEOUT"), Duration::from_secs(30)),
        }
    }

    fn millis(&mut self, name: &str, default: Duration) -> Duration {
        let given = self.parsed(name, "a number of milliseconds");
        given.map_or(default, Duration::from_millis)
    }

    fn parsed<T: FromStr>(&mut self, name: &str, allowed: &str) -> Option<T> {
        let given = self.get(name)?;
        let parsed = given.parse().ok();
        if parsed.is_none() {
            self.complaints.push(format!("{name}: must be {allowed}"));
        }
        parsed
    }

    /// `key=value` pairs between commas, percent-encoded (as W3C Baggage has them).
    fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let Some(text) = self.get(name) else { return Vec::new() };
        let decoded = |part: &str| Some(percent_decode_str(part.trim()).decode_utf8().ok()?.into_owned());
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=')?;
            Some((decoded(key).filter(|key| !key.is_empty())?, decoded(value)?))
        };
        let pairs: Option<Vec<_>> = text
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .map(pair)
            .collect();
        if pairs.is_none() {
            self.complaints
                .push(format!("{name}: must be key=value pairs, separated by commas"));
        }
        pairs.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Otlp {
        Otlp::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_an_endpoint_nothing_is_exported() {
        assert!(!read(&[]).exports());
        assert!(
            !read(&[
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", " ")
            ])
            .exports()
        );
        let disabled = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_SDK_DISABLED", "True"),
        ];
        assert!(!read(&disabled).exports());
    }

    #[test]
    fn one_endpoint_is_for_all_signals_and_a_signals_own_comes_first() {
        let all = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")]);
        let endpoints = |otlp: &Otlp| {
            [&otlp.traces, &otlp.metrics, &otlp.logs]
                .map(|target| target.as_ref().map(|target| target.endpoint.clone()))
        };
        let paths = ["traces", "metrics", "logs"].map(|signal| Some(format!("http://c:4318/v1/{signal}")));
        assert_eq!(endpoints(&all), paths);
        let own = read(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/x"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                "authorization=Bearer%20a%2Cb, x = 1",
            ),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ]);
        let traces = own.traces.unwrap();
        assert_eq!(
            (traces.endpoint.as_str(), traces.timeout),
            ("https://t/x", Duration::from_millis(250))
        );
        let headers = [("authorization", "Bearer a,b"), ("x", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(traces.headers, headers);
        assert!(!format!("{traces:?}").contains("Bearer"));
        assert!(own.metrics.is_none() && own.logs.is_none());
        let grpc = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ]);
        assert_eq!(grpc.traces.unwrap().endpoint, "http://c:4317");
    }

    #[test]
    fn samplers_are_those_of_the_specification() {
        let of = |word, arg| read(&[("OTEL_TRACES_SAMPLER", word), ("OTEL_TRACES_SAMPLER_ARG", arg)]).sampling;
        let sampling = |is_parent_based, ratio, keeps_bad| Sampling {
            is_parent_based,
            ratio,
            keeps_bad,
        };
        assert_eq!(read(&[]).sampling, sampling(true, 1.0, true));
        assert_eq!(of("traceidratio", "0.25"), sampling(false, 0.25, true));
        assert_eq!(of("parentbased_traceidratio", "7"), sampling(true, 1.0, true));
        assert_eq!(of("parentbased_always_off", ""), sampling(true, 0.0, false));
    }

    #[test]
    fn what_is_not_understood_is_said_and_ignored() {
        let odd = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
            ("OTEL_RESOURCE_ATTRIBUTES", "no pairs"),
        ]);
        assert!(!odd.exports());
        assert_eq!(odd.spans.max_queue, 2048);
        for name in [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_TRACES_SAMPLER",
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "OTEL_RESOURCE_ATTRIBUTES",
        ] {
            assert!(
                odd.complaints.iter().any(|said| said.starts_with(name)),
                "{name}: {:?}",
                odd.complaints
            );
        }
    }
}
