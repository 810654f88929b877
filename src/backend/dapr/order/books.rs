//! What became of every event of every batch: nothing is acknowledged twice, and a batch that comes
//! again goes on where it was left.

use crate::core::publish::batch::{Batch, PublishError};
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

/// How many batches given back are remembered; beyond it their next try publishes all again.
const KEPT_MAX: usize = 4096;

/// Names one offer of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What is settled of one batch.
#[derive(Debug, Default)]
struct Progress {
    settled: Vec<u64>,
    left: usize,
    refused: Vec<u32>,
}

#[derive(Debug)]
struct Held {
    batch: Arc<Batch>,
    ticket: Ticket,
    progress: Progress,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    held: Vec<Option<Held>>,
    free: Vec<u32>,
    count: usize,
    tickets: u64,
    /// Given back and perhaps to come again, by address. The weak reference keeps the address from
    /// being used for another batch; ids are unique within one shard only.
    kept: BTreeMap<usize, (Weak<Batch>, Progress)>,
}

impl Books {
    /// A batch enters; the caller asks `is_settled` for each of its events.
    pub(super) fn enter(&mut self, batch: Arc<Batch>) -> (Ticket, u32) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let progress = self.kept.remove(&address(&batch)).map_or_else(
            || {
                let count = batch.events.len();
                Progress { settled: vec![0; count.div_ceil(64)], left: count, refused: Vec::new() }
            },
            |(_, progress)| progress,
        );
        let held = Some(Held { batch, ticket, progress });
        self.count += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.held[slot as usize] = held;
                slot
            }
            None => {
                self.held.push(held);
                (self.held.len() - 1) as u32
            }
        };
        (ticket, slot)
    }

    pub(super) fn batch(&self, slot: u32) -> Option<&Arc<Batch>> {
        self.held.get(slot as usize)?.as_ref().map(|held| &held.batch)
    }

    pub(super) fn is_settled(&self, slot: u32, index: u32) -> bool {
        let held = self.held.get(slot as usize).and_then(Option::as_ref);
        held.is_none_or(|held| {
            held.progress.settled.get(index as usize / 64).is_none_or(|word| word >> (index % 64) & 1 == 1)
        })
    }

    /// The event was taken, or will never be. False when that was known already.
    pub(super) fn settle(&mut self, slot: u32, index: u32, refused: bool) -> bool {
        if self.is_settled(slot, index) {
            return false;
        }
        let Some(held) = self.held.get_mut(slot as usize).and_then(Option::as_mut) else { return false };
        let progress = &mut held.progress;
        progress.settled[index as usize / 64] |= 1 << (index % 64);
        progress.left -= 1;
        if refused {
            progress.refused.push(index);
        }
        true
    }

    /// The batch's answer, when all of it is settled.
    pub(super) fn finish(&mut self, slot: u32) -> Option<(Ticket, Result<(), PublishError>)> {
        let place = self.held.get_mut(slot as usize)?;
        let held = place.take_if(|held| held.progress.left == 0)?;
        self.free.push(slot);
        self.count -= 1;
        let mut refused = held.progress.refused;
        refused.sort_unstable();
        let answer = if refused.is_empty() { Ok(()) } else { Err(PublishError::Refused(refused)) };
        Some((held.ticket, answer))
    }

    /// Every batch goes back to who offered it, oldest first; what is settled is remembered.
    pub(super) fn give_back(&mut self) -> Vec<(Ticket, Result<(), PublishError>)> {
        self.kept.retain(|_, (batch, _)| batch.strong_count() > 0);
        let mut tickets = Vec::with_capacity(self.count);
        for held in std::mem::take(&mut self.held).into_iter().flatten() {
            tickets.push((held.ticket, Err(PublishError::Retry)));
            if self.kept.len() < KEPT_MAX {
                self.kept.insert(address(&held.batch), (Arc::downgrade(&held.batch), held.progress));
            }
        }
        self.free.clear();
        self.count = 0;
        tickets.sort_unstable_by_key(|(ticket, _)| *ticket);
        tickets
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn address(batch: &Arc<Batch>) -> usize {
    Arc::as_ptr(batch).addr()
}
