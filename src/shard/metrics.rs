//! What the shell of a shard measures: plain histograms that only its thread touches.

pub use super::venues::{OTHERS, VenueCounts, Venues};
use hdrhistogram::Histogram;
use std::time::Duration;

#[derive(Clone, Default)]
pub struct ShardMetrics {
    /// Accepted to answered.
    pub send: Latency,
    pub dial: Latency,
    /// One turn of the loop.
    pub turn: Latency,
    /// How late a turn was for the deadline that it was to keep.
    pub lag: Latency,
    /// From the posting, by whichever thread, to the shard's taking it, of the mail that is timed.
    pub mailbox_wait: Latency,
    /// By the upstream's host.
    pub venues: Venues,
    /// A batch handed to the bus to its answer, and so for a document and the store.
    pub publish: Latency,
    pub store: Latency,
}

/// Durations by microsecond, and their exact sum.
#[derive(Clone)]
pub struct Latency {
    micros: Histogram<u64>,
    sum_nanos: u64,
}

impl Default for Latency {
    /// One microsecond to one hour, two digits: some 25 KiB, whatever is recorded.
    fn default() -> Self {
        let micros = Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("constant bounds are valid");
        Latency { micros, sum_nanos: 0 }
    }
}

impl Latency {
    pub fn record(&mut self, took: Duration) {
        self.micros.saturating_record(took.as_micros() as u64);
        self.sum_nanos = self.sum_nanos.saturating_add(took.as_nanos() as u64);
    }

    pub fn count(&self) -> u64 {
        self.micros.len()
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// How many took at most each of these microseconds, within the one per cent that the
    /// histogram tells apart. The bounds rise.
    pub fn cumulative(&self, bounds_micros: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; bounds_micros.len()];
        for cell in self.micros.iter_recorded() {
            let value = self.micros.lowest_equivalent(cell.value_iterated_to());
            let first = bounds_micros.partition_point(|bound| *bound < value);
            if let Some(count) = counts.get_mut(first) {
                *count += cell.count_at_value();
            }
        }
        let mut below = 0;
        for count in &mut counts {
            below += *count;
            *count = below;
        }
        counts
    }
}

impl ShardMetrics {
    pub fn send_ended(&mut self, took: Duration, replied: bool) {
        if replied {
            self.send.record(took);
        }
    }

    pub fn dialled(&mut self, took: Duration, opened: bool) {
        if opened {
            self.dial.record(took);
        }
    }

    pub fn turned(&mut self, took: Duration) {
        self.turn.record(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_was_recorded() {
        let mut latency = Latency::default();
        for micros in [0, 1, 50, 51, 500, 1_000, 60_000_000, 59_000_000, 90_000_000] {
            latency.record(Duration::from_micros(micros));
        }
        assert_eq!(latency.cumulative(&[50, 500, 1_000, 60_000_000]), [3, 5, 6, 8]);
        assert_eq!((latency.count(), latency.sum()), (9, Duration::from_micros(209_001_602)));
        assert_eq!(Latency::default().cumulative(&[1, 2]), [0, 0]);
    }
}
