//! Followers parked at a shard until there is something for them to read. What nobody waits for
//! costs one look at a slot a message; what somebody waits for costs no search.

use super::{
    id::{ConnKey, ConnectionId, Ticket},
    reason::{Fault, FaultKind},
    ring::Position,
};
use crate::limits::FOLLOWERS_PER_SHARD_MAX;
use std::{cmp::Ordering, collections::BTreeMap, sync::Arc, time::Duration};

pub mod continuity;
#[cfg(test)]
mod tests;

/// Followers come and go quickly: a refused one is worth another try soon.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Connection(ConnKey),
    /// All of these tags: messages of every connection that has them, now or later.
    Tags(Vec<(String, String)>),
    /// Messages of every connection that publishes to it, now or later.
    Topic(Arc<str>),
    /// Events of the lifecycle ring; of one connection when `id` is given.
    Lifecycle {
        id: Option<ConnectionId>,
        tags: Vec<(String, String)>,
    },
}

/// What a look at the records since a follower's position has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Something for it, at this place or later.
    At(Position),
    /// Nothing before this place: the next look begins there.
    NothingBefore(Position),
}

/// Where the two rings of a shard end now.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub messages: Position,
    pub lifecycle: Position,
}

pub struct Followers {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_ticket: BTreeMap<Ticket, u32>,
    /// Indexed by `ConnKey::index`.
    connections: Vec<Slot>,
    /// Connections with followers that got a record since the last turn, and where the first one is.
    touched: Vec<(u32, Position)>,
    /// Followers of tags and of the lifecycle ring: each is looked at in each turn that brought something.
    wide: List,
    /// Followers that have something to read, in the order in which that was found.
    ready: List,
}

struct Entry {
    ticket: Ticket,
    selector: Selector,
    position: Position,
    place: Place,
    next: u32,
    previous: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Connection(u32),
    Wide,
    Ready,
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: List = List { head: NONE, tail: NONE };
}

#[derive(Clone, Copy)]
struct Slot {
    /// Where the newest record of the connection is.
    last: Option<Position>,
    generation: u32,
    touched: bool,
    followers: List,
}

impl Slot {
    const EMPTY: Slot = Slot { last: None, generation: 0, touched: false, followers: List::EMPTY };
}

impl Default for Followers {
    fn default() -> Self {
        Followers {
            entries: Vec::new(),
            free: Vec::new(),
            by_ticket: BTreeMap::new(),
            connections: Vec::new(),
            touched: Vec::new(),
            wide: List::EMPTY,
            ready: List::EMPTY,
        }
    }
}

impl Followers {
    pub fn len(&self) -> usize {
        self.by_ticket.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_ticket.is_empty()
    }

    /// A record of this connection was appended to the message ring, at `at`.
    pub fn appended(&mut self, key: ConnKey, at: Position) {
        let slot = self.slot(key);
        slot.last = Some(at);
        if slot.followers.head != NONE && !slot.touched {
            slot.touched = true;
            self.touched.push((key.index, at));
        }
    }

    /// The connection is gone: who waits for it is due, to find that out. Where its last record is
    /// stays known: others may still be reading up to there.
    pub fn forget(&mut self, key: ConnKey) {
        if let Some(slot) = self.connections.get(key.index as usize)
            && slot.generation == key.generation
        {
            self.wake_connection(key.index, Position::ZERO);
        }
    }

    /// The connection has no record at or after `position`: its follower has caught up, also when
    /// its read stopped among the records of others. False for one that is gone, whose place has a
    /// new tenant: who follows it must be told.
    pub fn nothing_since(&self, key: ConnKey, position: Position) -> bool {
        let Some(slot) = self.connections.get(key.index as usize) else { return true };
        match slot.generation.cmp(&key.generation) {
            Ordering::Less => true,
            Ordering::Equal => slot.last.is_none_or(|last| last < position),
            Ordering::Greater => false,
        }
    }

    /// A follower that has read everything before `position` waits for what comes: one that resumes
    /// reads first, or it would hear of what is no longer retained only with the next message.
    /// `due` hands it out once; after reading it parks again.
    pub fn park(&mut self, ticket: Ticket, selector: Selector, position: Position) -> Result<(), Fault> {
        if self.by_ticket.contains_key(&ticket) {
            return Err(Fault::new(FaultKind::Internal, "this follower waits already"));
        }
        if self.by_ticket.len() >= FOLLOWERS_PER_SHARD_MAX {
            return Err(Fault::full("too many followers wait at this shard", RETRY_AFTER));
        }
        let place = match selector {
            Selector::Connection(key) if self.nothing_since(key, position) => {
                self.slot(key);
                Place::Connection(key.index)
            }
            Selector::Connection(_) => Place::Ready,
            Selector::Tags(_) | Selector::Topic(_) | Selector::Lifecycle { .. } => Place::Wide,
        };
        let entry = Entry { ticket, selector, position, place, next: NONE, previous: NONE };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = Some(entry);
                index
            }
            None => {
                self.entries.push(Some(entry));
                self.entries.len() as u32 - 1
            }
        };
        self.by_ticket.insert(ticket, index);
        self.link(index, place);
        Ok(())
    }

    /// Where it had waited; None when it was handed out or never there.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<Position> {
        let index = self.by_ticket.get(&ticket).copied()?;
        self.remove(index).map(|(_, _, position)| position)
    }

    /// Called once at the end of a turn: hands out at most `max` followers that have something to
    /// read, with the place to read from, and forgets them. `scan` looks for records that a wide
    /// selector wants; it may stop early. True when ready ones are left for the next turn.
    pub fn due(
        &mut self,
        ends: Ends,
        max: usize,
        scan: &mut impl FnMut(&Selector, Position) -> Found,
        out: &mut impl FnMut(Ticket, Selector, Position),
    ) -> bool {
        for (connection, first) in std::mem::take(&mut self.touched) {
            self.wake_connection(connection, first);
        }
        self.scan_wide(ends, scan);
        for _ in 0..max {
            match self.remove(self.ready.head) {
                Some((ticket, selector, position)) => out(ticket, selector, position),
                None => break,
            }
        }
        self.ready.head != NONE
    }

    fn scan_wide(&mut self, ends: Ends, scan: &mut impl FnMut(&Selector, Position) -> Found) {
        let mut index = self.wide.head;
        while let Some(entry) = self.entry(index) {
            let next = entry.next;
            let end = match entry.selector {
                Selector::Lifecycle { .. } => ends.lifecycle,
                _ => ends.messages,
            };
            if entry.position < end {
                match scan(&entry.selector, entry.position) {
                    Found::NothingBefore(position) => entry.position = entry.position.max(position),
                    Found::At(position) => {
                        entry.position = entry.position.max(position);
                        self.relink(index, Place::Ready);
                    }
                }
            }
            index = next;
        }
    }

    /// All of the connection's followers have something to read, none of it before `first`: had
    /// there been something when they parked, they would not have waited here.
    fn wake_connection(&mut self, connection: u32, first: Position) {
        let Some(slot) = self.connections.get_mut(connection as usize) else { return };
        slot.touched = false;
        let mut index = slot.followers.head;
        while let Some(entry) = self.entry(index) {
            let next = entry.next;
            entry.position = entry.position.max(first);
            self.relink(index, Place::Ready);
            index = next;
        }
    }

    fn slot(&mut self, key: ConnKey) -> &mut Slot {
        let index = key.index as usize;
        if index >= self.connections.len() {
            self.connections.resize(index + 1, Slot::EMPTY);
        }
        if self.connections[index].generation != key.generation {
            self.wake_connection(key.index, Position::ZERO);
            self.connections[index] = Slot { generation: key.generation, ..Slot::EMPTY };
        }
        &mut self.connections[index]
    }

    fn entry(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    fn list(&mut self, place: Place) -> &mut List {
        match place {
            Place::Connection(index) => &mut self.connections[index as usize].followers,
            Place::Wide => &mut self.wide,
            Place::Ready => &mut self.ready,
        }
    }

    fn remove(&mut self, index: u32) -> Option<(Ticket, Selector, Position)> {
        self.unlink(index);
        let entry = self.entries.get_mut(index as usize)?.take()?;
        self.free.push(index);
        self.by_ticket.remove(&entry.ticket);
        Some((entry.ticket, entry.selector, entry.position))
    }

    fn relink(&mut self, index: u32, place: Place) {
        self.unlink(index);
        self.link(index, place);
    }

    fn link(&mut self, index: u32, place: Place) {
        let tail = std::mem::replace(&mut self.list(place).tail, index);
        if let Some(entry) = self.entry(index) {
            entry.place = place;
            entry.next = NONE;
            entry.previous = tail;
        }
        match self.entry(tail) {
            Some(before) => before.next = index,
            None => self.list(place).head = index,
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(&mut Entry { place, next, previous, .. }) = self.entry(index) else { return };
        match self.entry(previous) {
            Some(before) => before.next = next,
            None => self.list(place).head = next,
        }
        match self.entry(next) {
            Some(after) => after.previous = previous,
            None => self.list(place).tail = previous,
        }
    }
}
