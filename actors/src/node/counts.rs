//! How much runs on a node.

/// Counts at one moment: what metrics show and what a leak test compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rooms that run.
    pub rooms: usize,
    /// Participants in them.
    pub participants: usize,
    /// Sessions, those without a socket in their grace time among them.
    pub sessions: usize,
    /// Calls and invitations that wait for an answer.
    pub invites: usize,
}

/// What a node owns, and by which right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ownership {
    /// Whether it may own rooms now.
    pub holds: bool,
    /// Whether the directory of rooms does not answer.
    pub directory_away: bool,
    /// Rooms of other nodes whose owners it remembers.
    pub routes: usize,
    /// Rooms of other nodes that it would take over.
    pub copies: usize,
    /// Participants whose sessions' nodes are gone and who may come back.
    pub orphans: usize,
    /// Requests of its clients that other nodes are to answer.
    pub requests: usize,
}
