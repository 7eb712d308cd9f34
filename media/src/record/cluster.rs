//! A Cluster (RFC 9559 §5.1.3) with a checksum, whose Timestamp takes the same room whatever it is, so that a finished file can
//! count its time from its own start.

use std::ops::Range;

use bytes::Bytes;

use super::ebml::read::Elements;
use super::ebml::{Writer, element_length, id, id_length, size_length};
use super::header::{track_number, track_of};
use super::inspect::InspectError;
use super::meta::CuePoint;
use crate::parameters::MediaKind;

/// The longest media time in a Cluster, in milliseconds; a block's time in it has 16 bits.
pub(crate) const MAX_SPAN_MS: u64 = 2000;
/// Cue points are at least this far apart.
const CUE_SPACING_MS: u64 = 500;
/// CRC-32 and Timestamp elements, which come first.
const CRC_LEN: usize = 6;
const TIMESTAMP_LEN: usize = 10;
/// Track number, time, flags.
const BLOCK_HEADER_LEN: usize = 4;
/// SimpleBlock's flag of a frame that needs no other.
const KEY_FLAG: u8 = 0x80;

/// A frame and its place.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) track: MediaKind,
    pub(crate) time_ms: u64,
    pub(crate) key: bool,
    pub(crate) data: Bytes,
}

/// Bytes that a Cluster of these blocks takes.
pub(crate) fn cluster_length<'a>(blocks: impl Iterator<Item = &'a Block>) -> usize {
    element_length(id::CLUSTER, data_length(blocks))
}

fn data_length<'a>(blocks: impl Iterator<Item = &'a Block>) -> usize {
    let blocks = blocks.map(|block| element_length(id::SIMPLE_BLOCK, BLOCK_HEADER_LEN + block.data.len()));
    CRC_LEN + TIMESTAMP_LEN + blocks.sum::<usize>()
}

/// Appends a Cluster of blocks that are in order of time and span at most [`MAX_SPAN_MS`]; gives its cue points.
pub(crate) fn write_cluster(writer: &mut Writer, blocks: &[Block]) -> Vec<CuePoint> {
    let start_ms = blocks.first().map_or(0, |block| block.time_ms);
    writer.id(id::CLUSTER);
    writer.size(data_length(blocks.iter()) as u64);
    let data = writer.len();
    writer.binary(id::CRC_32, &[0; 4]);
    writer.uint_wide(id::TIMESTAMP, start_ms);
    let mut cues = CueChooser::default();
    for block in blocks {
        cues.note(block.track, block.time_ms, block.key, writer.len() - data);
        // Below 2¹⁵ by MAX_SPAN_MS.
        let relative = (block.time_ms - start_ms) as i16;
        writer.id(id::SIMPLE_BLOCK);
        writer.size((BLOCK_HEADER_LEN + block.data.len()) as u64);
        writer.raw(&[0x80 | track_number(block.track)]);
        writer.raw(&relative.to_be_bytes());
        writer.raw(&[if block.key { KEY_FLAG } else { 0 }]);
        writer.raw(&block.data);
    }
    seal(writer.written_from(data));
    cues.chosen()
}

/// Writes the checksum (RFC 8794 §11.3.1) into a Cluster's data.
fn seal(body: &mut [u8]) {
    if let Some((crc, rest)) = body.split_at_mut_checked(CRC_LEN) {
        let checksum = crc32fast::hash(rest).to_le_bytes();
        crc.iter_mut()
            .skip(2)
            .zip(checksum)
            .for_each(|(byte, value)| *byte = value);
    }
}

/// A Cluster's data within `cluster`, its checksum verified.
///
/// # Errors
/// [`InspectError`] when it is cut, changed, or no Cluster of ours.
pub(crate) fn open_cluster(cluster: &[u8]) -> Result<Range<usize>, InspectError> {
    let mut elements = Elements::new(cluster);
    let element = elements.expect(id::CLUSTER, "Cluster")?;
    if elements.next()?.is_some() {
        return Err(InspectError::Torn);
    }
    let crc = element.children().expect(id::CRC_32, "CRC-32")?;
    let checked = element.data.get(CRC_LEN..).ok_or(InspectError::Torn)?;
    if crc.data != crc32fast::hash(checked).to_le_bytes() {
        return Err(InspectError::Checksum);
    }
    Ok(element.header_len..cluster.len())
}

/// Takes `offset_ms` from the time of a whole Cluster that [`open_cluster`] took for good.
pub(crate) fn rebase(cluster: &mut [u8], data: Range<usize>, offset_ms: u64) {
    let Some(body) = cluster.get_mut(data) else { return };
    // After the Timestamp's ID and size of one byte each.
    if let Some(field) = body.get_mut(CRC_LEN + 2..CRC_LEN + TIMESTAMP_LEN)
        && let Ok(bytes) = <[u8; 8]>::try_from(&*field)
    {
        field.copy_from_slice(&u64::from_be_bytes(bytes).saturating_sub(offset_ms).to_be_bytes());
    }
    seal(body);
}

/// What the blocks of a Cluster tell.
#[derive(Debug)]
pub(crate) struct ClusterContents {
    pub(crate) start_ms: u64,
    pub(crate) cues: Vec<CuePoint>,
    /// Whether there are blocks of a track: audio, video.
    pub(crate) has: (bool, bool),
}

/// Reads a Cluster's data.
///
/// # Errors
/// [`InspectError::Format`] when it is not as [`write_cluster`] writes it.
pub(crate) fn read_cluster(data: &[u8]) -> Result<ClusterContents, InspectError> {
    let mut elements = Elements::new(data);
    elements.expect(id::CRC_32, "CRC-32")?;
    let timestamp = elements.expect(id::TIMESTAMP, "Timestamp")?;
    if timestamp.data.len() + timestamp.header_len != TIMESTAMP_LEN {
        return Err(InspectError::Format("Timestamp"));
    }
    let start_ms = timestamp.uint()?;
    let mut offset = CRC_LEN + TIMESTAMP_LEN;
    let (mut cues, mut has, mut last) = (CueChooser::default(), (false, false), 0);
    while let Some(block) = elements.next()? {
        let [number, high, low, flags, _, ..] = *block.data else {
            return Err(InspectError::Format("SimpleBlock"));
        };
        let track = track_of(u64::from(number & 0x7f)).filter(|_| block.id == id::SIMPLE_BLOCK && number & 0x80 != 0);
        let track = track.ok_or(InspectError::Format("SimpleBlock"))?;
        let relative = u64::from(u16::from_be_bytes([high, low]));
        let in_order = if last == 0 && offset == CRC_LEN + TIMESTAMP_LEN {
            relative == 0
        } else {
            relative >= last
        };
        if !in_order || relative > MAX_SPAN_MS {
            return Err(InspectError::Format("time of a block"));
        }
        last = relative;
        cues.note(track, start_ms.saturating_add(relative), flags & KEY_FLAG != 0, offset);
        match track {
            MediaKind::Audio => has.0 = true,
            MediaKind::Video => has.1 = true,
        }
        offset += block.header_len + block.data.len();
    }
    if has == (false, false) {
        return Err(InspectError::Format("Cluster without blocks"));
    }
    Ok(ClusterContents {
        start_ms,
        cues: cues.chosen(),
        has,
    })
}

/// Chooses where to seek to: the picture's key frames, but not too close together; where there is no picture, the first sound.
#[derive(Debug, Default)]
struct CueChooser {
    has_video: bool,
    first_audio: Option<CuePoint>,
    key_frames: Vec<CuePoint>,
}

impl CueChooser {
    fn note(&mut self, track: MediaKind, time_ms: u64, key: bool, offset: usize) {
        let Ok(offset) = u32::try_from(offset) else { return };
        let cue = CuePoint { time_ms, track, offset };
        match track {
            MediaKind::Audio => {
                self.first_audio.get_or_insert(cue);
            }
            MediaKind::Video => {
                self.has_video = true;
                let spaced = self
                    .key_frames
                    .last()
                    .is_none_or(|last| time_ms - last.time_ms >= CUE_SPACING_MS);
                if key && spaced {
                    self.key_frames.push(cue);
                }
            }
        }
    }

    fn chosen(self) -> Vec<CuePoint> {
        if self.has_video {
            self.key_frames
        } else {
            self.first_audio.into_iter().collect()
        }
    }
}

/// Bytes that the smallest Cluster with a block takes.
pub(crate) fn least_length() -> usize {
    let data = CRC_LEN + TIMESTAMP_LEN + element_length(id::SIMPLE_BLOCK, BLOCK_HEADER_LEN + 1);
    id_length(id::CLUSTER) + size_length(data as u64) + data
}
