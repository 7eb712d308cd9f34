//! How much arrives.

/// The time that one bucket counts.
const BUCKET_US: i64 = 20_000;

/// Buckets kept, a power of two: 1.28 s.
const BUCKETS: usize = 64;

/// Bytes by the time they arrived, on the receiver's clock.
#[derive(Debug)]
pub struct Delivered {
    bytes: [u32; BUCKETS],
    /// The bucket of the latest arrival, and that of the first of all.
    newest: Option<i64>,
    oldest: i64,
}

impl Default for Delivered {
    fn default() -> Self {
        Self {
            bytes: [0; BUCKETS],
            newest: None,
            oldest: 0,
        }
    }
}

impl Delivered {
    /// `bytes` arrived.
    pub fn add(&mut self, arrived_us: i64, bytes: u32) {
        let bucket = arrived_us.div_euclid(BUCKET_US);
        match self.newest {
            None => {
                self.newest = Some(bucket);
                self.oldest = bucket;
            }
            Some(newest) if bucket > newest => {
                for skipped in (newest + 1..=bucket).take(BUCKETS) {
                    self.bytes[Self::index(skipped)] = 0;
                }
                self.newest = Some(bucket);
            }
            Some(newest) if newest - bucket >= BUCKETS as i64 => return,
            Some(_) => {}
        }
        let count = &mut self.bytes[Self::index(bucket)];
        *count = count.saturating_add(bytes);
    }

    /// Reads what the next arrivals need; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        let lines = self.bytes.iter().step_by(16);
        lines.fold(self.oldest as u64, |read, bytes| read ^ u64::from(*bytes))
    }

    /// Bits a second over the last `window_us` (at most 1.26 s). `None` until that much time was seen.
    ///
    /// The bucket of the latest arrival is left out: it may not be full yet.
    pub fn rate(&self, window_us: i64) -> Option<f64> {
        let newest = self.newest?;
        let buckets = (window_us / BUCKET_US).clamp(1, BUCKETS as i64 - 1);
        if newest - self.oldest < buckets {
            return None;
        }
        let bytes: u64 = (newest - buckets..newest)
            .map(|bucket| u64::from(self.bytes[Self::index(bucket)]))
            .sum();
        Some(bytes as f64 * 8e6 / (buckets * BUCKET_US) as f64)
    }

    fn index(bucket: i64) -> usize {
        bucket.rem_euclid(BUCKETS as i64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_rate_of_the_window_and_no_more() {
        let mut delivered = Delivered::default();
        assert_eq!(delivered.rate(200_000), None);
        // 1 Mbit/s, then 200 kbit/s.
        (0..1000).for_each(|ms| delivered.add(ms * 1000 - 500_000, 125));
        assert_eq!(delivered.rate(500_000), Some(1_000_000.0));
        (1000..1400).for_each(|ms| delivered.add(ms * 1000 - 500_000, 25));
        assert_eq!(delivered.rate(200_000), Some(200_000.0));
        // A silence counts as well.
        delivered.add(1_400_000, 25);
        assert_eq!(delivered.rate(200_000), Some(0.0));
        delivered.add(0, 1_000_000);
        assert_eq!(delivered.rate(1_200_000).map(|rate| rate < 1_000_000.0), Some(true));
    }
}
