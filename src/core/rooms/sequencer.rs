//! The rooms that one instance of a fleet numbers for all: their numbers, their histories, and which
//! instances want their messages. What is numbered goes out in the order of its numbers, also while a
//! number is reserved for a message that is sent to rooms of several sequencers.

mod change;
mod moving;
mod room;

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use super::{
    Kept, Message, Place, Position, Post, Rules,
    choice::{Choice, Seat},
};
use crate::{
    core::{
        names::RoomName,
        time::{Now, Time},
    },
    limits,
};
pub use moving::{Move, Moved, Part};
use room::{Room, Slot};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

/// Who wants messages: one stream to an instance, or this instance itself.
pub type Subscriber = u64;

/// What comes out, in the order in which it must reach each subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    Message {
        to: Subscriber,
        room: RoomName,
        at: Position,
        message: Arc<Message>,
    },
    /// Nothing more of this room comes from here: it is to be asked for where it is now.
    Over {
        to: Subscriber,
        room: RoomName,
    },
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another instance numbers it, as this one sees it.
    Elsewhere(Arc<str>),
    /// Whoever numbered it before may do so still, for this long.
    Soon(Duration),
    /// Too much waits.
    Full(&'static str),
    /// The reserved number was given up.
    Late,
}

pub struct Sequencer {
    rules: Arc<Rules>,
    /// This instance, in messages of rooms that it numbers alone.
    instance: Arc<str>,
    bytes_max: usize,
    choice: Choice,
    rooms: BTreeMap<RoomName, Room>,
    subscribers: BTreeMap<Subscriber, BTreeSet<RoomName>>,
    /// Rooms that keep something, by their last use.
    used: BTreeSet<(u64, RoomName)>,
    uses: u64,
    /// Reservations by their ends.
    due: BTreeSet<(Time, RoomName)>,
    kept_bytes: usize,
    pending_bytes: usize,
    /// No new epoch is at or below the highest that was ever given or seen here and forgotten.
    floor: u64,
    /// Where the last sweep ended.
    swept: Option<RoomName>,
    /// Moves that were handed over, and the last part that came from each other instance.
    moves: u64,
    adopted: BTreeMap<Arc<str>, (u64, u32)>,
}

impl Sequencer {
    /// `me` is this run, `instance` its lasting name.
    pub fn new(me: Arc<str>, instance: Arc<str>, rules: Arc<Rules>, bytes_max: usize, now: Now) -> Self {
        Sequencer {
            rules,
            instance,
            bytes_max,
            choice: Choice::new(me, now.mono),
            rooms: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            used: BTreeSet::new(),
            uses: 0,
            due: BTreeSet::new(),
            kept_bytes: 0,
            pending_bytes: 0,
            floor: 0,
            swept: None,
            moves: 0,
            adopted: BTreeMap::new(),
        }
    }

    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// A room that keeps nothing is numbered by each instance alone.
    pub fn is_alone(&self, room: &RoomName) -> bool {
        self.rules.history(room).is_none()
    }

    /// Numbers, keeps and sends out one message to all these rooms, each named once.
    pub fn post(
        &mut self,
        rooms: &[RoomName],
        post: Post,
        now: Now,
        out: &mut Vec<Out>,
    ) -> Result<Vec<Place>, Refusal> {
        self.admit(rooms, post.payload.len(), now)?;
        let places: Vec<Place> = rooms.iter().map(|room| self.give(room, now)).collect();
        let from = rooms.iter().any(|room| self.is_alone(room)).then(|| self.instance.clone());
        let message = Arc::new(Message {
            kind: post.kind,
            payload: post.payload,
            wall: now.wall.to_micros(),
            places: places.clone().into(),
            from,
        });
        for place in &places {
            self.put(place, Slot::Filled(message.clone()), now, out);
        }
        Ok(places)
    }

    /// Numbers for a message that comes in `fill`, or is given up after a while.
    pub fn reserve(&mut self, rooms: &[RoomName], now: Now) -> Result<Vec<Place>, Refusal> {
        self.admit(rooms, 0, now)?;
        let until = now.mono + limits::ROOM_FILL_PATIENCE;
        Ok(rooms
            .iter()
            .map(|room| {
                let place = self.give(room, now);
                if let Some(known) = self.rooms.get_mut(room) {
                    known.pending.push_back(Slot::Reserved(until));
                    self.due.insert((until, room.clone()));
                }
                place
            })
            .collect())
    }

    /// The message of reserved numbers, or that there is none. Late when one was given up already:
    /// the others are filled.
    pub fn fill(
        &mut self,
        places: &[Place],
        message: Option<Arc<Message>>,
        now: Now,
        out: &mut Vec<Out>,
    ) -> Result<(), Refusal> {
        let mut answer = Ok(());
        for place in places {
            let known = self.rooms.get_mut(&place.room);
            let Some(slot) = known.and_then(|room| room.reserved(place.at)) else {
                answer = Err(Refusal::Late);
                continue;
            };
            match &message {
                Some(message) => {
                    *slot = Slot::Filled(message.clone());
                    self.pending_bytes += message.payload.len();
                }
                None => *slot = Slot::Void,
            }
            if let Some(room) = self.rooms.get_mut(&place.room)
                && message.is_none()
            {
                room.take_back();
            }
            self.settle(&place.room, now, out);
        }
        answer
    }

    /// From now on the subscriber gets the room's messages. `known`: the last of them that it saw;
    /// numbers never go back behind that. Answers the last number before those that will come.
    pub fn subscribe(
        &mut self,
        subscriber: Subscriber,
        room: &RoomName,
        known: Position,
        now: Now,
    ) -> Result<Position, Refusal> {
        let alone = self.is_alone(room);
        if !alone {
            match self.choice.seat(room, now.mono) {
                Seat::Other(first) => return Err(Refusal::Elsewhere(first)),
                // What it would be told now would be wrong when the room comes.
                Seat::Soon { left, handed: true } if !self.rooms.contains_key(room) => {
                    return Err(Refusal::Soon(left));
                }
                Seat::Mine | Seat::Soon { .. } => {}
            }
            let behind = self.rooms.get(room).map_or(known.epoch > self.floor, |room| known > room.given());
            if behind {
                self.begin_above(room, known.epoch, now);
            }
        }
        let state = self.open(room, now)?;
        if let Err(place) = state.subscribers.binary_search(&subscriber) {
            state.subscribers.insert(place, subscriber);
        }
        let head = state.head();
        self.subscribers.entry(subscriber).or_default().insert(room.clone());
        Ok(if alone { Position::default() } else { head })
    }

    pub fn unsubscribe(&mut self, subscriber: Subscriber, room: &RoomName) {
        if let Some(state) = self.rooms.get_mut(room) {
            state.subscribers.retain(|known| *known != subscriber);
        }
        if let Some(rooms) = self.subscribers.get_mut(&subscriber) {
            rooms.remove(room);
        }
    }

    /// Its stream is over.
    pub fn gone(&mut self, subscriber: Subscriber) {
        for room in self.subscribers.remove(&subscriber).unwrap_or_default() {
            if let Some(state) = self.rooms.get_mut(&room) {
                state.subscribers.retain(|known| *known != subscriber);
            }
        }
    }

    pub fn since(
        &mut self,
        room: &RoomName,
        after: Option<Position>,
        limit: usize,
        now: Now,
    ) -> Result<Kept, Refusal> {
        if !self.is_alone(room) {
            match self.choice.seat(room, now.mono) {
                Seat::Other(first) => return Err(Refusal::Elsewhere(first)),
                Seat::Soon { left, handed: true } if !self.rooms.contains_key(room) => {
                    return Err(Refusal::Soon(left));
                }
                Seat::Mine | Seat::Soon { .. } => {}
            }
        }
        let Some(state) = self.rooms.get_mut(room) else {
            return Ok(Kept { recovered: after.is_none(), ..Kept::default() });
        };
        self.kept_bytes -= state.ring.bytes();
        state.ring.expire(now.mono);
        self.kept_bytes += state.ring.bytes();
        let kept = state.since(after, limit);
        self.touch(room);
        Ok(kept)
    }

    /// Gives up what was reserved for too long, and goes over some of the rooms: what is too old is
    /// forgotten, and rooms that keep nothing and that nobody wants are collected.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Out>) {
        while let Some((until, room)) = self.due.first().cloned()
            && until <= now.mono
        {
            self.due.remove(&(until, room.clone()));
            if let Some(state) = self.rooms.get_mut(&room) {
                state.give_up(now.mono);
                self.settle(&room, now, out);
            }
        }
        let from = self.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let names: Vec<RoomName> = self
            .rooms
            .range((from, Bound::Unbounded))
            .take(limits::ROOMS_SWEEP)
            .map(|(room, _)| room.clone())
            .collect();
        self.swept = (names.len() == limits::ROOMS_SWEEP).then(|| names.last().cloned()).flatten();
        for room in names {
            let Some(state) = self.rooms.get_mut(&room) else { continue };
            self.kept_bytes -= state.ring.bytes();
            state.ring.expire(now.mono);
            self.kept_bytes += state.ring.bytes();
            if state.is_idle() {
                self.forget(&room, out);
            }
        }
    }
}
