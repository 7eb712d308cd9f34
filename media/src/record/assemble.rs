//! Makes whole frames of one track's packets, and leaves out what cannot be decoded.
//!
//! A video frame with a packet missing, or that its depacketizer refuses, is dropped, and with it everything up to the next
//! key frame, since it may refer to what is gone. Lost sound leaves a hole in the timestamps.

use std::collections::VecDeque;
use std::time::Instant;

use super::depacketize::{CodedFrame, Depacketizer};
use super::reorder::{Ordered, Reorder};
use crate::control::TapPacket;
use crate::parameters::{Codec, CodecKind, MediaKind, PayloadType};

/// A frame in order.
#[derive(Debug, Clone)]
pub struct Frame {
    /// RTP timestamp, unwrapped to 64 bits.
    pub rtp: i64,
    /// When its first packet came.
    pub received: Instant,
    /// The frame.
    pub coded: CodedFrame,
}

/// What an [`Assembler`] gives.
#[derive(Debug, Clone)]
pub enum Assembled {
    /// The next frame.
    Frame(Frame),
    /// A new stream begins: timestamps have nothing to do with those before.
    Restart,
}

/// Continues 32-bit timestamps in 64 bits.
#[derive(Debug, Clone, Copy, Default)]
struct Unwrapper {
    last: Option<i64>,
}

impl Unwrapper {
    /// The 64-bit timestamp nearest to the last one, which stays the last.
    fn near(self, timestamp: u32) -> i64 {
        match self.last {
            None => i64::from(timestamp),
            // The low half of `last` is what wraps.
            Some(last) => last + i64::from(timestamp.wrapping_sub(last as u32).cast_signed()),
        }
    }

    fn unwrap(&mut self, timestamp: u32) -> i64 {
        let unwrapped = self.near(timestamp);
        self.last = Some(unwrapped);
        unwrapped
    }
}

/// The frame whose packets are coming.
#[derive(Debug, Clone, Copy)]
struct Current {
    timestamp: u32,
    received: Instant,
    /// Something of it is missing or broken.
    damaged: bool,
}

/// The packets of one track on their way to frames.
#[derive(Debug)]
pub struct Assembler {
    kind: MediaKind,
    codecs: Vec<Codec>,
    reorder: Reorder,
    depacketizer: Option<(CodecKind, Depacketizer)>,
    /// Frames are encrypted end to end.
    encrypted: bool,
    current: Option<Current>,
    awaits_key: bool,
    unwrapper: Unwrapper,
    ready: VecDeque<Assembled>,
    malformed: u64,
    dropped: u64,
    unknown: u64,
}

impl Assembler {
    /// For a track that may come in these codecs.
    pub fn new(kind: MediaKind, codecs: Vec<Codec>) -> Self {
        Self {
            kind,
            codecs,
            reorder: Reorder::default(),
            depacketizer: None,
            encrypted: false,
            current: None,
            awaits_key: kind == MediaKind::Video,
            unwrapper: Unwrapper::default(),
            ready: VecDeque::new(),
            malformed: 0,
            dropped: 0,
            unknown: 0,
        }
    }

    /// The codecs it may come in.
    pub fn codecs(&self) -> &[Codec] {
        &self.codecs
    }

    /// Replaces the codecs after a renegotiation.
    pub fn set_codecs(&mut self, codecs: Vec<Codec>) {
        self.codecs = codecs;
        self.depacketizer = None;
    }

    /// Says whether frames are encrypted end to end, so that nothing is made of what cannot be read.
    pub fn set_encrypted(&mut self, encrypted: bool) {
        if std::mem::replace(&mut self.encrypted, encrypted) != encrypted {
            self.depacketizer = None;
        }
    }

    /// The codec of a payload type, of this track's kind.
    pub fn codec(&self, payload_type: PayloadType) -> Option<&Codec> {
        self.codecs
            .iter()
            .find(|codec| codec.payload_type == payload_type && codec.kind.media() == self.kind)
    }

    /// The codec of the frames that come out now.
    pub fn selected(&self) -> Option<&Codec> {
        let (kind, _) = self.depacketizer.as_ref()?;
        self.codecs.iter().find(|codec| codec.kind == *kind)
    }

    /// Takes a packet. Take what is ready by [`poll`](Self::poll) before the next call.
    pub fn push(&mut self, mut packet: TapPacket) {
        if self.codec(packet.payload_type).is_none() {
            // Comfort noise, forward error correction and the like: no media of ours, but their sequence numbers count.
            self.unknown += u64::from(!packet.payload.is_empty());
            packet.payload.clear();
        }
        self.reorder.push(packet);
        self.take_ordered();
    }

    /// Gives up on packets that were waited for long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.reorder.handle_timeout(now);
        self.take_ordered();
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.reorder.poll_timeout()
    }

    /// What is ready.
    pub fn poll(&mut self) -> Option<Assembled> {
        self.ready.pop_front()
    }

    /// Lets all whole frames go; the next packet may be anywhere in the stream, as after a pause.
    pub fn flush(&mut self) {
        self.reorder.flush();
        self.take_ordered();
        self.abandon();
        self.awaits_key = self.kind == MediaKind::Video;
    }

    /// Lets frames be written only from the next key frame on.
    pub fn await_key(&mut self) {
        self.awaits_key = self.kind == MediaKind::Video;
    }

    /// Whether nothing is written until a key frame comes.
    pub fn awaits_key(&self) -> bool {
        self.awaits_key
    }

    /// The 64-bit timestamp that a report's 32-bit one means.
    pub fn unwrapped(&self, timestamp: u32) -> Option<i64> {
        self.unwrapper.last.map(|_| self.unwrapper.near(timestamp))
    }

    /// Packets that never came in time.
    pub fn lost(&self) -> u64 {
        self.reorder.lost()
    }

    /// Packets that came twice, too late, or beside the current stream.
    pub fn duplicates(&self) -> u64 {
        self.reorder.duplicates()
    }

    /// Frames that their depacketizer refused.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Frames left out, the malformed ones among them.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Packets of no agreed codec.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    fn take_ordered(&mut self) {
        while let Some(ordered) = self.reorder.poll() {
            match ordered {
                Ordered::Packet(packet) => self.packet(&packet),
                Ordered::Gap { .. } => self.gap(),
                Ordered::Restart => self.restart(),
            }
        }
    }

    fn packet(&mut self, packet: &TapPacket) {
        let Some(codec) = self.codec(packet.payload_type).map(|codec| codec.kind) else {
            return;
        };
        if packet.payload.is_empty() {
            return;
        }
        if self
            .current
            .is_some_and(|current| current.timestamp != packet.timestamp)
        {
            // A sender that sets no markers: the next timestamp ends the frame as well.
            self.end_frame();
        }
        self.select(codec, packet.payload_type);
        let current = *self.current.get_or_insert(Current {
            timestamp: packet.timestamp,
            received: packet.received,
            damaged: false,
        });
        if !current.damaged {
            self.payload(&packet.payload);
        }
        if packet.marker || self.kind == MediaKind::Audio {
            self.end_frame();
        }
    }

    /// Gives a payload to the depacketizer.
    fn payload(&mut self, payload: &[u8]) {
        let Some((codec, depacketizer)) = &mut self.depacketizer else {
            return;
        };
        if let Err(error) = depacketizer.push(payload) {
            tracing::debug!(codec = codec.name(), %error, "payload left out");
            depacketizer.reset();
            self.malformed += 1;
            if let Some(current) = &mut self.current {
                current.damaged = true;
            }
        }
    }

    /// Chooses the depacketizer of a codec.
    fn select(&mut self, codec: CodecKind, payload_type: PayloadType) {
        if self.depacketizer.as_ref().is_none_or(|(known, _)| *known != codec) {
            let fmtp = self.codec(payload_type).map_or("", |codec| codec.fmtp.as_str());
            let depacketizer = if self.encrypted {
                Depacketizer::of_encrypted(codec, fmtp)
            } else {
                Depacketizer::new(codec, fmtp)
            };
            self.depacketizer = Some((codec, depacketizer));
        }
    }

    /// Packets are missing: what is under way has lost its end, or perhaps a whole frame is gone.
    fn gap(&mut self) {
        if let Some(current) = &mut self.current {
            current.damaged = true;
            if let Some((_, depacketizer)) = &mut self.depacketizer {
                depacketizer.reset();
            }
        }
        self.await_key();
    }

    fn restart(&mut self) {
        self.abandon();
        self.await_key();
        self.unwrapper = Unwrapper::default();
        self.ready.push_back(Assembled::Restart);
    }

    /// Drops the frame under way.
    fn abandon(&mut self) {
        if self.current.take().is_some() {
            self.dropped += 1;
        }
        if let Some((_, depacketizer)) = &mut self.depacketizer {
            depacketizer.reset();
        }
    }

    fn end_frame(&mut self) {
        let Some(current) = self.current else { return };
        let Some((codec, depacketizer)) = &mut self.depacketizer else {
            return;
        };
        let codec = *codec;
        if current.damaged {
            self.abandon();
            self.await_key();
            return;
        }
        match depacketizer.finish() {
            Ok(frame) => {
                self.current = None;
                if let Some(coded) = frame {
                    self.frame(current, coded);
                }
            }
            Err(error) => {
                tracing::debug!(codec = codec.name(), %error, "frame left out");
                self.malformed += 1;
                self.abandon();
                self.await_key();
            }
        }
    }

    fn frame(&mut self, current: Current, coded: CodedFrame) {
        let rtp = self.unwrapper.unwrap(current.timestamp);
        if self.awaits_key && !coded.key {
            self.dropped += 1;
            return;
        }
        self.awaits_key = false;
        self.ready.push_back(Assembled::Frame(Frame {
            rtp,
            received: current.received,
            coded,
        }));
    }
}
