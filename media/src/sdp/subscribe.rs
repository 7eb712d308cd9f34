//! The connection a client subscribes over: we offer, it answers (RFC 8829 §5.2, §5.10).
//!
//! An m-line carries one track. When the track goes, its m-line is offered inactive; once that is answered, the next
//! track of its kind takes it. A track is thus never swapped for another in one step, which clients would not notice.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod section;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::connection::{Connection, Side};
use super::error::{AddTrackError, NegotiateError, Rejection};
use super::model::{Description, Extmap, Media, Setup};
use super::parse::{self, MAX_MEDIA};
use super::payload_types::PayloadTypes;
use super::policy::{CodecPolicy, Connect, LocalDescription};
use super::{codecs, extensions};
use crate::parameters::{Codec, ConsumerId, ConsumerParameters, ExtensionIds, IceCredentials, MediaKind, Ssrc};
use section::{Section, Sending, State};

/// The most tracks that one session takes at a time: one m-line each, with one left for data channels.
pub const MAX_TRACKS: usize = MAX_MEDIA - 1;

/// How long the client's answer may get, by our estimate, in bytes. Signaling takes messages of 64 KiB, so tracks are
/// refused, and m-lines not made, beyond what can be answered: about 90 m-lines with the default policy.
const MAX_ANSWER_BYTES: usize = 63_500;

/// A track that the client is to be sent.
#[derive(Debug, Clone)]
pub struct SubscribeTrack {
    /// The consumer it becomes.
    pub consumer: ConsumerId,
    /// Sound or picture.
    pub kind: MediaKind,
    /// The producer's codec; payload types are ours to choose.
    pub codec: Codec,
    /// The first half of the msid: the publishing participant's id; 1–64 token characters.
    pub stream_id: String,
    /// The second half of the msid; 1–64 token characters.
    pub track_id: String,
    /// The producer's header extensions. Only which are present counts; ids are ours to choose.
    pub extensions: ExtensionIds,
    /// Equal for tracks to be played in sync; 1–255 visible ASCII characters.
    pub cname: String,
}

/// An offer of ours.
#[derive(Debug, Clone)]
pub struct SubscribeOffer {
    /// The offer's text.
    pub sdp: String,
    /// Which track is on which m-line; lines without a track are left out.
    pub mids: Vec<(String, ConsumerId)>,
}

/// What an answer to our offer changes.
#[derive(Debug, Clone)]
pub struct SubscribeAnswer {
    /// For the transport; `None` when the client has refused every m-line so far, so that there is no transport.
    pub connect: Option<Connect>,
    /// Tracks that the client accepted in this answer.
    pub started: Vec<(ConsumerId, ConsumerParameters)>,
    /// Tracks that the client did not accept, or does not any more; the session has forgotten them.
    pub rejected: Vec<(ConsumerId, Rejection)>,
    /// Tracks removed by us that are now off the client's m-lines.
    pub removed: Vec<ConsumerId>,
    /// Whether there is a data channel association.
    pub data_channel: bool,
}

/// The subscribe connection of one client: we offer, it answers. Never a second offer before the first is answered.
#[derive(Debug)]
pub struct SubscribeSession {
    policy: CodecPolicy,
    connection: Connection,
    payload_types: PayloadTypes,
    /// What SSRCs are derived from, with `ssrcs`. They have to be random among the client's others (RFC 3550 §8.1); this
    /// is, and nobody else than the client knows it.
    seed: u64,
    /// How many SSRCs were drawn.
    ssrcs: u64,
    sections: Vec<Section>,
    /// How many mids were given out. A mid never means another m-line (RFC 8829 §5.2.2).
    mids: u32,
    /// Tracks that have no m-line yet.
    waiting: VecDeque<Waiting>,
    /// Credentials for an ICE restart with the next offer.
    restart: Option<IceCredentials>,
    outstanding: Option<Outstanding>,
    /// An offer was abandoned, and nothing changed since.
    stalled: bool,
}

/// A track as it will be offered.
#[derive(Debug)]
struct Waiting {
    track: SubscribeTrack,
    extensions: Vec<Extmap>,
}

impl Waiting {
    fn answer_bytes(&self) -> usize {
        section::answer_bytes(&codecs::describe(&self.track.codec), &self.extensions)
    }
}

/// The offer that waits for its answer.
#[derive(Debug)]
struct Outstanding {
    /// For each m-line, the track that it offers.
    tracks: Vec<Option<ConsumerId>>,
    /// The credentials with which it restarts ICE.
    restart: Option<IceCredentials>,
}

impl SubscribeSession {
    /// A connection on which nothing was offered yet.
    pub fn new(local: LocalDescription, policy: CodecPolicy) -> Self {
        let connection = Connection::new(local);
        Self {
            seed: connection.seed(),
            ssrcs: 0,
            policy,
            connection,
            payload_types: PayloadTypes::default(),
            sections: Vec::new(),
            mids: 0,
            waiting: VecDeque::new(),
            restart: None,
            outstanding: None,
            stalled: false,
        }
    }

    /// Puts a track into the next offer.
    ///
    /// # Errors
    /// [`AddTrackError`] when the track cannot be offered; nothing has changed then.
    pub fn add(&mut self, track: SubscribeTrack) -> Result<(), AddTrackError> {
        section::check_identifiers(&track)?;
        let used = || self.sections.iter().filter(|section| section.consumer().is_some());
        let mut known = self.waiting.iter().map(|waiting| waiting.track.consumer);
        if known.any(|other| other == track.consumer) || used().any(|other| other.consumer() == Some(track.consumer)) {
            return Err(AddTrackError::Duplicate);
        }
        if track.kind != track.codec.kind.media() {
            return Err(AddTrackError::PayloadType);
        }
        let mut feedback = self.policy.subscribe_feedback;
        feedback.transport_cc &= track.codec.kind.media() == MediaKind::Video;
        let red = track.codec.red.filter(|_| self.policy.red);
        let codec = Codec { red, ..track.codec };
        let codec = self.payload_types.assign(&codec, feedback);
        let codec = codec.ok_or(AddTrackError::PayloadType)?;
        let extensions = extensions::offer(track.kind, &track.extensions, &self.policy);
        let waiting = Waiting {
            track: SubscribeTrack { codec, ..track },
            extensions,
        };

        let tracks = self.waiting.len() + used().count();
        let bytes: usize = self
            .waiting
            .iter()
            .map(Waiting::answer_bytes)
            .chain(used().map(Section::answer_bytes))
            .sum();
        if tracks >= MAX_TRACKS || bytes + waiting.answer_bytes() > self.answer_room() {
            return Err(AddTrackError::TooMany);
        }
        self.waiting.push_back(waiting);
        self.stalled = false;
        Ok(())
    }

    /// Takes a track out; its m-line becomes inactive with the next offer. An unknown consumer is ignored.
    pub fn remove(&mut self, consumer: ConsumerId) {
        let waiting = self.waiting.len();
        self.waiting.retain(|waiting| waiting.track.consumer != consumer);
        let mut known = self.waiting.len() != waiting;
        for section in &mut self.sections {
            if section.consumer() == Some(consumer) {
                section.state = State::Closing {
                    consumer: Some(consumer),
                };
                known = true;
            }
        }
        self.stalled &= !known;
    }

    /// Makes the next offer restart ICE with these credentials of ours.
    pub fn restart_ice(&mut self, credentials: IceCredentials) {
        self.restart = Some(credentials);
        self.stalled = false;
    }

    /// Whether something changed and no offer waits for its answer.
    pub fn wants_offer(&self) -> bool {
        self.outstanding.is_none() && !self.stalled && self.has_changes()
    }

    /// The next offer; `None` unless [`wants_offer`](Self::wants_offer).
    pub fn offer(&mut self) -> Option<SubscribeOffer> {
        if !self.wants_offer() {
            return None;
        }
        self.place_waiting();
        if self.policy.data_on_subscribe
            && !self.sections.iter().any(Section::is_data)
            && self.sections.len() < MAX_MEDIA
        {
            let mid = self.next_mid();
            self.sections.push(Section::data(mid));
        }
        let restart = self.restart.take();
        if let Some(credentials) = &restart {
            self.connection.set_credentials(credentials.clone());
        }
        let media = self
            .sections
            .iter()
            .map(|section| section.offer(&self.connection))
            .collect();
        // RFC 8842 §5.2, also when the association runs.
        let mut description = self.connection.describe(media, Setup::ActPass, None);
        description.extmap_allow_mixed = true;
        let tracks: Vec<Option<ConsumerId>> = self.sections.iter().map(Section::consumer).collect();
        let mids = self
            .sections
            .iter()
            .filter_map(|section| Some((section.mid.clone(), section.consumer()?)))
            .collect();
        self.outstanding = Some(Outstanding { tracks, restart });
        Some(SubscribeOffer {
            sdp: description.to_string(),
            mids,
        })
    }

    /// Takes the client's answer.
    ///
    /// # Errors
    /// [`NegotiateError`] when it does not answer our offer, which then still waits for its answer.
    pub fn answer(&mut self, sdp: &str) -> Result<SubscribeAnswer, NegotiateError> {
        let offered = self.outstanding.as_ref().ok_or(NegotiateError::NoOffer)?;
        let restart = offered.restart.clone();
        let answer = parse::parse(sdp)?;
        self.check(&answer, offered.tracks.len())?;
        let remote = self.connection.read(Side::Answer, &answer, bundle_order(&answer))?;

        let tracks = self
            .outstanding
            .take()
            .map(|offered| offered.tracks)
            .unwrap_or_default();
        let connect = match remote.or_else(|| self.connection.remote().cloned()) {
            Some(remote) => Some(self.connection.connect(remote, restart)),
            None => None,
        };
        let mut result = SubscribeAnswer {
            connect,
            started: Vec::new(),
            rejected: Vec::new(),
            removed: Vec::new(),
            data_channel: false,
        };
        for ((section, media), offered) in self.sections.iter_mut().zip(&answer.media).zip(tracks) {
            section.answered(media, offered, is_bundled(&answer, media), &mut result);
        }
        Ok(result)
    }

    /// Withdraws an offer that was not answered in time; it is made anew on the next change. Its m-lines stay: the client
    /// may have them already.
    pub fn abandon(&mut self) {
        if let Some(outstanding) = self.outstanding.take() {
            self.restart = self.restart.take().or(outstanding.restart);
            self.stalled = true;
        }
    }

    /// Has an abandoned offer made anew although nothing changed: its client has come back.
    pub fn retry(&mut self) {
        self.stalled = false;
    }

    /// Whether an offer made now would differ from what was last answered.
    fn has_changes(&self) -> bool {
        let data = self.policy.data_on_subscribe && !self.sections.iter().any(Section::is_data);
        let restart = self.restart.is_some() && self.sections.iter().any(|section| !section.is_rejected());
        let placeable = self.waiting.iter().any(|waiting| self.place_for(waiting).is_some());
        data || restart || placeable || self.sections.iter().any(Section::wants_offer)
    }

    /// Where a track could go: an m-line, or the end of the list while it may grow.
    fn place_for(&self, waiting: &Waiting) -> Option<usize> {
        let idle = self
            .sections
            .iter()
            .position(|section| section.is_idle(waiting.track.kind));
        let bytes: usize = self.sections.iter().map(Section::answer_bytes).sum();
        let fits = bytes + waiting.answer_bytes() <= self.answer_room();
        let rejected = || self.sections.iter().position(Section::is_recyclable).filter(|_| fits);
        // One m-line is left for data channels.
        let reserve = usize::from(!self.sections.iter().any(Section::is_data));
        let end = Some(self.sections.len()).filter(|length| fits && length + reserve < MAX_MEDIA);
        idle.or_else(rejected).or(end)
    }

    /// How long the answer's m-lines with tracks may get, in bytes.
    fn answer_room(&self) -> usize {
        let data = self.policy.data_on_subscribe && !self.sections.iter().any(Section::is_data);
        MAX_ANSWER_BYTES - if data { section::answer_bytes(&[], &[]) } else { 0 }
    }

    /// Gives waiting tracks their m-lines, in order. One that finds no place goes on waiting until an m-line is free.
    fn place_waiting(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            let Some(index) = self.place_for(&waiting) else {
                self.waiting.push_back(waiting);
                continue;
            };
            let idle = self
                .sections
                .get(index)
                .filter(|section| section.is_idle(waiting.track.kind));
            // RFC 8829 §5.2.2: a rejected m-line is recycled under a new mid.
            let mid = match idle {
                Some(section) => section.mid.clone(),
                None => self.next_mid(),
            };
            let section = Section::track(mid, self.sending(waiting));
            match self.sections.get_mut(index) {
                Some(place) => *place = section,
                None => self.sections.push(section),
            }
        }
    }

    fn sending(&mut self, waiting: Waiting) -> Sending {
        let ssrc = self.next_ssrc(None);
        let rtx_ssrc = waiting.track.codec.rtx.map(|_| self.next_ssrc(Some(ssrc)));
        Sending {
            track: waiting.track,
            extensions: waiting.extensions,
            ssrc,
            rtx_ssrc,
            started: false,
        }
    }

    /// Drawn until it is no other's of this connection, and not 0 to 15, which clients that only receive report from.
    fn next_ssrc(&mut self, besides: Option<Ssrc>) -> Ssrc {
        loop {
            self.ssrcs = self.ssrcs.wrapping_add(1);
            let mut hasher = DefaultHasher::new();
            (self.seed, self.ssrcs).hash(&mut hasher);
            let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
            let ssrc = Ssrc(u32::from_be_bytes([a, b, c, d]));
            let taken = self.sections.iter().any(|section| section.has_ssrc(ssrc));
            if ssrc.0 > 15 && !taken && besides != Some(ssrc) {
                return ssrc;
            }
        }
    }

    fn next_mid(&mut self) -> String {
        let mid = self.mids.to_string();
        self.mids = self.mids.wrapping_add(1);
        mid
    }

    /// Whether the answer is one to our offer: the same m-lines in the same order (RFC 3264 §6).
    fn check(&self, answer: &Description, expected: usize) -> Result<(), NegotiateError> {
        if answer.media.len() != expected {
            return Err(NegotiateError::MediaCount {
                expected,
                found: answer.media.len(),
            });
        }
        for (index, (section, media)) in self.sections.iter().zip(&answer.media).enumerate() {
            let same_mid = match &media.mid {
                Some(mid) => *mid == section.mid,
                // A rejected m-line needs no attributes (RFC 8829 §5.3.1).
                None => media.is_rejected(),
            };
            if !same_mid || media.media != section.media_type() {
                return Err(NegotiateError::MediaMismatch { index });
            }
        }
        Ok(())
    }
}

/// The accepted m-lines, the tagged one first (RFC 9143 §7.3.1).
fn bundle_order(answer: &Description) -> impl Iterator<Item = &Media> {
    let tagged = answer
        .bundles
        .first()
        .and_then(|mids| mids.first())
        .and_then(|mid| answer.media_by_mid(mid));
    tagged
        .into_iter()
        .chain(&answer.media)
        .filter(|media| !media.is_rejected())
}

/// Whether an accepted m-line is on the bundle's transport; a single one is in any case.
fn is_bundled(answer: &Description, media: &Media) -> bool {
    let alone = answer.media.iter().filter(|media| !media.is_rejected()).count() == 1;
    let named = |mids: &Vec<String>| media.mid.as_ref().is_some_and(|mid| mids.contains(mid));
    alone || answer.bundles.first().is_some_and(named)
}
