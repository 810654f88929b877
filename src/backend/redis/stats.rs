//! Counters of the Redis backend, for the metrics page.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        #[derive(Default)]
        pub(super) struct Counters {
            $(pub $name: AtomicU64,)+
        }

        /// What the counters said at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct RedisStats {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            pub fn read(&self) -> RedisStats {
                RedisStats { $($name: self.$name.load(Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Connections that were made.
    connects,
    /// Connections that broke, or could not be made.
    connection_failures,
    document_reads,
    document_writes,
    /// Writes that found something else.
    document_conflicts,
    /// Documents' commands whose outcome nobody knows.
    document_errors,
    published_events,
    published_bytes,
    published_batches,
    /// Batches that were answered with "again".
    publish_retries,
    /// Of those, the ones that turned out to be taken: their second copy was not sent.
    publish_recovered,
    /// Batches held back because an older one of their lanes had failed.
    publish_held,
    refused_events,
    fetched_events,
    fetches_refused,
    /// Entries of other writers in a stream that are no events, left out.
    foreign_entries,
    /// Readers that wait at the end of a topic, now.
    parked_readers,
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}

pub(super) fn set(gauge: &AtomicU64, value: u64) {
    gauge.store(value, Relaxed);
}
