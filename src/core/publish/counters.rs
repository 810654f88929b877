//! The books: every message that came in is found again under one of these.

use crate::core::{
    reason::{DropReason, GapCause},
    tally::Tally,
};

/// Messages, where nothing else is said. Only ever rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed in, dropped ones included.
    pub accepted: u64,
    /// Left in the spill log by an earlier process, and settled with the bus by this one.
    pub restored: u64,
    /// Taken by the bus.
    pub delivered: u64,
    pub dropped: [u64; DropReason::COUNT],
    /// Gap records handed on, a run of joined ones counted once.
    pub gap_records: [u64; GapCause::COUNT],
    /// Gap records, end markers and lifecycle events that the bus refused.
    pub records_refused: u64,
    /// Lifecycle events dropped because the queue was far over its bound.
    pub lifecycle_dropped: u64,
    /// End markers that a full waiting room dropped.
    pub ends_dropped: u64,
    /// Records of the spill log that could not be read.
    pub records_unreadable: u64,
    pub batches_taken: u64,
    pub batches_retried: u64,
    pub batches_spilled: u64,
    /// From a batch's first event to handing it to the bus for the first time; time on the spill log
    /// does not count.
    pub waited: Tally,
}

impl Counters {
    pub fn dropped_by(&self, reason: DropReason) -> u64 {
        self.dropped[reason.index()]
    }

    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    pub(super) fn drop(&mut self, reason: DropReason, messages: u64) {
        self.dropped[reason.index()] += messages;
    }
}

/// How things stand now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    pub lanes: usize,
    /// Messages in memory alone: neither settled nor on the spill log.
    pub pending_messages: u64,
    /// Bytes of events in memory, waiting rooms not included.
    pub queued_bytes: usize,
    pub batches_in_flight: usize,
    pub spilled_batches: usize,
    pub spilled_messages: u64,
    /// Lanes that hold back gap records or messages.
    pub holding_lanes: usize,
    pub overflowing: bool,
    pub spill_full: bool,
}
