//! Pairing by order alone: one queue, and the doubt that a missing reply leaves behind.
//!
//! A reply that did not come in time may come yet, and would then be taken for the next one's. So
//! nobody is paired from there on: those behind the timed-out Send end with it, and new ones are
//! refused until the connection was silent for a while. Those ahead of it are paired as before.

use crate::{
    core::{
        id::Ticket,
        reason::{Fault, FaultKind},
        time::Time,
    },
    limits::LATE_IDS_AGE,
};
use std::{collections::VecDeque, time::Duration};

#[derive(Debug, Default)]
pub struct Fifo {
    queue: VecDeque<Slot>,
    doubt: Option<Doubt>,
    abandoned: usize,
}

#[derive(Debug)]
struct Slot {
    seq: u64,
    ticket: Ticket,
    resync: Duration,
    /// The caller went away then; the slot stays, for it still takes its reply.
    abandoned: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    silent_since: Time,
    resync: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    Waiting(Ticket),
    Abandoned,
}

impl Fifo {
    /// Whether one more may be paired by order.
    pub fn admit(&self, now: Time) -> Result<(), Fault> {
        let Some(doubt) = self.doubt else { return Ok(()) };
        let silent = if self.queue.is_empty() { now.since(doubt.silent_since) } else { Duration::ZERO };
        let message = "fifo_resync: an earlier reply is missing, so the next message could be its reply; \
                       wait until the connection was silent, or use a rule with an id";
        Err(Fault {
            retry_after: Some(doubt.resync.saturating_sub(silent)),
            ..Fault::new(FaultKind::FifoResync, message)
        })
    }

    pub fn push(&mut self, seq: u64, ticket: Ticket, resync: Duration) {
        self.queue.push_back(Slot { seq, ticket, resync, abandoned: None });
    }

    /// Any inbound message, claimed by whomever, ends the silence.
    pub fn heard(&mut self, now: Time) {
        if let Some(doubt) = &mut self.doubt {
            doubt.silent_since = now;
        }
    }

    /// A message that nothing else claimed.
    pub fn take_next(&mut self) -> Option<Front> {
        let slot = self.queue.pop_front()?;
        if slot.abandoned.is_none() {
            return Some(Front::Waiting(slot.ticket));
        }
        self.abandoned -= 1;
        Some(Front::Abandoned)
    }

    /// Answers who waited behind it.
    pub fn timed_out(&mut self, now: Time, seq: u64) -> Vec<Ticket> {
        let Ok(index) = self.find(seq) else { return Vec::new() };
        let mut resync = self.doubt.map_or(Duration::ZERO, |doubt| doubt.resync);
        let mut behind = Vec::new();
        for slot in self.queue.drain(index..) {
            resync = resync.max(slot.resync);
            match slot.abandoned {
                Some(_) => self.abandoned -= 1,
                None if slot.seq != seq => behind.push(slot.ticket),
                None => {}
            }
        }
        self.doubt = Some(Doubt { silent_since: now, resync });
        self.drop_abandoned_tail();
        behind
    }

    /// The caller went away after its frame may have been written.
    pub fn abandon(&mut self, now: Time, seq: u64) {
        let Ok(index) = self.find(seq) else { return };
        if let Some(slot) = self.queue.get_mut(index) {
            slot.abandoned = Some(now);
            self.abandoned += 1;
        }
        if self.doubt.is_some() {
            self.heard(now);
            self.drop_abandoned_tail();
        }
    }

    /// The frame was never written: the peer owes nothing.
    pub fn remove(&mut self, seq: u64) {
        if let Ok(index) = self.find(seq) {
            self.queue.remove(index);
        }
        if self.doubt.is_some() {
            self.drop_abandoned_tail();
        }
    }

    /// The socket ended, and with it every reply that was still owed on it.
    pub fn forget_abandoned(&mut self) {
        self.queue.retain(|slot| slot.abandoned.is_none());
        self.abandoned = 0;
        self.doubt = None;
    }

    pub fn expire(&mut self, now: Time) {
        if self.resolved(now) {
            self.doubt = None;
        }
        if self.abandoned > 0 && self.forgotten(now) {
            self.queue.clear();
            self.abandoned = 0;
        }
    }

    pub fn abandoned(&self) -> usize {
        self.abandoned
    }

    pub fn listens(&self) -> bool {
        self.doubt.is_some() || !self.queue.is_empty()
    }

    pub fn is_idle(&self, now: Time) -> bool {
        self.forgotten(now) && (self.doubt.is_none() || self.resolved(now))
    }

    /// Silence proves nothing while a Send ahead of the missing reply still waits for its own.
    fn resolved(&self, now: Time) -> bool {
        self.doubt.is_some_and(|doubt| self.queue.is_empty() && now.since(doubt.silent_since) >= doubt.resync)
    }

    /// Nobody waits, and whoever went away did so too long ago for a reply to be expected.
    fn forgotten(&self, now: Time) -> bool {
        self.queue.len() == self.abandoned
            && self.queue.iter().filter_map(|slot| slot.abandoned).all(|at| now.since(at) >= LATE_IDS_AGE)
    }

    /// In doubt a place without a caller says nothing more: the doubt covers its reply.
    fn drop_abandoned_tail(&mut self) {
        while self.queue.back().is_some_and(|slot| slot.abandoned.is_some()) {
            self.queue.pop_back();
            self.abandoned -= 1;
        }
    }

    /// Sequence numbers rise along the queue.
    fn find(&self, seq: u64) -> Result<usize, usize> {
        self.queue.binary_search_by_key(&seq, |slot| slot.seq)
    }
}
