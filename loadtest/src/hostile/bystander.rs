//! What a call beside an attack gets, and what the node keeps.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::crowd::Crowd;
use crate::light::{Instant, Snapshot, now};
use crate::node::Node;

/// A moment at which everything is read that a difference is made of.
pub(super) struct Moment {
    at: Instant,
    cpu: f64,
    /// Datagrams that the kernel dropped because the node's sockets were full.
    refused: u64,
    overflowed: u64,
}

impl Moment {
    /// Begins a window: what the call got before it is forgotten.
    pub(super) async fn begin(node: &Node, crowd: &Crowd, port: u16) -> Result<Self> {
        let snapshot = crowd.snapshot().await?;
        Ok(Self {
            at: now(),
            cpu: node.cpu_seconds()?,
            refused: refused(port)?,
            overflowed: snapshot.overflowed,
        })
    }

    /// Ends it.
    pub(super) async fn end(&self, node: &Node, crowd: &Crowd, port: u16) -> Result<Window> {
        let snapshot = crowd.snapshot().await?;
        let seconds = now().saturating_duration_since(self.at).as_secs_f64();
        Ok(Window {
            seconds,
            cpu_share: (node.cpu_seconds()? - self.cpu) / seconds.max(0.001),
            refused: refused(port)? - self.refused,
            // What was lost here is not the node's doing.
            late_here: snapshot.overflowed - self.overflowed,
            asked: asked_since(&snapshot, self.at),
            snapshot,
        })
    }
}

/// What the call got in a window of time.
pub(super) struct Window {
    pub(super) seconds: f64,
    /// Of one core.
    pub(super) cpu_share: f64,
    pub(super) refused: u64,
    late_here: u64,
    /// Key frames asked of the call's publisher, of the track that was asked most.
    pub(super) asked: usize,
    pub(super) snapshot: Snapshot,
}

impl Window {
    /// The share of the call's packets that the node did not deliver.
    pub(super) fn loss(&self) -> f64 {
        let totals = &self.snapshot.totals;
        let missing = totals.expected.saturating_sub(totals.received + self.late_here);
        missing as f64 / totals.expected.max(1) as f64
    }

    pub(super) fn delay_ms(&self, share: f64) -> f64 {
        self.snapshot.totals.delay.quantile_ms(share)
    }
}

fn asked_since(snapshot: &Snapshot, at: Instant) -> usize {
    let counts = snapshot
        .asked
        .iter()
        .map(|asked| asked.iter().filter(|moment| **moment >= at).count());
    counts.max().unwrap_or_default()
}

/// How often key frames may be asked of a publisher.
pub(super) const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(500);

/// The sum of `drops` of proc_net_udp(5), of the sockets at this port.
fn refused(port: u16) -> Result<u64> {
    let table = fs::read_to_string("/proc/net/udp").context("cannot read /proc/net/udp")?;
    Ok(drops(&table, port))
}

fn drops(table: &str, port: u16) -> u64 {
    let end = format!(":{port:04X}");
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        local.ends_with(&end).then(|| fields.last()?.parse::<u64>().ok())?
    });
    rows.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_of_the_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             10: 0100007F:9C40 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 12\n\
             11: 0100007F:9C41 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 7\n";
        assert_eq!(drops(table, 0x9c40), 12);
    }
}
