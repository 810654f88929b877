//! The rooms that one instance of a fleet numbers for all: their numbers, their histories, and which
//! instances want their messages. What is numbered goes out in the order of its numbers, also while a
//! number is reserved for a message that is sent to rooms of several sequencers.

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

/// A room on its way to its next sequencer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub room: RoomName,
    /// The last number given.
    pub head: Position,
    /// With their ages, oldest first.
    pub kept: Vec<(Position, Duration, Arc<Message>)>,
}

/// For one other instance: that it is seen, and what is its own from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub to: Arc<str>,
    /// Counts what the sender hands over.
    pub number: u64,
    /// The sender leaves.
    pub leaving: bool,
    pub rooms: Vec<Moved>,
}

/// What arrives of a move: all of it, or a part.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// The move's, and which part of it this is. A part that comes again was adopted already, and
    /// its rooms may have gone on since.
    pub number: (u64, u32),
    pub leaving: bool,
    /// Nothing more comes.
    pub last: bool,
    pub rooms: Vec<Moved>,
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

    /// The members by now. Answers what is to be told to them; empty when nothing changed.
    pub fn look<'a>(
        &mut self,
        me: &Arc<str>,
        members: impl Iterator<Item = &'a Arc<str>>,
        now: Now,
        out: &mut Vec<Out>,
    ) -> (bool, Vec<Move>) {
        let look = self.choice.look(me, members, now.mono);
        if look.renamed {
            // Others may number these rooms already.
            let rooms: Vec<RoomName> = self.rooms.keys().cloned().collect();
            for room in rooms {
                self.forget(&room, out);
            }
        }
        if !look.changed {
            return (false, Vec::new());
        }
        let mut moves: BTreeMap<Arc<str>, Vec<Moved>> =
            look.came.into_iter().map(|incarnation| (incarnation, Vec::new())).collect();
        self.let_go(&mut moves, now, out);
        let members: BTreeSet<Arc<str>> = self.choice.known().cloned().collect();
        self.adopted.retain(|from, _| members.contains(from));
        (true, self.into_moves(moves, self.choice.is_leaving()))
    }

    /// This instance leaves in order: it numbers nothing more, and this is for the others.
    pub fn leave(&mut self, now: Now, out: &mut Vec<Out>) -> Vec<Move> {
        self.choice.leave();
        let mut moves: BTreeMap<Arc<str>, Vec<Moved>> =
            self.choice.others().map(|incarnation| (incarnation.clone(), Vec::new())).collect();
        if !moves.is_empty() {
            self.let_go(&mut moves, now, out);
        }
        self.into_moves(moves, true)
    }

    /// Everything that is another's goes there.
    fn let_go(&mut self, moves: &mut BTreeMap<Arc<str>, Vec<Moved>>, now: Now, out: &mut Vec<Out>) {
        let theirs: Vec<(RoomName, Arc<str>)> = self
            .rooms
            .keys()
            .filter(|room| !self.is_alone(room))
            .map(|room| (room.clone(), self.choice.first(room).clone()))
            .filter(|(_, first)| first != self.choice.me())
            .collect();
        for (room, first) in theirs {
            self.give_up(&room, now, out);
            let Some(known) = self.rooms.get(&room) else { continue };
            if known.open {
                moves.entry(first).or_default().push(known.moved(&room, now.mono));
            }
            self.forget(&room, out);
        }
    }

    /// What another instance hands over, and that it sees this one. Answers what goes on to
    /// others, because this instance leaves too.
    pub fn adopt(&mut self, from: &Arc<str>, part: Part, now: Now, out: &mut Vec<Out>) -> Vec<Move> {
        let Part { number, leaving, last, rooms } = part;
        let known = self.adopted.entry(from.clone()).or_default();
        let again = number <= *known;
        *known = number.max(*known);
        for moved in rooms.into_iter().filter(|_| !again) {
            let known = self.rooms.get(&moved.room).map(|room| room.given());
            if self.is_alone(&moved.room)
                || known.is_some_and(|known| known >= moved.head)
                || self.rooms.len() >= limits::ROOMS_NUMBERED_MAX
            {
                self.floor = self.floor.max(moved.head.epoch);
                continue;
            }
            if known.is_some() {
                self.forget(&moved.room, out);
            }
            let mut room = Room::new(self.rules.history(&moved.room), moved.head.epoch);
            room.adopt(&moved, now.mono);
            self.kept_bytes += room.ring.bytes();
            self.rooms.insert(moved.room.clone(), room);
            self.touch(&moved.room);
        }
        self.shrink();
        if leaving {
            self.choice.left(from, last, now.mono);
        } else if last {
            self.choice.settled(from);
        }
        let mut moves = BTreeMap::new();
        if self.choice.is_leaving() {
            self.let_go(&mut moves, now, out);
        }
        self.into_moves(moves, true)
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

/// What changes rooms, one at a time.
impl Sequencer {
    /// Whether all these may be numbered now; nothing is changed but that they are known.
    fn admit(&mut self, rooms: &[RoomName], bytes: usize, now: Now) -> Result<(), Refusal> {
        if self.pending_bytes + bytes > limits::ROOMS_PENDING_BYTES {
            return Err(Refusal::Full("too much waits for messages that go to several rooms"));
        }
        for room in rooms {
            let alone = self.is_alone(room);
            if !alone && !self.rooms.get(room).is_some_and(|state| state.open) {
                match self.choice.seat(room, now.mono) {
                    Seat::Mine => {}
                    Seat::Soon { left, .. } => return Err(Refusal::Soon(left)),
                    Seat::Other(first) => return Err(Refusal::Elsewhere(first)),
                }
            }
            if !alone && self.choice.first(room) != self.choice.me() {
                return Err(Refusal::Elsewhere(self.choice.first(room).clone()));
            }
            if self.open(room, now)?.pending.len() >= limits::ROOM_PENDING_MAX {
                return Err(Refusal::Full("too many messages of the room wait for one that goes to several"));
            }
        }
        for room in rooms {
            if let Some(state) = self.rooms.get_mut(room) {
                state.open = true;
            }
        }
        Ok(())
    }

    fn into_moves(&mut self, moves: BTreeMap<Arc<str>, Vec<Moved>>, leaving: bool) -> Vec<Move> {
        let numbered = moves.into_iter().map(|(to, rooms)| {
            self.moves += 1;
            Move { to, number: self.moves, leaving, rooms }
        });
        numbered.collect()
    }

    fn open(&mut self, room: &RoomName, now: Now) -> Result<&mut Room, Refusal> {
        if !self.rooms.contains_key(room) {
            if self.rooms.len() >= limits::ROOMS_NUMBERED_MAX {
                return Err(Refusal::Full("this instance numbers as many rooms as it can"));
            }
            let state = Room::new(self.rules.history(room), self.fresh_epoch(now));
            self.rooms.insert(room.clone(), state);
        }
        self.rooms.get_mut(room).ok_or(Refusal::Full("the room is gone"))
    }

    fn fresh_epoch(&self, now: Now) -> u64 {
        now.wall.unix_millis().max(self.floor + 1)
    }

    /// Somebody knows numbers that this room has not given: it goes on above all of them.
    fn begin_above(&mut self, room: &RoomName, epoch: u64, now: Now) {
        self.floor = self.floor.max(epoch);
        let Some(state) = self.rooms.get(room) else { return };
        self.floor = self.floor.max(state.given().epoch);
        let epoch = self.fresh_epoch(now);
        let Some(state) = self.rooms.get_mut(room) else { return };
        self.kept_bytes -= state.ring.bytes();
        self.pending_bytes -= state.begin(epoch);
        self.untouch(room);
    }

    fn give(&mut self, room: &RoomName, now: Now) -> Place {
        let at = match self.open(room, now) {
            Ok(state) => state.give(),
            // It was opened when it was admitted.
            Err(_) => Position::default(),
        };
        Place { room: room.clone(), at }
    }

    fn put(&mut self, place: &Place, slot: Slot, now: Now, out: &mut Vec<Out>) {
        let Some(state) = self.rooms.get_mut(&place.room) else { return };
        self.pending_bytes += slot.bytes();
        state.pending.push_back(slot);
        self.settle(&place.room, now, out);
    }

    /// Sends out what no reservation holds back any more.
    fn settle(&mut self, room: &RoomName, now: Now, out: &mut Vec<Out>) {
        let Some(state) = self.rooms.get_mut(room) else { return };
        let before = state.ring.bytes();
        let mut kept = false;
        while let Some((at, slot)) = state.settle() {
            self.pending_bytes -= slot.bytes();
            let Slot::Filled(message) = slot else { continue };
            for to in &state.subscribers {
                let (room, message) = (room.clone(), message.clone());
                out.push(Out::Message { to: *to, room, at, message });
            }
            state.ring.push(message, at, now.mono);
            kept = true;
        }
        self.kept_bytes = self.kept_bytes + state.ring.bytes() - before;
        if kept {
            self.touch(room);
            self.shrink();
        }
    }

    /// All that is reserved is given up, and what waited for it goes out.
    fn give_up(&mut self, room: &RoomName, now: Now, out: &mut Vec<Out>) {
        if let Some(state) = self.rooms.get_mut(room) {
            state.give_up(Time::FAR);
            self.settle(room, now, out);
        }
    }

    fn forget(&mut self, room: &RoomName, out: &mut Vec<Out>) {
        self.untouch(room);
        let Some(state) = self.rooms.remove(room) else { return };
        self.floor = self.floor.max(state.given().epoch);
        self.kept_bytes -= state.ring.bytes();
        self.pending_bytes -= state.pending_bytes();
        for to in state.subscribers {
            out.push(Out::Over { to, room: room.clone() });
            if let Some(rooms) = self.subscribers.get_mut(&to) {
                rooms.remove(room);
            }
        }
    }

    /// Just used.
    fn touch(&mut self, room: &RoomName) {
        self.untouch(room);
        if let Some(state) = self.rooms.get_mut(room)
            && !state.ring.is_empty()
        {
            self.uses += 1;
            state.used = self.uses;
            self.used.insert((self.uses, room.clone()));
        }
    }

    fn untouch(&mut self, room: &RoomName) {
        if let Some(state) = self.rooms.get(room) {
            self.used.remove(&(state.used, room.clone()));
        }
    }

    /// One bound for all histories: the least used room loses its oldest first.
    fn shrink(&mut self) {
        while self.kept_bytes > self.bytes_max {
            let Some((_, room)) = self.used.first().cloned() else { return };
            let Some(state) = self.rooms.get_mut(&room) else { return };
            self.kept_bytes -= state.ring.drop_oldest();
            if state.ring.is_empty() {
                self.untouch(&room);
            }
        }
    }
}
