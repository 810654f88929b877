//! What changes rooms, one at a time.

use super::{
    Out, Refusal, Sequencer,
    room::{Room, Slot},
};
use crate::{
    core::{
        names::RoomName,
        rooms::{Place, Position, choice::Seat},
        time::{Now, Time},
    },
    limits,
};

impl Sequencer {
    /// Whether all these may be numbered now; nothing is changed but that they are known.
    pub(super) fn admit(&mut self, rooms: &[RoomName], bytes: usize, now: Now) -> Result<(), Refusal> {
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

    pub(super) fn open(&mut self, room: &RoomName, now: Now) -> Result<&mut Room, Refusal> {
        if !self.rooms.contains_key(room) {
            if self.rooms.len() >= limits::ROOMS_NUMBERED_MAX {
                return Err(Refusal::Full("this instance numbers as many rooms as it can"));
            }
            let state = Room::new(self.rules.history(room), self.fresh_epoch(now));
            self.rooms.insert(room.clone(), state);
        }
        self.rooms.get_mut(room).ok_or(Refusal::Full("the room is gone"))
    }

    pub(super) fn fresh_epoch(&self, now: Now) -> u64 {
        now.wall.unix_millis().max(self.floor + 1)
    }

    /// Somebody knows numbers that this room has not given: it goes on above all of them.
    pub(super) fn begin_above(&mut self, room: &RoomName, epoch: u64, now: Now) {
        self.floor = self.floor.max(epoch);
        let Some(state) = self.rooms.get(room) else { return };
        self.floor = self.floor.max(state.given().epoch);
        let epoch = self.fresh_epoch(now);
        let Some(state) = self.rooms.get_mut(room) else { return };
        self.kept_bytes -= state.ring.bytes();
        self.pending_bytes -= state.begin(epoch);
        self.untouch(room);
    }

    pub(super) fn give(&mut self, room: &RoomName, now: Now) -> Place {
        let at = match self.open(room, now) {
            Ok(state) => state.give(),
            // It was opened when it was admitted.
            Err(_) => Position::default(),
        };
        Place { room: room.clone(), at }
    }

    pub(super) fn put(&mut self, place: &Place, slot: Slot, now: Now, out: &mut Vec<Out>) {
        let Some(state) = self.rooms.get_mut(&place.room) else { return };
        self.pending_bytes += slot.bytes();
        state.pending.push_back(slot);
        self.settle(&place.room, now, out);
    }

    /// Sends out what no reservation holds back any more.
    pub(super) fn settle(&mut self, room: &RoomName, now: Now, out: &mut Vec<Out>) {
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
    pub(super) fn give_up(&mut self, room: &RoomName, now: Now, out: &mut Vec<Out>) {
        if let Some(state) = self.rooms.get_mut(room) {
            state.give_up(Time::FAR);
            self.settle(room, now, out);
        }
    }

    pub(super) fn forget(&mut self, room: &RoomName, out: &mut Vec<Out>) {
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
    pub(super) fn touch(&mut self, room: &RoomName) {
        self.untouch(room);
        if let Some(state) = self.rooms.get_mut(room)
            && !state.ring.is_empty()
        {
            self.uses += 1;
            state.used = self.uses;
            self.used.insert((self.uses, room.clone()));
        }
    }

    pub(super) fn untouch(&mut self, room: &RoomName) {
        if let Some(state) = self.rooms.get(room) {
            self.used.remove(&(state.used, room.clone()));
        }
    }

    /// One bound for all histories: the least used room loses its oldest first.
    pub(super) fn shrink(&mut self) {
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
