//! What the node's database has of the calls that were made: rows that are open, rows that are closed.

use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http;
use crate::node::Node;

/// Most calls that one page of the list has.
const PAGE: usize = 200;

/// Rows of the database, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Calls that have ended.
    calls_closed: usize,
    /// Calls that have not.
    calls_open: usize,
    /// Stays of participants with a time of leaving.
    stays_closed: usize,
    /// Stays without one.
    stays_open: usize,
}

impl Ledger {
    /// Reads all of them, a page at a time.
    pub(crate) async fn read(node: &Node) -> Result<Self> {
        let mut ledger = Self::default();
        let mut cursor = String::new();
        loop {
            let path = format!("/calls?limit={PAGE}{cursor}");
            let page = http::request(&node.address, "GET", &path, Some(&node.token), None).await?;
            for call in page["items"].as_array().context("no items")? {
                ledger.count(call);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(ledger),
            }
        }
    }

    fn count(&mut self, call: &Value) {
        if call["status"] == "ended" && !call["ended_at"].is_null() {
            self.calls_closed += 1;
        } else {
            self.calls_open += 1;
        }
        for stay in call["participants"].as_array().into_iter().flatten() {
            if stay["left_at"].is_null() {
                self.stays_open += 1;
            } else {
                self.stays_closed += 1;
            }
        }
    }

    /// Whether every row is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.calls_open == 0 && self.stays_open == 0
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "calls {} closed, {} open; stays {} closed, {} open",
            self.calls_closed, self.calls_open, self.stays_closed, self.stays_open
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_is_closed_when_it_has_its_end() {
        let mut ledger = Ledger::default();
        let left = json!({"left_at": "2026-01-01T00:00:00Z"});
        let stays = json!({"left_at": null});
        ledger.count(&json!({"status": "ended", "ended_at": "2026-01-01T00:00:00Z", "participants": [left, left]}));
        assert!(ledger.is_closed());
        ledger.count(&json!({"status": "active", "ended_at": null, "participants": [left, stays]}));
        assert!(!ledger.is_closed());
        assert_eq!(ledger.to_string(), "calls 1 closed, 1 open; stays 3 closed, 1 open");
    }
}
