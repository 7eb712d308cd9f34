//! One track of a group: its packets' assembly, its clock and what is known of it.

use std::time::{Duration, Instant};

use super::super::assemble::{Assembled, Assembler, Frame};
use super::super::clock::{TrackClock, WallClock, ntp_to_us};
use super::super::depacketize::opus;
use super::super::meta::TrackDescription;
use crate::control::TapPacket;
use crate::parameters::{Codec, CodecKind, MediaKind, PayloadType};

/// How long a key frame that was asked for is waited for before it is asked for again.
const KEY_FRAME_INTERVAL: Duration = Duration::from_secs(1);
/// A track whose last frame is older does not hold the other one back.
const LIVE: Duration = Duration::from_millis(300);
/// How long a video frame is taken to last while nothing tells, and at most, in milliseconds.
const USUAL_FRAME_MS: u64 = 33;
const LONGEST_FRAME_MS: u64 = 200;
/// Opus at its usual rate (RFC 7587 §4.1).
const OPUS_TICKS_PER_MS: u64 = 48;

/// A frame with its place in the recording.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) time_ms: u64,
    pub(super) duration_ms: u64,
    pub(super) frame: Frame,
}

/// A track of a group.
#[derive(Debug)]
pub(super) struct Track {
    kind: MediaKind,
    /// What its frames are encrypted with, if they are.
    encryption: Option<String>,
    assembler: Assembler,
    clock: TrackClock,
    /// A report that came before the first packet: wall time and 32-bit timestamp.
    early_report: Option<(i64, u32)>,
    /// What is written of it so far.
    description: Option<TrackDescription>,
    last_packet: Option<Instant>,
    last_frame: Option<(Instant, u64)>,
    key_asked: Option<Instant>,
    /// Counted by this track: frames written, and frames out of bounds.
    pub(super) frames: u64,
    pub(super) misplaced: u64,
}

impl Track {
    pub(super) fn new(kind: MediaKind, codecs: Vec<Codec>) -> Self {
        let rate = codecs.first().map_or(0, |codec| codec.clock_rate);
        Self {
            kind,
            encryption: None,
            assembler: Assembler::new(kind, codecs),
            clock: TrackClock::new(kind, rate),
            early_report: None,
            description: None,
            last_packet: None,
            last_frame: None,
            key_asked: None,
            frames: 0,
            misplaced: 0,
        }
    }

    pub(super) fn set_codecs(&mut self, codecs: Vec<Codec>) {
        if self.assembler.codecs() != codecs {
            self.assembler.flush();
            self.assembler.set_codecs(codecs);
        }
    }

    /// Says what frames are encrypted with. Of a track that was begun only what follows is.
    pub(super) fn set_encryption(&mut self, encryption: Option<String>) {
        self.assembler.set_encrypted(encryption.is_some());
        if let Some(known) = &mut self.description
            && encryption.is_some()
        {
            known.encryption.clone_from(&encryption);
        }
        self.encryption = encryption;
    }

    pub(super) fn description(&self) -> Option<&TrackDescription> {
        self.description.as_ref()
    }

    pub(super) fn assembler(&self) -> &Assembler {
        &self.assembler
    }

    /// The codecs before and after, if a packet of this type cannot go into the track that was begun.
    pub(super) fn codec_change(&self, payload_type: PayloadType) -> Option<(CodecKind, CodecKind)> {
        let from = self.description.as_ref()?.codec;
        let to = self.assembler.codec(payload_type)?.kind;
        (from != to).then_some((from, to))
    }

    pub(super) fn push(&mut self, packet: TapPacket) {
        self.last_packet = Some(packet.received);
        self.assembler.push(packet);
    }

    pub(super) fn report(&mut self, ntp: u64, rtp: u32) {
        let ntp_us = ntp_to_us(ntp);
        match self.assembler.unwrapped(rtp) {
            Some(unwrapped) => self.clock.report(ntp_us, unwrapped),
            None => self.early_report = Some((ntp_us, rtp)),
        }
    }

    pub(super) fn flush(&mut self) {
        self.assembler.flush();
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.assembler.handle_timeout(now);
    }

    /// The next frame, placed.
    pub(super) fn poll(&mut self, wall: &WallClock, start: Instant) -> Option<Placed> {
        loop {
            match self.assembler.poll()? {
                Assembled::Restart => {
                    self.early_report = None;
                    self.clock.restart();
                }
                Assembled::Frame(frame) => {
                    if let Some(placed) = self.place(wall, start, frame) {
                        return Some(placed);
                    }
                }
            }
        }
    }

    fn place(&mut self, wall: &WallClock, start: Instant, frame: Frame) -> Option<Placed> {
        if let Some((ntp_us, rtp)) = self.early_report.take()
            && let Some(unwrapped) = self.assembler.unwrapped(rtp)
        {
            self.clock.report(ntp_us, unwrapped);
        }
        let Some(time_ms) = self.clock.place(wall, frame.rtp, micros_since(start, frame.received)) else {
            self.misplaced += 1;
            self.assembler.await_key();
            return None;
        };
        let duration_ms = self.duration_ms(&frame, time_ms);
        self.describe(&frame);
        self.last_frame = Some((frame.received, time_ms));
        Some(Placed {
            time_ms,
            duration_ms,
            frame,
        })
    }

    fn duration_ms(&self, frame: &Frame, time_ms: u64) -> u64 {
        if self.kind == MediaKind::Audio {
            return u64::from(frame.coded.samples) / OPUS_TICKS_PER_MS;
        }
        let interval = self.last_frame.map(|(_, last_ms)| time_ms.saturating_sub(last_ms));
        interval.map_or(USUAL_FRAME_MS, |ms| ms.clamp(1, LONGEST_FRAME_MS))
    }

    /// Learns from a frame what the file's header has to tell.
    fn describe(&mut self, frame: &Frame) {
        let coded = &frame.coded;
        if let Some(known) = &mut self.description {
            if let Some((width, height)) = coded.dimensions
                && u64::from(width) * u64::from(height) > u64::from(known.width) * u64::from(known.height)
            {
                (known.width, known.height) = (width, height);
            }
            if let Some(codec_private) = &coded.codec_private {
                known.codec_private = codec_private.clone();
            }
            return;
        }
        let Some(codec) = self.assembler.selected() else { return };
        let channels = codec.channels.clamp(1, 2);
        self.description = Some(match (self.kind, coded.dimensions) {
            (MediaKind::Audio, _) => TrackDescription {
                codec: codec.kind,
                codec_private: opus::codec_private(channels),
                width: 0,
                height: 0,
                channels,
                encryption: self.encryption.clone(),
            },
            (MediaKind::Video, dimensions) => {
                // A track begins with a key frame, which tells its size.
                let (width, height) = dimensions.unwrap_or((1, 1));
                let codec_private = coded.codec_private.clone().unwrap_or_default();
                TrackDescription {
                    codec: codec.kind,
                    codec_private,
                    width,
                    height,
                    channels: 0,
                    encryption: self.encryption.clone(),
                }
            }
        });
    }

    /// The time of its last frame, while it runs.
    pub(super) fn live_until(&self, now: Instant) -> Option<u64> {
        self.last_frame
            .filter(|(received, _)| now < *received + LIVE)
            .map(|(_, time_ms)| time_ms)
    }

    /// Drops what comes until the next key frame.
    pub(super) fn await_key(&mut self) {
        self.assembler.await_key();
    }

    /// Whether to ask for a key frame now; asking is noted.
    pub(super) fn wants_key_frame(&mut self, now: Instant) -> bool {
        let running = self.last_packet.is_some_and(|at| now < at + KEY_FRAME_INTERVAL);
        let asked = self.key_asked.is_some_and(|at| now < at + KEY_FRAME_INTERVAL);
        if !self.assembler.awaits_key() || !running || asked {
            return false;
        }
        self.key_asked = Some(now);
        true
    }
}

/// Microseconds from `start` to `at`, negative before it.
pub(super) fn micros_since(start: Instant, at: Instant) -> i64 {
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4);
    match at.checked_duration_since(start) {
        Some(after) => micros(after),
        None => -micros(start.saturating_duration_since(at)),
    }
}
