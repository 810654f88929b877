//! A hierarchical timer wheel for one shard: insert and cancel cost a few stores, however many
//! timers there are. Four levels of 64 slots reach 37 hours; what lies beyond waits in one list.

use super::time::Time;

#[cfg(test)]
mod tests;

/// A timer fires at the first tick at or after its deadline: never early, at most one tick late.
pub const TICK_NANOS: u64 = 8_000_000;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 4;
/// Ticks that the levels cover; a timer whose tick differs above these bits waits in `FAR`.
const SPAN_BITS: u32 = BITS * LEVELS as u32;
const FAR: u16 = (LEVELS * SLOTS) as u16;
const LISTS: usize = LEVELS * SLOTS + 1;
const NONE: u32 = u32::MAX;
/// The list of an entry that is not in use.
const FREE: u16 = u16::MAX;

/// Names one timer. After it fired or was cancelled the name is worth nothing, also when its place
/// is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

impl TimerId {
    /// Names no timer: saves an `Option` in what holds many of them.
    pub const NONE: TimerId = TimerId { index: NONE, generation: 0 };
}

impl Default for TimerId {
    fn default() -> Self {
        TimerId::NONE
    }
}

/// What is due is decided by `expire` alone; the caller bounds how many timers it sets.
pub struct Wheel<K> {
    /// Every earlier tick was fired; this one may still take timers that are due already.
    current: u64,
    entries: Vec<Entry<K>>,
    free: u32,
    len: usize,
    lists: Box<[List; LISTS]>,
    /// One bit a slot that holds something.
    occupied: [u64; LEVELS],
}

#[derive(Clone, Copy)]
struct Entry<K> {
    tick: u64,
    key: K,
    next: u32,
    previous: u32,
    generation: u32,
    list: u16,
}

const _: () = assert!(size_of::<Entry<u64>>() <= 32);

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: List = List { head: NONE, tail: NONE };
}

impl<K: Copy> Default for Wheel<K> {
    fn default() -> Self {
        Wheel::new(Time::ZERO)
    }
}

impl<K: Copy> Wheel<K> {
    pub fn new(now: Time) -> Self {
        Wheel {
            current: now.as_nanos() / TICK_NANOS,
            entries: Vec::new(),
            free: NONE,
            len: 0,
            lists: Box::new([List::EMPTY; LISTS]),
            occupied: [0; LEVELS],
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A deadline that has passed is due at the next `expire`.
    pub fn insert(&mut self, at: Time, key: K) -> TimerId {
        let tick = at.as_nanos().div_ceil(TICK_NANOS).max(self.current);
        let index = self.allocate(tick, key);
        self.link(index);
        self.len += 1;
        TimerId { index, generation: self.entries[index as usize].generation }
    }

    /// True when the timer had been waiting and will not fire now.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        match self.entries.get(timer.index as usize) {
            Some(entry) if entry.generation == timer.generation && entry.list != FREE => {
                self.unlink(timer.index);
                self.release(timer.index);
                true
            }
            _ => false,
        }
    }

    /// Fires what is due, by tick and within a tick in the order of insertion. A clock that went
    /// back fires nothing new.
    pub fn expire(&mut self, now: Time, fire: &mut impl FnMut(K)) {
        let target = (now.as_nanos() / TICK_NANOS).max(self.current);
        loop {
            self.fire_current(fire);
            match self.next_tick() {
                Some(tick) if tick <= target => self.advance(tick),
                _ => break,
            }
        }
        self.advance(target);
    }

    /// Nothing fires before this. A far timer may need some wakings on the way, at which nothing
    /// fires: call `expire` and ask again.
    pub fn next(&self) -> Option<Time> {
        self.next_tick().map(|tick| Time::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// All of a level lies before all of the next one, so the first level that holds something
    /// has the earliest: exact on the lowest, the start of a slot on the others.
    fn next_tick(&self) -> Option<u64> {
        for level in 0..LEVELS as u32 {
            let shift = level * BITS;
            let here = (self.current >> shift) & (SLOTS as u64 - 1);
            let ahead = self.occupied[level as usize] >> here;
            if ahead != 0 {
                let slot = (self.current >> shift) + u64::from(ahead.trailing_zeros());
                return Some((slot << shift).max(self.current));
            }
        }
        let far = self.lists[FAR as usize].head != NONE;
        far.then(|| ((self.current >> SPAN_BITS) + 1) << SPAN_BITS)
    }

    /// Only ever called with a tick that is not beyond `next_tick`: no slot is jumped over.
    fn advance(&mut self, tick: u64) {
        let changed = self.current ^ tick;
        self.current = tick;
        if changed >> SPAN_BITS != 0 {
            self.cascade(FAR);
        }
        for level in (1..LEVELS as u32).rev() {
            if changed >> (level * BITS) != 0 {
                let slot = (tick >> (level * BITS)) & (SLOTS as u64 - 1);
                self.cascade((level as usize * SLOTS) as u16 + slot as u16);
            }
        }
    }

    /// Places the entries of one list anew, in their order.
    fn cascade(&mut self, list: u16) {
        let mut index = self.take(list);
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    fn fire_current(&mut self, fire: &mut impl FnMut(K)) {
        let mut index = self.take((self.current & (SLOTS as u64 - 1)) as u16);
        while index != NONE {
            let Entry { next, key, .. } = self.entries[index as usize];
            self.release(index);
            fire(key);
            index = next;
        }
    }

    /// Empties a list and hands out its first entry.
    fn take(&mut self, list: u16) -> u32 {
        let head = std::mem::replace(&mut self.lists[list as usize], List::EMPTY).head;
        self.mark(list, false);
        head
    }

    fn mark(&mut self, list: u16, holds: bool) {
        if list != FAR {
            let bit = 1 << (list as usize % SLOTS);
            let level = &mut self.occupied[list as usize / SLOTS];
            *level = if holds { *level | bit } else { *level & !bit };
        }
    }

    /// The level is that of the highest bits in which the tick differs from the current one.
    fn list_for(&self, tick: u64) -> u16 {
        let differs = tick ^ self.current;
        if differs >> SPAN_BITS != 0 {
            return FAR;
        }
        let level = (63 - (differs | 1).leading_zeros()) / BITS;
        let slot = (tick >> (level * BITS)) & (SLOTS as u64 - 1);
        (level as usize * SLOTS) as u16 + slot as u16
    }

    fn link(&mut self, index: u32) {
        let list = self.list_for(self.entries[index as usize].tick);
        let tail = std::mem::replace(&mut self.lists[list as usize].tail, index);
        let entry = &mut self.entries[index as usize];
        entry.list = list;
        entry.next = NONE;
        entry.previous = tail;
        if tail == NONE {
            self.lists[list as usize].head = index;
            self.mark(list, true);
        } else {
            self.entries[tail as usize].next = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Entry { next, previous, list, .. } = self.entries[index as usize];
        if previous == NONE {
            self.lists[list as usize].head = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        if next == NONE {
            self.lists[list as usize].tail = previous;
        } else {
            self.entries[next as usize].previous = previous;
        }
        if self.lists[list as usize].head == NONE {
            self.mark(list, false);
        }
    }

    fn allocate(&mut self, tick: u64, key: K) -> u32 {
        if self.free == NONE {
            let index = self.entries.len() as u32;
            self.entries.push(Entry { tick, key, next: NONE, previous: NONE, generation: 0, list: FREE });
            return index;
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        entry.tick = tick;
        entry.key = key;
        index
    }

    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.list = FREE;
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
    }
}
