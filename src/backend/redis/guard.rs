//! Which connections' events must wait because older ones of theirs failed.
//!
//! A publisher has several batches under way. When one fails, those behind it fail with it; but the
//! next one may be handed over before the publisher heard of it. So from a failure on, a batch with
//! an event of a failed lane is held back until the failed event itself comes again, which is first
//! by the publisher's promise.

use crate::{
    core::{
        id::ConnectionId,
        publish::batch::{Batch, Event, EventKind},
    },
    limits::REDIS_LANE_HELD_MAX,
};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Names an event of one connection.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    epoch: u64,
    first_seq: u64,
    kind: EventKind,
    length: usize,
}

impl Mark {
    fn of(event: &Event) -> Mark {
        let (epoch, first_seq, kind) = (event.epoch, event.first_seq, event.kind);
        Mark { epoch, first_seq, kind, length: event.range.len() }
    }
}

#[derive(Debug, Default)]
pub struct Guard {
    /// The oldest failed event of each, and until when it is waited for: its publisher may have
    /// given it up.
    held: BTreeMap<ConnectionId, (Mark, Instant)>,
}

impl Guard {
    /// A failed batch, or one that was held back. Only the awaited event itself is waited for anew.
    pub fn failed(&mut self, batch: &Batch, now: Instant) {
        let until = now + REDIS_LANE_HELD_MAX;
        for event in &batch.events {
            let mark = Mark::of(event);
            match self.held.get_mut(&event.connection) {
                Some(held) if held.0 == mark => held.1 = until,
                Some(_) => {}
                None => drop(self.held.insert(event.connection.clone(), (mark, until))),
            }
        }
    }

    /// Whether it may go. If so, nothing of its connections is held any more.
    pub fn admits(&mut self, batch: &Batch, now: Instant) -> bool {
        if self.held.is_empty() {
            return true;
        }
        self.held.retain(|_, (_, until)| *until > now);
        let mut seen: BTreeMap<&ConnectionId, bool> = BTreeMap::new();
        for event in &batch.events {
            // Only the first one of each counts: what is before the failed one would not be in order.
            seen.entry(&event.connection).or_insert_with(|| {
                self.held.get(&event.connection).is_none_or(|(mark, _)| *mark == Mark::of(event))
            });
        }
        if seen.values().any(|admitted| !admitted) {
            return false;
        }
        for connection in seen.into_keys() {
            self.held.remove(connection);
        }
        true
    }
}
