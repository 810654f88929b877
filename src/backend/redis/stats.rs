//! Counters of what stands on Redis, for the metrics page.

use crate::wire::jararaca::Poison;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($counters:ident, $stats:ident { $($(#[$doc:meta])* $name:ident,)+ }) => {
        #[derive(Default)]
        pub(super) struct $counters {
            $(pub $name: AtomicU64,)+
        }

        /// What the counters said at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $stats {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl $counters {
            pub fn read(&self) -> $stats {
                $stats { $($name: self.$name.load(Relaxed),)+ }
            }
        }
    };
}

counters! {
    Counters, RedisStats {
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
}

counters! {
    RoomCounters, RedisRoomsStats {
        /// Connections that were made, and those that broke or could not be made.
        connects,
        connection_failures,
        /// Messages that have their numbers and are on their way.
        sent,
        /// Messages that were surely not sent, and those of which nobody knows.
        not_sent,
        maybe_sent,
        /// Refused because too many wait.
        refused,
        arrived,
        arrived_bytes,
        /// What came on a room's channel and is no message of it, and such entries of histories.
        malformed,
        /// Rooms whose subscription was broken and stands again.
        resumed,
        /// Rooms whose number at the server was another than what had come, without a broken connection.
        corrected,
        reads,
        read_errors,
        /// Rooms that are subscribed, or are about to be, now.
        subscribed,
    }
}

counters! {
    RelayCounters, RedisRelayStats {
        connects,
        connection_failures,
        sent,
        /// Those who got what was sent, us included.
        receivers,
        /// Sent to nobody at all.
        unheard,
        not_sent,
        maybe_sent,
        refused,
        heard,
        heard_bytes,
        /// Heard, and not come to a room here, as the listener says.
        lost,
        no_separator,
        not_utf8,
        bad_room,
        no_rooms,
        too_many_rooms,
        too_long,
    }
}

/// Why something on the relay's channels was left out.
pub const POISON_KINDS: [&str; Poison::ALL.len()] = {
    let mut names = [""; Poison::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Poison::ALL[at].name();
        at += 1;
    }
    names
};

impl RedisRelayStats {
    /// In the order of `POISON_KINDS`.
    pub fn poison(&self) -> [u64; Poison::ALL.len()] {
        [self.no_separator, self.not_utf8, self.bad_room, self.no_rooms, self.too_many_rooms, self.too_long]
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}

pub(super) fn set(gauge: &AtomicU64, value: u64) {
    gauge.store(value, Relaxed);
}
