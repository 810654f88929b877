//! What another owner has gone past: not published any more, and counted.

use super::Publisher;
use crate::{
    core::{
        id::ConnectionId,
        publish::{
            batch::{Event, EventKind},
            flight::{Closed, Origin},
            lane::Class,
            spill::Head,
        },
        reason::DropReason,
    },
    limits,
};
use std::{collections::BTreeMap, sync::Arc};

/// By connection, the epoch below which nothing is published any more.
#[derive(Debug, Default)]
pub(super) struct Superseded(BTreeMap<ConnectionId, u64>);

impl Superseded {
    pub(super) fn covers(&self, event: &Event) -> bool {
        event.kind != EventKind::Lifecycle
            && self.0.get(&event.connection).is_some_and(|epoch| event.epoch < *epoch)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert(&mut self, id: &ConnectionId, epoch: u64) {
        if let Some(known) = self.0.get_mut(id) {
            *known = epoch.max(*known);
            return;
        }
        if self.0.len() >= limits::SUPERSEDED_KEPT_MAX {
            // What is published of it after all is of a lower epoch, and readers discard it.
            self.0.pop_first();
        }
        self.0.insert(id.clone(), epoch);
    }
}

impl Publisher {
    /// Nothing of this connection below this epoch is published any more, but for what is on its
    /// way to the bus. Its lane is closed, or is one of a higher epoch.
    pub fn superseded(&mut self, id: &ConnectionId, epoch: u64) {
        // What the log has is seen again when it is read back.
        self.superseded.insert(id, epoch);
        self.left.forget(id, epoch);
        for class in Class::BOTH {
            let superseded = &self.superseded;
            let dropped = self.open[class as usize].remove(|event| superseded.covers(event));
            self.counters.drop(DropReason::Superseded, dropped);
            for closed in std::mem::take(&mut self.ready[class as usize]) {
                let closed = self.strip(closed);
                self.ready[class as usize].extend(closed);
            }
        }
        match std::mem::replace(&mut self.spill.head, Head::Empty) {
            Head::Loaded(closed) => self.set_head(closed),
            other => self.spill.head = other,
        }
        self.forget_superseded();
    }

    /// Once the log is empty there is nothing left to look at.
    pub(super) fn forget_superseded(&mut self) {
        if !self.superseded.is_empty() && !self.spill.is_active() {
            self.superseded = Superseded::default();
        }
    }

    /// The log's oldest record, without what is superseded.
    pub(super) fn set_head(&mut self, closed: Closed) {
        let own = closed.origin == Origin::Spill;
        self.spill.head = match self.strip(closed) {
            Some(closed) => Head::Loaded(closed),
            None => {
                if own {
                    self.spill.forget_first();
                }
                Head::Done
            }
        };
    }

    /// None when nothing of it is left.
    pub(super) fn strip(&mut self, mut closed: Closed) -> Option<Closed> {
        if self.superseded.is_empty()
            || !closed.batch.events.iter().any(|event| self.superseded.covers(event))
        {
            return Some(closed);
        }
        let before = closed.batch.bytes.len();
        let superseded = &self.superseded;
        let dropped = Arc::make_mut(&mut closed.batch).remove(|event| superseded.covers(event)).messages;
        self.closed_bytes -= before - closed.batch.bytes.len();
        self.counters.drop(DropReason::Superseded, dropped);
        closed.messages -= dropped;
        match closed.origin {
            Origin::Memory => {}
            Origin::Spill => self.spill.shorten_first(dropped),
            Origin::OldSpill => self.counters.restored += dropped,
        }
        (!closed.batch.events.is_empty()).then_some(closed)
    }
}
