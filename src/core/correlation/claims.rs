//! Who claims a message by what it carries: ids and prefixes, predicates, and the ids of Sends
//! that ended without their reply, for as long as that reply may still come.

use super::{
    Kind,
    extract::{Extractor, Extractors},
    rule::bounded_scalar,
};
use crate::{
    core::{
        id::Ticket,
        json::{self, Scalar},
        time::Time,
    },
    limits::{LATE_IDS_AGE, LATE_IDS_MAX},
};
use hashbrown::HashMap;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

pub const PREFIX_BYTES: usize = 16;
// The first byte of a key says what it is; the second the place, except for prefixes.
const ID: u8 = b'i';
const PREDICATE: u8 = b'm';
const PREFIX: u8 = b'p';

/// One spelling of an id or predicate. Chosen by callers and peers, hence the keyed hash maps.
pub type Key = Arc<[u8]>;

#[derive(Debug, Default)]
pub struct Claims {
    extractors: Extractors,
    ids: HashMap<Key, Holder>,
    /// Equal predicates wait in the order of their reservation.
    predicates: HashMap<Key, VecDeque<Waiter>>,
    late: BTreeMap<u64, Late>,
    next_late: u64,
    prefixes: usize,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    seq: u64,
    ticket: Ticket,
    late: Option<u64>,
    /// A message with a `method` is then a call of the peer's own, whatever its id.
    rpc: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    seq: u64,
    ticket: Ticket,
    late: Option<u64>,
}

#[derive(Debug)]
struct Late {
    at: Time,
    key: Key,
    seq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Waiting { ticket: Ticket, strip: usize },
    Late,
}

/// What a message may be taken by; the smallest sequence number, the earliest Send, wins.
#[derive(Default)]
struct Candidates {
    waiting: Option<(u64, Ticket)>,
    late_id: Option<u64>,
    predicate: Option<Waiter>,
}

impl Claims {
    /// `None` when every place is taken by other extractors.
    pub fn id_key(&self, extractor: &Extractor<'_>, id: &Scalar<'_>) -> Option<Vec<u8>> {
        self.placed_key(ID, extractor, id)
    }

    pub fn predicate_key(&self, extractor: &Extractor<'_>, constant: &Scalar<'_>) -> Option<Vec<u8>> {
        self.placed_key(PREDICATE, extractor, constant)
    }

    pub fn prefix_key(prefix: &[u8; PREFIX_BYTES]) -> Vec<u8> {
        [&[PREFIX][..], prefix].concat()
    }

    fn placed_key(&self, space: u8, extractor: &Extractor<'_>, scalar: &Scalar<'_>) -> Option<Vec<u8>> {
        let mut key = Vec::with_capacity(48);
        key.extend([space, self.extractors.place_for(extractor)?]);
        scalar.write_key(&mut key);
        Some(key)
    }

    /// Whether the id waits for its reply, or its late reply may still come.
    pub fn id_in_use(&self, key: &[u8]) -> bool {
        self.ids.contains_key(key)
    }

    /// Whether a late reply may still come that would satisfy this predicate.
    pub fn predicate_in_doubt(&self, key: &[u8]) -> bool {
        self.predicates.get(key).is_some_and(|waiters| waiters.iter().any(|waiter| waiter.late.is_some()))
    }

    pub fn hold_id(
        &mut self,
        key: Vec<u8>,
        extractor: Option<Extractor<'_>>,
        (seq, ticket): (u64, Ticket),
        rpc: bool,
    ) -> Key {
        match extractor {
            Some(extractor) => self.extractors.hold(key[1], extractor),
            None => self.prefixes += 1,
        }
        let key = Key::from(key);
        self.ids.insert(key.clone(), Holder { seq, ticket, late: None, rpc });
        key
    }

    pub fn hold_predicate(
        &mut self,
        key: Vec<u8>,
        extractor: Extractor<'_>,
        (seq, ticket): (u64, Ticket),
    ) -> Key {
        self.extractors.hold(key[1], extractor);
        let key = Key::from(key);
        self.predicates.entry(key.clone()).or_default().push_back(Waiter { seq, ticket, late: None });
        key
    }

    /// The Send ended, and no reply of it needs to be recognised any more.
    pub fn release(&mut self, key: &Key, seq: u64) {
        if key[0] == PREDICATE {
            if let Some(waiters) = self.predicates.get_mut(key) {
                waiters.retain(|waiter| waiter.seq != seq);
                if waiters.is_empty() {
                    self.predicates.remove(key);
                }
            }
        } else {
            self.ids.remove(key);
        }
        match key[0] {
            PREFIX => self.prefixes = self.prefixes.saturating_sub(1),
            _ => self.extractors.release(key[1]),
        }
    }

    /// The Send ended, but its reply may still come.
    pub fn remember(&mut self, now: Time, key: &Key, seq: u64) {
        while self.late.len() >= LATE_IDS_MAX {
            let Some(oldest) = self.late.keys().next().copied() else { break };
            self.forget(oldest);
        }
        let serial = self.next_late;
        self.next_late += 1;
        if key[0] == PREDICATE {
            let waiters = self.predicates.get_mut(key);
            let waiter = waiters.and_then(|waiters| waiters.iter_mut().find(|waiter| waiter.seq == seq));
            let Some(waiter) = waiter else { return };
            waiter.late = Some(serial);
        } else {
            let Some(holder) = self.ids.get_mut(key) else { return };
            holder.late = Some(serial);
        }
        self.late.insert(serial, Late { at: now, key: key.clone(), seq });
    }

    fn forget(&mut self, serial: u64) {
        if let Some(late) = self.late.remove(&serial) {
            self.release(&late.key, late.seq);
        }
    }

    pub fn expire(&mut self, now: Time) {
        while let Some((serial, late)) = self.late.first_key_value() {
            if now.since(late.at) < LATE_IDS_AGE {
                return;
            }
            let serial = *serial;
            self.forget(serial);
        }
    }

    /// Predicates name no Send, so on a new socket nothing late can satisfy them. Ids are kept:
    /// some peers do answer on a later connection.
    pub fn forget_late_predicates(&mut self) {
        let predicates = self.late.iter().filter(|(_, late)| late.key[0] == PREDICATE);
        let serials: Vec<u64> = predicates.map(|(serial, _)| *serial).collect();
        for serial in serials {
            self.forget(serial);
        }
    }

    pub fn remembers(&self) -> bool {
        !self.late.is_empty()
    }

    pub fn is_idle(&self, now: Time) -> bool {
        self.late.last_key_value().is_none_or(|(_, late)| now.since(late.at) >= LATE_IDS_AGE)
    }

    /// Ids and prefixes first, then the ids of late replies, then predicates. What is late is
    /// forgotten here, for its reply came; the caller releases what waited.
    pub fn find(&mut self, kind: Kind, message: &[u8]) -> Option<Found> {
        let mut candidates = Candidates::default();
        let prefixed =
            kind == Kind::Binary && self.prefixes > 0 && self.look_at_prefix(message, &mut candidates);
        let strip = if prefixed { PREFIX_BYTES } else { 0 };
        if !prefixed {
            self.look_inside(message, &mut candidates);
        }
        if let Some((_, ticket)) = candidates.waiting {
            return Some(Found::Waiting { ticket, strip });
        }
        let late = match (candidates.late_id, candidates.predicate) {
            (Some(serial), _) | (None, Some(Waiter { late: Some(serial), .. })) => serial,
            (None, Some(Waiter { late: None, ticket, .. })) => {
                return Some(Found::Waiting { ticket, strip });
            }
            (None, None) => return None,
        };
        self.forget(late);
        Some(Found::Late)
    }

    fn look_at_prefix(&self, message: &[u8], candidates: &mut Candidates) -> bool {
        let Some(prefix) = message.first_chunk::<PREFIX_BYTES>() else { return false };
        let mut key = [PREFIX; PREFIX_BYTES + 1];
        key[1..].copy_from_slice(prefix);
        self.ids.get(&key[..]).map(|holder| candidates.add(*holder)).is_some()
    }

    fn look_inside(&mut self, message: &[u8], candidates: &mut Candidates) {
        if !matches!(message.trim_ascii_start().first(), Some(b'{' | b'[')) {
            return;
        }
        let mut key = std::mem::take(&mut self.scratch);
        for (place, extractor) in self.extractors.in_use() {
            let Some(scalar) = extractor.reply_id(message).and_then(bounded_scalar) else { continue };
            key.clear();
            key.extend([ID, place]);
            scalar.write_key(&mut key);
            if let Some(holder) = self.ids.get(&key[..])
                && !(holder.rpc && json::top_level(message, "method").is_some())
            {
                candidates.add(*holder);
            }
            key[0] = PREDICATE;
            if let Some(first) = self.predicates.get(&key[..]).and_then(VecDeque::front)
                && candidates.predicate.is_none_or(|other| first.seq < other.seq)
            {
                candidates.predicate = Some(*first);
            }
        }
        self.scratch = key;
    }
}

impl Candidates {
    fn add(&mut self, holder: Holder) {
        match holder.late {
            None => {
                let this = (holder.seq, holder.ticket);
                self.waiting = Some(self.waiting.map_or(this, |other| other.min(this)));
            }
            Some(serial) => self.late_id = Some(self.late_id.map_or(serial, |other| other.min(serial))),
        }
    }
}
