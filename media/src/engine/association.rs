//! A transport with what runs over it.

use std::time::{Duration, Instant};

use crate::consumer::Consumer;
use crate::consumer::sender_report::ClockOffset;
use crate::engine::backlog::Backlog;
use crate::engine::budget::Budget;
use crate::engine::demux::SsrcTable;
use crate::engine::downlink::Downlink;
use crate::engine::slab::Key;
use crate::engine::timers::Planned;
use crate::engine::{FastMap, Router};
use crate::parameters::{ExtensionIds, Path, Ssrc, TransportId};
use crate::producer::Producer;
use crate::producer::twcc::Arrivals;
use crate::quality::QualityMeter;
use crate::transport::Transport;

/// SSRCs of ours that a transport remembers after their consumers are gone.
pub(crate) const MAX_RETIRED: usize = 8192;

/// A transport with what runs over it.
pub(crate) struct Association {
    pub(crate) id: TransportId,
    pub(crate) router: Key<Router>,
    pub(crate) transport: Transport,
    /// Paths in the engine's table that lead here.
    pub(crate) paths: Vec<Path>,
    /// Our ufrags in the engine's table that lead here, newest last; two at most.
    pub(crate) ufrags: Vec<String>,
    pub(crate) planned: Planned,
    /// Whether a check came by UDP, and by TCP.
    pub(crate) checked: [bool; 2],
    /// What its client may still ask of us.
    pub(crate) budget: Budget,
    /// Where and when something authentic came last, to the round.
    pub(crate) heard: Option<(Path, Instant)>,

    pub(crate) producers: Vec<Key<Producer>>,
    pub(crate) ssrcs: SsrcTable,
    /// Header extension ids of what comes in: with BUNDLE an id means the same on every m-line (RFC 8843 §9.2).
    pub(crate) extensions: ExtensionIds,
    /// When transport-wide feedback was agreed and a packet bore a number.
    pub(crate) arrivals: Option<Arrivals>,
    pub(crate) arrivals_due: Option<Instant>,
    /// The publisher's wall clock against ours.
    pub(crate) clock_offset: Option<ClockOffset>,
    /// Whether it is in the engine's list of those with feedback to send.
    pub(crate) feedback_queued: bool,

    pub(crate) consumers: Vec<Key<Consumer>>,
    pub(crate) consumer_ssrcs: FastMap<u32, Key<Consumer>>,
    /// SSRCs of consumers that are gone, with the index they would go on with.
    pub(crate) retired: FastMap<u32, u64>,
    /// Consumers with something to send in this round.
    pub(crate) pending: Vec<Key<Consumer>>,
    /// Packets that wait because the path is given no more at once, and when more of them may go.
    pub(crate) backlog: Backlog,
    pub(crate) paced_due: Option<Instant>,
    /// Whether it is in the engine's list of those with something to send.
    pub(crate) sending: bool,
    /// What is known of how packets arrive at the client.
    pub(crate) downlink: Downlink,

    pub(crate) quality: QualityMeter,
    pub(crate) report_due: Option<Instant>,
    pub(crate) reports: u64,
    /// Smoothed, from receiver reports.
    pub(crate) rtt: Option<Duration>,
}

impl Association {
    pub(crate) fn new(now: Instant, id: TransportId, router: Key<Router>, transport: Transport, ufrag: String) -> Self {
        Self {
            id,
            router,
            transport,
            paths: Vec::new(),
            ufrags: vec![ufrag],
            planned: Planned::default(),
            checked: [false; 2],
            budget: Budget::default(),
            heard: None,
            producers: Vec::new(),
            ssrcs: SsrcTable::default(),
            extensions: ExtensionIds::default(),
            arrivals: None,
            arrivals_due: None,
            clock_offset: None,
            feedback_queued: false,
            consumers: Vec::new(),
            consumer_ssrcs: FastMap::default(),
            retired: FastMap::default(),
            pending: Vec::new(),
            backlog: Backlog::default(),
            paced_due: None,
            sending: false,
            downlink: Downlink::new(now),
            quality: QualityMeter::default(),
            report_due: None,
            reports: 0,
            rtt: None,
        }
    }

    /// The path that media takes, while it may flow.
    pub(crate) fn media_path(&self) -> Option<Path> {
        self.transport.path().filter(|_| self.transport.is_secured())
    }

    /// Reads what sending to the client needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        let flags = self.sending ^ self.backlog.is_empty() ^ self.rtt.is_some() ^ self.paced_due.is_some();
        self.transport.preload() ^ self.downlink.preload() ^ u64::from(flags)
    }

    /// Reads what a report of the client, or what is due for it, needs; see [`crate::engine::ahead`].
    pub(crate) fn preload_told(&self) -> u64 {
        let flags = self.heard.is_some() ^ self.rtt.is_some() ^ self.report_due.is_some() ^ self.consumers.is_empty();
        self.transport.preload_told() ^ self.downlink.preload_told() ^ self.budget.preload() ^ u64::from(flags)
    }

    /// Something authentic came on `path`.
    pub(crate) fn hear(&mut self, now: Instant, path: Path) {
        if self.heard.is_none_or(|(_, at)| at != now) {
            self.heard = Some((path, now));
        }
    }

    /// Whether no consumer uses this SSRC.
    pub(crate) fn is_free(&self, ssrc: Ssrc) -> bool {
        !self.consumer_ssrcs.contains_key(&ssrc.0)
    }

    /// The index that packets under this SSRC begin with, or go on with: no number of an SSRC is used twice.
    ///
    /// A fresh one is below 2^15, so that a receiver who misses the first packets does not mistake the rollover counter
    /// (RFC 3711 §3.3.1).
    pub(crate) fn first_index(&self, ssrc: Ssrc) -> u64 {
        self.retired
            .get(&ssrc.0)
            .copied()
            .unwrap_or_else(|| mix(u64::from(ssrc.0) ^ self.id.0 << 32) & 0x7fff)
    }

    /// Takes a consumer out of the tables.
    pub(crate) fn forget_consumer(&mut self, key: Key<Consumer>, consumer: &Consumer) {
        self.consumers.retain(|other| *other != key);
        self.pending.retain(|other| *other != key);
        self.consumer_ssrcs.remove(&consumer.ssrc.0);
        self.retired.insert(consumer.ssrc.0, consumer.mapping.next_index());
        if let Some((_, rtx)) = consumer.rtx {
            self.consumer_ssrcs.remove(&rtx.0);
            self.retired.insert(rtx.0, consumer.retransmit.next_rtx_index());
        }
    }

    /// Takes a round-trip time into the average.
    pub(crate) fn observe_rtt(&mut self, sample: Duration) {
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
    }
}

/// Spreads bits (the finalizer of SplitMix64): different for each input, equal for equal ones.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
