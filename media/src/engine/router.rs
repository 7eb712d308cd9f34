//! One room's media.

use crate::engine::Association;
use crate::engine::slab::Key;
use crate::engine::speakers::Speakers;
use crate::engine::timers::Planned;
use crate::parameters::RouterId;
use crate::producer::Producer;

/// One room's media.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) id: RouterId,
    pub(crate) transports: Vec<Key<Association>>,
    /// Producers that stand for those of other engines.
    pub(crate) piped: Vec<Key<Producer>>,
    /// Producers of sound, to be asked who speaks.
    pub(crate) audio: Vec<Key<Producer>>,
    pub(crate) speakers: Speakers,
    /// How many producers of sound are heard at a time; all when `None`.
    pub(crate) voices: Option<usize>,
    /// When levels are looked at next, while there are any.
    pub(crate) planned: Planned,
}

impl Router {
    pub(crate) fn new(id: RouterId) -> Self {
        Self {
            id,
            transports: Vec::new(),
            piped: Vec::new(),
            audio: Vec::new(),
            speakers: Speakers::default(),
            voices: None,
            planned: Planned::default(),
        }
    }
}
