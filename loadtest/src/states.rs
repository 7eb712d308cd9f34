//! What the node's media workers keep for clients, from its metrics.

use anyhow::{Context, Result};

use crate::http;
use crate::node::Node;

/// What the node has for its clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct States {
    pub(crate) transports: u64,
    pub(crate) paths: u64,
    /// Connections over TCP.
    pub(crate) connections: u64,
}

impl States {
    /// Asks the node, by its metrics.
    pub(crate) async fn read(node: &Node) -> Result<Self> {
        Self::parse(&http::text(&node.address, "GET", "/metrics", Some(&node.token), None).await?)
    }

    fn parse(page: &str) -> Result<Self> {
        let sum = |name: &str| {
            let values = page.lines().filter_map(|line| {
                let (labelled, value) = line.rsplit_once(' ')?;
                (labelled.split('{').next() == Some(name)).then(|| value.parse::<u64>())
            });
            values
                .sum::<Result<u64, _>>()
                .with_context(|| format!("{name} is no number"))
        };
        Ok(Self {
            transports: sum("caside_media_transports")?,
            paths: sum("caside_media_paths")?,
            connections: sum("caside_media_tcp_connections")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_of_all_workers_are_added_up() {
        let page = "# HELP caside_media_paths x\ncaside_media_paths{worker=\"0\"} 3\ncaside_media_paths{worker=\"1\"} 4\n\
                    caside_media_paths_estimated{worker=\"0\"} 9\ncaside_media_transports{worker=\"0\"} 2\n";
        let states = States::parse(page).unwrap();
        assert_eq!((states.transports, states.paths, states.connections), (2, 7, 0));
        assert!(States::parse("caside_media_paths{worker=\"0\"} many\n").is_err());
    }
}
