//! Where frames are placed when clocks jump, drift, pause or are wrong. The sender's truth is known here, so is the right answer.

use caside_media::parameters::MediaKind;
use caside_media::record::clock::{TrackClock, WallClock};

const RATE: i64 = 90_000;
/// Wall time of the sender at recording time 0, in microseconds.
const WALL_US: i64 = 3_900_000_000_000_000;

/// A sender with a clock of its own.
struct Sender {
    wall: WallClock,
    clock: TrackClock,
    placed: Vec<(i64, u64)>,
}

impl Sender {
    fn new() -> Self {
        // Sound, whose corrections are the gentler ones.
        Self {
            wall: WallClock::default(),
            clock: TrackClock::new(MediaKind::Audio, RATE as u32),
            placed: Vec::new(),
        }
    }

    /// A frame captured at `ms`, whose timestamps are `shift_ms` ahead, arrives `delay_ms` later.
    fn frame(&mut self, ms: i64, shift_ms: i64, delay_ms: i64) {
        let rtp = (ms + shift_ms) * RATE / 1000;
        let placed = self
            .clock
            .place(&self.wall, rtp, (ms + delay_ms) * 1000)
            .expect("near its arrival");
        if let Some((_, before)) = self.placed.last() {
            assert!(placed > *before, "{placed} after {before}: time goes on");
        }
        self.placed.push((ms, placed));
    }

    /// A report of `ms` that arrives `delay_ms` later; the wall clock is `wall_shift_ms` off.
    fn report(&mut self, ms: i64, shift_ms: i64, delay_ms: i64, wall_shift_ms: i64) {
        let ntp_us = WALL_US + (ms + wall_shift_ms) * 1000;
        self.wall.observe(ntp_us, (ms + delay_ms) * 1000);
        self.clock.report(ntp_us, (ms + shift_ms) * RATE / 1000);
    }

    /// How far from the truth frames captured from `ms` on are placed, at most.
    fn error_from(&self, ms: i64) -> i64 {
        let errors = self
            .placed
            .iter()
            .filter(|(at, _)| *at >= ms)
            .map(|(at, placed)| (*placed as i64 - at).abs());
        errors.max().expect("frames from then on")
    }
}

#[test]
fn by_arrival_until_the_first_report_then_by_the_report() {
    let mut sender = Sender::new();
    for ms in (0..10_000).step_by(40) {
        // Frames take 150 ms; reports, which are small, 20.
        sender.frame(ms, 0, 150);
        if ms % 1000 == 0 && ms > 0 {
            sender.report(ms, 0, 20, 0);
        }
    }
    assert!(sender.error_from(0) <= 151);
    assert!(sender.error_from(5000) <= 25, "{}", sender.error_from(5000));
}

#[test]
fn jitter_of_arrival_moves_nothing() {
    let mut sender = Sender::new();
    for (index, ms) in (0..20_000).step_by(40).enumerate() {
        let jitter = [0, 35, 10, 80, 5, 120][index % 6];
        sender.frame(ms, 0, 20 + jitter);
    }
    let steps: Vec<u64> = sender
        .placed
        .windows(2)
        .skip(60)
        .map(|pair| pair[1].1 - pair[0].1)
        .collect();
    assert!(steps.iter().all(|step| (38..=42).contains(step)), "{steps:?}");
}

#[test]
fn the_fastest_report_counts() {
    let mut sender = Sender::new();
    for ms in (0..20_000).step_by(40) {
        if ms % 1000 == 0 {
            // Every third report is quick, the others wait in a queue.
            sender.report(ms, 0, if ms % 3000 == 0 { 15 } else { 300 }, 0);
        }
        sender.frame(ms, 0, 30);
    }
    assert!(sender.error_from(2000) <= 20, "{}", sender.error_from(2000));
}

#[test]
fn a_clock_that_runs_slow_or_fast_is_followed() {
    for ppm in [-150i64, 150] {
        let mut sender = Sender::new();
        for ms in (0..600_000).step_by(40) {
            let own_ms = ms * ppm / 1_000_000;
            if ms % 1000 == 0 {
                sender.report(ms, own_ms, 20, own_ms);
            }
            sender.frame(ms, own_ms, 30);
        }
        assert!(sender.error_from(0) <= 25, "{ppm}: {}", sender.error_from(0));
    }
}

#[test]
fn a_jump_of_the_timestamps_is_no_jump_of_time() {
    for jump_ms in [3_600_000, -3_600_000, 5_000, -5_000] {
        let mut sender = Sender::new();
        for ms in (0..20_000).step_by(40) {
            let shift = if ms >= 10_020 { jump_ms } else { 0 };
            if ms % 1000 == 0 {
                sender.report(ms, shift, 20, 0);
            }
            sender.frame(ms, shift, 30);
        }
        assert!(sender.error_from(0) <= 60, "{jump_ms}: {}", sender.error_from(0));
        assert!(
            sender.error_from(12_500) <= 25,
            "{jump_ms}: {}",
            sender.error_from(12_500)
        );
    }
}

#[test]
fn a_pause_is_as_long_as_it_was() {
    // With timestamps that went on during the pause, and with timestamps that stood still.
    for still in [false, true] {
        let mut sender = Sender::new();
        for ms in (0..5000).chain(65_000..70_000).step_by(40) {
            let shift = if still && ms >= 65_000 { -60_000 } else { 0 };
            sender.frame(ms, shift, 30);
        }
        assert!(sender.error_from(0) <= 60, "{still}: {}", sender.error_from(0));
    }
}

#[test]
fn a_wall_clock_set_anew_is_followed_and_a_single_wrong_report_is_not() {
    let mut sender = Sender::new();
    for ms in (0..30_000).step_by(40) {
        if ms % 1000 == 0 {
            let wrong = if ms == 5000 { 86_400_000 } else { 0 };
            let set_back = if ms >= 15_000 { -3_600_000 } else { 0 };
            sender.report(ms, 0, 20, wrong + set_back);
        }
        sender.frame(ms, 0, 30);
    }
    assert!(sender.error_from(0) <= 60, "{}", sender.error_from(0));
}

#[test]
fn another_stream_goes_on_where_the_last_one_ended() {
    let mut sender = Sender::new();
    for ms in (0..10_000).step_by(40) {
        let shift = if ms < 5000 { 7_000_000 } else { 123 };
        if ms == 5000 {
            sender.clock.restart();
        }
        sender.frame(ms, shift, 30);
    }
    assert!(sender.error_from(0) <= 60);
}

#[test]
fn a_sender_that_runs_ahead_of_time_is_not_followed() {
    let mut clock = TrackClock::new(MediaKind::Video, 90_000);
    let wall = WallClock::default();
    let (mut refused, mut furthest) = (0, 0);
    for frame in 0..10_000 {
        // Each frame claims to be 1.9 s later; all come within one second.
        match clock.place(&wall, frame * 171_000, 1_000_000 + frame * 100) {
            Some(placed) => furthest = furthest.max(placed),
            None => refused += 1,
        }
    }
    assert!(furthest <= 4000, "{furthest}");
    assert!(refused > 0, "there is no room for ten thousand frames");
}

/// Reports of sound tell the moment of sending for that of capture: late by 0 to 60 ms here, 25 most often.
#[test]
fn the_report_in_the_middle_counts() {
    let mut sender = Sender::new();
    for (index, ms) in (0..60_000).step_by(20).enumerate() {
        if ms % 2500 == 0 {
            let late = [25, 0, 25, 60, 10, 40, 25][index / 125 % 7];
            sender.report(ms, -late, 20, 0);
        }
        sender.frame(ms, 0, 30);
    }
    assert!(sender.error_from(20_000) <= 46, "{}", sender.error_from(20_000));
    let mut steps = sender.placed.windows(2).skip(1200).map(|pair| pair[1].1 - pair[0].1);
    assert!(steps.all(|step| step == 20), "nothing is cut or stretched");
}

#[test]
fn an_rtp_clock_that_stands_still_in_a_short_pause_is_followed_after_two_reports() {
    let mut sender = Sender::new();
    for ms in (0..10_000).chain(10_500..40_000).step_by(20) {
        let shift = if ms >= 10_500 { -500 } else { 0 };
        if ms % 1000 == 0 {
            sender.report(ms, shift, 20, 0);
        }
        sender.frame(ms, shift, 30);
    }
    assert!(sender.error_from(18_500) <= 21, "{}", sender.error_from(18_500));
}
