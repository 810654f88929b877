//! Connections that came to us: from their admission, before the 101, to their end. Their record is
//! their socket: nothing of them is stored.

use super::{Handle, ShardCore, Stopping, Timer};
use crate::{
    core::{
        connection::{Accepted, Connection, Phase, SeatThen},
        correlation::Kind,
        id::{ConnKey, Ticket},
        io::{Answer, Effect, Effects, SocketKey},
        names::RoomName,
        outbox::Origin,
        reason::{CloseCause, Fault, FaultKind},
        rooms::{Access, Admit, Format, RoomAnswer},
        sequence::Numbering,
        spec::Connect,
        time::Now,
    },
    limits,
    wire::{
        close,
        event::LifecycleState,
        members::{self, Request},
        ws::Opcode,
    },
};
use bytes::Bytes;
use std::sync::Arc;

impl ShardCore {
    /// The socket is still at the edge. Answered when it is a member of its rooms, so that what is
    /// sent to them once the client has its 101 reaches it.
    pub(super) fn admit_accepted(
        &mut self,
        now: Now,
        ticket: Ticket,
        admit: Admit,
        fx: &mut Effects,
    ) -> Option<Handle> {
        if let Err(fault) = self.may_accept(now, &admit, fx) {
            self.answer(ticket, Err(fault), fx);
            return None;
        }
        let numbering = Numbering::begin(self.epoch_floor.checked_sub(1), now.wall);
        let connect = Connect {
            id: admit.id,
            chosen: admit.given,
            spec: admit.spec,
            tags: admit.tags,
            publish: admit.publish,
        };
        let phase = Phase::Admitted(Some(ticket));
        let key = self.insert(now, connect, numbering, now.wall.to_micros(), phase);
        let expiry = admit.valid_for.map(|valid| self.timers.insert(now.mono + valid, Timer::Expiry(key)));
        if let Some(connection) = self.connections.get_mut(key) {
            // Its one and only socket.
            connection.nth = 1;
            connection.subprotocol = admit.subprotocol;
            connection.route_feeds = (!admit.feeds.is_empty()).then(|| admit.feeds.into());
            // Clients of the other system expect bytes, whatever they say.
            let format = match admit.format {
                Format::Verbatim if self.setup.rooms.relayed.is_some() => Format::Binary,
                format => format,
            };
            connection.accepted = Some(Box::new(Accepted {
                user: admit.user.clone(),
                format,
                may_join: admit.may_join,
                protocol: admit.protocol || admit.format == Format::Numbered,
                seats: Vec::with_capacity(admit.rooms.len() + 1),
                next_seat: 0,
                expiry,
            }));
        }
        if let Some(user) = admit.user {
            self.users.entry(user).or_default().push(key);
        }
        self.counters.accepted += 1;
        self.set_phase_timer(key, now.mono + limits::ADMIT_DEADLINE);
        self.enter(key, RoomName::everyone(), None, SeatThen::Admission { resume: false }, fx);
        for entry in admit.rooms {
            let then = SeatThen::Admission { resume: entry.after.is_some() };
            self.enter(key, entry.room, entry.after, then, fx);
        }
        Some(Handle::Admit(key))
    }

    fn may_accept(&mut self, now: Now, admit: &Admit, fx: &mut Effects) -> Result<(), Fault> {
        if self.stopping != Stopping::No {
            return Err(super::connect::draining());
        }
        if admit.rooms.len() > limits::ROOMS_PER_CONNECTION_MAX {
            let message = format!("a connection is in at most {} rooms", limits::ROOMS_PER_CONNECTION_MAX);
            return Err(Fault::invalid("room", message));
        }
        if let Some(&older) = self.by_id.get(&admit.id) {
            if !self.is_accepted(older) {
                let message = format!("'{}' is the id of a dialled connection", admit.id);
                return Err(Fault { field: "id".into(), ..Fault::new(FaultKind::IdInUse, message) });
            }
            self.counters.closes[CloseCause::Replaced.index()] += 1;
            self.drop_connection(now, older, close::POLICY_VIOLATION, "replaced by a newer connection", fx);
        }
        self.has_place()
    }

    /// The caller of the admission hears that all rooms are entered.
    pub(super) fn admitted(&mut self, key: ConnKey, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let all_in = connection
            .accepted
            .as_ref()
            .is_some_and(|accepted| accepted.seats.iter().all(|seat| seat.index.is_some()));
        let (socket, epoch) = (connection.socket(key), connection.numbering.epoch());
        if all_in
            && let Phase::Admitted(caller) = &mut connection.phase
            && let Some(ticket) = caller.take()
        {
            let answer = RoomAnswer::Admitted { socket, epoch };
            fx.push(Effect::Answer { ticket, outcome: Ok(Answer::Room(answer)) });
        }
    }

    /// A room cannot be entered: it does not come in at all.
    pub(super) fn not_admitted(&mut self, now: Now, key: ConnKey, fault: Fault, fx: &mut Effects) {
        if let Some(connection) = self.connections.get_mut(key)
            && let Phase::Admitted(caller) = &mut connection.phase
            && let Some(ticket) = caller.take()
        {
            fx.push(Effect::Answer { ticket, outcome: Err(fault) });
        }
        self.drop_connection(now, key, close::TRY_AGAIN_LATER, "a room cannot be entered", fx);
    }

    /// Whether an admitted connection still waits for its socket.
    pub fn expects(&self, socket: SocketKey) -> bool {
        let waits = |connection: &Connection| {
            connection.nth == socket.nth && matches!(connection.phase, Phase::Admitted(None))
        };
        self.connections.get(socket.conn).is_some_and(|connection| waits(connection))
    }

    /// The socket of an admitted connection is there. False: it is not wanted any more.
    pub fn attached(&mut self, now: Now, socket: SocketKey, fx: &mut Effects) -> bool {
        let key = socket.conn;
        if !self.expects(socket) {
            return false;
        }
        let Some(connection) = self.connections.get_mut(key) else { return false };
        connection.phase = Phase::Open;
        connection.connected = Some(now.wall);
        self.clear_phase_timer(key);
        self.start_heart(now, key);
        self.mark_dirty(key);
        if self.connections.get(key).is_some_and(|connection| connection.reads_paused) {
            fx.push(Effect::PauseReads(socket));
        }
        self.lifecycle(now, key, LifecycleState::Connected, "accepted", None);
        true
    }

    pub(super) fn is_accepted(&self, key: ConnKey) -> bool {
        self.connections.get(key).is_some_and(|connection| connection.accepted.is_some())
    }

    /// Whether frames to this socket are masked: we are its client.
    pub fn masks(&self, socket: SocketKey) -> bool {
        !self.is_accepted(socket.conn)
    }

    pub(super) fn expired(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        if let Some(accepted) = self.connections.get_mut(key).and_then(|c| c.accepted.as_mut()) {
            accepted.expiry = None;
            self.counters.closes[CloseCause::Expired.index()] += 1;
            self.drop_connection(now, key, close::POLICY_VIOLATION, "the credentials have expired", fx);
        }
    }

    /// A message of a client that speaks the protocol. False: it is a message like any other.
    pub(super) fn requested(
        &mut self,
        now: Now,
        key: ConnKey,
        kind: Kind,
        payload: &[u8],
        fx: &mut Effects,
    ) -> bool {
        let speaks = |accepted: &Accepted| accepted.protocol;
        let accepted = self.connections.get(key).and_then(|connection| connection.accepted.as_deref());
        if !accepted.is_some_and(speaks)
            || kind != Kind::Text
            || payload.len() > limits::ROOM_REQUEST_BYTES_MAX
        {
            return false;
        }
        let Some((request, tag)) = std::str::from_utf8(payload).ok().and_then(members::request) else {
            return false;
        };
        self.counters.room_requests += 1;
        if !self.control_allowed(now, key, fx) {
            return true;
        }
        if self.does_not_read(now, key, payload.len(), fx) {
            // Answers can be as long as a history: they do not pile up for who does not take them.
            return true;
        }
        match request {
            Err(why) => self.note(key, members::error("INVALID_ARGUMENT", why, &tag)),
            Ok(Request::Ping(value)) => self.note(key, members::pong(&value, &tag)),
            Ok(Request::Leave(room)) => match RoomName::parse("leave", &room) {
                Ok(room) => {
                    self.leave_room(key, &room, fx);
                    self.note(key, members::left(&room, &tag));
                }
                Err(fault) => self.refuse_client(key, &fault, &tag),
            },
            Ok(Request::Enter { verb, room, after }) => {
                let known = RoomName::parse("room", &room);
                let room = match known {
                    Ok(room) => room,
                    Err(_) if room.is_empty() => RoomName::everyone(),
                    Err(fault) => {
                        self.refuse_client(key, &fault, &tag);
                        return true;
                    }
                };
                if !self.may_enter(key, &room) {
                    let fault = Fault::new(FaultKind::Forbidden, "this room may not be joined");
                    self.refuse_client(key, &fault, &tag);
                    return true;
                }
                let then = SeatThen::Client { verb, resume: after.is_some(), tag };
                self.enter(key, room, after, then, fx);
            }
        }
        true
    }

    /// One that is a member already may come back at another place.
    fn may_enter(&self, key: ConnKey, room: &RoomName) -> bool {
        let accepted = self.connections.get(key).and_then(|connection| connection.accepted.as_deref());
        accepted.is_some_and(|accepted| {
            accepted.seats.iter().any(|seat| seat.name == *room)
                || accepted.may_join == Access::Any
                || accepted.may_join.allows(room)
        })
    }

    pub(super) fn refuse_client(&mut self, key: ConnKey, fault: &Fault, tag: &members::Tag) {
        let code = match fault.kind {
            FaultKind::Invalid => "INVALID_ARGUMENT",
            FaultKind::Forbidden => "PERMISSION_DENIED",
            FaultKind::Full => "RESOURCE_EXHAUSTED",
            _ => "UNAVAILABLE",
        };
        self.note(key, members::error(code, &fault.to_string(), tag));
    }

    /// A text for the client that nobody waits for.
    pub(super) fn note(&mut self, key: ConnKey, text: Vec<u8>) {
        self.push_frame(key, Opcode::Text, text.into());
    }

    pub(super) fn push_frame(&mut self, key: ConnKey, opcode: Opcode, payload: Bytes) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.outbox.push(opcode, payload, Origin::Orphan);
            self.mark_dirty(key);
        }
    }

    /// The connection is gone: so is what led to it.
    pub(super) fn forget_user(&mut self, user: &Arc<str>, key: ConnKey) {
        if let Some(keys) = self.users.get_mut(user) {
            keys.retain(|known| *known != key);
            if keys.is_empty() {
                self.users.remove(user);
            }
        }
    }
}
