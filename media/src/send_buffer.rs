//! The datagrams of one round, back to back in one allocation that is kept from round to round.
//!
//! Packets for one path lie next to each other, so that whoever owns the socket can send a run of equal sizes with one
//! segmentation-offload call.

use std::ops::Range;

use crate::parameters::Path;

/// The largest datagram we build: fits an Ethernet MTU over IPv6 and UDP, with room for tunnels.
pub const MAX_DATAGRAM: usize = 1472;

/// Datagrams to send, in order.
#[derive(Debug, Default)]
pub struct SendBuffer {
    arena: Vec<u8>,
    used: usize,
    datagrams: Vec<Datagram>,
}

/// One datagram of a [`SendBuffer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Where it goes.
    pub path: Path,
    start: u32,
    len: u32,
}

impl Datagram {
    /// Where its bytes lie in [`SendBuffer::bytes`].
    pub fn range(&self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl SendBuffer {
    /// An empty buffer that holds `datagrams` full-size datagrams before it grows.
    pub fn with_capacity(datagrams: usize) -> Self {
        Self {
            arena: vec![0; datagrams * MAX_DATAGRAM],
            used: 0,
            datagrams: Vec::with_capacity(datagrams),
        }
    }

    /// Room for one datagram of at most `max_len` bytes; what is written there counts once [`commit`](Self::commit) is called.
    /// The bytes are whatever an earlier round left there.
    pub fn reserve(&mut self, max_len: usize) -> &mut [u8] {
        let end = self.used + max_len;
        if self.arena.len() < end {
            self.arena.resize(end.next_power_of_two(), 0);
        }
        &mut self.arena[self.used..end]
    }

    /// Takes the first `len` bytes of the last [`reserve`](Self::reserve) as a datagram for `path`. Zero length takes nothing.
    pub fn commit(&mut self, path: Path, len: usize) {
        debug_assert!(self.used + len <= self.arena.len(), "commit of more than was reserved");
        if len == 0 {
            return;
        }
        // A round's arena stays far below 4 GiB: the owner flushes at every round.
        self.datagrams.push(Datagram {
            path,
            start: self.used as u32,
            len: len as u32,
        });
        self.used += len;
    }

    /// Copies a datagram in.
    pub fn push(&mut self, path: Path, datagram: &[u8]) {
        self.reserve(datagram.len()).copy_from_slice(datagram);
        self.commit(path, datagram.len());
    }

    /// The datagrams in order.
    pub fn datagrams(&self) -> &[Datagram] {
        &self.datagrams
    }

    /// The memory that [`Datagram::range`] points into.
    pub fn bytes(&self) -> &[u8] {
        &self.arena[..self.used]
    }

    /// Each datagram with its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Path, &[u8])> {
        self.datagrams.iter().map(|d| (d.path, &self.arena[d.range()]))
    }

    /// The bytes of the last datagram.
    pub fn last(&self) -> Option<&[u8]> {
        self.datagrams.last().map(|datagram| &self.arena[datagram.range()])
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Forgets the datagrams and keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
        self.datagrams.clear();
    }
}
