//! What one may ask of a link.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::model::{Bottleneck, Bursts, Conditions, Reorder};

/// The longest delay of any kind.
const MAX_DELAY_MS: f64 = 60_000.0;
const MAX_RATE: u64 = 10_000_000_000;

/// A line of input.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Orders {
    /// For what goes from the client to the node.
    pub(crate) up: Option<Order>,
    /// For what goes from the node to the client.
    pub(crate) down: Option<Order>,
}

/// How packets are treated from now on. What is left out stays as it is; `null` ends bursts, reordering and a rate.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Order {
    loss: Option<f64>,
    #[serde(deserialize_with = "given")]
    bursts: Option<Option<OrderedBursts>>,
    duplicate: Option<f64>,
    delay_ms: Option<f64>,
    jitter_ms: Option<f64>,
    #[serde(deserialize_with = "given")]
    reorder: Option<Option<OrderedReorder>>,
    #[serde(deserialize_with = "given")]
    rate: Option<Option<OrderedRate>>,
    mtu: Option<usize>,
    partitioned: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderedBursts {
    begin: f64,
    end: f64,
    loss: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderedReorder {
    part: f64,
    by_ms: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderedRate {
    bits_per_second: u64,
    /// The longest that a packet waits.
    queue_ms: u64,
}

/// Tells a field that is `null` from one that is not there.
fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

impl Orders {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is no JSON of this shape.
    pub(crate) fn parse(line: &[u8]) -> Result<Self> {
        serde_json::from_slice(line).context("an order that cannot be read")
    }
}

impl Order {
    /// Changes what it speaks of.
    ///
    /// # Errors
    /// When a number is out of its range; then nothing is changed.
    pub(crate) fn apply(&self, to: &mut Conditions) -> Result<()> {
        let mut next = *to;
        if let Some(loss) = self.loss {
            next.loss = chance("loss", loss)?;
        }
        if let Some(duplicate) = self.duplicate {
            next.duplicate = chance("duplicate", duplicate)?;
        }
        if let Some(ms) = self.delay_ms {
            next.delay = time("delay_ms", ms)?;
        }
        if let Some(ms) = self.jitter_ms {
            next.jitter = time("jitter_ms", ms)?;
        }
        if let Some(bursts) = self.bursts {
            next.bursts = match bursts {
                None => None,
                Some(OrderedBursts { begin, end, loss }) => Some(Bursts {
                    begin: chance("bursts.begin", begin)?,
                    end: chance("bursts.end", end)?,
                    loss: chance("bursts.loss", loss)?,
                }),
            };
        }
        if let Some(reorder) = self.reorder {
            next.reorder = match reorder {
                None => None,
                Some(OrderedReorder { part, by_ms }) => Some(Reorder {
                    part: chance("reorder.part", part)?,
                    by: time("reorder.by_ms", by_ms)?,
                }),
            };
        }
        if let Some(rate) = self.rate {
            next.bottleneck = match rate {
                None => None,
                Some(OrderedRate {
                    bits_per_second,
                    queue_ms,
                }) => {
                    let queue_bytes = bits_per_second.saturating_mul(queue_ms) / 8000;
                    if !(1_000..=MAX_RATE).contains(&bits_per_second) || queue_ms > MAX_DELAY_MS as u64 {
                        bail!("a rate is 1 kbit/s to 10 Gbit/s, with a queue of a minute at most");
                    }
                    Some(Bottleneck {
                        bits_per_second,
                        queue_bytes: usize::try_from(queue_bytes)?,
                    })
                }
            };
        }
        next.mtu = self.mtu.unwrap_or(next.mtu);
        next.partitioned = self.partitioned.unwrap_or(next.partitioned);
        *to = next;
        Ok(())
    }
}

fn chance(what: &str, value: f64) -> Result<f64> {
    if !(0.0..=1.0).contains(&value) {
        bail!("{what} is from 0 to 1, not {value}");
    }
    Ok(value)
}

fn time(what: &str, ms: f64) -> Result<Duration> {
    if !(0.0..=MAX_DELAY_MS).contains(&ms) {
        bail!("{what} is from 0 to {MAX_DELAY_MS}, not {ms}");
    }
    Ok(Duration::from_secs_f64(ms / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(conditions: &mut Conditions, order: &str) -> Result<()> {
        let orders = Orders::parse(format!("{{\"down\": {order}}}\n").as_bytes())?;
        assert!(orders.up.is_none());
        orders.down.expect("what was ordered").apply(conditions)
    }

    #[test]
    fn an_order_changes_what_it_names_and_nothing_else() {
        let mut conditions = Conditions::GOOD;
        ordered(&mut conditions, r#"{"loss": 0.05, "delay_ms": 100, "jitter_ms": 2.5}"#).unwrap();
        ordered(
            &mut conditions,
            r#"{"rate": {"bits_per_second": 300000, "queue_ms": 200}, "bursts": {"begin": 0.01, "end": 0.25, "loss": 1}}"#,
        )
        .unwrap();
        let expected = Conditions {
            loss: 0.05,
            delay: Duration::from_millis(100),
            jitter: Duration::from_micros(2_500),
            bursts: Some(Bursts {
                begin: 0.01,
                end: 0.25,
                loss: 1.0,
            }),
            bottleneck: Some(Bottleneck {
                bits_per_second: 300_000,
                queue_bytes: 7_500,
            }),
            ..Conditions::GOOD
        };
        assert_eq!(conditions, expected);
        ordered(
            &mut conditions,
            r#"{"rate": null, "bursts": null, "partitioned": true}"#,
        )
        .unwrap();
        let expected = Conditions {
            bursts: None,
            bottleneck: None,
            partitioned: true,
            ..expected
        };
        assert_eq!(conditions, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        for order in [
            r#"{"loss": 1.5}"#,
            r#"{"loss": 0.5, "delay_ms": -1}"#,
            r#"{"reorder": {"part": 0.1, "by_ms": 1e9}}"#,
            r#"{"rate": {"bits_per_second": 0, "queue_ms": 1}}"#,
            r#"{"rate": {"bits_per_second": 1000000, "queue_ms": 60001}}"#,
            r#"{"losses": 0.5}"#,
        ] {
            let mut conditions = Conditions::GOOD;
            assert!(ordered(&mut conditions, order).is_err(), "{order}");
            assert_eq!(conditions, Conditions::GOOD, "{order}");
        }
    }
}
