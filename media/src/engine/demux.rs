//! Which producer a packet belongs to (RFC 8843 §9.2, RFC 8852).

use std::time::{Duration, Instant};

use crate::engine::FastMap;
use crate::engine::slab::{Key, Slab};
use crate::parameters::{ExtensionIds, PayloadType, Ssrc};
use crate::producer::Producer;
use crate::rtp::Extensions;

/// How long a stream must have been silent for another SSRC to take its place on the word of a payload type alone.
const SILENCE: Duration = Duration::from_secs(1);

/// Where packets of an SSRC go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) producer: Key<Producer>,
    /// Which of the producer's streams.
    pub(crate) encoding: usize,
}

/// The SSRCs of one transport's incoming streams. Holds at most two a stream: those that a stream is known by now.
#[derive(Debug, Default)]
pub(crate) struct SsrcTable {
    routes: FastMap<u32, Route>,
}

/// What the header extensions of a packet say, as far as it is used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Elements<'p> {
    pub(crate) mid: Option<&'p [u8]>,
    pub(crate) rid: Option<&'p [u8]>,
    pub(crate) repaired_rid: Option<&'p [u8]>,
    pub(crate) audio_level: Option<u8>,
    pub(crate) orientation: Option<u8>,
    pub(crate) transport_cc: Option<u16>,
    /// The dependency descriptor; empty when absent.
    pub(crate) descriptor: &'p [u8],
}

impl<'p> Elements<'p> {
    pub(crate) fn read(extensions: Extensions<'p>, ids: &ExtensionIds) -> Self {
        let mut elements = Self::default();
        for (id, data) in extensions {
            let id = Some(id);
            if id == ids.transport_cc {
                elements.transport_cc = data.first_chunk().map(|number| u16::from_be_bytes(*number));
            } else if id == ids.audio_level {
                elements.audio_level = data.first().copied();
            } else if id == ids.mid {
                elements.mid = Some(data);
            } else if id == ids.video_orientation {
                elements.orientation = data.first().copied();
            } else if id == ids.dependency_descriptor {
                elements.descriptor = data;
            } else if id == ids.rid {
                elements.rid = Some(data);
            } else if id == ids.repaired_rid {
                elements.repaired_rid = Some(data);
            }
        }
        elements
    }
}

impl SsrcTable {
    /// Where packets of a known SSRC go.
    pub(crate) fn find(&self, ssrc: Ssrc) -> Option<Route> {
        self.routes.get(&ssrc.0).copied()
    }

    /// Enters the SSRCs that the producer's streams are known by.
    pub(crate) fn enter(&mut self, key: Key<Producer>, producer: &Producer) {
        for (encoding, stream) in producer.streams.iter().enumerate() {
            for ssrc in [stream.ssrc, stream.rtx_ssrc].into_iter().flatten() {
                self.routes.insert(
                    ssrc.0,
                    Route {
                        producer: key,
                        encoding,
                    },
                );
            }
        }
    }

    /// Removes what leads to this producer.
    pub(crate) fn remove(&mut self, key: Key<Producer>) {
        self.routes.retain(|_, route| route.producer != key);
    }

    /// Learns where packets of an SSRC go that is not known: by the MID, then the RID, else by a payload type that only one
    /// producer has.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        payload_type: PayloadType,
        elements: &Elements<'_>,
        keys: &[Key<Producer>],
        producers: &mut Slab<Producer>,
    ) -> Option<Route> {
        let candidates = || {
            keys.iter()
                .filter_map(|key| producers.get(*key).map(|producer| (*key, producer)))
        };
        let by_mid = elements
            .mid
            .and_then(|mid| candidates().find(|(_, producer)| producer.mid.as_bytes() == mid));
        let (key, named) = match by_mid {
            Some((key, _)) => (key, true),
            // A MID of no producer is not ours to guess about.
            None if elements.mid.is_some() => return None,
            None => {
                let mut with_type = candidates().filter(|(_, producer)| producer.codec_of(payload_type).is_some());
                match (with_type.next(), with_type.next()) {
                    (Some((key, _)), None) => (key, false),
                    _ => return None,
                }
            }
        };
        let producer = producers.get_mut(key)?;
        let (_, _, is_rtx) = producer.codec_of(payload_type)?;
        let rid = if is_rtx {
            elements.repaired_rid.or(elements.rid)
        } else {
            elements.rid
        };
        let encoding = match rid {
            Some(rid) => producer
                .streams
                .iter()
                .position(|stream| stream.rid.as_ref().is_some_and(|known| known.as_bytes() == rid)),
            None => None,
        };
        let encoding = match encoding {
            Some(encoding) => encoding,
            // There is nothing to choose from.
            None if producer.streams.len() == 1 => 0,
            None => return None,
        };
        let stream = producer.streams.get_mut(encoding)?;
        let silent = stream
            .last_packet
            .is_none_or(|(at, _)| now.saturating_duration_since(at) >= SILENCE);
        if !named && !silent && !is_rtx {
            return None;
        }
        let before = if is_rtx {
            stream.rtx_ssrc.replace(ssrc)
        } else {
            stream.ssrc
        };
        if !is_rtx {
            stream.renew(ssrc);
        }
        let route = Route {
            producer: key,
            encoding,
        };
        if let Some(before) = before.filter(|before| self.find(*before) == Some(route)) {
            self.routes.remove(&before.0);
        }
        self.routes.insert(ssrc.0, route);
        Some(route)
    }
}
