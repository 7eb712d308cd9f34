//! How well a stream arrives: loss and jitter (RFC 3550 §6.4.1, A.3, A.8).

use std::time::{Duration, Instant};

use crate::parameters::Ssrc;
use crate::rtcp::{NtpTime, ReportBlock, ntp};

/// What a publisher's last sender report said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SenderClock {
    pub(crate) ntp: NtpTime,
    pub(crate) rtp: u32,
    pub(crate) received: Instant,
}

/// The reception of one stream, from its first packet under one SSRC.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    /// The first and the highest extended sequence number.
    range: Option<(u64, u64)>,
    /// What the first packet's extended number has above its 16 bits: cycles are counted from there.
    first_cycle: u64,
    received: u64,
    /// Of what was received, how much came as retransmissions.
    restored: u64,
    expected_before: u64,
    received_before: u64,
    /// Transit time of the packet before, on the stream's clock, from an arbitrary origin.
    transit: Option<u32>,
    /// In 1/16 of the stream's clock.
    jitter_16: u32,
}

impl Reception {
    /// Counts a packet that came for the first time. `arrival` is the time since any fixed moment.
    pub(crate) fn packet(&mut self, extended: u64, timestamp: u32, arrival: Duration, clock_rate: u32, restored: bool) {
        if self.range.is_none() {
            self.first_cycle = extended & !0xffff;
        }
        let (first, highest) = self.range.unwrap_or((extended, extended));
        self.range = Some((first.min(extended), highest.max(extended)));
        self.received += 1;
        if restored {
            // Its transit time is that of the retransmission.
            self.restored += 1;
            return;
        }
        let ticks = (arrival.as_micros() * u128::from(clock_rate) / 1_000_000) as u32;
        let transit = ticks.wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
            // Not a jitter but a new origin: the publisher's clock was set anew.
            if difference < clock_rate.saturating_mul(10) {
                self.jitter_16 = (self.jitter_16 + difference).saturating_sub((self.jitter_16 + 8) >> 4);
            }
        }
    }

    /// Counts a packet that came after its content had come by another way. It says nothing of the way's evenness.
    pub(crate) fn late(&mut self, extended: u64) {
        if self
            .range
            .is_some_and(|(first, highest)| (first..=highest).contains(&extended))
        {
            self.received += 1;
        }
    }

    /// Packets that never came, not even as a retransmission.
    pub(crate) fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    /// On the stream's clock.
    pub(crate) fn jitter(&self) -> u32 {
        self.jitter_16 >> 4
    }

    /// The report block for the interval since the block before; `None` while nothing came.
    ///
    /// Restored packets count as lost: the report is about the path.
    pub(crate) fn report(&mut self, now: Instant, ssrc: Ssrc, clock: Option<&SenderClock>) -> Option<ReportBlock> {
        let (_, highest) = self.range?;
        let expected = self.expected();
        let received = self.received - self.restored;
        let expected_now = expected.saturating_sub(self.expected_before);
        let received_now = received.saturating_sub(self.received_before);
        (self.expected_before, self.received_before) = (expected, received);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction_lost = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8;
        let lost = (expected as i64 - received as i64).clamp(-(1 << 23), (1 << 23) - 1) as i32;
        let (last_report, delay) = clock.map_or((0, 0), |clock| {
            (
                clock.ntp.compact(),
                ntp::to_compact(now.saturating_duration_since(clock.received)),
            )
        });
        Some(ReportBlock {
            ssrc,
            fraction_lost,
            lost,
            highest: highest.saturating_sub(self.first_cycle) as u32,
            jitter: self.jitter(),
            last_report,
            delay,
        })
    }

    fn expected(&self) -> u64 {
        self.range.map_or(0, |(first, highest)| highest - first + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::test_start;

    #[test]
    fn counts_losses_of_the_interval_and_of_all_time() {
        let mut reception = Reception::default();
        assert_eq!(reception.report(test_start(), Ssrc(1), None), None);
        let packet = |reception: &mut Reception, extended: u64, restored| {
            reception.packet(
                extended,
                extended as u32 * 960,
                Duration::from_millis(extended * 20),
                48_000,
                restored,
            );
        };
        for extended in [10, 11, 13, 12, 17] {
            packet(&mut reception, 0x3_0000 + extended, false);
        }
        let block = reception.report(test_start(), Ssrc(1), None).unwrap();
        assert_eq!((block.lost, block.fraction_lost, block.highest), (3, 96, 17));
        packet(&mut reception, 0x3_0000 + 14, true);
        packet(&mut reception, 0x3_0000 + 18, false);
        let block = reception.report(test_start(), Ssrc(1), None).unwrap();
        assert_eq!((block.lost, block.fraction_lost), (3, 0));
        assert_eq!(reception.lost(), 2);
    }

    #[test]
    fn an_even_stream_has_no_jitter_and_an_uneven_one_converges() {
        let mut even = Reception::default();
        let mut uneven = Reception::default();
        for n in 0..500u64 {
            let timestamp = n as u32 * 3000;
            even.packet(n, timestamp, Duration::from_micros(n * 1_000_000 / 30), 90_000, false);
            // Every second packet 10 ms late: each step differs by 900 ticks from the one before.
            let late = if n % 2 == 0 { 0 } else { 10_000 };
            uneven.packet(
                n,
                timestamp,
                Duration::from_micros(n * 1_000_000 / 30 + late),
                90_000,
                false,
            );
        }
        assert!(even.jitter() <= 1);
        assert!(uneven.jitter().abs_diff(900) < 20, "{}", uneven.jitter());
    }

    #[test]
    fn tells_which_sender_report_was_last_and_how_long_ago() {
        let mut reception = Reception::default();
        reception.packet(0, 0, Duration::ZERO, 48_000, false);
        let clock = SenderClock {
            ntp: NtpTime(0x1111_2222_3333_4444),
            rtp: 0,
            received: test_start(),
        };
        let now = test_start() + Duration::from_millis(500);
        let block = reception.report(now, Ssrc(1), Some(&clock)).unwrap();
        assert_eq!((block.last_report, block.delay), (0x2222_3333, 0x8000));
    }
}
