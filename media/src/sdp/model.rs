//! Model.

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {}
