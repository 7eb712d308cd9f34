//! What stands before the Clusters: EBML header, Info and Tracks, written for segments and for finished files alike.

use std::str::FromStr;

use bytes::Bytes;

use super::ebml::read::{Element, Elements};
use super::ebml::{Writer, id};
use super::inspect::InspectError;
use super::meta::{MAX_ENCRYPTION_BYTES, TrackDescription};
use crate::parameters::{CodecKind, MediaKind};

/// One tick is a millisecond, which is what WebM demands.
const TIMESTAMP_SCALE_NS: u64 = 1_000_000;
/// A decoder has to start this much earlier to be converged after a seek (RFC 7845 §4.6).
const OPUS_PRE_ROLL_NS: u64 = 80_000_000;
/// The library's name in MuxingApp.
const MUXING_APP: &str = concat!("caside-media ", env!("CARGO_PKG_VERSION"));
/// The longest WritingApp in bytes.
const MAX_APP_BYTES: usize = 128;

/// Matroska's number of a track; the same in all files.
pub(crate) fn track_number(track: MediaKind) -> u8 {
    match track {
        MediaKind::Video => 1,
        MediaKind::Audio => 2,
    }
}

/// The track of a number.
pub(crate) fn track_of(number: u64) -> Option<MediaKind> {
    [MediaKind::Video, MediaKind::Audio]
        .into_iter()
        .find(|track| u64::from(track_number(*track)) == number)
}

/// The sound and the picture of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TrackList {
    pub(crate) audio: Option<TrackDescription>,
    pub(crate) video: Option<TrackDescription>,
}

impl TrackList {
    pub(crate) fn of(&self, track: MediaKind) -> Option<&TrackDescription> {
        match track {
            MediaKind::Audio => self.audio.as_ref(),
            MediaKind::Video => self.video.as_ref(),
        }
    }

    pub(crate) fn of_mut(&mut self, track: MediaKind) -> &mut Option<TrackDescription> {
        match track {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }

    /// WebM holds VP8, VP9, AV1 and Opus; H.264 needs Matroska.
    pub(crate) fn is_webm(&self) -> bool {
        self.video.as_ref().is_none_or(|video| video.codec != CodecKind::H264)
    }

    pub(crate) fn content_type(&self) -> &'static str {
        match (self.is_webm(), &self.video) {
            (true, Some(_)) => "video/webm",
            (true, None) => "audio/webm",
            (false, _) => "video/x-matroska",
        }
    }

    pub(crate) fn extension(&self) -> &'static str {
        if self.is_webm() { "webm" } else { "mkv" }
    }
}

/// What Info tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Info<'a> {
    /// End of the last frame.
    pub(crate) duration_ms: u64,
    /// The number of a segment; none in a finished file.
    pub(crate) segment: Option<u32>,
    pub(crate) writing_app: &'a str,
}

/// The EBML header (RFC 8794 §11.2).
pub(crate) fn write_ebml_header(writer: &mut Writer, tracks: &TrackList) {
    writer.master(id::EBML, |ebml| {
        ebml.uint(id::EBML_VERSION, 1);
        ebml.uint(id::EBML_READ_VERSION, 1);
        ebml.uint(id::EBML_MAX_ID_LENGTH, 4);
        ebml.uint(id::EBML_MAX_SIZE_LENGTH, 8);
        ebml.text(id::DOC_TYPE, if tracks.is_webm() { "webm" } else { "matroska" });
        ebml.uint(id::DOC_TYPE_VERSION, 4);
        ebml.uint(id::DOC_TYPE_READ_VERSION, 2);
    });
}

/// Info (RFC 9559 §5.1.2).
pub(crate) fn write_info(writer: &mut Writer, info: &Info<'_>) {
    writer.master(id::INFO, |body| {
        if let Some(number) = info.segment {
            body.text(id::SEGMENT_FILENAME, &segment_name(number));
        }
        body.uint(id::TIMESTAMP_SCALE, TIMESTAMP_SCALE_NS);
        // Exact: milliseconds of a recording stay far below 2⁵³.
        body.float(id::DURATION, info.duration_ms as f64);
        body.text(id::MUXING_APP, MUXING_APP);
        let end = info.writing_app.floor_char_boundary(MAX_APP_BYTES);
        body.text(id::WRITING_APP, info.writing_app.get(..end).unwrap_or_default());
    });
}

/// The name of a segment's object.
fn segment_name(number: u32) -> String {
    format!("{number}.mkv")
}

/// Tracks (RFC 9559 §5.1.4).
pub(crate) fn write_tracks(writer: &mut Writer, tracks: &TrackList) {
    writer.master(id::TRACKS, |body| {
        for track in [MediaKind::Video, MediaKind::Audio] {
            if let Some(description) = tracks.of(track) {
                body.master(id::TRACK_ENTRY, |entry| write_track(entry, track, description));
            }
        }
    });
}

fn write_track(entry: &mut Writer, track: MediaKind, description: &TrackDescription) {
    let number = u64::from(track_number(track));
    entry.uint(id::TRACK_NUMBER, number);
    entry.uint(id::TRACK_UID, number);
    entry.uint(id::TRACK_TYPE, if track == MediaKind::Video { 1 } else { 2 });
    entry.uint(id::FLAG_LACING, 0);
    entry.text(id::LANGUAGE, "und");
    if let Some(encryption) = &description.encryption {
        entry.text(id::NAME, &format!("{ENCRYPTED}{encryption}"));
    }
    entry.text(id::CODEC_ID, codec_id(description.codec));
    if !description.codec_private.is_empty() {
        entry.binary(id::CODEC_PRIVATE, &description.codec_private);
    }
    match track {
        MediaKind::Video => entry.master(id::VIDEO, |video| {
            video.uint(id::PIXEL_WIDTH, u64::from(description.width));
            video.uint(id::PIXEL_HEIGHT, u64::from(description.height));
        }),
        MediaKind::Audio => {
            entry.uint(id::SEEK_PRE_ROLL, OPUS_PRE_ROLL_NS);
            entry.master(id::AUDIO, |audio| {
                audio.float(id::SAMPLING_FREQUENCY, 48_000.0);
                audio.uint(id::CHANNELS, u64::from(description.channels));
            });
        }
    }
}

/// What the Name of a track begins with whose frames are encrypted end to end. Matroska's own ContentEncryption would say how to undo
/// it, which nobody here knows.
const ENCRYPTED: &str = "encrypted end to end: ";

/// Matroska's codec mappings.
const CODEC_IDS: [(CodecKind, &str); 5] = [
    (CodecKind::Opus, "A_OPUS"),
    (CodecKind::Vp8, "V_VP8"),
    (CodecKind::Vp9, "V_VP9"),
    (CodecKind::Av1, "V_AV1"),
    (CodecKind::H264, "V_MPEG4/ISO/AVC"),
];

fn codec_id(codec: CodecKind) -> &'static str {
    CODEC_IDS
        .iter()
        .find(|(kind, _)| *kind == codec)
        .map_or("", |(_, name)| name)
}

/// Reads what [`write_info`] wrote: the segment's number and the duration in milliseconds.
pub(crate) fn read_info(info: &Element<'_>) -> Result<(u32, u64), InspectError> {
    let (mut number, mut duration) = (None, None);
    let mut children = info.children();
    while let Some(child) = children.next()? {
        match child.id {
            id::SEGMENT_FILENAME => number = child.text()?.strip_suffix(".mkv").and_then(|n| u32::from_str(n).ok()),
            id::TIMESTAMP_SCALE if child.uint()? != TIMESTAMP_SCALE_NS => {
                return Err(InspectError::Format("TimestampScale"));
            }
            id::DURATION => duration = Some(child.float()?),
            _ => {}
        }
    }
    let number = number.ok_or(InspectError::Format("SegmentFilename"))?;
    let duration = duration
        .filter(|ms| (0.0..MAX_TIME_MS as f64).contains(ms))
        .ok_or(InspectError::Format("Duration"))?;
    Ok((number, duration as u64))
}

/// No recording is longer than this, 34 years.
pub(crate) const MAX_TIME_MS: u64 = 1 << 40;

/// Reads what [`write_tracks`] wrote.
pub(crate) fn read_tracks(tracks: &Element<'_>) -> Result<TrackList, InspectError> {
    let mut list = TrackList::default();
    let mut entries = tracks.children();
    while let Some(entry) = entries.next()? {
        if entry.id != id::TRACK_ENTRY {
            return Err(InspectError::Format("Tracks"));
        }
        let (track, description) = read_track(entry.children())?;
        if list.of_mut(track).replace(description).is_some() {
            return Err(InspectError::Format("TrackNumber"));
        }
    }
    Ok(list)
}

fn read_track(mut children: Elements<'_>) -> Result<(MediaKind, TrackDescription), InspectError> {
    let (mut track, mut codec) = (None, None);
    let (mut codec_private, mut width, mut height, mut channels) = (Bytes::new(), 0, 0, 0);
    let mut encryption = None;
    while let Some(child) = children.next()? {
        match child.id {
            id::TRACK_NUMBER => track = track_of(child.uint()?),
            id::CODEC_ID => {
                let name = child.text()?;
                codec = CODEC_IDS
                    .iter()
                    .find(|(_, known)| *known == name)
                    .map(|(kind, _)| *kind);
            }
            id::NAME => {
                let word = child.text()?.strip_prefix(ENCRYPTED);
                let word = word.filter(|word| word.len() <= MAX_ENCRYPTION_BYTES);
                encryption = Some(word.ok_or(InspectError::Format("Name"))?.to_owned());
            }
            id::CODEC_PRIVATE => codec_private = Bytes::copy_from_slice(child.data),
            id::VIDEO => {
                width = read_setting(&child, id::PIXEL_WIDTH)?;
                height = read_setting(&child, id::PIXEL_HEIGHT)?;
            }
            id::AUDIO => channels = read_setting(&child, id::CHANNELS)?,
            _ => {}
        }
    }
    let track = track.ok_or(InspectError::Format("TrackNumber"))?;
    let codec: CodecKind = codec.ok_or(InspectError::Format("CodecID"))?;
    if codec.media() != track {
        return Err(InspectError::Format("CodecID"));
    }
    let channels = u8::try_from(channels).map_err(|_| InspectError::Format("Channels"))?;
    Ok((
        track,
        TrackDescription {
            codec,
            codec_private,
            width,
            height,
            channels,
            encryption,
        },
    ))
}

/// An unsigned integer among an element's children.
fn read_setting(parent: &Element<'_>, id: u32) -> Result<u32, InspectError> {
    let mut children = parent.children();
    while let Some(child) = children.next()? {
        if child.id == id {
            return u32::try_from(child.uint()?).map_err(|_| InspectError::Format("track setting"));
        }
    }
    Err(InspectError::Format("track setting"))
}
