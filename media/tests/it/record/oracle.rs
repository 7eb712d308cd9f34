//! What we write, read by somebody else's reader of Matroska.

use std::io::Cursor;

use caside_media::parameters::CodecKind;
use caside_media::record::meta::FileMeta;
use mkv_element::FrameData;
use mkv_element::io::blocking_impl::{ReadElement, ReadFrom};
use mkv_element::prelude::{Cluster, Ebml, Element, Header, Segment};

use super::material::{Material, synthetic_audio, synthetic_video};
use super::network::{Sending, epoch, merged, send};
use super::recorder::{Recording, finish, ms, record};

/// A file as the other reader sees it.
pub(super) struct Read {
    pub(super) segment: Segment,
    bytes: Vec<u8>,
    /// First byte of the Segment's data.
    data: usize,
}

pub(super) fn read(bytes: &[u8]) -> Read {
    let mut cursor = Cursor::new(bytes);
    Ebml::read_from(&mut cursor).expect("an EBML header");
    let header = Header::read_from(&mut cursor).expect("a Segment");
    assert_eq!(header.id, Segment::ID);
    let data = cursor.position() as usize;
    assert_eq!(
        *header.size as usize,
        bytes.len() - data,
        "the Segment ends with the file"
    );
    let segment = Segment::read_element(&header, &mut cursor).expect("a Segment's children");
    Read {
        segment,
        bytes: bytes.to_vec(),
        data,
    }
}

impl Read {
    /// Track number, time in milliseconds, key and bytes of each frame.
    pub(super) fn frames(&self) -> Vec<(u64, i64, bool, Vec<u8>)> {
        let frames = self.segment.cluster.iter().flat_map(Cluster::frames).map(|frame| {
            let frame = frame.expect("a block");
            let FrameData::Single(data) = frame.data else {
                panic!("nothing is laced")
            };
            (frame.track_number, frame.timestamp, frame.is_keyframe, data.to_vec())
        });
        frames.collect()
    }

    pub(super) fn data_of(&self, track: u64) -> Vec<Vec<u8>> {
        self.frames()
            .into_iter()
            .filter(|frame| frame.0 == track)
            .map(|frame| frame.3)
            .collect()
    }

    /// Checks each cue point against the Cluster and the block that it points to.
    fn check_cues(&self) -> usize {
        let cues = self.segment.cues.as_ref().expect("Cues");
        for point in &cues.cue_point {
            let place = &point.cue_track_positions[0];
            let cluster_at = self.data + *place.cue_cluster_position as usize;
            let mut cursor = Cursor::new(&self.bytes[cluster_at..]);
            let header = Header::read_from(&mut cursor).expect("a Cluster where the cue points");
            assert_eq!(header.id, Cluster::ID);
            let cluster_data = cluster_at + cursor.position() as usize;
            let cluster = Cluster::read_element(&header, &mut cursor).expect("a Cluster");
            let block = &self.bytes[cluster_data + **place.cue_relative_position.as_ref().unwrap() as usize..];
            // SimpleBlock, its size, then track, time and flags.
            assert_eq!(block[0], 0xa3);
            let body = &block[1 + block[1].leading_zeros() as usize + 1..];
            assert_eq!(u64::from(body[0] & 0x7f), *place.cue_track);
            let time = *cluster.timestamp + u64::from(u16::from_be_bytes([body[1], body[2]]));
            assert_eq!(time, *point.cue_time);
            assert_eq!(body[3] & 0x80, 0x80, "cues point to key frames");
        }
        cues.cue_point.len()
    }

    /// Checks SeekHead against what lies where it points.
    fn check_seek_head(&self) {
        let seeks: Vec<_> = self.segment.seek_head.iter().flat_map(|head| &head.seek).collect();
        assert_eq!(seeks.len(), 3, "Info, Tracks, Cues");
        for seek in seeks {
            let at = self.data + *seek.seek_position as usize;
            assert!(self.bytes[at..].starts_with(&seek.seek_id), "{seek:?}");
        }
    }
}

fn recorded(video: &Material, audio: &Material) -> (Recording, FileMeta, Read) {
    let start = epoch();
    let video = send(video, &Sending::new(start + ms(100)));
    let audio = send(
        audio,
        &Sending {
            ssrc: 5,
            ..Sending::new(start + ms(100))
        },
    );
    let recording = record(start, &[CodecKind::Vp8, CodecKind::Opus], merged([video, audio]));
    let (meta, bytes) = finish(&recording.segments);
    (recording, meta, read(&bytes))
}

#[test]
fn every_frame_comes_out_as_it_went_in() {
    // Among the sizes those whose element sizes would be all ones in one, two and three bytes: 127, 16 383, 2 097 151.
    let sizes: Vec<usize> = (0..250)
        .map(|index| [900, 123, 16_379, 4000, 122, 16_378, 16_380][index % 7])
        .collect();
    let sizes = [&sizes[..], &[2_097_147, 300]].concat();
    let (video, audio) = (synthetic_video(&sizes, 50), synthetic_audio(500));
    let (recording, meta, file) = recorded(&video, &audio);
    let bytes_of = |material: &Material| material.samples.iter().map(|s| s.data.clone()).collect::<Vec<_>>();
    assert!(file.data_of(1) == bytes_of(&video), "pictures");
    assert!(file.data_of(2) == bytes_of(&audio), "sound");
    let times: Vec<i64> = file.frames().iter().map(|frame| frame.1).collect();
    assert_eq!(times[0], 0, "the file counts from its own start");
    assert!(times.is_sorted(), "sound and picture are interleaved by time");
    assert_eq!(
        file.segment.info.duration.as_ref().map(|d| **d),
        Some(meta.duration_ms as f64)
    );
    file.check_seek_head();
    assert_eq!(
        file.check_cues(),
        recording.segments.iter().map(|s| s.meta.cues.len()).sum::<usize>()
    );
    assert!(file.check_cues() >= 5);
}

#[test]
fn a_segment_is_a_file_with_one_cluster() {
    let (recording, ..) = recorded(&synthetic_video(&[3000; 100], 25), &synthetic_audio(200));
    let mut frames = 0;
    for segment in &recording.segments {
        let file = read(&segment.bytes);
        assert_eq!(file.segment.cluster.len(), 1);
        assert_eq!(*file.segment.cluster[0].timestamp, segment.meta.start_ms);
        frames += file.frames().len();
        assert_eq!(
            &segment.bytes[segment.meta.header_len as usize..][..4],
            [0x1f, 0x43, 0xb6, 0x75]
        );
    }
    assert_eq!(frames, 300);
}
