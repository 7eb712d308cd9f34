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
