//! How long things took, counted into fixed buckets: for the pure core, and for threads that keep no
//! finer histogram.

use std::time::Duration;

/// Upper bounds of the buckets; one more holds what took longer.
pub const BOUNDS_MICROS: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 30_000_000,
];
pub const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Not cumulative.
    pub buckets: [u64; BUCKETS],
    pub nanos: u64,
}

impl Tally {
    pub fn record(&mut self, took: Duration) {
        self.buckets[bucket(took)] += 1;
        self.nanos = self.nanos.saturating_add(nanos(took));
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// What another one counted, on top.
    pub fn add(&mut self, other: &Tally) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
    }

    /// How many took at most each of the bounds.
    pub fn cumulative(&self) -> Vec<u64> {
        let mut below = 0;
        let sums = self.buckets.iter().map(|bucket| {
            below += bucket;
            below
        });
        sums.take(BOUNDS_MICROS.len()).collect()
    }
}

/// Where a duration is counted.
pub fn bucket(took: Duration) -> usize {
    // A part of a microsecond is above the bound, not at it.
    BOUNDS_MICROS.partition_point(|bound| u128::from(*bound) * 1000 < took.as_nanos())
}

pub fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_was_recorded() {
        let mut tally = Tally::default();
        for nanos in [0, 50_000, 50_001, 1_000_000, 30_000_000_000, 30_000_000_001] {
            tally.record(Duration::from_nanos(nanos));
        }
        let below = tally.cumulative();
        assert_eq!((below[0], below[1], below[4], below[15]), (2, 3, 4, 5));
        assert_eq!((tally.count(), tally.sum()), (6, Duration::from_nanos(60_001_100_002)));
        let mut twice = tally;
        twice.add(&tally);
        assert_eq!((twice.count(), twice.cumulative()[4]), (12, 8));
        assert!(BOUNDS_MICROS.is_sorted_by(|a, b| a < b));
    }
}
