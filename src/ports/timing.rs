//! Durations that adapters and edges measure for the metrics page: one relaxed add each, from any thread.

use crate::core::tally::{BUCKETS, Tally, bucket, nanos};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

#[derive(Debug, Default)]
pub struct Timing {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Timing {
    pub fn record(&self, took: Duration) {
        self.buckets[bucket(took)].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos(took), Relaxed);
    }

    /// What was recorded up to about now.
    pub fn read(&self) -> Tally {
        Tally {
            buckets: std::array::from_fn(|n| self.buckets[n].load(Relaxed)),
            nanos: self.nanos.load(Relaxed),
        }
    }
}

/// What a backend is asked, as labels name it.
pub const CALLS: [&str; 3] = ["publish", "read", "write"];

/// One for each of `CALLS`.
#[derive(Debug, Default)]
pub struct CallTimes {
    pub publish: Timing,
    pub read: Timing,
    pub write: Timing,
}

impl CallTimes {
    /// In the order of `CALLS`.
    pub fn tallies(&self) -> [Tally; CALLS.len()] {
        [self.publish.read(), self.read.read(), self.write.read()]
    }
}
