//! Encoded sound and pictures, made by ffmpeg when a test runs.

use std::path::Path;
use std::process::Command;

use caside_media::parameters::CodecKind;

/// One encoded frame.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Its time in ticks of the codec's RTP clock, from 0.
    pub(super) ticks: u32,
    /// As the encoder gave it: IVF frame, Annex B access unit, AV1 temporal unit or Opus packet.
    pub(super) data: Vec<u8>,
}

/// Frames of one codec.
#[derive(Debug, Clone)]
pub(super) struct Material {
    pub(super) codec: CodecKind,
    pub(super) samples: Vec<Sample>,
}

pub(super) const WIDTH: u32 = 320;
pub(super) const HEIGHT: u32 = 180;
pub(super) const FPS: u32 = 25;

/// Runs a tool and gives its standard output; what it has to complain about fails the test.
pub(super) fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("these tests need {tool} (Debian: apt-get install ffmpeg): {error}"));
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && complaints.is_empty(),
        "{tool} {arguments:?}: {complaints}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn encode(arguments: &[&str], file: &Path) -> Vec<u8> {
    let file = file.to_str().unwrap();
    run(
        "ffmpeg",
        &[&["-v", "error", "-nostdin", "-y"], arguments, &[file]].concat(),
    );
    std::fs::read(file).unwrap()
}

/// What a moving test picture looks like, `seconds` long, with a key frame a second.
pub(super) fn video(codec: CodecKind, seconds: u32) -> Material {
    let source = format!("testsrc2=size={WIDTH}x{HEIGHT}:rate={FPS}:duration={seconds}");
    video_of(codec, &source)
}

/// Any picture that an lavfi graph makes, at [`FPS`], with a key frame a second.
pub(super) fn video_of(codec: CodecKind, source: &str) -> Material {
    let directory = tempfile::tempdir().unwrap();
    let gop = FPS.to_string();
    let input = [
        "-f",
        "lavfi",
        "-i",
        source,
        "-pix_fmt",
        "yuv420p",
        "-g",
        &gop,
        "-keyint_min",
        &gop,
    ];
    let encoder: &[&str] = match codec {
        CodecKind::Vp8 => &[
            "-c:v",
            "libvpx",
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
            "-b:v",
            "1M",
            "-auto-alt-ref",
            "0",
        ],
        CodecKind::Vp9 => &[
            "-c:v",
            "libvpx-vp9",
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
            "-b:v",
            "1M",
            "-lag-in-frames",
            "0",
        ],
        CodecKind::Av1 => &[
            "-c:v",
            "libaom-av1",
            "-usage",
            "realtime",
            "-cpu-used",
            "8",
            "-b:v",
            "1M",
            "-lag-in-frames",
            "0",
        ],
        CodecKind::H264 => &[
            "-c:v",
            "libx264",
            "-profile:v",
            "baseline",
            "-preset",
            "ultrafast",
            "-tune",
            "zerolatency",
            "-b:v",
            "1M",
            "-sc_threshold",
            "0",
            "-bsf:v",
            "h264_metadata=aud=insert",
        ],
        CodecKind::Opus => panic!("no picture"),
    };
    let name = if codec == CodecKind::H264 {
        "video.h264"
    } else {
        "video.ivf"
    };
    let bytes = encode(&[&input, encoder].concat(), &directory.path().join(name));
    let frames = if codec == CodecKind::H264 {
        access_units(&bytes)
    } else {
        ivf_frames(&bytes)
    };
    let ticks = (0..).step_by((90_000 / FPS) as usize);
    Material {
        codec,
        samples: ticks.zip(frames).map(|(ticks, data)| Sample { ticks, data }).collect(),
    }
}

/// Opus in packets of 20 ms from an lavfi source.
pub(super) fn audio_of(source: &str) -> Material {
    let directory = tempfile::tempdir().unwrap();
    let arguments = [
        "-f",
        "lavfi",
        "-i",
        source,
        "-c:a",
        "libopus",
        "-application",
        "lowdelay",
        "-b:a",
        "48k",
    ];
    let bytes = encode(&arguments, &directory.path().join("audio.ogg"));
    let packets = ogg_packets(&bytes).into_iter().skip(2);
    let ticks = (0..).step_by(960);
    Material {
        codec: CodecKind::Opus,
        samples: ticks.zip(packets).map(|(ticks, data)| Sample { ticks, data }).collect(),
    }
}

/// A tone.
pub(super) fn audio(seconds: u32) -> Material {
    audio_of(&format!("sine=frequency=440:sample_rate=48000:duration={seconds}"))
}

/// IVF: a header of 32 bytes, then frames behind headers of 12.
fn ivf_frames(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut frames) = (&file[32..], Vec::new());
    while rest.len() > 12 {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        frames.push(rest[12..12 + length].to_vec());
        rest = &rest[12 + length..];
    }
    frames
}

/// Annex B, cut before each access unit delimiter.
fn access_units(file: &[u8]) -> Vec<Vec<u8>> {
    let delimiter = [0, 0, 0, 1, 9];
    let starts: Vec<usize> = (0..file.len())
        .filter(|at| file[*at..].starts_with(&delimiter))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([file.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| file[*start..end].to_vec())
        .collect()
}

/// Ogg (RFC 3533): packets put together from the segments of pages.
fn ogg_packets(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut packets, mut packet) = (file, Vec::new(), Vec::new());
    while rest.starts_with(b"OggS") {
        let count = rest[26] as usize;
        let (lacing, mut body) = rest[27..].split_at(count);
        for length in lacing {
            let (segment, after) = body.split_at(*length as usize);
            packet.extend_from_slice(segment);
            body = after;
            if *length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        rest = body;
    }
    packets
}

/// Bytes that are VP8 frames as far as anything here looks: a key frame every `gop` frames, of these sizes.
pub(super) fn synthetic_video(sizes: &[usize], gop: usize) -> Material {
    let ticks = (0..).step_by((90_000 / FPS) as usize);
    let samples = ticks.zip(sizes.iter().enumerate()).map(|(ticks, (index, size))| {
        let key = index % gop == 0;
        // Frame tag, start code, 64 × 36.
        let head: &[u8] = if key {
            &[0x10, 0, 0, 0x9d, 1, 0x2a, 64, 0, 36, 0]
        } else {
            &[0x11, 0, 0]
        };
        let mut data = head.to_vec();
        data.resize((*size).max(head.len()), index as u8);
        Sample { ticks, data }
    });
    Material {
        codec: CodecKind::Vp8,
        samples: samples.collect(),
    }
}

/// Opus packets of 20 ms that differ in their content.
pub(super) fn synthetic_audio(count: usize) -> Material {
    let ticks = (0..).step_by(960).take(count);
    let samples = ticks.enumerate().map(|(index, ticks)| Sample {
        ticks,
        data: vec![0xfc, index as u8, (index >> 8) as u8],
    });
    Material {
        codec: CodecKind::Opus,
        samples: samples.collect(),
    }
}
