//! Pairs each Send on one connection with its reply: by an id in the message, by a prefix, by a
//! predicate, or by order alone, all at the same time.
//!
//! Every reserved ticket leaves exactly once: in a `Verdict::Reply`, by `timed_out` (its own, or
//! in the list that another's gives), `cancelled`, `not_written` or `drain`. Where a pairing would
//! be a guess there is none: the Send is refused or ends without a reply.

mod claims;
mod extract;
mod fifo;
mod request;
mod rule;
#[cfg(test)]
mod tests;

pub use rule::{Inject, Rule};

use crate::core::{
    id::Ticket,
    reason::{Fault, FaultKind},
    time::Time,
};
use bytes::Bytes;
use claims::{Claims, Found, Key};
use fifo::{Fifo, Front};
use hashbrown::HashMap;
use request::{Preparation, Request, Wait};
use std::time::Duration;

/// When a full table is worth another try: replies mostly take milliseconds.
const FULL_RETRY: Duration = Duration::from_millis(100);

/// What a message's frame says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was checked to be UTF-8 when it was read.
    Text,
    Binary,
}

/// Whose an inbound message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An ordinary message.
    Unclaimed,
    Reply {
        ticket: Ticket,
        /// Bytes before the reply proper.
        strip: usize,
        /// Paired by order alone: it is an ordinary message as well.
        published: bool,
    },
    /// The reply of a Send that ended without it: an ordinary message, and counted.
    Late,
    /// Taken by the place that a cancelled Send left in the queue: an ordinary message.
    Abandoned,
}

/// The Sends that wait on one connection. Made at the first Send, dropped when `is_idle`.
#[derive(Debug)]
pub struct Correlator {
    max_in_flight: usize,
    next_seq: u64,
    next_integer: u64,
    sends: HashMap<Ticket, PendingSend>,
    claims: Claims,
    fifo: Fifo,
}

#[derive(Debug)]
struct PendingSend {
    /// The order of reservation.
    seq: u64,
    /// `None` waits in the FIFO queue.
    key: Option<Key>,
}

impl Correlator {
    pub fn new(max_in_flight: usize) -> Self {
        Self::resuming(max_in_flight, 1)
    }

    /// A correlator that follows one dropped as idle: injected numbers go on where it ended.
    pub fn resuming(max_in_flight: usize, next_integer: u64) -> Self {
        Correlator {
            max_in_flight,
            next_seq: 0,
            next_integer: next_integer.max(1),
            sends: HashMap::new(),
            claims: Claims::default(),
            fifo: Fifo::default(),
        }
    }

    pub fn next_integer(&self) -> u64 {
        self.next_integer
    }

    /// Takes a slot and answers what to write, or refuses and changes nothing. An id that was
    /// injected, or changed because it was in use, is what the peer sees and what the reply
    /// carries: the caller's own is not put back.
    pub fn reserve(
        &mut self,
        now: Time,
        rule: &Rule,
        payload: Bytes,
        ticket: Ticket,
        entropy: &mut dyn FnMut() -> u64,
    ) -> Result<Bytes, Fault> {
        self.expire(now);
        if self.sends.len() + self.fifo.abandoned() >= self.max_in_flight {
            return Err(Fault::full("too many Sends wait for their reply on this connection", FULL_RETRY));
        }
        if self.sends.contains_key(&ticket) {
            return Err(Fault::new(FaultKind::Internal, "the ticket waits already"));
        }
        let preparation = Preparation { claims: &self.claims, entropy, next_integer: self.next_integer };
        let request = preparation.prepare(rule, payload)?;
        if matches!(request.wait, Wait::Fifo { .. }) {
            self.fifo.admit(now)?;
        }
        Ok(self.commit(request, ticket))
    }

    fn commit(&mut self, request: Request<'_>, ticket: Ticket) -> Bytes {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.next_integer = request.next_integer;
        let key = match request.wait {
            Wait::Id { key, extractor, rpc } => {
                Some(self.claims.hold_id(key, Some(extractor), (seq, ticket), rpc))
            }
            Wait::Prefix { key } => Some(self.claims.hold_id(key, None, (seq, ticket), false)),
            Wait::Predicate { key, extractor } => {
                Some(self.claims.hold_predicate(key, extractor, (seq, ticket)))
            }
            Wait::Fifo { resync } => {
                self.fifo.push(seq, ticket, resync);
                None
            }
        };
        self.sends.insert(ticket, PendingSend { seq, key });
        request.payload
    }

    /// One inbound message: ids and prefixes claim first, then predicates, then the queue.
    pub fn on_message(&mut self, now: Time, kind: Kind, message: &[u8]) -> Verdict {
        self.expire(now);
        self.fifo.heard(now);
        match self.claims.find(kind, message) {
            Some(Found::Waiting { ticket, strip }) => match self.sends.remove(&ticket) {
                Some(PendingSend { seq, key }) => {
                    if let Some(key) = key {
                        self.claims.release(&key, seq);
                    }
                    Verdict::Reply { ticket, strip, published: false }
                }
                None => Verdict::Unclaimed,
            },
            Some(Found::Late) => Verdict::Late,
            None => match self.fifo.take_next() {
                Some(Front::Waiting(ticket)) => match self.sends.remove(&ticket) {
                    Some(_) => Verdict::Reply { ticket, strip: 0, published: true },
                    None => Verdict::Unclaimed,
                },
                Some(Front::Abandoned) => Verdict::Abandoned,
                None => Verdict::Unclaimed,
            },
        }
    }

    /// The reply of a written Send did not come in time. Answers those that end with it, without
    /// a reply, as `FifoResync`: they stood behind it in the queue, and the next message could be
    /// its reply as well as theirs. Whether they were sent is for the outbox to say. (A Send that
    /// times out before it was written is `not_written`.)
    #[must_use = "those behind it have ended too, and their callers wait to hear it"]
    pub fn timed_out(&mut self, now: Time, ticket: Ticket) -> Vec<Ticket> {
        let Some(PendingSend { seq, key }) = self.sends.remove(&ticket) else { return Vec::new() };
        if let Some(key) = key {
            self.claims.remember(now, &key, seq);
            return Vec::new();
        }
        let mut behind = self.fifo.timed_out(now, seq);
        behind.retain(|ticket| self.sends.remove(ticket).is_some());
        behind
    }

    /// The caller went away. What was written may still be answered, and that reply is not to
    /// meet anyone else; what was not simply leaves.
    pub fn cancelled(&mut self, now: Time, ticket: Ticket, was_written: bool) {
        if !was_written {
            return self.not_written(ticket);
        }
        match self.sends.remove(&ticket) {
            Some(PendingSend { seq, key: Some(key) }) => self.claims.remember(now, &key, seq),
            Some(PendingSend { seq, key: None }) => self.fifo.abandon(now, seq),
            None => {}
        }
    }

    /// The frame left the outbox unwritten: the slot is free, and there is no doubt.
    pub fn not_written(&mut self, ticket: Ticket) {
        match self.sends.remove(&ticket) {
            Some(PendingSend { seq, key: Some(key) }) => self.claims.release(&key, seq),
            Some(PendingSend { seq, key: None }) => self.fifo.remove(seq),
            None => {}
        }
    }

    /// A new socket: what was owed on the old one by order or predicate will not come.
    pub fn reconnected(&mut self) {
        self.fifo.forget_abandoned();
        self.claims.forget_late_predicates();
    }

    /// Nothing was read until now, so that nothing came says nothing: a silence begins here.
    pub fn heard_nothing(&mut self, now: Time) {
        self.fifo.heard(now);
    }

    /// Ends every Send, for the socket ended; in the order of reservation.
    pub fn drain(&mut self) -> Vec<Ticket> {
        let mut sends: Vec<_> = std::mem::take(&mut self.sends).into_iter().collect();
        // The map's own order is a matter of chance.
        sends.sort_unstable_by_key(|(_, send)| send.seq);
        for (_, send) in &sends {
            match &send.key {
                Some(key) => self.claims.release(key, send.seq),
                None => self.fifo.remove(send.seq),
            }
        }
        self.reconnected();
        sends.into_iter().map(|(ticket, _)| ticket).collect()
    }

    pub fn in_flight(&self) -> usize {
        self.sends.len()
    }

    /// Nobody waits, nothing late is expected, no pairing is in doubt.
    pub fn is_idle(&self, now: Time) -> bool {
        self.sends.is_empty() && self.claims.is_idle(now) && self.fifo.is_idle(now)
    }

    /// False: `on_message` would change nothing, so the message need not be looked at.
    pub fn wants_messages(&self) -> bool {
        !self.sends.is_empty() || self.claims.remembers() || self.fifo.listens()
    }

    fn expire(&mut self, now: Time) {
        self.claims.expire(now);
        self.fifo.expire(now);
    }
}
