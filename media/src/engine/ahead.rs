//! What the next clients need, fetched into the processor's cache before it is needed.
//!
//! The state of hundreds of clients does not stay in the cache from one frame to the next, and each line of it that is waited for
//! takes as long as sealing some hundred bytes. Reads that do not depend on one another wait together: so the state of several
//! clients is read at once, and then they have their turns. What was read is of no use otherwise.

use std::hint::black_box;

use crate::engine::slab::Key;
use crate::engine::timers::Due;
use crate::engine::{Association, Engine};
use crate::parameters::Path;

/// Clients whose state is fetched at once, for which the first-level cache has room.
pub(super) const AHEAD: usize = 8;

impl Engine {
    /// Datagrams from these paths come next, mostly reports: of what each needs, the better part is fetched. Changes nothing.
    pub fn expect(&self, paths: impl Iterator<Item = Path>) {
        let known = paths.filter_map(|path| self.associations.get(*self.paths.get(&path)?));
        black_box(known.fold(0, |read, association| read ^ association.preload_told()));
    }

    /// Sending to these transports comes next.
    pub(super) fn expect_sending(&self, keys: &[Key<Association>]) {
        let there = keys.iter().filter_map(|key| self.associations.get(*key));
        let read = there.fold(0, |read, association| {
            let consumers = association.pending.iter().filter_map(|key| self.consumers.get(*key));
            let tracks = consumers.fold(0, |read, consumer| read ^ consumer.preload());
            read ^ association.preload() ^ tracks
        });
        black_box(read);
    }

    /// This is due and comes next.
    pub(super) fn expect_due(&self, due: impl Iterator<Item = Due>) {
        let there = due.filter_map(|due| match due {
            Due::Association(key) => self.associations.get(key),
            Due::Producer(_) | Due::Router(_) => None,
        });
        let read = there.fold(0, |read, association| {
            let consumers = association.consumers.iter().filter_map(|key| self.consumers.get(*key));
            let tracks = consumers.fold(0, |read, consumer| read ^ consumer.preload());
            read ^ association.preload_told() ^ tracks
        });
        black_box(read);
    }
}
