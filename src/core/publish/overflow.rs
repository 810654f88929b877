//! The waiting room of a lane that would rather lose messages than slow its connection down.

use super::gaps::{absorb, gap_of, join};
use crate::{
    core::{reason::GapCause, sequence::Gap},
    limits::GAPS_HELD_MAX,
    wire::event::TimeText,
};
use std::collections::BTreeMap;

/// What an entry costs beside its bytes.
const ENTRY_COST: usize = 128;

#[derive(Debug)]
pub(super) struct Waiting {
    pub epoch: u64,
    pub seq: u64,
    pub time: TimeText,
    /// An event, or for `frames` an element of one.
    pub rendered: Box<[u8]>,
    /// Only the newest message with this key stays.
    pub key: Option<Box<[u8]>>,
}

impl Waiting {
    fn cost(&self) -> usize {
        ENTRY_COST + self.rendered.len() + 2 * self.key.as_ref().map_or(0, |key| key.len())
    }
}

#[derive(Debug)]
pub(super) enum Entry {
    Message(Waiting),
    Gap(Gap),
    End { epoch: u64, last_seq: u64 },
}

#[derive(Debug)]
pub(super) struct Room {
    /// In the lane's order. A dropped message leaves a gap record in its place.
    entries: BTreeMap<u64, Entry>,
    next: u64,
    cost: usize,
    bound: usize,
    messages: u64,
    gaps: usize,
    keys: BTreeMap<Box<[u8]>, u64>,
    cause: GapCause,
}

/// What had to go to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub messages: u64,
    pub ends: u64,
}

impl Lost {
    pub(super) fn and(self, other: Lost) -> Lost {
        Lost { messages: self.messages + other.messages, ends: self.ends + other.ends }
    }
}

impl Room {
    pub(super) fn new(bound: usize, cause: GapCause) -> Self {
        Room {
            entries: BTreeMap::new(),
            next: 0,
            cost: 0,
            bound,
            messages: 0,
            gaps: 0,
            keys: BTreeMap::new(),
            cause,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn push(&mut self, message: Waiting) -> Lost {
        let mut lost = Lost::default();
        let replaced = message.key.clone().and_then(|key| self.keys.insert(key, self.next));
        self.cost += message.cost();
        self.messages += 1;
        self.insert(Entry::Message(message));
        if let Some(place) = replaced {
            self.lose(place);
            lost.messages += 1;
        }
        self.trim(&mut lost);
        lost
    }

    pub(super) fn push_gap(&mut self, gap: Gap) -> Lost {
        let full = self.gaps >= GAPS_HELD_MAX;
        let absorbed = match self.entries.values_mut().next_back() {
            Some(Entry::Gap(last)) => absorb(last, &gap, full),
            _ => false,
        };
        if !absorbed {
            self.cost += ENTRY_COST;
            self.gaps += 1;
            self.insert(Entry::Gap(gap));
        }
        let mut lost = Lost::default();
        self.trim(&mut lost);
        lost
    }

    pub(super) fn push_end(&mut self, epoch: u64, last_seq: u64) -> Lost {
        self.cost += ENTRY_COST;
        self.insert(Entry::End { epoch, last_seq });
        let mut lost = Lost::default();
        self.trim(&mut lost);
        lost
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let (place, entry) = self.entries.pop_first()?;
        self.forget(place, &entry);
        Some(entry)
    }

    fn insert(&mut self, entry: Entry) {
        self.entries.insert(self.next, entry);
        self.next += 1;
    }

    /// Takes an entry that was removed out of the books.
    fn forget(&mut self, place: u64, entry: &Entry) {
        match entry {
            Entry::Message(message) => {
                self.cost -= message.cost();
                self.messages -= 1;
                if let Some(key) = &message.key
                    && self.keys.get(key) == Some(&place)
                {
                    self.keys.remove(key);
                }
            }
            Entry::Gap(_) => {
                self.cost -= ENTRY_COST;
                self.gaps -= 1;
            }
            Entry::End { .. } => self.cost -= ENTRY_COST,
        }
    }

    /// Drops the oldest until the rest fits. The newest message always stays.
    fn trim(&mut self, lost: &mut Lost) {
        while self.cost > self.bound {
            let mut front = self.entries.iter();
            let (first, second) = (front.next(), front.next());
            match (first, second) {
                (Some((_, Entry::Gap(_))), Some((&second, Entry::Gap(_)))) => self.merge_front(second),
                (Some((&place, Entry::Message(_))), _)
                | (Some((_, Entry::Gap(_))), Some((&place, Entry::Message(_))))
                    if self.messages > 1 =>
                {
                    self.lose(place);
                    lost.messages += 1;
                }
                (Some((&place, Entry::End { .. })), Some(_))
                | (Some((_, Entry::Gap(_))), Some((&place, Entry::End { .. }))) => {
                    self.remove(place);
                    lost.ends += 1;
                }
                _ => return,
            }
        }
    }

    fn merge_front(&mut self, second: u64) {
        let Some(Entry::Gap(next)) = self.remove(second) else { return };
        if let Some(Entry::Gap(first)) = self.entries.values_mut().next() {
            absorb(first, &next, true);
        }
    }

    /// Turns a message into the gap it leaves, joined with the gaps beside it.
    fn lose(&mut self, place: u64) {
        let Some(Entry::Message(message)) = self.remove(place) else { return };
        let mut gap = gap_of(message.epoch, message.seq, message.seq, self.cause, 1);
        let after = self.entries.range(place..).next().map(|(&at, _)| at);
        if let Some(after) = after
            && let Some(Entry::Gap(next)) = self.entries.get(&after)
            && join(&mut gap, next)
        {
            self.remove(after);
        }
        if let Some((_, Entry::Gap(before))) = self.entries.range_mut(..place).next_back()
            && join(before, &gap)
        {
            return;
        }
        self.cost += ENTRY_COST;
        self.gaps += 1;
        self.entries.insert(place, Entry::Gap(gap));
    }

    fn remove(&mut self, place: u64) -> Option<Entry> {
        let entry = self.entries.remove(&place)?;
        self.forget(place, &entry);
        Some(entry)
    }
}

#[cfg(test)]
mod tests;
