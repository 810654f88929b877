//! What came by lately, bounded in count and in age: the oldest is forgotten first.

use crate::core::time::Time;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

#[cfg(test)]
mod tests;

/// Keys are hashes that nobody can aim (a cryptographic one, cut to 128 bits).
pub struct Seen<V> {
    count_max: usize,
    age_max: Duration,
    known: BTreeMap<u128, (u64, V)>,
    /// By arrival. What was forgotten on request stays here, with a serial that is no longer known.
    order: VecDeque<(u64, Time, u128)>,
    serial: u64,
}

impl<V> Seen<V> {
    pub fn new(count_max: usize, age_max: Duration) -> Self {
        Seen { count_max, age_max, known: BTreeMap::new(), order: VecDeque::new(), serial: 0 }
    }

    /// Remembers `value` under `key`; false, and nothing changes, when the key is still known.
    pub fn remember(&mut self, key: u128, value: V, now: Time) -> bool {
        self.expire(now);
        if self.known.contains_key(&key) {
            return false;
        }
        self.serial += 1;
        self.known.insert(key, (self.serial, value));
        self.order.push_back((self.serial, now, key));
        while self.order.len() > self.count_max {
            self.pop_oldest();
        }
        true
    }

    pub fn get(&mut self, key: u128, now: Time) -> Option<&V> {
        self.expire(now);
        self.known.get(&key).map(|(_, value)| value)
    }

    pub fn forget(&mut self, key: u128) -> Option<V> {
        self.known.remove(&key).map(|(_, value)| value)
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn expire(&mut self, now: Time) {
        while self.order.front().is_some_and(|(_, at, _)| now.since(*at) >= self.age_max) {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        let Some((serial, _, key)) = self.order.pop_front() else { return };
        // Forgotten and remembered again since: that one is younger.
        if self.known.get(&key).is_some_and(|(known, _)| *known == serial) {
            self.known.remove(&key);
        }
    }
}
