//! Wall clock times as RTP writes them.

use std::time::Duration;

/// Seconds from 1900, where NTP counts from, to 1970.
const UNIX_EPOCH_IN_NTP_S: u64 = 2_208_988_800;

/// A wall clock time: seconds since 1900 as 32.32 fixed point (RFC 3550 §4), modulo 2^32 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The time at this distance from the Unix epoch.
    pub fn from_unix(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs().wrapping_add(UNIX_EPOCH_IN_NTP_S);
        let fraction = (u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000;
        Self(seconds << 32 | fraction)
    }

    /// The middle 32 bits: 1/65536 s (RFC 3550 §4).
    pub fn compact(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// 6.18 fixed point seconds in 24 bits, the unit of the abs-send-time header extension.
    pub fn abs_send_time(self) -> u32 {
        (self.0 >> 14) as u32 & 0x00ff_ffff
    }

    /// This time less `earlier`, as 32.32 fixed point seconds; over the wrap of 2036 too.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }

    /// This time moved by 32.32 fixed point seconds.
    pub fn moved(self, by: i64) -> Self {
        Self(self.0.wrapping_add_signed(by))
    }
}

/// 32.32 fixed point seconds as ticks of a clock of `rate` Hz, rounded down.
pub fn to_ticks(fixed: i64, rate: u32) -> i64 {
    ((i128::from(fixed) * i128::from(rate)) >> 32) as i64
}

/// A compact NTP difference (1/65536 s) as a duration.
pub fn from_compact(difference: u32) -> Duration {
    Duration::from_nanos(u64::from(difference) * 1_000_000_000 / 65_536)
}

/// A duration as a compact NTP difference (1/65536 s); at most what 32 bits hold.
pub fn to_compact(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos() * 65_536 / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_becomes_ntp_time() {
        let time = NtpTime::from_unix(Duration::from_millis(1500));
        assert_eq!(time.0 >> 32, 2_208_988_801);
        assert_eq!(time.0 as u32, 1 << 31);
        assert_eq!(time.compact(), (2_208_988_801u32 & 0xffff) << 16 | 0x8000);
        assert_eq!(time.abs_send_time(), (2_208_988_801u32 & 0x3f) << 18 | 1 << 17);
    }

    #[test]
    fn differences_become_ticks_and_durations() {
        let early = NtpTime::from_unix(Duration::from_secs(10));
        let late = NtpTime::from_unix(Duration::from_millis(10_500));
        assert_eq!(to_ticks(late.since(early), 90_000), 45_000);
        assert_eq!(to_ticks(early.since(late), 48_000), -24_000);
        assert_eq!(early.moved(late.since(early)), late);
        assert_eq!(
            from_compact(to_compact(Duration::from_millis(250))),
            Duration::from_millis(250)
        );
    }

    #[test]
    fn the_wrap_of_2036_is_a_small_step() {
        let before = NtpTime(u64::MAX - (1 << 31) + 1);
        let after = before.moved(1 << 32);
        assert!(after.0 < before.0);
        assert_eq!(after.since(before), 1 << 32);
    }
}
