//! The lists of what this instance owns: one document a bucket, written by it alone, one write at a
//! time; what changes meanwhile goes with the next.

use super::{
    Effects, Fleet, Known, Pending,
    document::{BUCKETS, Read, bucket_key, decode_ids, encode_ids},
    entry::What,
    io::{Boot, DocAnswer},
};
use crate::core::id::{ConnectionId, shard_of};
use std::{collections::BTreeSet, time::Duration};

/// An id that is too many in a list does no harm: removals wait for company.
const REMOVAL: Duration = Duration::from_secs(1);

pub struct Bucket {
    pub ids: BTreeSet<ConnectionId>,
    /// Counts changes, and which of them the store has.
    generation: u64,
    written: u64,
    known: Known,
    busy: bool,
    due: Boot,
    /// Connections whose record must not be written before they are listed.
    waiting: BTreeSet<ConnectionId>,
}

impl Bucket {
    pub fn fresh() -> Vec<Bucket> {
        let fresh = || Bucket {
            ids: BTreeSet::new(),
            generation: 0,
            written: 0,
            // A new incarnation's name was never used.
            known: Known::Absent,
            busy: false,
            due: Boot::FAR,
            waiting: BTreeSet::new(),
        };
        (0..BUCKETS).map(|_| fresh()).collect()
    }

    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The generation, when the store has it and nothing is on its way.
    pub fn settled_at(&self) -> Option<u64> {
        let settled = !self.busy && self.generation == self.written && self.written > 0;
        (settled && self.known != Known::Read).then_some(self.written)
    }

    pub fn is_quiet(&self) -> bool {
        !self.busy && self.generation == self.written
    }

    /// What the store has is not what we wrote.
    pub fn doubt(&mut self, now: Boot) {
        if self.generation > 0 {
            self.known = Known::Read;
            self.generation += 1;
            // Nothing counts as listed any more.
            self.written = 0;
            self.due = now;
        }
    }

    pub fn check(&self, number: usize) {
        assert!(self.written <= self.generation, "bucket {number} is ahead of itself");
        assert!(self.ids.iter().all(|id| bucket_of(id) == number), "bucket {number} has a stranger");
    }
}

pub fn bucket_of(id: &ConnectionId) -> usize {
    shard_of(id.as_str(), BUCKETS as u32) as usize
}

impl Fleet {
    /// The generation in which it is listed.
    pub(super) fn list(&mut self, id: &ConnectionId) -> u64 {
        let now = self.now.boot;
        let bucket = &mut self.buckets[bucket_of(id)];
        if bucket.ids.insert(id.clone()) {
            bucket.generation += 1;
            bucket.due = now;
        }
        bucket.generation
    }

    pub(super) fn unlist(&mut self, id: &ConnectionId) {
        let later = self.now.boot + REMOVAL;
        let bucket = &mut self.buckets[bucket_of(id)];
        bucket.waiting.remove(id);
        if bucket.ids.remove(id) {
            bucket.generation += 1;
            bucket.due = bucket.due.min(later);
        }
    }

    pub(super) fn is_listed(&self, id: &ConnectionId, generation: u64) -> bool {
        let bucket = &self.buckets[bucket_of(id)];
        generation > 0 && bucket.written >= generation && bucket.ids.contains(id)
    }

    pub(super) fn wait_for_list(&mut self, id: &ConnectionId) {
        self.buckets[bucket_of(id)].waiting.insert(id.clone());
    }

    pub(super) fn drive_buckets(&mut self, fx: &mut Effects) {
        let now = self.now.boot;
        if !self.can_write() || now < self.hold {
            return;
        }
        for number in 0..self.buckets.len() {
            let bucket = &mut self.buckets[number];
            if bucket.busy || bucket.generation == bucket.written || now < bucket.due {
                continue;
            }
            bucket.busy = true;
            let key = bucket_key(&self.me.incarnation, number);
            let generation = bucket.generation;
            match bucket.known.expect() {
                None => {
                    self.get(vec![key], Pending::BucketRead(number), fx);
                }
                Some(expect) => {
                    // No bound: it holds no more than what is owned.
                    let ids = bucket.ids.iter().map(ConnectionId::as_str);
                    let (value, _) = encode_ids(ids, usize::MAX);
                    self.put(key, value, expect, Pending::Bucket(number, generation), fx);
                }
            }
        }
    }

    pub(super) fn bucket_read(&mut self, number: usize, answer: DocAnswer, fx: &mut Effects) {
        let bucket = &mut self.buckets[number];
        bucket.busy = false;
        let DocAnswer::Got(found) = answer else { return self.store_failed() };
        let found = found.into_iter().next().flatten();
        // Whatever stands there: this list is ours alone and written as we know it.
        bucket.known = Known::of(found.as_ref());
        self.store_answered();
        let listed = found.map(|found| decode_ids(&found.value));
        let Some(Read::Good(listed)) = listed else { return };
        for id in listed.ids {
            // A store that went back in time brought back what was deleted or given away since.
            if !self.entries.contains_key(&id) {
                self.submit(id.clone(), What::Delete, None, fx);
                if self.entries.contains_key(&id) {
                    // It stays listed until that is done.
                    self.list(&id);
                }
            }
        }
    }

    pub(super) fn bucket_written(&mut self, number: usize, generation: u64, answer: DocAnswer) {
        let now = self.now.boot;
        let bucket = &mut self.buckets[number];
        bucket.busy = false;
        let DocAnswer::Written(version) = answer else {
            bucket.known = Known::Read;
            match answer {
                // Our own write that was late, or a store that went back in time.
                DocAnswer::Conflict => bucket.written = 0,
                _ => self.store_failed(),
            }
            return;
        };
        bucket.known = Known::At(version);
        bucket.written = generation;
        if generation == bucket.generation {
            bucket.due = Boot::FAR;
        } else if bucket.waiting.is_empty() {
            bucket.due = bucket.due.max(now);
        }
        let waiting = std::mem::take(&mut bucket.waiting);
        self.own.owned += 1;
        self.index.dirty();
        self.store_answered();
        for id in waiting {
            self.wake(&id);
        }
    }
}
