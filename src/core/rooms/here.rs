//! Rooms that have members on this shard. A message is appended once to one log for each wire format
//! in use; a member is the number of the next frame it has not had. Nothing is done per message and
//! member but the write itself.

mod room;
mod slow;

use super::{
    Format, Message, Position, RoomGap, RoomGapCause, RoomName, Slow,
    log::{Frame, Log},
};
use crate::core::{id::Place, io::SocketKey, slab::Slab};
use hashbrown::HashMap;
use std::{collections::VecDeque, sync::Arc};

/// A room's place on this shard.
pub type RoomKey = Place;

/// What the kernel did with bytes for one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    Taken(usize),
    /// Nothing now; the socket tells when it takes more.
    Blocked,
    /// It failed, or is gone: its end comes by another way.
    Gone,
}

/// What writing to one member came to, for whoever owns the socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Stuck {
    /// The kernel took a frame in part: the rest must go before anything else.
    Rest(Vec<u8>),
    Blocked,
}

#[derive(Debug)]
pub struct Member {
    pub socket: SocketKey,
    /// The next frame, in the log of its format.
    next: u64,
    pub sent: u32,
    pub format: Format,
    /// The kernel takes no more for now.
    blocked: bool,
    /// What was skipped for it; only while it is blocked.
    owed: Option<Box<Owed>>,
}

/// What comes before a member's next frame: word of what the log could keep for it no longer, and the
/// latest of it. Made into bytes when they can be written, so that a member costs no more than this
/// however long it reads nothing.
#[derive(Debug)]
struct Owed {
    /// The last before what is missing.
    from: Position,
    kept: Vec<(Position, Arc<Message>)>,
}

impl Member {
    /// Kept for it outside the log.
    fn owed(&self) -> u64 {
        self.owed.as_ref().map_or(0, |owed| owed.kept.len() as u64)
    }

    fn had(&mut self, upto: u64, deliveries: &mut Deliveries) {
        let count = upto - self.next;
        deliveries.delivered += count;
        self.sent = self.sent.wrapping_add(count as u32);
        self.next = upto;
    }
}

pub struct RoomHere {
    pub name: RoomName,
    pub slow: Slow,
    /// The last that came from the home.
    head: Position,
    logs: [Log; Format::COUNT],
    counts: [u32; Format::COUNT],
    members: Vec<Member>,
    /// Sockets on their way in: the home was told, and has not answered.
    entering: u32,
    /// Members before this one have all there was when the pass began.
    pass: usize,
    /// Something came during the pass.
    again: bool,
    dirty: bool,
    blocked: u32,
    /// Held bytes of a log at which somebody who is behind is looked for next.
    look_at: usize,
    numbered_outside: bool,
}

/// Deliveries: one message to one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    pub accepted: u64,
    pub delivered: u64,
    /// A member of several addressed rooms had it already.
    pub repeated: u64,
    /// Its socket ended, or it left, before it could be written.
    pub left: u64,
    /// Overtaken by the log.
    pub dropped_oldest: u64,
    pub dropped_latest: u64,
    pub dropped_closed: u64,
    /// From the history, to who came back; not among the accepted.
    pub recovered: u64,
}

/// A member that the log has overtaken, and what is done with it.
pub struct Overtaken {
    pub socket: SocketKey,
    pub slow: Slow,
}

/// A member was moved to another index of its room.
pub struct Moved {
    pub socket: SocketKey,
    pub index: u32,
}

#[derive(Default)]
pub struct Here {
    rooms: Slab<Box<RoomHere>>,
    by_name: HashMap<RoomName, RoomKey>,
    dirty: VecDeque<RoomKey>,
    pub deliveries: Deliveries,
    reader_bytes_max: usize,
    numbered_outside: bool,
}

impl Here {
    pub fn new(setup: &super::Setup) -> Self {
        let super::Setup { reader_bytes_max, numbered_outside, .. } = *setup;
        Here { reader_bytes_max, numbered_outside, ..Here::default() }
    }

    pub fn find(&self, name: &RoomName) -> Option<RoomKey> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, key: RoomKey) -> Option<&RoomHere> {
        self.rooms.get(key).map(|room| &**room)
    }

    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rooms.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &RoomHere> {
        self.rooms.iter().map(|(_, room)| &**room)
    }

    /// A socket is on its way in.
    pub fn entering(&mut self, name: &RoomName, slow: impl FnOnce() -> Slow) -> RoomKey {
        let key = self.find(name).unwrap_or_else(|| {
            let room = RoomHere::new(name.clone(), slow(), self.numbered_outside);
            let key = self.rooms.insert(Box::new(room));
            self.by_name.insert(name.clone(), key);
            key
        });
        if let Some(room) = self.rooms.get_mut(key) {
            room.entering += 1;
        }
        key
    }

    /// It is in: what is appended from now on is its to hear. Its index.
    pub fn entered(&mut self, key: RoomKey, socket: SocketKey, format: Format, head: Position) -> u32 {
        let Some(room) = self.rooms.get_mut(key) else { return u32::MAX };
        room.entering -= 1;
        room.head = room.head.max(head);
        let next = room.logs[format as usize].end();
        room.counts[format as usize] += 1;
        room.members.push(Member { socket, next, sent: 0, format, blocked: false, owed: None });
        (room.members.len() - 1) as u32
    }

    /// It does not come in after all. True: the room has nobody left here.
    pub fn gave_up(&mut self, key: RoomKey) -> bool {
        if let Some(room) = self.rooms.get_mut(key) {
            room.entering -= 1;
        }
        self.drop_if_empty(key)
    }

    /// A member leaves. True: the room has nobody left here.
    pub fn leave(&mut self, key: RoomKey, index: u32) -> (Option<Moved>, bool) {
        let Some(room) = self.rooms.get_mut(key) else { return (None, false) };
        let at = index as usize;
        if at >= room.members.len() {
            return (None, false);
        }
        let member = room.members.swap_remove(at);
        room.counts[member.format as usize] -= 1;
        room.blocked -= u32::from(member.blocked);
        self.deliveries.left += room.logs[member.format as usize].end() - member.next + member.owed();
        if room.counts[member.format as usize] == 0 {
            room.logs[member.format as usize] = Log::default();
        }
        // Who was moved here may not have had its turn: the pass goes back for it.
        room.pass = room.pass.min(at);
        if member.blocked && room.blocked == 0 && !room.dirty {
            // It was the last that the log kept something for.
            room.forget_written();
        }
        let moved = room.members.get(at).map(|moved| Moved { socket: moved.socket, index });
        (moved, self.drop_if_empty(key))
    }

    fn drop_if_empty(&mut self, key: RoomKey) -> bool {
        let empty = self.rooms.get(key).is_some_and(|room| room.members.is_empty() && room.entering == 0);
        if empty && let Some(room) = self.rooms.remove(key) {
            self.by_name.remove(&room.name);
        }
        empty
    }

    /// The next message of a room. Members are written to at the end of the turn.
    pub fn deliver(&mut self, name: &RoomName, at: Position, message: &Arc<Message>) {
        let Some(key) = self.find(name) else { return };
        let Some(room) = self.rooms.get_mut(key) else { return };
        if message.is_counted(self.numbered_outside) {
            room.head = room.head.max(at);
        }
        for format in Format::ALL {
            if room.counts[format as usize] > 0 {
                room.logs[format as usize].append(format, name, at, message);
            }
        }
        if room.members.is_empty() {
            return;
        }
        self.deliveries.accepted += room.members.len() as u64;
        room.again = true;
        if !std::mem::replace(&mut room.dirty, true) {
            self.dirty.push_back(key);
        }
    }

    /// Numbers that will not come: said to those whose format has numbers.
    pub fn gap(&mut self, name: &RoomName, gap: &RoomGap) {
        let Some(key) = self.find(name) else { return };
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.head = room.head.max(Position { offset: gap.to.offset.saturating_sub(1), ..gap.to });
        let numbered = Format::Numbered as usize;
        if room.counts[numbered] == 0 {
            return;
        }
        room.logs[numbered].append_note(gap.from, &crate::wire::members::gap(name, gap));
        self.deliveries.accepted += u64::from(room.counts[numbered]);
        room.again = true;
        if !std::mem::replace(&mut room.dirty, true) {
            self.dirty.push_back(key);
        }
    }

    pub fn wants_turn(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Writes to members what they have not had, about `budget` of them. `elsewhere` says whether a
    /// socket gets a message in an earlier one of its rooms.
    pub fn flush(
        &mut self,
        budget: &mut usize,
        elsewhere: &dyn Fn(SocketKey, &RoomName, &Message) -> bool,
        write: &mut dyn FnMut(SocketKey, &[u8]) -> Wrote,
        stuck: &mut dyn FnMut(SocketKey, Stuck),
    ) {
        for _ in 0..self.dirty.len() {
            if *budget == 0 {
                return;
            }
            let Some(key) = self.dirty.pop_front() else { return };
            let Some(room) = self.rooms.get_mut(key) else { continue };
            if room.flush(budget, &mut self.deliveries, elsewhere, write, stuck) {
                room.dirty = false;
                room.forget_written();
            } else {
                self.dirty.push_back(key);
            }
        }
    }

    /// The socket takes more: what this member has not had.
    pub fn push(
        &mut self,
        key: RoomKey,
        index: u32,
        elsewhere: &dyn Fn(SocketKey, &RoomName, &Message) -> bool,
        write: &mut dyn FnMut(SocketKey, &[u8]) -> Wrote,
        stuck: &mut dyn FnMut(SocketKey, Stuck),
    ) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(member) = room.members.get_mut(index as usize) else { return };
        room.blocked -= u32::from(std::mem::take(&mut member.blocked));
        room.push(index as usize, &mut self.deliveries, elsewhere, write, stuck);
        if room.blocked == 0 && !room.dirty {
            room.forget_written();
        }
    }

    /// Who is further behind than one may be, in a room that was appended to; each is brought to a
    /// place that the log still has, or is to be closed.
    pub fn overtaken(&mut self, name: &RoomName, into: &mut Vec<Overtaken>) {
        let Some(key) = self.find(name) else { return };
        let bytes_max = self.reader_bytes_max;
        let Some(room) = self.rooms.get_mut(key) else { return };
        let held = room.logs.iter().map(Log::held_bytes).max().unwrap_or(0);
        if held <= bytes_max {
            // What was held once, while many were behind, is no measure any more.
            room.look_at = 0;
        }
        if held <= bytes_max.max(room.look_at) {
            return;
        }
        for index in 0..room.members.len() {
            room.overtake(index, bytes_max, &mut self.deliveries, into);
        }
        room.forget_written();
        let held = room.logs.iter().map(Log::held_bytes).max().unwrap_or(0);
        room.look_at = held + bytes_max / LOOKS_PER_BOUND;
    }

    pub fn member(&self, key: RoomKey, index: u32) -> Option<&Member> {
        self.rooms.get(key)?.members.get(index as usize)
    }

    pub fn held_bytes(&self) -> u64 {
        self.iter().flat_map(|room| &room.logs).map(|log| log.held_bytes() as u64).sum()
    }

    /// Deliveries that were accepted and have no outcome yet.
    pub fn in_flight(&self) -> u64 {
        self.iter().map(RoomHere::in_flight).sum()
    }

    /// Members whose sockets take no more for now.
    pub fn behind(&self) -> u64 {
        self.iter().map(|room| u64::from(room.blocked)).sum()
    }

    pub fn check(&self) {
        for room in self.iter() {
            room.check();
        }
        let Deliveries { accepted, delivered, repeated, left, .. } = self.deliveries;
        let Deliveries { dropped_oldest, dropped_latest, dropped_closed, .. } = self.deliveries;
        let ended = delivered + repeated + left + dropped_oldest + dropped_latest + dropped_closed;
        assert_eq!(accepted, ended + self.in_flight(), "a delivery has no outcome, or two");
    }
}

/// How many times one bound's worth of bytes is looked through for those who are behind.
const LOOKS_PER_BOUND: usize = 8;

#[cfg(test)]
mod tests;
