//! Rooms on their shards: commands about them, memberships, and what cores say to one another.

mod asked;
mod writing;

use super::{Handle, ShardCore};
use crate::{
    core::{
        connection::{Seat, SeatThen},
        correlation::Kind,
        id::{ConnKey, ConnectionId, Ticket},
        io::{Answer, Effect, Effects, Outcome, SocketKey},
        names::RoomName,
        reason::{CloseCause, Fault, FaultKind},
        rooms::{
            Between, Entered, Format, Kept, Message, Position, Post, RoomAnswer, RoomCommand, RoomEffect,
            RoomGap, RoomGapCause, SeatKey, Slow,
            here::{Overtaken, Stuck, Wrote},
        },
        time::Now,
    },
    limits,
    wire::{close, members, ws::Opcode},
};
use std::{sync::Arc, time::Duration};

impl ShardCore {
    pub(super) fn room_command(
        &mut self,
        now: Now,
        ticket: Ticket,
        command: RoomCommand,
        fx: &mut Effects,
    ) -> Option<Handle> {
        let placed = |at| Ok(Answer::Room(RoomAnswer::Placed(at)));
        let outcome = match command {
            RoomCommand::Admit(admit) => return self.admit_accepted(now, ticket, *admit, fx),
            RoomCommand::Join { id, room, after } => {
                self.join(&id, room, after, ticket, fx);
                return None;
            }
            RoomCommand::Leave { id, room } => self.leave(&id, &room, fx),
            RoomCommand::Post { room, post } => self.homes.post(now, &room, post, fx).and_then(placed),
            RoomCommand::Reserve(room) => self.homes.reserve(now, &room).and_then(placed),
            RoomCommand::Fill { room, at, message } => {
                self.homes.fill(now, &room, at, message, fx);
                Ok(Answer::Done)
            }
            RoomCommand::Arrived { room, at, message } => {
                self.homes.arrived(now, &room, at, message, fx);
                Ok(Answer::Done)
            }
            RoomCommand::History { room, after, limit } => {
                self.homes.history(now, ticket, &room, after, limit, fx);
                return None;
            }
            RoomCommand::Follow { room, after, limit } => {
                return self.homes.follow(now, ticket, &room, after, limit, fx).then_some(Handle::Follow);
            }
            RoomCommand::List { prefix, after, limit } => Ok(self.list_rooms(&prefix, after.as_ref(), limit)),
            RoomCommand::Members { room, after, limit } => {
                Ok(self.list_members(&room, after.as_ref(), limit))
            }
            RoomCommand::PostToUser { user, post } => Ok(self.post_to_user(now, &user, &post, fx)),
            RoomCommand::KickUser { user, code, reason } => Ok(self.kick_user(now, &user, code, &reason, fx)),
        };
        fx.push(Effect::Answer { ticket, outcome });
        None
    }

    /// What another shard's core says, or this one's.
    pub fn told(&mut self, now: Now, word: Between, fx: &mut Effects) {
        match word {
            Between::Enter { shard, room, seat, after } => {
                self.homes.enter(now, shard, &room, seat, after, fx)
            }
            Between::Exit { shard, room } => self.homes.exit(now, shard, &room),
            Between::Feed { room, post, source: _ } => {
                // Refused only when a promised number keeps the room waiting: counted there.
                if self.homes.post(now, &room, post, fx).is_err() {
                    self.counters.feeds_refused += 1;
                }
            }
            Between::Entered { room, seat, outcome } => self.entered(now, &room, seat, outcome, fx),
            Between::Gap { room, gap } => self.here.gap(&room, &gap),
            Between::Deliver { room, at, message } => {
                self.here.deliver(&room, at, &message);
                let mut overtaken = std::mem::take(&mut self.overtaken);
                self.here.overtaken(&room, &mut overtaken);
                for member in overtaken.drain(..) {
                    self.overtook(now, member, fx);
                }
                self.overtaken = overtaken;
            }
        }
    }

    /// What numbers rooms outside answers `Subscribe`.
    pub fn room_subscribed(
        &mut self,
        now: Now,
        room: &RoomName,
        head: Result<Position, String>,
        fx: &mut Effects,
    ) {
        self.homes.subscribed(now, room, head, fx);
    }

    /// It was away, and its last number is this one now.
    pub fn room_resumed(&mut self, now: Now, room: &RoomName, head: Position, fx: &mut Effects) {
        self.homes.resumed(now, room, head, fx);
    }

    /// And `Since`.
    pub fn room_since(&mut self, now: Now, ticket: u64, kept: Result<Kept, String>, fx: &mut Effects) {
        self.homes.since(now, ticket, kept, fx);
    }

    fn join(
        &mut self,
        id: &ConnectionId,
        room: RoomName,
        after: Option<Position>,
        ticket: Ticket,
        fx: &mut Effects,
    ) {
        match self.find(id) {
            Ok(key) if self.is_accepted(key) => {
                self.enter(key, room, after, SeatThen::Caller(ticket), fx);
            }
            Ok(_) => {
                let message =
                    "a dialled connection feeds rooms (the field rooms of Connect) and is no member";
                let fault = Fault { field: "id".into(), ..Fault::new(FaultKind::Unimplemented, message) };
                self.answer(ticket, Err(fault), fx);
            }
            Err(fault) => self.answer(ticket, Err(fault), fx),
        }
    }

    /// One more membership, or a new one in the place of the old: who comes back at a position is
    /// told what came after it.
    pub(super) fn enter(
        &mut self,
        key: ConnKey,
        room: RoomName,
        after: Option<Position>,
        then: SeatThen,
        fx: &mut Effects,
    ) {
        self.leave_room(key, &room, fx);
        let (shard, shards) = (self.setup.shard, self.setup.shards);
        let rules = &self.setup.rooms.rules;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let socket = connection.socket(key);
        let Some(accepted) = connection.accepted.as_deref_mut() else { return };
        if accepted.seats.len() > limits::ROOMS_PER_CONNECTION_MAX {
            let message = format!("a connection is in at most {} rooms", limits::ROOMS_PER_CONNECTION_MAX);
            let full = Fault::full(message, Duration::from_secs(1));
            return self.not_entered(key, then, full, fx);
        }
        let nth = accepted.next_seat;
        accepted.next_seat += 1;
        let seat = Seat {
            name: room.clone(),
            room: self.here.entering(&room, || rules.slow(&room)),
            nth,
            index: None,
            since: Position::default(),
            then,
        };
        accepted.seats.push(seat);
        let home = room.home(shards);
        let word = Between::Enter { shard, room, seat: SeatKey { socket, nth }, after };
        fx.push(Effect::Room(RoomEffect::Tell { shard: home, word }));
    }

    fn entered(
        &mut self,
        now: Now,
        room: &RoomName,
        seat: SeatKey,
        outcome: Result<Entered, Fault>,
        fx: &mut Effects,
    ) {
        let key = seat.socket.conn;
        let connection = self.connections.get_mut(key).filter(|known| known.nth == seat.socket.nth);
        let Some(accepted) = connection.and_then(|connection| connection.accepted.as_deref_mut()) else {
            return;
        };
        let format = accepted.format;
        let Some(place) = accepted.seats.iter().position(|known| known.nth == seat.nth) else { return };
        let entered = match outcome {
            Ok(entered) => entered,
            Err(fault) => {
                let seat = accepted.seats.swap_remove(place);
                if self.here.gave_up(seat.room) {
                    self.exit(room.clone(), fx);
                }
                if matches!(seat.then, SeatThen::Admission { .. }) {
                    return self.not_admitted(now, key, fault, fx);
                }
                return self.not_entered(key, seat.then, fault, fx);
            }
        };
        let seat_here = &mut accepted.seats[place];
        seat_here.index = Some(self.here.entered(seat_here.room, seat.socket, format, entered.head));
        seat_here.since = entered.head;
        let then = std::mem::replace(&mut seat_here.then, SeatThen::Nobody);
        self.tell_entered(key, room, format, then, entered, fx);
        self.admitted(key, fx);
    }

    fn tell_entered(
        &mut self,
        key: ConnKey,
        room: &RoomName,
        format: Format,
        then: SeatThen,
        entered: Entered,
        fx: &mut Effects,
    ) {
        let head = entered.head;
        let recovered = entered.missed.as_ref().map(|missed| missed.recovered);
        let (verb, said, tag) = match then {
            SeatThen::Client { verb, resume, tag } => (verb, verb == members::Verb::Join || resume, tag),
            SeatThen::Admission { resume } => (members::Verb::Resume, resume, None),
            SeatThen::Caller(ticket) => {
                let joined = RoomAnswer::Joined { head, recovered };
                self.answer(ticket, Ok(Answer::Room(joined)), fx);
                (members::Verb::Resume, recovered.is_some(), None)
            }
            SeatThen::Nobody => (members::Verb::Resume, false, None),
        };
        if said && format == Format::Numbered {
            self.note(key, members::entered(verb, room, head, recovered, &tag));
        }
        let Some(missed) = entered.missed else { return };
        let mut last = None;
        for message in missed.messages {
            let Some(at) = message.at(room) else { continue };
            self.tell_hole(key, format, room, last, at);
            self.push_message(key, format, room, at, &message);
            last = Some(at);
        }
        self.tell_hole(key, format, room, last, Position { offset: head.offset + 1, ..head });
    }

    /// Between two that were missed, nobody has these numbers.
    fn tell_hole(
        &mut self,
        key: ConnKey,
        format: Format,
        room: &RoomName,
        last: Option<Position>,
        to: Position,
    ) {
        let Some(from) = last.filter(|last| format == Format::Numbered && last.offset + 1 < to.offset) else {
            return;
        };
        let gap = RoomGap { from, to, cause: RoomGapCause::Lost };
        self.note(key, members::gap(room, &gap));
    }

    /// A message of a room for one member alone.
    pub(super) fn push_message(
        &mut self,
        key: ConnKey,
        format: Format,
        room: &RoomName,
        at: Position,
        message: &Message,
    ) {
        self.here.deliveries.recovered += 1;
        match (format, message.kind) {
            (Format::Numbered, _) => self.note(key, members::numbered(room, at, message)),
            (Format::Verbatim, Kind::Text) => self.push_frame(key, Opcode::Text, message.payload.clone()),
            (Format::Verbatim, Kind::Binary) | (Format::Binary, _) => {
                self.push_frame(key, Opcode::Binary, message.payload.clone());
            }
        }
    }

    fn not_entered(&mut self, key: ConnKey, then: SeatThen, fault: Fault, fx: &mut Effects) {
        match then {
            SeatThen::Client { tag, .. } => self.refuse_client(key, &fault, &tag),
            SeatThen::Caller(ticket) => self.answer(ticket, Err(fault), fx),
            SeatThen::Admission { .. } | SeatThen::Nobody => {}
        }
    }

    fn leave(&mut self, id: &ConnectionId, room: &RoomName, fx: &mut Effects) -> Outcome {
        let key = self.find(id)?;
        if !self.leave_room(key, room, fx) {
            let message = format!("'{id}' is not in this room");
            return Err(Fault { field: "room".into(), ..Fault::new(FaultKind::NotFound, message) });
        }
        Ok(Answer::Done)
    }

    /// False: it was no member.
    pub(super) fn leave_room(&mut self, key: ConnKey, room: &RoomName, fx: &mut Effects) -> bool {
        let accepted =
            self.connections.get_mut(key).and_then(|connection| connection.accepted.as_deref_mut());
        let Some(accepted) = accepted else { return false };
        let Some(place) = accepted.seats.iter().position(|seat| seat.name == *room) else { return false };
        let seat = accepted.seats.swap_remove(place);
        self.unseat(seat, fx);
        true
    }

    fn unseat(&mut self, seat: Seat, fx: &mut Effects) {
        let empty = match seat.index {
            None => self.here.gave_up(seat.room),
            Some(index) => {
                let (moved, empty) = self.here.leave(seat.room, index);
                if let Some(moved) = moved {
                    self.reseat(moved.socket, &seat.name, moved.index);
                }
                empty
            }
        };
        if let SeatThen::Caller(ticket) = seat.then {
            let fault = Fault::new(FaultKind::Unavailable, "it left while it was joining");
            self.answer(ticket, Err(fault), fx);
        }
        if empty {
            self.exit(seat.name, fx);
        }
    }

    fn reseat(&mut self, socket: SocketKey, room: &RoomName, index: u32) {
        let connection = self.connections.get_mut(socket.conn);
        let accepted = connection.and_then(|connection| connection.accepted.as_deref_mut());
        let seats = accepted.into_iter().flat_map(|accepted| &mut accepted.seats);
        for seat in seats.filter(|seat| seat.name == *room) {
            seat.index = Some(index);
        }
    }

    fn exit(&mut self, room: RoomName, fx: &mut Effects) {
        let home = room.home(self.setup.shards);
        let word = Between::Exit { shard: self.setup.shard, room };
        fx.push(Effect::Room(RoomEffect::Tell { shard: home, word }));
    }

    /// A connection ends: it is in no room any more.
    pub(super) fn vacate(&mut self, key: ConnKey, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(accepted) = connection.accepted.as_deref_mut() else { return };
        let (seats, expiry) = (std::mem::take(&mut accepted.seats), accepted.expiry.take());
        let user = accepted.user.clone();
        if let Some(expiry) = expiry {
            self.timers.cancel(expiry);
        }
        for seat in seats {
            self.unseat(seat, fx);
        }
        if let Some(user) = user {
            self.forget_user(&user, key);
        }
    }
}
