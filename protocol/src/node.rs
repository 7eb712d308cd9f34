//! What nodes of a cluster know each other by.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// One run of a node: a node that was started anew is another member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Grows with each start of the node: when it was started, in Unix milliseconds.
    pub incarnation: u64,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.node, self.incarnation)
    }
}
