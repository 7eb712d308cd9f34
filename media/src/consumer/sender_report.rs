//! What a sender report to a receiver says of the clocks (RFC 3550 §6.4.1).

use std::time::{Duration, Instant};

use crate::consumer::mapping::Mapping;
use crate::producer::receiver_report::SenderClock;
use crate::rtcp::{NtpTime, ntp};

/// A publisher that has sent packets for so long without a sender report will not send one.
const PATIENCE: Duration = Duration::from_secs(6);

/// The publisher's wall clock and ours. One for all streams of a publisher: whatever error it has shifts them together, so
/// that sound and picture stay in sync.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockOffset {
    /// Ours less theirs.
    offset: i64,
}

/// How far the offset may drift before it is taken anew: 0.5 s.
const MAX_DRIFT: u64 = 1 << 31;

impl ClockOffset {
    /// Takes a sender report: `theirs` is its time, `ours` when it came.
    pub(crate) fn observe(known: Option<Self>, ours: NtpTime, theirs: NtpTime) -> Self {
        let offset = ours.since(theirs);
        match known {
            Some(known) if offset.abs_diff(known.offset) <= MAX_DRIFT => known,
            _ => Self { offset },
        }
    }

    /// As another engine knows it.
    pub(crate) fn from_raw(offset: i64) -> Self {
        Self { offset }
    }

    /// Ours less theirs, in 1/2^32 s.
    pub(crate) fn raw(self) -> i64 {
        self.offset
    }
}

/// The RTP timestamp, as the receiver sees it, of the moment that is `ours` on our wall clock.
///
/// `clock` is the publisher's last sender report on the stream. Without one the arrival of the latest packet stands in for it,
/// but only when none is to be expected: a guess replaced by the truth would shift sound against picture.
pub(crate) fn timestamp_at(
    now: Instant,
    ours: NtpTime,
    mapping: &Mapping,
    clock: Option<(&SenderClock, ClockOffset)>,
    clock_rate: u32,
    first_packet: Option<Instant>,
) -> Option<u32> {
    if let Some((clock, offset)) = clock {
        let since = ours.moved(offset.offset.wrapping_neg()).since(clock.ntp);
        return mapping.timestamp(clock.rtp.wrapping_add(ntp::to_ticks(since, clock_rate) as u32));
    }
    let waited = now.saturating_duration_since(first_packet?);
    let (latest, arrival) = mapping.latest().filter(|_| waited >= PATIENCE)?;
    let since = now.saturating_duration_since(arrival).as_micros() * u128::from(clock_rate) / 1_000_000;
    Some(latest.wrapping_add(since as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Layer;
    use crate::producer::ring::PacketInfo;
    use crate::producer::test_start;

    fn mapping(timestamp: u32) -> Mapping {
        let mut mapping = Mapping::new(0, 90_000, true);
        let info = PacketInfo {
            timestamp,
            key_frame: true,
            ..PacketInfo::plain(1)
        };
        let mapped = mapping.start(&info, 0, None, None, Layer::TOP, None);
        mapping.sent(mapped, info.arrival);
        mapping
    }

    #[test]
    fn sound_and_picture_of_one_moment_get_one_time() {
        let unix = |ms| NtpTime::from_unix(Duration::from_millis(ms));
        // The publisher's clock is 1 h behind. Its reports on sound and picture leave 400 ms apart and take different time.
        let late = 3_600_000;
        let offset = ClockOffset::observe(None, unix(10_000_000 + 20), unix(10_000_000 - late));
        let again = ClockOffset::observe(Some(offset), unix(10_000_400 + 90), unix(10_000_400 - late));
        let audio = SenderClock {
            ntp: unix(10_000_000 - late),
            rtp: 48_000,
            received: test_start(),
        };
        let video = SenderClock {
            ntp: unix(10_000_400 - late),
            rtp: 900_000,
            received: test_start(),
        };
        let now = unix(10_001_020);
        let at = |clock, offset, rate| {
            timestamp_at(test_start(), now, &mapping(0), Some((clock, offset)), rate, None).unwrap()
        };
        // 1 s after the report on sound, so 0.6 s after that on the picture.
        assert!(at(&audio, offset, 48_000).abs_diff(96_000) <= 1);
        assert!(at(&video, again, 90_000).abs_diff(954_000) <= 1);
    }

    #[test]
    fn a_clock_that_was_set_is_followed() {
        let unix = |ms| NtpTime::from_unix(Duration::from_millis(ms));
        let before = ClockOffset::observe(None, unix(5000), unix(5000));
        assert_eq!(ClockOffset::observe(Some(before), unix(6000), unix(5600)).offset, 0);
        assert_ne!(ClockOffset::observe(Some(before), unix(6000), unix(9000)).offset, 0);
    }

    #[test]
    fn without_reports_the_latest_packet_stands_in_after_a_while() {
        let at = |ms| {
            let now = test_start() + Duration::from_millis(ms);
            timestamp_at(now, NtpTime(0), &mapping(500), None, 90_000, Some(test_start()))
        };
        assert_eq!(at(5000), None);
        assert_eq!(at(7000), Some(500 + 7 * 90_000));
    }
}
