//! One room at its sequencer.

use super::Moved;
use crate::core::{
    names::RoomName,
    rooms::{Kept, Message, Position, history::History, rules},
    time::Time,
};
use std::{collections::VecDeque, sync::Arc};

/// A number that was given and is not out yet.
#[derive(Debug)]
pub enum Slot {
    /// Its message is to come by then.
    Reserved(Time),
    Filled(Arc<Message>),
    /// Given up: a hole.
    Void,
}

impl Slot {
    pub fn bytes(&self) -> usize {
        match self {
            Slot::Filled(message) => message.payload.len(),
            Slot::Reserved(_) | Slot::Void => 0,
        }
    }
}

#[derive(Debug)]
pub struct Room {
    epoch: u64,
    /// The last number given.
    given: u64,
    /// The last one before those that wait.
    settled: u64,
    /// One for each number after `settled`, up to `given`.
    pub pending: VecDeque<Slot>,
    pub ring: History,
    /// Sorted.
    pub subscribers: Vec<super::Subscriber>,
    /// It was handed over, or has been numbered here: nobody else numbers it.
    pub open: bool,
    pub used: u64,
}

impl Room {
    pub fn new(history: rules::History, epoch: u64) -> Self {
        Room {
            epoch,
            given: 0,
            settled: 0,
            pending: VecDeque::new(),
            ring: History::new(history),
            subscribers: Vec::new(),
            open: false,
            used: 0,
        }
    }

    pub fn adopt(&mut self, moved: &Moved, now: Time) {
        self.open = true;
        self.given = moved.head.offset;
        self.settled = moved.head.offset;
        for (at, age, message) in &moved.kept {
            let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            let then = Time::from_nanos(now.as_nanos().saturating_sub(age));
            self.ring.push(message.clone(), *at, then);
        }
        self.ring.expire(now);
    }

    pub fn moved(&self, room: &RoomName, now: Time) -> Moved {
        let mut kept: Vec<_> =
            self.ring.newest().map(|(at, then, message)| (at, now.since(then), message.clone())).collect();
        kept.reverse();
        Moved { room: room.clone(), head: self.given(), kept }
    }

    /// Where it stands: everything up to here is out.
    pub fn head(&self) -> Position {
        Position { epoch: self.epoch, offset: self.settled }
    }

    pub fn given(&self) -> Position {
        Position { epoch: self.epoch, offset: self.given }
    }

    pub fn give(&mut self) -> Position {
        self.given += 1;
        self.given()
    }

    /// Answers the bytes of what waited, which nobody gets.
    pub fn begin(&mut self, epoch: u64) -> usize {
        let waited = self.pending_bytes();
        self.pending.clear();
        self.ring.clear();
        (self.epoch, self.given, self.settled) = (epoch, 0, 0);
        waited
    }

    pub fn reserved(&mut self, at: Position) -> Option<&mut Slot> {
        if at.epoch != self.epoch {
            return None;
        }
        let index = usize::try_from(at.offset.checked_sub(self.settled + 1)?).ok()?;
        self.pending.get_mut(index).filter(|slot| matches!(slot, Slot::Reserved(_)))
    }

    /// Numbers at the end that nobody will use were never given.
    pub fn take_back(&mut self) {
        while matches!(self.pending.back(), Some(Slot::Void)) {
            self.pending.pop_back();
            self.given -= 1;
        }
    }

    /// What is reserved until then, or earlier.
    pub fn give_up(&mut self, until: Time) {
        for slot in &mut self.pending {
            if matches!(slot, Slot::Reserved(at) if *at <= until) {
                *slot = Slot::Void;
            }
        }
    }

    /// The next number that nothing holds back.
    pub fn settle(&mut self) -> Option<(Position, Slot)> {
        if matches!(self.pending.front()?, Slot::Reserved(_)) {
            return None;
        }
        let slot = self.pending.pop_front()?;
        self.settled += 1;
        Some((self.head(), slot))
    }

    pub fn pending_bytes(&self) -> usize {
        self.pending.iter().map(Slot::bytes).sum()
    }

    /// The head is where the room stands, not the last that is kept: a hole at the end is told.
    pub fn since(&self, after: Option<Position>, limit: usize) -> Kept {
        let head = self.head();
        match after {
            // Nothing is kept after it; in between were numbers that nobody filled.
            Some(at) if at.epoch == self.epoch && at >= self.ring.head() && at <= head => {
                Kept { messages: Vec::new(), recovered: at == head, head }
            }
            _ => Kept { head, ..self.ring.since(after, limit) },
        }
    }

    pub fn is_idle(&self) -> bool {
        self.subscribers.is_empty() && self.ring.is_empty() && self.pending.is_empty()
    }
}
