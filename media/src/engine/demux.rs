//! Which producer a packet belongs to (RFC 8843 §9.2, RFC 8852).

use std::time::{Duration, Instant};

use crate::engine::FastMap;
use crate::engine::slab::{Key, Slab};
use crate::parameters::{ExtensionIds, PayloadType, Ssrc};
use crate::producer::{Form, Producer};
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

/// SSRCs of ended layers that are remembered, at most.
const MAX_ENDED: usize = 64;

/// The SSRCs of one transport's incoming streams. Holds at most two a stream: those that a stream is known by now; and
/// those of layers that ended, for a while.
#[derive(Debug, Default)]
pub(crate) struct SsrcTable {
    routes: FastMap<u32, Route>,
    /// What the SSRCs of ended layers stood for: a client that publishes again on an m-line goes on with its SSRCs, and does not
    /// name MID and RID again, for they were acknowledged.
    ended: FastMap<u32, Ended>,
}

/// A layer of a producer that ended.
#[derive(Debug, Clone)]
struct Ended {
    mid: String,
    rid: String,
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

    /// Removes what leads to this producer, and remembers what its layers were known by.
    pub(crate) fn remove(&mut self, key: Key<Producer>, producer: &Producer) {
        self.routes.retain(|_, route| route.producer != key);
        for stream in &producer.streams {
            let Some(rid) = &stream.rid else { continue };
            if self.ended.len() >= MAX_ENDED {
                self.ended.clear();
            }
            for ssrc in [stream.ssrc, stream.rtx_ssrc].into_iter().flatten() {
                let ended = Ended {
                    mid: producer.mid.to_string(),
                    rid: rid.to_string(),
                };
                self.ended.insert(ssrc.0, ended);
            }
        }
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
        let ended = self.ended.get(&ssrc.0).cloned();
        let mid = elements.mid.or(ended.as_ref().map(|it| it.mid.as_bytes()));
        let candidates = || {
            keys.iter()
                .filter_map(|key| producers.get(*key).map(|producer| (*key, producer)))
        };
        let by_mid = mid.and_then(|mid| candidates().find(|(_, producer)| producer.mid.as_bytes() == mid));
        let (key, named) = match by_mid {
            Some((key, _)) => (key, true),
            // A MID of no producer is not ours to guess about.
            None if mid.is_some() => return None,
            None => {
                let mut with_type = candidates().filter(|(_, producer)| producer.codec_of(payload_type).is_some());
                match (with_type.next(), with_type.next()) {
                    (Some((key, _)), None) => (key, false),
                    _ => return None,
                }
            }
        };
        let producer = producers.get_mut(key)?;
        let (_, _, form) = producer.codec_of(payload_type)?;
        let is_rtx = form == Form::Retransmission;
        let rid = if is_rtx {
            elements.repaired_rid.or(elements.rid)
        } else {
            elements.rid
        };
        let remembered = ended.as_ref().filter(|it| it.mid.as_bytes() == producer.mid.as_bytes());
        let rid = rid.or(remembered.map(|it| it.rid.as_bytes()));
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
        self.ended.remove(&ssrc.0);
        Some(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{
        Codec, CodecKind, Encoding, Feedback, MediaKind, ProducerId, ProducerParameters, TransportId,
    };
    use crate::producer::{Origin, test_start};

    struct Table {
        ssrcs: SsrcTable,
        keys: Vec<Key<Producer>>,
        producers: Slab<Producer>,
    }

    /// Producer 0: sound under 111. Producer 1: two layers under 96 and 97. Producer 2: one stream under 96 and 97.
    fn table() -> Table {
        let mut table = Table {
            ssrcs: SsrcTable::default(),
            keys: Vec::new(),
            producers: Slab::default(),
        };
        let layers = ["l", "h"].map(|rid| Encoding {
            rid: Some(rid.to_owned()),
            ..Encoding::default()
        });
        table.add(MediaKind::Audio, &[Encoding::default()]);
        table.add(MediaKind::Video, &layers);
        table.add(
            MediaKind::Video,
            &[Encoding {
                ssrc: Some(Ssrc(20)),
                rtx_ssrc: Some(Ssrc(21)),
                rid: None,
            }],
        );
        table
    }

    impl Table {
        fn end(&mut self, producer: usize) {
            let key = self.keys[producer];
            let gone = self.producers.remove(key).expect("there");
            self.ssrcs.remove(key, &gone);
        }

        fn add(&mut self, kind: MediaKind, encodings: &[Encoding]) {
            self.add_as(&self.keys.len().to_string(), kind, encodings);
        }

        fn add_as(&mut self, mid: &str, kind: MediaKind, encodings: &[Encoding]) {
            let is_video = kind == MediaKind::Video;
            let codec = Codec {
                kind: if is_video { CodecKind::Vp8 } else { CodecKind::Opus },
                payload_type: PayloadType(if is_video { 96 } else { 111 }),
                clock_rate: 90_000,
                channels: 0,
                fmtp: String::new(),
                feedback: Feedback::default(),
                rtx: is_video.then_some(PayloadType(97)),
                red: None,
            };
            let parameters = ProducerParameters {
                kind,
                mid: mid.to_owned(),
                codecs: vec![codec],
                extensions: ExtensionIds::default(),
                encodings: encodings.to_vec(),
            };
            let nowhere = Slab::<u8>::default().insert_with(|_| 0);
            let origin = Origin::Transport(nowhere.cast());
            let producer = Producer::new(ProducerId(0), nowhere.cast(), origin, TransportId(0), &parameters);
            let key = self.producers.insert_with(|_| producer);
            self.keys.push(key);
            self.ssrcs.enter(key, self.producers.get(key).expect("just made"));
        }

        /// The producer and the stream of a packet.
        fn route(&mut self, ssrc: u32, payload_type: u8, elements: &Elements<'_>) -> Option<(usize, usize)> {
            let (ssrc, payload_type) = (Ssrc(ssrc), PayloadType(payload_type));
            let route = self.ssrcs.find(ssrc).or_else(|| {
                self.ssrcs.learn(
                    test_start(),
                    ssrc,
                    payload_type,
                    elements,
                    &self.keys,
                    &mut self.producers,
                )
            })?;
            let producer = self.keys.iter().position(|key| *key == route.producer)?;
            Some((producer, route.encoding))
        }
    }

    fn elements<'p>(mid: &'p str, rid: &'p str) -> Elements<'p> {
        let bytes = |text: &'p str| Some(text.as_bytes()).filter(|bytes| !bytes.is_empty());
        Elements {
            mid: bytes(mid),
            rid: bytes(rid),
            ..Elements::default()
        }
    }

    #[test]
    fn signaled_ssrcs_are_known() {
        let mut table = table();
        assert_eq!(table.route(20, 96, &elements("", "")), Some((2, 0)));
        assert_eq!(table.route(21, 97, &elements("", "")), Some((2, 0)));
    }

    #[test]
    fn layers_are_learnt_by_mid_and_rid_and_then_known() {
        let mut table = table();
        assert_eq!(table.route(30, 96, &elements("1", "h")), Some((1, 1)));
        assert_eq!(table.route(31, 96, &elements("1", "l")), Some((1, 0)));
        assert_eq!(table.route(30, 96, &elements("", "")), Some((1, 1)));
        let repaired = Elements {
            repaired_rid: Some(b"h"),
            ..elements("1", "")
        };
        assert_eq!(table.route(40, 97, &repaired), Some((1, 1)));
        let stream = &table.producers.get(table.keys[1]).expect("there").streams[1];
        assert_eq!((stream.ssrc, stream.rtx_ssrc), (Some(Ssrc(30)), Some(Ssrc(40))));
    }

    #[test]
    fn a_layer_that_is_not_named_is_not_guessed() {
        let mut table = table();
        assert_eq!(table.route(30, 96, &elements("1", "")), None);
        assert_eq!(table.route(30, 96, &elements("1", "x")), None);
        assert_eq!(table.route(30, 96, &elements("9", "")), None);
    }

    #[test]
    fn a_payload_type_tells_when_only_one_producer_has_it_and_its_stream_is_silent() {
        let mut table = table();
        assert_eq!(table.route(50, 96, &elements("", "")), None);
        assert_eq!(table.route(50, 111, &elements("", "")), Some((0, 0)));
        let producer = table.producers.get_mut(table.keys[0]).expect("there");
        producer.streams[0].last_packet = Some((test_start(), 0));
        assert_eq!(table.route(51, 111, &elements("", "")), None);
        assert_eq!(table.route(50, 111, &elements("", "")), Some((0, 0)));
    }

    #[test]
    fn however_many_ssrcs_a_client_makes_up_the_table_stays_small() {
        let mut table = table();
        for ssrc in 1000..3000 {
            assert_eq!(table.route(ssrc, 96, &elements("2", "")), Some((2, 0)));
            assert_eq!(table.route(ssrc + 10_000, 97, &elements("2", "")), Some((2, 0)));
        }
        assert_eq!(table.ssrcs.routes.len(), 2);
        table.end(2);
        assert!(table.ssrcs.routes.is_empty() && table.ssrcs.ended.is_empty());
    }

    #[test]
    fn layers_published_again_are_known_by_their_ssrcs() {
        let mut table = table();
        assert_eq!(table.route(30, 96, &elements("1", "h")), Some((1, 1)));
        assert_eq!(table.route(31, 96, &elements("1", "l")), Some((1, 0)));
        table.end(1);
        let layers = ["l", "h"].map(|rid| Encoding {
            rid: Some(rid.to_owned()),
            ..Encoding::default()
        });
        table.add_as("1", MediaKind::Video, &layers);
        assert_eq!(table.route(30, 96, &elements("", "")), Some((3, 1)));
        assert_eq!(table.route(31, 96, &elements("", "")), Some((3, 0)));
        assert!(table.ssrcs.ended.is_empty());
    }
}
