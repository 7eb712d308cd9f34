//! What the SFU knows of one participant: their two connections and what they want.

use std::collections::{BTreeMap, HashMap, HashSet};

use caside_media::layers::{Preference, Quality};
use caside_media::parameters::{ConsumerId, TransportId};
use caside_media::quality::{Cause, Grade};
use caside_media::sdp::{PublishSession, SubscribeSession, ViewSession};
use caside_protocol::client::{Subscribe, SubscribePolicy, SubscribeQuality};
use caside_protocol::view;
use caside_protocol::{ParticipantId, TrackId};

use super::state::Seat;

/// A participant.
#[derive(Debug)]
pub(super) struct Member {
    /// Whether the others' tracks are offered unasked.
    pub(super) policy: SubscribePolicy,
    /// Whether they may receive at all.
    pub(super) may_subscribe: bool,
    /// Whether their data channel messages go to the others.
    pub(super) may_send_data: bool,
    /// Cleared while they hold.
    pub(super) receiving: bool,
    /// Where their connections are, from the first one on.
    pub(super) seat: Option<Seat>,
    /// Whether they wait for a seat to receive at, and were told so.
    pub(super) waits: bool,
    /// The connection they publish over.
    pub(super) publish: Option<Publishing>,
    /// The connection they receive over.
    pub(super) subscribe: Option<Subscribing>,
    /// The connection they view a participant over.
    pub(super) view: Option<Viewing>,
    /// What they asked for, by track; absent: as `policy` says.
    pub(super) wishes: HashMap<TrackId, Wish>,
    /// Receives the cameras of so many last speakers, in place of what the room says; 0: all.
    pub(super) last_n: Option<u32>,
    /// Cameras that are others' turn.
    pub(super) held_back: HashSet<TrackId>,
    /// The cameras they were told to receive; `None` while it is all.
    pub(super) cameras: Option<Vec<TrackId>>,
    /// How well each of their connections does, as far as it is known.
    pub(super) grades: HashMap<TransportId, (Grade, Option<Cause>)>,
    /// What the room was told of that.
    pub(super) quality: Option<(view::Quality, Option<&'static str>)>,
}

/// How a participant wants a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Not at all.
    Off,
    /// As good as this.
    Receive(Preference),
}

impl Wish {
    pub(super) fn new(wish: &Subscribe) -> Self {
        let quality = match wish.quality {
            SubscribeQuality::Off => return Self::Off,
            SubscribeQuality::Low => Quality::Low,
            SubscribeQuality::Medium => Quality::Medium,
            SubscribeQuality::High => Quality::High,
        };
        // No picture is larger than what 16 bits hold. One that is shown at no size at all is still a smallest one.
        let pixels = |pixels: Option<u32>| pixels.map(|pixels| u16::try_from(pixels).unwrap_or(u16::MAX));
        Self::Receive(Preference {
            quality,
            max_width: pixels(wish.max_width),
            max_height: pixels(wish.max_height),
        })
    }
}

/// A publish connection.
#[derive(Debug)]
pub(super) struct Publishing {
    pub(super) transport: TransportId,
    pub(super) session: PublishSession,
    /// The client's `<sess-id>`: another one is another peer connection (RFC 8829 §5.2.1).
    pub(super) remote_session: u64,
    /// Live tracks by m-line.
    pub(super) tracks: BTreeMap<String, TrackId>,
    /// Whether data channel messages can go over it.
    pub(super) data: bool,
}

/// A subscribe connection.
#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) transport: TransportId,
    pub(super) session: SubscribeSession,
    /// The number of its last offer among all of the room, so that a late timer is told from the one that runs.
    pub(super) offer: u64,
    /// Whether an offer waits for its answer.
    pub(super) outstanding: bool,
    pub(super) consumers: HashMap<ConsumerId, Consumption>,
}

/// A viewer's connection: the client offered it, and what goes over it is one participant's.
#[derive(Debug)]
pub(super) struct Viewing {
    pub(super) transport: TransportId,
    pub(super) session: ViewSession,
    /// The client's `<sess-id>`: another one is another peer connection (RFC 8829 §5.2.1).
    pub(super) remote_session: u64,
    /// Who is viewed.
    pub(super) publisher: ParticipantId,
    /// What is sent, by m-line.
    pub(super) consumers: BTreeMap<String, (ConsumerId, TrackId)>,
}

/// A track on its way to a participant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Consumption {
    pub(super) track: TrackId,
    /// Whether the client accepted it, so that the engine sends it.
    pub(super) started: bool,
}

impl Member {
    pub(super) fn new(policy: SubscribePolicy, may_subscribe: bool, may_send_data: bool) -> Self {
        Self {
            policy,
            may_subscribe,
            may_send_data,
            receiving: true,
            seat: None,
            waits: false,
            publish: None,
            subscribe: None,
            view: None,
            wishes: HashMap::new(),
            last_n: None,
            held_back: HashSet::new(),
            cameras: None,
            grades: HashMap::new(),
            quality: None,
        }
    }

    /// Whether a track is to be on one of their m-lines.
    pub(super) fn wants(&self, track: TrackId) -> bool {
        self.may_subscribe
            && match self.wishes.get(&track) {
                Some(_) => true,
                None => self.policy == SubscribePolicy::Auto,
            }
    }

    /// The track that a consumer of theirs carries.
    pub(super) fn track_of(&self, consumer: ConsumerId) -> Option<TrackId> {
        let subscribed = self.subscribe.as_ref().and_then(|it| it.consumers.get(&consumer));
        let viewed = self.view.iter().flat_map(|view| view.consumers.values());
        subscribed.map(|consumption| consumption.track).or_else(|| {
            viewed
                .into_iter()
                .find(|(id, _)| *id == consumer)
                .map(|(_, track)| *track)
        })
    }

    /// Whether a track that is on an m-line goes out now.
    pub(super) fn receives(&self, track: TrackId) -> bool {
        let wanted = self.wishes.get(&track) != Some(&Wish::Off) && !self.held_back.contains(&track);
        self.may_subscribe && self.receiving && wanted
    }

    /// How good a track is to be, if they said so.
    pub(super) fn preference(&self, track: TrackId) -> Option<Preference> {
        match self.wishes.get(&track)? {
            Wish::Off => None,
            Wish::Receive(preference) => Some(*preference),
        }
    }
}

impl Subscribing {
    /// The consumer of a track.
    pub(super) fn consumer_of(&self, track: TrackId) -> Option<(ConsumerId, Consumption)> {
        self.consumers
            .iter()
            .find(|(_, c)| c.track == track)
            .map(|(id, c)| (*id, *c))
    }

    /// The tracks that are sent.
    pub(super) fn sent(&self) -> Vec<TrackId> {
        let mut sent: Vec<_> = self
            .consumers
            .values()
            .filter(|it| it.started)
            .map(|it| it.track)
            .collect();
        sent.sort_unstable();
        sent
    }
}

impl Viewing {
    /// The tracks that are sent.
    pub(super) fn sent(&self) -> Vec<TrackId> {
        self.consumers.values().map(|(_, track)| *track).collect()
    }

    /// Takes a track off its m-line, which stays for the next one. Its consumer, if it was sent.
    pub(super) fn take(&mut self, track: TrackId) -> Option<ConsumerId> {
        let mid = self.consumers.iter().find(|(_, (_, sent))| *sent == track)?.0.clone();
        self.consumers.remove(&mid).map(|(consumer, _)| consumer)
    }

    /// Whether a track is sent.
    pub(super) fn sends(&self, track: TrackId) -> bool {
        self.consumers.values().any(|(_, sent)| *sent == track)
    }
}
