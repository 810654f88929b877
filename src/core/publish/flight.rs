//! Batches under way at the bus, and the order in which failed ones go again.

use super::batch::{Batch, BatchId};
use crate::{core::time::Time, limits};
use std::{collections::VecDeque, sync::Arc, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Memory,
    /// Read back from the spill log, where this process had put it.
    Spill,
    /// Left in the spill log by an earlier process.
    OldSpill,
}

/// A finished batch and what the publisher wants to know about it.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    pub batch: Arc<Batch>,
    /// Holds an event of a lane that must not be overtaken.
    pub ordered: bool,
    pub messages: u64,
    pub origin: Origin,
    /// When its first event came; of one that was read back, when it was read.
    pub since: Time,
}

#[derive(Debug)]
pub(super) struct Flight {
    pub closed: Closed,
    failed: bool,
    failures: u32,
}

#[derive(Debug)]
pub(super) struct Window {
    flights: VecDeque<Flight>,
    limit: usize,
    retry_at: Time,
}

impl Window {
    pub(super) fn new(limit: usize) -> Self {
        Window { flights: VecDeque::new(), limit: limit.max(1), retry_at: Time::ZERO }
    }

    /// Whether a batch that was never sent may go now.
    pub(super) fn is_open(&self) -> bool {
        self.flights.len() < self.limit && !self.is_stalled()
    }

    pub(super) fn send(&mut self, closed: Closed) -> Arc<Batch> {
        let batch = closed.batch.clone();
        self.flights.push_back(Flight { closed, failed: false, failures: 0 });
        batch
    }

    /// The oldest failed batch, when its time has come. Where order matters nothing else is under
    /// way meanwhile: a bus that fails once may do so again, and take what comes behind.
    pub(super) fn resend(&mut self, now: Time) -> Option<Arc<Batch>> {
        if self.retry_time().is_none_or(|at| now < at) {
            return None;
        }
        let flight = self.flights.iter_mut().find(|flight| flight.failed)?;
        flight.failed = false;
        Some(flight.closed.batch.clone())
    }

    /// When a failed batch can go again; None while that does not depend on time.
    pub(super) fn retry_time(&self) -> Option<Time> {
        let waits = self.is_stalled() && self.flights.iter().any(|flight| !flight.failed);
        (!waits && self.flights.iter().any(|flight| flight.failed)).then_some(self.retry_at)
    }

    /// False when no such batch is under way.
    pub(super) fn fail(&mut self, id: BatchId, now: Time) -> bool {
        let Some(flight) =
            self.flights.iter_mut().find(|flight| flight.closed.batch.id == id && !flight.failed)
        else {
            return false;
        };
        flight.failed = true;
        self.retry_at = now + backoff(flight.failures);
        flight.failures = flight.failures.saturating_add(1);
        true
    }

    pub(super) fn take(&mut self, id: BatchId) -> Option<Closed> {
        let place = self.flights.iter().position(|flight| flight.closed.batch.id == id && !flight.failed)?;
        let flight = self.flights.remove(place)?;
        if flight.failures > 0 {
            // The bus is back: the next failed one goes at once.
            self.retry_at = Time::ZERO;
        }
        Some(flight.closed)
    }

    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Closed> {
        self.flights.iter().map(|flight| &flight.closed)
    }

    pub(super) fn bytes(&self) -> usize {
        self.iter().map(|closed| closed.batch.bytes.len()).sum()
    }

    pub(super) fn clear(&mut self) {
        self.flights.clear();
    }

    fn is_stalled(&self) -> bool {
        // A batch that is on its way again after a failure still holds the others back.
        self.flights.iter().any(|flight| flight.failures > 0 && flight.closed.ordered)
    }
}

fn backoff(failures: u32) -> Duration {
    let doubled = limits::PUBLISH_RETRY_BASE.saturating_mul(1 << failures.min(16));
    doubled.min(limits::PUBLISH_RETRY_MAX)
}
