//! Metrics on their way to a collector: a reading of everything every so often, as OTLP.
//!
//! Written by hand from what `/metrics` is written from, and not by the SDK's instruments: those have no histogram that is read from
//! counters of ours, and would be a second list of everything. Sums are cumulative, from the start of the process: a reading that the
//! collector does not take is counted and forgotten, for the next has all that was in it. So nothing is tried again and nothing waits.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use opentelemetry_sdk::Resource;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::outbox::{Counts, Flush};
use crate::metrics::{Family, Kind, Point, Value};

/// Reads everything.
pub(super) type Read = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Vec<Family>> + Send>> + Send + Sync>;
/// A request on its way; gives how many points of it were not taken.
pub(super) type Posting = Pin<Box<dyn Future<Output = Result<u64, String>> + Send>>;
/// Brings requests to the collector.
pub(super) type Post = Box<dyn Fn(ExportMetricsServiceRequest) -> Posting + Send + Sync>;

/// How often, and who says that it is from.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) interval: Duration,
    /// How long one reading may take to be sent.
    pub(super) timeout: Duration,
    pub(super) resource: Resource,
    /// When counters began.
    pub(super) began: SystemTime,
}

/// The ways to ask whoever sends.
pub(super) struct Asking {
    /// Sends what there is now, or what was held.
    pub(super) flush: Flush,
    /// Takes a reading and holds it for the last flush: what is read is about to end.
    pub(super) hold: Flush,
}

/// Sends readings until the ways to ask are gone.
pub(super) fn send(read: Read, post: Post, terms: Terms, counts: Arc<Counts>) -> Asking {
    let (flush, flushes) = mpsc::channel(1);
    let (hold, holds) = mpsc::channel(1);
    let sender = Sender {
        read,
        post,
        resource: resource(&terms.resource),
        terms,
        counts,
        is_away: false,
    };
    tokio::spawn(sender.run(flushes, holds));
    Asking { flush, hold }
}

struct Sender {
    read: Read,
    post: Post,
    terms: Terms,
    resource: ResourceMessage,
    counts: Arc<Counts>,
    is_away: bool,
}

impl Sender {
    async fn run(
        mut self,
        mut flushes: mpsc::Receiver<oneshot::Sender<()>>,
        mut holds: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let mut due = interval_at(Instant::now() + self.terms.interval, self.terms.interval);
        // One that was late is as good as the next.
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut held: Option<Vec<Family>> = None;
        // Once a last reading was asked for, there is nothing more to be read.
        let mut is_ending = false;
        loop {
            let done = tokio::select! {
                _ = due.tick(), if !is_ending => {
                    let families = (self.read)().await;
                    self.export(&families).await;
                    continue;
                }
                Some(done) = holds.recv() => {
                    is_ending = true;
                    held = Some((self.read)().await);
                    done
                }
                asked = flushes.recv() => {
                    let Some(done) = asked else { return };
                    let families = match held.take() {
                        Some(held) => held,
                        None => (self.read)().await,
                    };
                    self.export(&families).await;
                    done
                }
            };
            if done.send(()).is_err() {
                tracing::debug!("nobody waits for the last metrics any more");
            }
        }
    }

    async fn export(&mut self, families: &[Family]) {
        let request = request(families, &self.resource, self.terms.began, SystemTime::now());
        let points = families.iter().map(|family| family.points.len() as u64).sum::<u64>();
        let posted = timeout(self.terms.timeout, (self.post)(request)).await;
        let posted = posted.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let lost = match &posted {
            Ok(rejected) => (*rejected).min(points),
            Err(_) => points,
        };
        self.counts.settle(points - lost, true);
        self.counts.settle(lost, false);
        super::note_collector("metrics", posted.err().as_deref(), &mut self.is_away);
    }
}

fn resource(resource: &Resource) -> ResourceMessage {
    let attributes = resource.iter().map(|(key, value)| KeyValue {
        key: key.as_str().to_owned(),
        value: Some(value.clone().into()),
        ..KeyValue::default()
    });
    ResourceMessage {
        attributes: attributes.collect(),
        ..ResourceMessage::default()
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Families as OTLP has them.
fn request(
    families: &[Family],
    resource: &ResourceMessage,
    began: SystemTime,
    now: SystemTime,
) -> ExportMetricsServiceRequest {
    let times = Times {
        began: nanos(began),
        now: nanos(now),
    };
    let present = families.iter().filter(|family| !family.points.is_empty());
    let scope = ScopeMetrics {
        scope: Some(InstrumentationScope {
            name: caside_actors::trace::SCOPE.to_owned(),
            version: crate::wiring::VERSION.to_owned(),
            ..InstrumentationScope::default()
        }),
        metrics: present.map(|family| times.metric(family)).collect(),
        ..ScopeMetrics::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        }],
    }
}

/// Of one reading, in ns of Unix time.
#[derive(Debug, Clone, Copy)]
struct Times {
    began: u64,
    now: u64,
}

impl Times {
    fn metric(self, family: &Family) -> Metric {
        let points = family.points.iter();
        let temporality = AggregationTemporality::Cumulative as i32;
        let data = match family.kind {
            Kind::Counter => metric::Data::Sum(Sum {
                data_points: points.filter_map(|point| self.number(point, self.began)).collect(),
                aggregation_temporality: temporality,
                is_monotonic: true,
            }),
            Kind::Gauge => metric::Data::Gauge(Gauge {
                data_points: points.filter_map(|point| self.number(point, 0)).collect(),
            }),
            Kind::Histogram => metric::Data::Histogram(Histogram {
                data_points: points.filter_map(|point| self.histogram(point)).collect(),
                aggregation_temporality: temporality,
            }),
        };
        Metric {
            name: family.name.to_owned(),
            description: family.help.to_owned(),
            unit: family.unit().to_owned(),
            data: Some(data),
            ..Metric::default()
        }
    }

    fn number(self, point: &Point, began: u64) -> Option<NumberDataPoint> {
        let int = |value: u64| number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX));
        let value = match &point.value {
            Value::Count(value) => int(*value),
            Value::Signed(value) => number_data_point::Value::AsInt(*value),
            Value::Real(value) => number_data_point::Value::AsDouble(*value),
            Value::Micros(us) => number_data_point::Value::AsDouble(seconds(*us)),
            Value::Histogram(_) => return None,
        };
        Some(NumberDataPoint {
            attributes: attributes(point),
            start_time_unix_nano: began,
            time_unix_nano: self.now,
            value: Some(value),
            ..NumberDataPoint::default()
        })
    }

    fn histogram(self, point: &Point) -> Option<HistogramDataPoint> {
        let Value::Histogram(histogram) = &point.value else {
            return None;
        };
        Some(HistogramDataPoint {
            attributes: attributes(point),
            start_time_unix_nano: self.began,
            time_unix_nano: self.now,
            count: histogram.counts.iter().sum(),
            sum: Some(seconds(histogram.sum_us)),
            bucket_counts: histogram.counts.clone(),
            explicit_bounds: histogram.bounds.to_vec(),
            ..HistogramDataPoint::default()
        })
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn attributes(point: &Point) -> Vec<KeyValue> {
    let pair = |(name, value): &(&'static str, std::borrow::Cow<'static, str>)| KeyValue {
        key: (*name).to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.clone().into_owned())),
        }),
        ..KeyValue::default()
    };
    point.labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn terms() -> Terms {
        Terms {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            resource: Resource::builder_empty().build(),
            began: UNIX_EPOCH + Duration::from_secs(7),
        }
    }

    /// Reads one gauge of two points, which is one higher each time.
    fn reading() -> Read {
        let reads = Arc::new(Mutex::new(0_u64));
        Box::new(move || {
            let mut reads = reads.lock().unwrap();
            *reads += 1;
            let family = Family::gauge("x", "reads").with([], *reads).with([], *reads);
            Box::pin(std::future::ready(vec![family]))
        })
    }

    async fn ask(way: &Flush) {
        let (done, is_done) = oneshot::channel();
        way.send(done).await.unwrap();
        timeout(Duration::from_secs(10), is_done).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_never_answers_costs_a_count() {
        let counts = Arc::new(Counts::default());
        let post: Post = Box::new(|_| Box::pin(std::future::pending()));
        let asking = send(reading(), post, terms(), counts.clone());
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(counts.failed(), 0);
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!((counts.sent(), counts.failed()), (0, 2));
        ask(&asking.flush).await;
        assert_eq!((counts.sent(), counts.failed()), (0, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_reading_is_the_one_that_was_held() {
        let counts = Arc::new(Counts::default());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let posted = taken.clone();
        let post: Post = Box::new(move |request| {
            let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
            let Some(metric::Data::Gauge(gauge)) = &metric.data else {
                panic!()
            };
            posted.lock().unwrap().push(gauge.data_points[0].value);
            Box::pin(std::future::ready(Ok(1)))
        });
        let asking = send(reading(), post, terms(), counts.clone());
        ask(&asking.flush).await;
        ask(&asking.hold).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        ask(&asking.flush).await;
        let value = |value| Some(number_data_point::Value::AsInt(value));
        assert_eq!(*taken.lock().unwrap(), [value(1), value(2)]);
        // One of two points was refused, each time.
        assert_eq!((counts.sent(), counts.failed()), (2, 2));
    }
}
