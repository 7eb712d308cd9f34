//! Whether a flash is seen when its beep is heard, measured in what ffmpeg decodes from the file.

use std::time::{Duration, Instant};

use caside_media::parameters::CodecKind;

use super::material::{self, FPS, Material, run};
use super::network::{Sending, Trouble, epoch, merged, send};
use super::recorder::{OnDisk, finish, ms, record};

const SECONDS: u32 = 8;
/// What a viewer may notice.
const MOST_MS: f64 = 60.0;

/// A white picture for 200 ms, once a second, from the 13th frame of each on.
fn flashes() -> Material {
    let source = format!(
        "color=black:size=160x90:rate={FPS}:duration={SECONDS},drawbox=color=white:t=fill:enable='between(mod(t,1),0.479,0.679)'"
    );
    material::video_of(CodecKind::Vp8, &source)
}

/// A tone for 200 ms at the same times.
fn beeps() -> Material {
    material::audio_of(&format!(
        "aevalsrc='if(between(mod(t,1),0.48,0.68),0.8*sin(2*PI*1000*t),0)':sample_rate=48000:duration={SECONDS}"
    ))
}

/// When the picture turns white, in seconds.
fn flash_times(file: &OnDisk) -> Vec<f64> {
    let graph = "signalstats,metadata=mode=print:key=lavfi.signalstats.YAVG:file=-";
    let arguments = ["-v", "error", "-nostdin", "-copyts", "-i", file.name(), "-vf", graph];
    let printed = run(
        "ffmpeg",
        &[
            &arguments[..],
            &[
                "-fps_mode",
                "passthrough",
                "-enc_time_base:v",
                "-1",
                "-an",
                "-f",
                "null",
                "-",
            ],
        ]
        .concat(),
    );
    let (mut time, mut white, mut times) = (0.0, false, Vec::new());
    for line in printed.lines() {
        if let Some((_, at)) = line.split_once("pts_time:") {
            time = at.trim().parse().unwrap();
        } else if let Some((_, level)) = line.split_once("YAVG=") {
            let now_white = level.trim().parse::<f64>().unwrap() > 120.0;
            if now_white && !white {
                times.push(time);
            }
            white = now_white;
        }
    }
    times
}

/// When the tone begins, in seconds. Holes and shifts of the timestamps become silence and cuts, as in a player.
fn beep_times(file: &OnDisk) -> Vec<f64> {
    const RATE: f64 = 8000.0;
    let directory = tempfile::tempdir().unwrap();
    let pcm = directory.path().join("sound.pcm");
    let pcm_name = pcm.to_str().unwrap();
    let filter = "aresample=8000:async=1:min_hard_comp=0.01:first_pts=0";
    let arguments = [
        "-v",
        "error",
        "-nostdin",
        "-copyts",
        "-i",
        file.name(),
        "-vn",
        "-af",
        filter,
        "-ac",
        "1",
    ];
    run("ffmpeg", &[&arguments[..], &["-f", "s16le", pcm_name]].concat());
    let bytes = std::fs::read(&pcm).unwrap();
    let samples = bytes
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]).unsigned_abs());
    let (mut times, mut quiet_since) = (Vec::new(), 0);
    for (index, level) in samples.enumerate() {
        if level > 3000 {
            // A quarter of a second of silence comes before each.
            if index - quiet_since > 2000 {
                times.push(index as f64 / RATE);
            }
            quiet_since = index;
        }
    }
    times
}

/// Offsets of beeps to flashes in milliseconds.
fn offsets_ms(file: &OnDisk) -> Vec<f64> {
    let (flashes, beeps) = (flash_times(file), beep_times(file));
    assert!(
        flashes.len() + 1 >= SECONDS as usize && beeps.len() + 1 >= SECONDS as usize,
        "{flashes:?} {beeps:?}"
    );
    let nearest = |at: f64| {
        beeps
            .iter()
            .map(|beep| (beep - at) * 1000.0)
            .min_by(|a, b| a.abs().total_cmp(&b.abs()))
    };
    flashes.iter().map(|at| nearest(*at).unwrap()).collect()
}

/// As browsers do: the picture takes longer on its way, and sound reports seldom.
fn call(start: Instant, video_delay: Duration, audio_delay: Duration) -> (Sending, Sending) {
    let video = Sending {
        delay: video_delay,
        ..Sending::new(start + ms(250))
    };
    let audio = Sending {
        ssrc: 9,
        first_sequence: 3,
        first_timestamp: 4_000_000_000,
        delay: audio_delay,
        report_every: Some(ms(2500)),
        ..Sending::new(start + ms(250))
    };
    (video, audio)
}

#[test]
fn a_flash_is_seen_when_its_beep_is_heard() {
    let (flashes, beeps) = (flashes(), beeps());
    let clean = Trouble::default();
    let rough = Trouble {
        doubled_permille: 20,
        jitter_ms: 25,
        late_permille: 50,
        ..clean
    };
    for (video_delay, audio_delay, drift_ppm, trouble) in [
        (70, 25, 0, clean),
        (25, 60, 0, clean),
        (60, 30, 150, rough),
        (65, 25, -150, rough),
    ] {
        let start = epoch();
        let (mut video, mut audio) = call(start, ms(video_delay), ms(audio_delay));
        (video.drift_ppm, audio.drift_ppm) = (drift_ppm, drift_ppm);
        let arrivals = merged([send(&flashes, &video), send(&beeps, &audio)]);
        let recording = record(start, &[CodecKind::Vp8, CodecKind::Opus], trouble.apply(arrivals, 11));
        let (_, bytes) = finish(&recording.segments);
        let offsets = offsets_ms(&OnDisk::new("flash.webm", &bytes));
        assert!(
            offsets.iter().all(|offset| offset.abs() < MOST_MS),
            "{video_delay} {audio_delay}: {offsets:?}"
        );
    }
}

#[test]
fn a_large_difference_is_gone_soon_after_the_first_reports() {
    let start = epoch();
    let (video, audio) = call(start, ms(230), ms(20));
    let arrivals = merged([send(&flashes(), &video), send(&beeps(), &audio)]);
    let recording = record(start, &[CodecKind::Vp8, CodecKind::Opus], arrivals);
    let (_, bytes) = finish(&recording.segments);
    let offsets = offsets_ms(&OnDisk::new("flash.webm", &bytes));
    assert!(
        offsets.iter().skip(5).all(|offset| offset.abs() < MOST_MS),
        "{offsets:?}"
    );
}

#[test]
fn participants_with_clocks_an_hour_apart_are_recorded_in_step() {
    let (start, flashes) = (epoch(), flashes());
    let times: Vec<Vec<f64>> = [(0.0, 40), (3600.0, 60)]
        .into_iter()
        .map(|(ahead_s, delay)| {
            let (sending, _) = call(start, ms(delay), ms(0));
            let sending = Sending {
                wall_s: sending.wall_s + ahead_s,
                ..sending
            };
            let recording = record(start, &[CodecKind::Vp8], send(&flashes, &sending));
            let (meta, bytes) = finish(&recording.segments);
            let times = flash_times(&OnDisk::new("flash.webm", &bytes));
            times
                .into_iter()
                .map(|time| time * 1000.0 + meta.offset_ms as f64)
                .collect()
        })
        .collect();
    assert!(
        times[0].len() + 1 >= SECONDS as usize && times[0].len() == times[1].len(),
        "{times:?}"
    );
    for (one, other) in times[0].iter().zip(&times[1]) {
        assert!((one - other).abs() < MOST_MS, "{one} {other}");
    }
}
