//! From the packets of one source of one participant to self-contained segments.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::clock::{WallClock, ntp_to_us};
use super::cluster::{Block, cluster_length, write_cluster};
use super::ebml::{Writer, id};
use super::header::{Info, TrackList, write_ebml_header, write_info, write_tracks};
use super::meta::{MAX_ENCRYPTION_BYTES, SegmentMeta};
use crate::control::TapItem;
use crate::parameters::{Codec, CodecKind, MediaKind};

mod pending;
mod track;

use pending::{Batch, Pending};
use track::{Placed, Track, micros_since};

/// What a [`TrackGroupWriter`] is made with.
#[derive(Debug, Clone)]
pub struct GroupParameters {
    /// The agreed codecs of the sound ([`ProducerParameters::codecs`](crate::parameters::ProducerParameters)), when it is published already.
    pub audio: Option<Vec<Codec>>,
    /// The agreed codecs of the picture, when it is published already.
    pub video: Option<Vec<Codec>>,
    /// The moment that is 0 in all files of the recording.
    pub recording_start: Instant,
    /// The number of the first segment: 0, or where an earlier writer of the same object prefix ended.
    pub first_segment: u32,
    /// Name and version of the program, for the files' WritingApp; at most 128 bytes are used.
    pub writing_app: String,
}

/// A piece of a recording: a playable Matroska or WebM file with one Cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What is known of it.
    pub meta: SegmentMeta,
    /// The whole file.
    pub bytes: Bytes,
}

/// The publisher changed to another codec, which one Matroska track cannot hold: the group is to be finished and a new one
/// begun, to which `item` belongs.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the {} codec changed from {} to {}", track.as_str(), from.name(), to.name())]
pub struct CodecChanged {
    /// The track.
    pub track: MediaKind,
    /// What was recorded so far.
    pub from: CodecKind,
    /// What comes now.
    pub to: CodecKind,
    /// The first packet of the new codec, given back.
    pub item: TapItem,
}

/// What a group has seen since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupStats {
    /// Packets taken.
    pub packets: u64,
    /// Packets that came twice, too late, or in a stream (SSRC) beside the current one.
    pub duplicates: u64,
    /// Packets that never came in time.
    pub lost: u64,
    /// Packets of a payload type that no agreed codec has.
    pub unknown: u64,
    /// Frames that their payloads' syntax made unusable.
    pub malformed: u64,
    /// Frames written.
    pub frames: u64,
    /// Whole frames left out: damaged, before a key frame, or out of bounds.
    pub frames_dropped: u64,
}

/// Segments that may wait for [`TrackGroupWriter::poll_segment`]; while there are more, frames are dropped.
const MAX_READY: usize = 16;

/// Writes one participant's source: at most one audio and one video track.
///
/// A frame leaves in a segment at most 1.5 s after its first packet came, so that media older than 2 s is never lost with the
/// process. State is bounded: two reorder windows of 512 packets, one frame under way a track (≤ 4 MiB), frames
/// that wait for their segment (≤ 1.5 s, ≤ 4 MiB and one frame) and 16 segments that nobody fetched.
#[derive(Debug)]
pub struct TrackGroupWriter {
    start: Instant,
    writing_app: String,
    audio: Option<Track>,
    video: Option<Track>,
    wall: WallClock,
    pending: Pending,
    ready: VecDeque<Segment>,
    next_segment: u32,
    packets: u64,
    unknown: u64,
    overflowed: u64,
}

impl TrackGroupWriter {
    /// A writer that has seen nothing yet.
    pub fn new(parameters: GroupParameters) -> Self {
        Self {
            start: parameters.recording_start,
            writing_app: parameters.writing_app,
            audio: parameters.audio.map(|codecs| Track::new(MediaKind::Audio, codecs)),
            video: parameters.video.map(|codecs| Track::new(MediaKind::Video, codecs)),
            wall: WallClock::default(),
            pending: Pending::default(),
            ready: VecDeque::new(),
            next_segment: parameters.first_segment,
            packets: 0,
            unknown: 0,
            overflowed: 0,
        }
    }

    /// Tells the codecs of a track that is published later, published anew, or renegotiated.
    /// What came before is let go of: its payload types may mean something else from now on.
    pub fn set_track(&mut self, track: MediaKind, codecs: Vec<Codec>) {
        let slot = match track {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        };
        match slot {
            Some(known) => known.set_codecs(codecs),
            None => *slot = Some(Track::new(track, codecs)),
        }
        self.collect();
    }

    /// Says what a track's frames are encrypted with end to end, if they are, in its publisher's word of at most
    /// [`MAX_ENCRYPTION_BYTES`](super::meta::MAX_ENCRYPTION_BYTES); more is cut. They are stored as they are, and marked so. A track
    /// that was not told of is not marked.
    pub fn set_encryption(&mut self, track: MediaKind, encryption: Option<&str>) {
        let word = encryption.map(|word| {
            let end = word.floor_char_boundary(MAX_ENCRYPTION_BYTES);
            word.get(..end).unwrap_or_default().to_owned()
        });
        let slot = match track {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        };
        if let Some(known) = slot {
            known.set_encryption(word);
        }
        self.collect();
    }

    /// Takes what the tap of `track` saw. Packets of a track that was not told of are counted as unknown.
    ///
    /// # Errors
    /// [`CodecChanged`] when the packet's codec is not the one that this group's file has. A publisher may do that as often as it
    /// likes; how many files it gets is for the caller to bound.
    pub fn push(&mut self, now: Instant, track: MediaKind, item: TapItem) -> Result<(), CodecChanged> {
        let start = self.start;
        self.packets += u64::from(matches!(item, TapItem::Packet(_)));
        let known = match track {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        };
        let Some(known) = known else {
            self.unknown += u64::from(matches!(item, TapItem::Packet(_)));
            return Ok(());
        };
        match item {
            TapItem::Packet(packet) => {
                if let Some((from, to)) = known.codec_change(packet.payload_type) {
                    self.packets -= 1;
                    return Err(CodecChanged {
                        track,
                        from,
                        to,
                        item: TapItem::Packet(packet),
                    });
                }
                known.push(packet);
                known.handle_timeout(now);
            }
            TapItem::SenderReport { ntp, rtp, received } => {
                self.wall.observe(ntp_to_us(ntp), micros_since(start, received));
                known.report(ntp, rtp);
            }
            TapItem::Paused(_) => known.flush(),
        }
        self.collect();
        self.ship(now);
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest; `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tracks = self.tracks().filter_map(|track| track.assembler().poll_timeout());
        tracks.chain(self.pending.timeout()).min()
    }

    /// Gives up on packets that did not come and lets go of media that has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        for track in [&mut self.audio, &mut self.video].into_iter().flatten() {
            track.handle_timeout(now);
        }
        self.collect();
        self.ship(now);
    }

    /// The next segment; to be called until `None` after every `push`, `handle_timeout` and `finish`.
    pub fn poll_segment(&mut self) -> Option<Segment> {
        self.ready.pop_front()
    }

    /// Whether the publisher is to be asked for a key frame now; `true` at most once a second.
    pub fn wants_key_frame(&mut self, now: Instant) -> bool {
        self.video.as_mut().is_some_and(|video| video.wants_key_frame(now))
    }

    /// Ends the group: all that is left becomes segments.
    pub fn finish(&mut self, _now: Instant) {
        for track in [&mut self.audio, &mut self.video].into_iter().flatten() {
            track.flush();
        }
        self.collect();
        self.take(u64::MAX);
    }

    /// Counters.
    pub fn stats(&self) -> GroupStats {
        let mut stats = GroupStats {
            packets: self.packets,
            unknown: self.unknown,
            frames_dropped: self.overflowed,
            ..GroupStats::default()
        };
        for track in self.tracks() {
            let assembler = track.assembler();
            stats.duplicates += assembler.duplicates();
            stats.lost += assembler.lost();
            stats.unknown += assembler.unknown();
            stats.malformed += assembler.malformed();
            stats.frames += track.frames;
            stats.frames_dropped += assembler.dropped() + track.misplaced;
        }
        stats
    }

    /// The number that the next segment will have.
    pub fn next_segment(&self) -> u32 {
        self.next_segment
    }

    fn tracks(&self) -> impl Iterator<Item = &Track> {
        [&self.audio, &self.video].into_iter().flatten()
    }

    /// Takes whole frames from both tracks.
    fn collect(&mut self) {
        for (kind, track) in [(MediaKind::Audio, &mut self.audio), (MediaKind::Video, &mut self.video)] {
            let Some(track) = track else { continue };
            while let Some(Placed {
                time_ms,
                duration_ms,
                frame,
            }) = track.poll(&self.wall, self.start)
            {
                if self.ready.len() >= MAX_READY {
                    self.overflowed += 1;
                    track.await_key();
                    continue;
                }
                track.frames += 1;
                let block = Block {
                    track: kind,
                    time_ms,
                    key: frame.coded.key,
                    data: frame.coded.data,
                };
                self.pending.push(block, time_ms + duration_ms, frame.received);
            }
        }
    }

    /// Makes segments of what is due.
    fn ship(&mut self, now: Instant) {
        let complete_until = self
            .tracks()
            .filter_map(|track| track.live_until(now))
            .min()
            .unwrap_or(u64::MAX);
        while let Some(boundary) = self.pending.due(now, complete_until) {
            self.take(boundary);
        }
    }

    /// Makes segments of the frames before `boundary`.
    fn take(&mut self, boundary: u64) {
        for batch in self.pending.take(boundary) {
            let tracks = TrackList {
                audio: self.audio.as_ref().and_then(Track::description).cloned(),
                video: self.video.as_ref().and_then(Track::description).cloned(),
            };
            self.ready
                .push_back(write_segment(self.next_segment, tracks, &self.writing_app, &batch));
            self.next_segment = self.next_segment.saturating_add(1);
        }
    }
}

/// Writes a whole file with one Cluster.
fn write_segment(number: u32, tracks: TrackList, writing_app: &str, batch: &Batch) -> Segment {
    let mut head = Writer::default();
    write_info(
        &mut head,
        &Info {
            duration_ms: batch.end_ms,
            segment: Some(number),
            writing_app,
        },
    );
    write_tracks(&mut head, &tracks);
    let cluster = cluster_length(batch.blocks.iter());
    let mut file = Writer::with_capacity(head.len() + cluster + 64);
    write_ebml_header(&mut file, &tracks);
    file.id(id::SEGMENT);
    file.size((head.len() + cluster) as u64);
    file.raw(&head.into_bytes());
    let header_len = file.len();
    let cues = write_cluster(&mut file, &batch.blocks);
    let bytes = Bytes::from(file.into_bytes());
    let meta = SegmentMeta {
        number,
        start_ms: batch.blocks.first().map_or(0, |block| block.time_ms),
        end_ms: batch.end_ms,
        // Pending frames and headers are bounded far below 4 GiB.
        length: bytes.len() as u32,
        header_len: header_len as u32,
        audio: tracks.audio,
        video: tracks.video,
        cues,
    };
    Segment { meta, bytes }
}
