//! What goes one way, and the counts of it.

use std::io::ErrorKind;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tappers::Tun;

use crate::model::{Conditions, Fate, Link};
use crate::orders::Order;
use crate::report::Histogram;

/// Packets taken at once before something else has its turn.
const BATCH: usize = 256;
/// Packets under way at most; what exceeds it is dropped like what exceeds a queue.
const MAX_UNDER_WAY: usize = 100_000;
/// The largest packet of IPv4.
const PACKET_BYTES: usize = 65_535;

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    packets: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    fn json(self) -> Value {
        json!({"packets": self.packets, "bytes": self.bytes})
    }
}

/// Since the start.
#[derive(Debug, Default)]
struct Tally {
    /// What came to the link.
    offered: Count,
    /// What left it, copies counted.
    passed: Count,
    partitioned: u64,
    too_large: u64,
    lost: u64,
    lost_in_bursts: u64,
    overflowed: u64,
    duplicated: u64,
    /// What the other namespace did not take: its device is down.
    refused: u64,
}

/// One way.
#[derive(Debug)]
pub(crate) struct Direction {
    link: Link<Vec<u8>>,
    under_way: usize,
    tally: Tally,
    /// Since the last report: how long packets were in the bottleneck, and how much too late they left the link, because
    /// this machine was busy.
    queued: Histogram,
    late: Histogram,
    buffer: Vec<u8>,
}

impl Direction {
    /// Without loss, with the least delay.
    pub(crate) fn new(seed: u64) -> Self {
        let conditions = Conditions {
            delay: std::time::Duration::ZERO,
            ..Conditions::GOOD
        };
        Self {
            link: Link::new(conditions, seed),
            under_way: 0,
            tally: Tally::default(),
            queued: Histogram::default(),
            late: Histogram::default(),
            buffer: vec![0; PACKET_BYTES],
        }
    }

    /// # Errors
    /// When the order makes no sense.
    pub(crate) fn change(&mut self, order: &Order) -> Result<()> {
        order.apply(&mut self.link.conditions)
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.link.next_arrival()
    }

    /// Takes what a namespace sends.
    ///
    /// # Errors
    /// When its device fails.
    pub(crate) fn take_from(&mut self, device: &Tun) -> Result<()> {
        for _ in 0..BATCH {
            let len = match device.recv(&mut self.buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("a device cannot be read"),
            };
            let packet = self.buffer.get(..len).unwrap_or_default().to_vec();
            self.tally.offered.add(len);
            let fate = if self.under_way < MAX_UNDER_WAY {
                self.link.send(Instant::now(), len, packet)
            } else {
                Fate::Overflowed
            };
            match fate {
                Fate::Partitioned => self.tally.partitioned += 1,
                Fate::TooLarge => self.tally.too_large += 1,
                Fate::Lost => self.tally.lost += 1,
                Fate::LostInBurst => self.tally.lost_in_bursts += 1,
                Fate::Overflowed => self.tally.overflowed += 1,
                Fate::Passed { copies, queued } => {
                    self.tally.duplicated += u64::from(copies - 1);
                    self.under_way += usize::from(copies);
                    self.queued
                        .record_ns(u64::try_from(queued.as_nanos()).unwrap_or(u64::MAX));
                }
            }
        }
        Ok(())
    }

    /// Hands over what has arrived.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn deliver_to(&mut self, device: &Tun) -> Result<()> {
        let now = Instant::now();
        while let Some((due, packet)) = self.link.receive(now) {
            self.under_way -= 1;
            let late = now.saturating_duration_since(due);
            self.late.record_ns(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
            match device.send(&packet) {
                Ok(_) => self.tally.passed.add(packet.len()),
                // The device is not up yet, or not any more.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => self.tally.refused += 1,
                Err(error) => return Err(error).context("a device cannot be written"),
            }
        }
        Ok(())
    }

    /// The counts since the start, and the times since the last report.
    pub(crate) fn report(&mut self) -> Value {
        let (queued, late) = (std::mem::take(&mut self.queued), std::mem::take(&mut self.late));
        let times = |times: &Histogram| json!({"p50": times.quantile_ms(0.5), "p95": times.quantile_ms(0.95), "max": times.quantile_ms(1.0)});
        let Tally {
            offered,
            passed,
            partitioned,
            too_large,
            lost,
            lost_in_bursts,
            overflowed,
            duplicated,
            refused,
        } = self.tally;
        json!({
            "offered": offered.json(),
            "passed": passed.json(),
            "partitioned": partitioned,
            "too_large": too_large,
            "lost": lost,
            "lost_in_bursts": lost_in_bursts,
            "overflowed": overflowed,
            "duplicated": duplicated,
            "refused": refused,
            "queued_ms": times(&queued),
            "late_ms": times(&late),
        })
    }
}
