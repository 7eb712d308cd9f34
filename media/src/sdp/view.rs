//! The connection of a client that asks to be sent something: it offers, we answer with what we send (WHEP).
//!
//! The client is never offered anything, so every m-line is agreed for all codecs that both sides know, whatever is sent on
//! it at first: a track may come later, go, or change its codec, without another negotiation.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::hash::{DefaultHasher, Hash, Hasher};

use super::connection::{Connection, Side};
use super::error::{NegotiateError, Rejection};
use super::model::{Description, Direction, Extmap, Media, Setup, Source, SourceGroup};
use super::policy::{CodecPolicy, Connect, LocalDescription};
use super::publish::{mids, reject};
use super::{codecs, extensions, parse};
use crate::parameters::{Codec, ConsumerParameters, DtlsRole, IceCredentials, MediaKind, Ssrc};

/// A connection on which the client receives and offers.
#[derive(Debug)]
pub struct ViewSession {
    policy: CodecPolicy,
    connection: Connection,
    /// Names what is sent: the first half of the msids and the cname, so that it is played in sync.
    name: String,
    /// One entry for each m-line of the last offer.
    sections: Vec<Option<Slot>>,
}

/// An m-line that we may send on.
#[derive(Debug, Clone)]
struct Slot {
    mid: String,
    kind: MediaKind,
    codecs: Vec<Codec>,
    extensions: Vec<Extmap>,
    ssrc: Ssrc,
    rtx_ssrc: Ssrc,
}

/// The answer to a viewer's offer.
#[derive(Debug, Clone)]
pub struct ViewAnswer {
    /// The answer's text.
    pub sdp: String,
    /// For the transport. Its `local` is set when the client restarted ICE.
    pub connect: Connect,
}

impl ViewSession {
    /// A connection on which nothing was offered yet. `name` is that of who is viewed: 1–64 token characters.
    pub fn new(local: LocalDescription, policy: CodecPolicy, name: String) -> Self {
        Self {
            policy,
            connection: Connection::new(local),
            name,
            sections: Vec::new(),
        }
    }

    /// Answers an offer, also a later one on the same connection. M-lines that the client receives on are answered
    /// `sendonly`, with the codecs in `preferred` first; all others are rejected. `credentials` makes ours after an ICE restart.
    ///
    /// # Errors
    /// [`NegotiateError`] when the offer cannot be answered; the session is then as before.
    pub fn offer(
        &mut self,
        sdp: &str,
        preferred: &[Codec],
        credentials: &mut dyn FnMut() -> IceCredentials,
    ) -> Result<ViewAnswer, NegotiateError> {
        let offer = parse(sdp)?;
        // RFC 8829 §5.2.2: m-lines are never taken away.
        if offer.media.len() < self.sections.len() {
            return Err(NegotiateError::MediaCount {
                expected: self.sections.len(),
                found: offer.media.len(),
            });
        }
        let mids = mids(&offer)?;
        let sections = self.plan(&offer, &mids, preferred)?;
        let order = bundle_order(&offer, &sections);
        let remote = self.connection.read(Side::Offer, &offer, order.iter().copied())?;
        let remote = remote.ok_or(NegotiateError::MissingIceCredentials)?;

        let local = self.connection.restarts_ice(&remote).then(credentials);
        if let Some(credentials) = &local {
            self.connection.set_credentials(credentials.clone());
        }
        // RFC 8842 §5.3.
        let setup = match remote.dtls.role {
            DtlsRole::Server => Setup::Passive,
            DtlsRole::Client => Setup::Active,
        };
        let tagged = order.first().and_then(|media| media.mid.as_deref());
        let media = offer
            .media
            .iter()
            .zip(&sections)
            .map(|(media, slot)| self.answer(media, slot.as_ref()))
            .collect();
        let mut answer = self.connection.describe(media, setup, tagged);
        // RFC 8285 §6 and RFC 9143 §7.3: only what was offered is answered.
        answer.extmap_allow_mixed = offer.extmap_allow_mixed;
        if offer.bundles.is_empty() {
            answer.bundles.clear();
        }
        let connect = self.connection.connect(remote, local);
        self.sections = sections;
        Ok(ViewAnswer {
            sdp: answer.to_string(),
            connect,
        })
    }

    /// The m-lines that we may send on, in order.
    pub fn slots(&self) -> impl Iterator<Item = (&str, MediaKind)> {
        self.sections
            .iter()
            .flatten()
            .map(|slot| (slot.mid.as_str(), slot.kind))
    }

    /// What the engine sends on an m-line of a track with this codec; `None` when the client cannot receive it there.
    pub fn parameters(&self, mid: &str, codec: &Codec) -> Option<ConsumerParameters> {
        let slot = self.sections.iter().flatten().find(|slot| slot.mid == mid)?;
        let agreed = slot.codecs.iter().find(|agreed| codecs::same(agreed, codec))?;
        Some(ConsumerParameters {
            kind: slot.kind,
            mid: slot.mid.clone(),
            codec: agreed.clone(),
            ssrc: slot.ssrc,
            rtx_ssrc: agreed.rtx.map(|_| slot.rtx_ssrc),
            extensions: extensions::ids(&slot.extensions),
            cname: self.name.clone(),
        })
    }

    /// What is done with each m-line; `None` rejects it.
    fn plan(
        &self,
        offer: &Description,
        mids: &[String],
        preferred: &[Codec],
    ) -> Result<Vec<Option<Slot>>, NegotiateError> {
        let bundle = offer.bundles.first();
        let mut sections: Vec<Option<Slot>> = Vec::with_capacity(offer.media.len());
        let mut reasons = Vec::new();
        for (index, (media, mid)) in offer.media.iter().zip(mids).enumerate() {
            // RFC 8829 §4.1.1, "max-bundle": without a bundle there is one transport, for one m-line.
            let bundled = match bundle {
                Some(group) => media.mid.as_ref().is_some_and(|mid| group.contains(mid)),
                None => sections.iter().all(Option::is_none),
            };
            let slot = match self.slot(index, media, mid, preferred) {
                Ok(_) if !bundled => Err(Some(Rejection::NotBundled)),
                slot => slot,
            };
            sections.push(match slot {
                Ok(slot) => Some(slot),
                Err(reason) => {
                    reasons.extend(reason);
                    None
                }
            });
        }
        if sections.iter().any(Option::is_some) {
            return Ok(sections);
        }
        match reasons.first() {
            Some(_) if reasons.contains(&Rejection::NoCommonCodec) => Err(NegotiateError::NoCommonCodec),
            Some(reason) => Err(NegotiateError::NoUsableMedia { reason: *reason }),
            None => Err(NegotiateError::NoUsableMedia {
                reason: Rejection::Refused,
            }),
        }
    }

    /// RFC 8829 §5.3.1. Without a reason where the client itself wants nothing.
    fn slot(&self, index: usize, media: &Media, mid: &str, preferred: &[Codec]) -> Result<Slot, Option<Rejection>> {
        if media.is_rejected() || media.is_data_channel() || !media.direction.receives() {
            return Err(None);
        }
        let kind = media.media.kind().filter(|_| media.is_secure_rtp());
        let kind = kind.ok_or(Some(Rejection::UnsupportedProtocol))?;
        if !media.rtcp_mux && !media.bundle_only {
            return Err(Some(Rejection::RtcpMuxRequired));
        }
        let policy = CodecPolicy {
            feedback: self.policy.subscribe_feedback,
            ..self.policy.clone()
        };
        let mut codecs = codecs::accept(kind, media, &policy);
        if codecs.is_empty() {
            return Err(Some(Rejection::NoCommonCodec));
        }
        codecs.sort_by_key(|codec| !preferred.iter().any(|wanted| codecs::same(wanted, codec)));
        let known = self.sections.get(index).and_then(Option::as_ref);
        let (ssrc, rtx_ssrc) = match known.filter(|slot| slot.mid == mid && slot.kind == kind) {
            Some(slot) => (slot.ssrc, slot.rtx_ssrc),
            None => (self.ssrc(index, 0), self.ssrc(index, 1)),
        };
        Ok(Slot {
            mid: mid.to_owned(),
            kind,
            codecs,
            extensions: extensions::accept_to_send(kind, media, &self.policy),
            ssrc,
            rtx_ssrc,
        })
    }

    /// Random among the client's others (RFC 3550 §8.1), and different for each place: the index and the stream's number are
    /// in its low bits, which the rest makes no difference to.
    fn ssrc(&self, index: usize, stream: u32) -> Ssrc {
        let mut hasher = DefaultHasher::new();
        self.connection.seed().hash(&mut hasher);
        let [a, b, c, ..] = hasher.finish().to_be_bytes();
        // At most 128 m-lines of two streams: below 256. Never 0 to 15, which clients that only receive report from.
        let place = u32::try_from(index).unwrap_or(u32::MAX) * 2 + stream;
        Ssrc(u32::from_be_bytes([a | 0x10, b, c, 0]) | (place & 0xff))
    }

    /// The m-line of the answer (RFC 8829 §5.3.1).
    fn answer(&self, media: &Media, slot: Option<&Slot>) -> Media {
        let Some(slot) = slot else {
            return Media {
                mid: media.mid.clone(),
                ..reject(media)
            };
        };
        let track = format!("{}-{}", slot.kind.as_str(), slot.ssrc.0);
        let source = |ssrc| Source {
            ssrc,
            cname: Some(self.name.clone()),
            msid: Some(format!("{} {track}", self.name)),
        };
        let has_rtx = slot.codecs.iter().any(|codec| codec.rtx.is_some());
        let ssrcs: Vec<Ssrc> = std::iter::once(slot.ssrc)
            .chain(has_rtx.then_some(slot.rtx_ssrc))
            .collect();
        let group = SourceGroup {
            semantics: "FID".to_owned(),
            ssrcs: ssrcs.clone(),
        };
        Media {
            direction: Direction::SendOnly,
            codecs: slot.codecs.iter().flat_map(codecs::describe).collect(),
            extensions: slot.extensions.clone(),
            rtcp_mux: true,
            rtcp_rsize: media.rtcp_rsize,
            msids: vec![(self.name.clone(), track.clone())],
            sources: ssrcs.iter().copied().map(source).collect(),
            source_groups: if has_rtx { vec![group] } else { Vec::new() },
            // RFC 5888 §9.1: only if the offer has one.
            mid: media.mid.clone(),
            ..self.connection.section(media.media.clone(), &media.protocol)
        }
    }
}

/// The m-lines that are not rejected, the tagged one first: the first of the bundle's mids (RFC 9143 §7.3.1). Then those
/// that we reject ourselves: their transport attributes may be the only ones.
fn bundle_order<'a>(offer: &'a Description, sections: &[Option<Slot>]) -> Vec<&'a Media> {
    let place = |media: &Media| {
        let mid = media.mid.as_ref()?;
        offer.bundles.first()?.iter().position(|other| other == mid)
    };
    let mut order: Vec<(bool, &Media)> = offer
        .media
        .iter()
        .zip(sections)
        .filter(|(media, _)| !media.is_rejected())
        .map(|(media, slot)| (slot.is_none(), media))
        .collect();
    order.sort_by_key(|(rejected, media)| (*rejected, place(media).unwrap_or(usize::MAX)));
    order.into_iter().map(|(_, media)| media).collect()
}
