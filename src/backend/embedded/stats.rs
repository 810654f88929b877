//! Counters of the embedded backend, for the metrics page.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the fsync histogram's buckets; one more bucket holds what is slower.
pub const FSYNC_BUCKETS_MICROS: [u64; 11] =
    [100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 1_000_000];

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        #[derive(Default)]
        pub struct Counters {
            $(pub $name: AtomicU64,)+
            fsync_buckets: [AtomicU64; FSYNC_BUCKETS_MICROS.len() + 1],
        }

        /// A reading of every counter.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct EmbeddedStats {
            $($(#[$doc])* pub $name: u64,)+
            /// Fsyncs by duration, not cumulative: one count a bound of `FSYNC_BUCKETS_MICROS`,
            /// and one for what is slower.
            pub fsync_buckets: [u64; FSYNC_BUCKETS_MICROS.len() + 1],
        }

        impl Counters {
            pub fn read(&self) -> EmbeddedStats {
                EmbeddedStats {
                    $($name: self.$name.load(Relaxed),)+
                    fsync_buckets: std::array::from_fn(|i| self.fsync_buckets[i].load(Relaxed)),
                }
            }
        }
    };
}

counters! {
    /// Events and their bytes (with record headers) written to the bus.
    appended_events,
    appended_bytes,
    /// Write calls of the bus: events / writes is the size of a group.
    bus_writes,
    /// Batches answered with "try again", and events refused for good.
    bus_retries,
    bus_refused_events,
    bus_errors,
    /// Fetches refused because too many wait.
    fetches_refused,
    fsyncs,
    fsync_micros,
    fsync_errors,
    /// Damaged places met in log files, and bytes cut from torn tails.
    damaged_places,
    torn_bytes,
    segments_deleted,
    /// Gauges.
    topics,
    segments,
    parked_readers,
    open_files,
    bus_bytes,
    spill_bytes,
    spill_appended,
    spill_popped,
    /// Appends answered false: the bound was reached.
    spill_refused,
    spill_errors,
    store_writes,
    store_commits,
    store_errors,
}

impl Counters {
    pub fn fsynced(&self, took: Duration, ok: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.fsyncs.fetch_add(1, Relaxed);
        self.fsync_micros.fetch_add(micros, Relaxed);
        let bucket = FSYNC_BUCKETS_MICROS.partition_point(|&bound| bound < micros);
        self.fsync_buckets[bucket].fetch_add(1, Relaxed);
        if !ok {
            self.fsync_errors.fetch_add(1, Relaxed);
        }
    }
}

pub fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}
