//! The connection a client publishes over: it offers, we answer (RFC 8829 §5.3).

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::collections::{BTreeMap, HashSet};

use super::connection::{Connection, Side};
use super::error::{NegotiateError, Rejection};
use super::model::{Bandwidth, Description, Direction, Extmap, Media, MediaType, Rid, Setup, Simulcast, SimulcastId};
use super::policy::{CodecPolicy, Connect, LocalDescription};
use super::{codecs, extensions, parse};
use crate::parameters::{Codec, DtlsRole, Encoding, IceCredentials, MediaKind, ProducerId, ProducerParameters, Ssrc};

/// `a=sctp-port` of our descriptions, the usual one.
pub(super) const SCTP_PORT: u16 = 5000;
/// The largest data channel message that we take, in bytes.
pub const MAX_MESSAGE_BYTES: u64 = 65_536;

/// The publish connection of one client: it offers, we answer; again on the same connection for more or fewer tracks.
#[derive(Debug)]
pub struct PublishSession {
    policy: CodecPolicy,
    connection: Connection,
    /// One entry for each m-line of the last offer.
    sections: Vec<Option<Live>>,
    /// The m-lines whose frames are encrypted end to end.
    encrypted: HashSet<String>,
}

/// A track that comes in on an m-line.
#[derive(Debug, Clone)]
struct Live {
    producer: ProducerId,
    parameters: ProducerParameters,
}

/// The answer to a publish offer, and what it changes for the engine.
#[derive(Debug, Clone)]
pub struct PublishAnswer {
    /// The answer's text.
    pub sdp: String,
    /// For the transport. Its `local` is set when the client restarted ICE.
    pub connect: Connect,
    /// Tracks that begin: mid, id, what will come.
    pub added: Vec<(String, ProducerId, ProducerParameters)>,
    /// Tracks that go on with other parameters.
    pub updated: Vec<(String, ProducerId, ProducerParameters)>,
    /// Tracks that ended.
    pub removed: Vec<(String, ProducerId)>,
    /// Whether there is a data channel association.
    pub data_channel: bool,
    /// Every live track by its mid, those that did not change too.
    pub tracks: BTreeMap<String, ProducerId>,
}

/// What is done with one m-line of an offer.
#[derive(Debug, Clone)]
enum Plan {
    /// Answered with port 0.
    Reject(Option<Rejection>),
    /// Taken; `receive` is what will come, unless the m-line is inactive at present.
    Media {
        codecs: Vec<Codec>,
        extensions: Vec<Extmap>,
        receive: Option<ProducerParameters>,
    },
    /// Taken.
    Data,
}

impl Plan {
    fn is_rejected(&self) -> bool {
        matches!(self, Self::Reject(_))
    }
}

impl PublishSession {
    /// A connection on which nothing was offered yet.
    pub fn new(local: LocalDescription, policy: CodecPolicy) -> Self {
        Self {
            policy,
            connection: Connection::new(local),
            sections: Vec::new(),
            encrypted: HashSet::new(),
        }
    }

    /// Says before an offer whether the frames of an m-line are encrypted end to end. RED is then not agreed for it: clients encrypt it
    /// whole, so that it could not be taken off for receivers without it.
    pub fn set_encrypted(&mut self, mid: &str, encrypted: bool) {
        if encrypted && self.encrypted.len() < parse::MAX_MEDIA {
            self.encrypted.insert(mid.to_owned());
        } else {
            self.encrypted.remove(mid);
        }
    }

    /// Answers an offer. `allocate` makes the id of each new track; `credentials` makes ours after an ICE restart.
    ///
    /// M-lines that the client sends on are answered `recvonly`, all others `inactive`; those that we cannot take, with
    /// port 0. A track ends when its m-line is stopped, rejected, or no longer sent on.
    ///
    /// # Errors
    /// [`NegotiateError`] when the offer cannot be answered; the session is then as before.
    pub fn offer(
        &mut self,
        sdp: &str,
        allocate: &mut dyn FnMut() -> ProducerId,
        credentials: &mut dyn FnMut() -> IceCredentials,
    ) -> Result<PublishAnswer, NegotiateError> {
        let offer = parse(sdp)?;
        // RFC 8829 §5.2.2: m-lines are never taken away.
        if offer.media.len() < self.sections.len() {
            return Err(NegotiateError::MediaCount {
                expected: self.sections.len(),
                found: offer.media.len(),
            });
        }
        let mids = mids(&offer)?;
        let plans = self.plan(&offer, &mids)?;
        let order = bundle_order(&offer, &plans);
        let remote = self.connection.read(Side::Offer, &offer, order.iter().copied())?;
        let remote = remote.or_else(|| self.connection.remote().cloned());
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
            .zip(&plans)
            .map(|(media, plan)| self.answer(media, plan))
            .collect();
        let mut answer = self.connection.describe(media, setup, tagged);
        // RFC 8285 §6 and RFC 9143 §7.3: only what was offered is answered.
        answer.extmap_allow_mixed = offer.extmap_allow_mixed;
        if offer.bundles.is_empty() {
            answer.bundles.clear();
        }
        let mut result = PublishAnswer {
            sdp: answer.to_string(),
            connect: self.connection.connect(remote, local),
            added: Vec::new(),
            updated: Vec::new(),
            removed: Vec::new(),
            data_channel: plans.iter().any(|plan| matches!(plan, Plan::Data)),
            tracks: BTreeMap::new(),
        };
        self.apply(plans, allocate, &mut result);
        Ok(result)
    }

    /// What is done with each m-line.
    fn plan(&self, offer: &Description, mids: &[String]) -> Result<Vec<Plan>, NegotiateError> {
        let bundle = offer.bundles.first();
        let mut taken = false;
        let plans: Vec<Plan> = offer
            .media
            .iter()
            .zip(mids)
            .map(|(media, mid)| {
                // RFC 8829 §4.1.1, "max-bundle": without a bundle there is one transport, for one m-line.
                let bundled = match bundle {
                    Some(group) => media.mid.as_ref().is_some_and(|mid| group.contains(mid)),
                    None => !taken,
                };
                let plan = match self.plan_section(media, mid) {
                    plan if plan.is_rejected() || bundled => plan,
                    _ => Plan::Reject(Some(Rejection::NotBundled)),
                };
                taken |= !plan.is_rejected();
                plan
            })
            .collect();
        refuse_if_nothing_is_left(&plans)?;
        refuse_extension_conflicts(&plans)?;
        Ok(plans)
    }

    /// RFC 8829 §5.3.1.
    fn plan_section(&self, media: &Media, mid: &str) -> Plan {
        if media.is_rejected() {
            return Plan::Reject(None);
        }
        if media.is_data_channel() {
            return Plan::Data;
        }
        let Some(kind) = media.media.kind().filter(|_| media.is_secure_rtp()) else {
            return Plan::Reject(Some(Rejection::UnsupportedProtocol));
        };
        if !media.rtcp_mux && !media.bundle_only {
            return Plan::Reject(Some(Rejection::RtcpMuxRequired));
        }
        let mut codecs = codecs::accept(kind, media, &self.policy);
        if self.encrypted.contains(mid) {
            codecs.iter_mut().for_each(|codec| codec.red = None);
        }
        if codecs.is_empty() {
            return Plan::Reject(Some(Rejection::NoCommonCodec));
        }
        let extensions = extensions::accept(kind, media, &self.policy);
        let receive = media.direction.sends().then(|| ProducerParameters {
            kind,
            mid: mid.to_owned(),
            extensions: extensions::ids(&extensions),
            encodings: self.encodings(media, &codecs),
            codecs: codecs.clone(),
        });
        Plan::Media {
            codecs,
            extensions,
            receive,
        }
    }

    /// The streams of an m-line. Layers are in the order of `a=simulcast`, which clients write lowest first, unless their names
    /// tell another.
    fn encodings(&self, media: &Media, codecs: &[Codec]) -> Vec<Encoding> {
        let mut rids = self.simulcast_rids(media);
        if !rids.is_empty() {
            lowest_first(&mut rids);
            return rids
                .into_iter()
                .map(|rid| Encoding {
                    rid: Some(rid),
                    ..Encoding::default()
                })
                .collect();
        }
        // RFC 5576 §4.2: the second of an FID group repeats the first.
        let groups = || media.source_groups.iter().filter(|group| group.semantics == "FID");
        let is_repair = |ssrc: Ssrc| groups().any(|group| group.ssrcs.iter().skip(1).any(|repair| *repair == ssrc));
        let first = media
            .sources
            .iter()
            .map(|source| source.ssrc)
            .find(|ssrc| !is_repair(*ssrc));
        let has_rtx = codecs.iter().any(|codec| codec.rtx.is_some());
        let repair = groups().find_map(|group| match group.ssrcs.as_slice() {
            [media, repair] if Some(*media) == first && has_rtx => Some(*repair),
            _ => None,
        });
        vec![Encoding {
            ssrc: first,
            rtx_ssrc: repair,
            rid: None,
        }]
    }

    /// The layers that the client offers to send and that we let it (RFC 8853 §5.2): of each stream the first alternative.
    fn simulcast_rids(&self, media: &Media) -> Vec<String> {
        let streams = media
            .simulcast
            .as_ref()
            .filter(|_| self.policy.simulcast)
            .map(|simulcast| &simulcast.send);
        let described = |id: &&SimulcastId| media.rids.iter().any(|rid| rid.send && rid.id == id.rid);
        let first = |ids: &Vec<SimulcastId>| ids.iter().find(described).map(|id| id.rid.clone());
        streams.into_iter().flatten().filter_map(first).collect()
    }

    /// The m-line of the answer (RFC 8829 §5.3.1).
    fn answer(&self, media: &Media, plan: &Plan) -> Media {
        let mut answer = match plan {
            Plan::Reject(_) => reject(media),
            Plan::Data => Media {
                formats: vec!["webrtc-datachannel".to_owned()],
                sctp_port: Some(SCTP_PORT),
                max_message_size: Some(MAX_MESSAGE_BYTES),
                ..self.connection.section(MediaType::Application, &media.protocol)
            },
            Plan::Media {
                codecs,
                extensions,
                receive,
            } => Media {
                direction: if receive.is_some() {
                    Direction::RecvOnly
                } else {
                    Direction::Inactive
                },
                codecs: codecs::describe_received(codecs),
                extensions: extensions.clone(),
                bandwidth: media.media.kind().map_or(Vec::new(), |kind| self.bandwidth(kind)),
                rtcp_mux: true,
                rtcp_rsize: media.rtcp_rsize,
                ..self.connection.section(media.media.clone(), &media.protocol)
            },
        };
        // RFC 5888 §9.1: only if the offer has one.
        answer.mid = media.mid.clone();
        if let Plan::Media { receive: Some(_), .. } = plan {
            self.answer_simulcast(media, &mut answer);
        }
        answer
    }

    /// RFC 8853 §5.3.2.
    fn answer_simulcast(&self, media: &Media, answer: &mut Media) {
        let rids = self.simulcast_rids(media);
        if rids.is_empty() {
            return;
        }
        let stream = |rid: &String| {
            vec![SimulcastId {
                rid: rid.clone(),
                paused: false,
            }]
        };
        answer.simulcast = Some(Simulcast {
            send: Vec::new(),
            recv: rids.iter().map(stream).collect(),
        });
        answer.rids = rids
            .into_iter()
            .map(|id| Rid {
                id,
                send: false,
                restrictions: String::new(),
            })
            .collect();
    }

    /// The cap in both units: browsers read one or the other.
    fn bandwidth(&self, kind: MediaKind) -> Vec<Bandwidth> {
        match self.policy.max_bitrate_bps(kind) {
            Some(bps) => vec![
                Bandwidth::ApplicationSpecific(bps.div_ceil(1000)),
                Bandwidth::TransportIndependent(bps),
            ],
            None => Vec::new(),
        }
    }

    /// Keeps what was agreed, and tells what changed.
    fn apply(&mut self, plans: Vec<Plan>, allocate: &mut dyn FnMut() -> ProducerId, result: &mut PublishAnswer) {
        self.sections.resize(plans.len(), None);
        for (section, plan) in self.sections.iter_mut().zip(plans) {
            let parameters = match plan {
                Plan::Media { receive, .. } => receive,
                Plan::Data | Plan::Reject(_) => None,
            };
            let goes_on = |live: &Live, new: &ProducerParameters| {
                live.parameters.mid == new.mid && live.parameters.kind == new.kind
            };
            *section = match (section.take(), parameters) {
                (Some(live), Some(parameters)) if goes_on(&live, &parameters) => {
                    if live.parameters != parameters {
                        result
                            .updated
                            .push((parameters.mid.clone(), live.producer, parameters.clone()));
                    }
                    Some(Live {
                        producer: live.producer,
                        parameters,
                    })
                }
                (before, parameters) => {
                    result
                        .removed
                        .extend(before.map(|live| (live.parameters.mid, live.producer)));
                    parameters.map(|parameters| {
                        let producer = allocate();
                        result
                            .added
                            .push((parameters.mid.clone(), producer, parameters.clone()));
                        Live { producer, parameters }
                    })
                }
            };
            result
                .tracks
                .extend(section.iter().map(|live| (live.parameters.mid.clone(), live.producer)));
        }
    }
}

/// Puts layers in order that bear one of the usual sets of names: quarter, half and full, or low, medium and high.
fn lowest_first(rids: &mut [String]) {
    for names in [["q", "h", "f"], ["l", "m", "h"]] {
        let place = |rid: &String| names.iter().position(|name| name == rid);
        if rids.iter().all(|rid| place(rid).is_some()) {
            rids.sort_by_key(place);
            return;
        }
    }
}

/// Each m-line's mid: its own, else one that we give it for our own use (RFC 8829 §5.10).
pub(super) fn mids(offer: &Description) -> Result<Vec<String>, NegotiateError> {
    let mut seen = HashSet::new();
    for mid in offer.media.iter().filter_map(|media| media.mid.as_deref()) {
        if !seen.insert(mid) {
            return Err(NegotiateError::DuplicateMid { mid: mid.to_owned() });
        }
    }
    let name = |index: usize| {
        let free = |name: &String| !seen.contains(name.as_str());
        std::iter::once(format!("{index}"))
            .chain((0..).map(|more| format!("{index}-{more}")))
            .find(free)
    };
    Ok(offer
        .media
        .iter()
        .enumerate()
        .map(|(index, media)| media.mid.clone().or_else(|| name(index)).unwrap_or_default())
        .collect())
}

/// The m-lines that are not rejected, the tagged one first: the first of the bundle's mids (RFC 9143 §7.3.1). Then
/// those that we reject ourselves: their transport attributes may be the only ones.
fn bundle_order<'a>(offer: &'a Description, plans: &[Plan]) -> Vec<&'a Media> {
    let place = |media: &Media| {
        let mid = media.mid.as_ref()?;
        offer.bundles.first()?.iter().position(|other| other == mid)
    };
    let mut order: Vec<(bool, &Media)> = offer
        .media
        .iter()
        .zip(plans)
        .filter(|(media, _)| !media.is_rejected())
        .map(|(media, plan)| (plan.is_rejected(), media))
        .collect();
    order.sort_by_key(|(rejected, media)| (*rejected, place(media).unwrap_or(usize::MAX)));
    order.into_iter().map(|(_, media)| media).collect()
}

/// An offer of which every m-line that is not stopped would be rejected is refused as a whole.
fn refuse_if_nothing_is_left(plans: &[Plan]) -> Result<(), NegotiateError> {
    let mut reasons = Vec::new();
    for plan in plans {
        match plan {
            Plan::Reject(reason) => reasons.extend(*reason),
            Plan::Media { .. } | Plan::Data => return Ok(()),
        }
    }
    match reasons.first() {
        None => Ok(()),
        Some(_) if reasons.contains(&Rejection::NoCommonCodec) => Err(NegotiateError::NoCommonCodec),
        Some(reason) => Err(NegotiateError::NoUsableMedia { reason: *reason }),
    }
}

/// RFC 9143 §12: on one transport, an id is one extension.
fn refuse_extension_conflicts(plans: &[Plan]) -> Result<(), NegotiateError> {
    let mut names: BTreeMap<u8, &str> = BTreeMap::new();
    for plan in plans {
        let Plan::Media { extensions, .. } = plan else { continue };
        for extension in extensions {
            let name = names.entry(extension.id).or_insert(&extension.uri);
            if *name != extension.uri {
                return Err(NegotiateError::ExtensionConflict { id: extension.id });
            }
        }
    }
    Ok(())
}

/// RFC 3264 §6: port 0, and formats of the offer.
pub(super) fn reject(media: &Media) -> Media {
    let mut answer = Media::new(media.media.clone(), 0, &media.protocol);
    answer.direction = Direction::Inactive;
    answer.formats = media.formats.clone();
    answer.codecs = media
        .codecs
        .iter()
        .map(|codec| super::model::RtpCodec {
            fmtp: String::new(),
            feedback: Vec::new(),
            ..codec.clone()
        })
        .collect();
    answer
}
