//! Members come and go, and rooms go with that from one sequencer to the next.

use super::{Out, Sequencer, room::Room};
use crate::{
    core::{
        names::RoomName,
        rooms::{Message, Position},
        time::Now,
    },
    limits,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

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

impl Sequencer {
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
        (true, self.count_moves(moves, self.choice.is_leaving()))
    }

    /// This instance leaves in order: it numbers nothing more, and this is for the others.
    pub fn leave(&mut self, now: Now, out: &mut Vec<Out>) -> Vec<Move> {
        self.choice.leave();
        let mut moves: BTreeMap<Arc<str>, Vec<Moved>> =
            self.choice.others().map(|incarnation| (incarnation.clone(), Vec::new())).collect();
        if !moves.is_empty() {
            self.let_go(&mut moves, now, out);
        }
        self.count_moves(moves, true)
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
        self.count_moves(moves, true)
    }

    fn count_moves(&mut self, moves: BTreeMap<Arc<str>, Vec<Moved>>, leaving: bool) -> Vec<Move> {
        let numbered = moves.into_iter().map(|(to, rooms)| {
            self.moves += 1;
            Move { to, number: self.moves, leaving, rooms }
        });
        numbered.collect()
    }
}
