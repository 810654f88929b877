//! Rooms' messages to their members' sockets, and members that are too slow for them.

use super::*;

impl ShardCore {
    pub fn rooms_want_turn(&self) -> bool {
        self.here.wants_turn()
    }

    /// Writes rooms' messages to members that have not had them, about `budget` of them a turn.
    pub fn flush_rooms(
        &mut self,
        now: Now,
        mut budget: usize,
        write: &mut dyn FnMut(SocketKey, &[u8]) -> Wrote,
    ) {
        let mut stuck = Vec::new();
        let connections = &self.connections;
        let elsewhere = |socket: SocketKey, room: &RoomName, message: &Message| {
            had_before(connections, socket, room, message)
        };
        self.here.flush(&mut budget, &elsewhere, write, &mut |socket, why| stuck.push((socket, why)));
        self.remember_stuck(now, stuck);
    }

    /// The socket takes more: what its rooms have for it.
    pub fn flush_seats(
        &mut self,
        now: Now,
        socket: SocketKey,
        write: &mut dyn FnMut(SocketKey, &[u8]) -> Wrote,
    ) {
        let mut stuck = Vec::new();
        let connections = &self.connections;
        let elsewhere = |socket: SocketKey, room: &RoomName, message: &Message| {
            had_before(connections, socket, room, message)
        };
        let accepted = connections.get(socket.conn).and_then(|connection| connection.accepted.as_deref());
        for seat in accepted.into_iter().flat_map(|accepted| &accepted.seats) {
            if let Some(index) = seat.index {
                let mut keep = |socket, why| stuck.push((socket, why));
                self.here.push(seat.room, index, &elsewhere, write, &mut keep);
            }
        }
        if stuck.is_empty() {
            self.took_all(socket);
        }
        self.remember_stuck(now, stuck);
    }

    pub(super) fn remember_stuck(&mut self, now: Now, stuck: Vec<(SocketKey, Stuck)>) {
        for (socket, why) in stuck {
            if let Stuck::Rest(rest) = why
                && let Some(connection) = self.connections.get_mut(socket.conn)
            {
                connection.outbox.begin(rest);
                connection.heart.last_write = now.mono;
            }
            self.stalled(now, socket);
        }
    }

    pub(super) fn took_all(&mut self, socket: SocketKey) {
        if let Some(connection) = self.connections.get_mut(socket.conn)
            && connection.outbox.is_empty()
            && let Some(stall) = connection.heart.stall.take()
        {
            self.timers.cancel(stall);
        }
    }

    pub(super) fn overtook(&mut self, now: Now, member: Overtaken, fx: &mut Effects) {
        let key = member.socket.conn;
        match member.slow {
            Slow::Close => {
                self.counters.slow_readers[0] += 1;
                if !self.is_current(member.socket) {
                    // Its socket is at the edge still, and whoever admits it may wait for an answer.
                    let reason = "too slow for its rooms";
                    return self.drop_connection(now, key, close::TRY_AGAIN_LATER, reason, fx);
                }
                self.close_socket(key, close::TRY_AGAIN_LATER, "too slow for its rooms", fx);
                self.lost(now, key, CloseCause::SlowReader, "too far behind a room", fx);
            }
            Slow::DropOldest => self.counters.slow_readers[1] += 1,
            Slow::KeepLatest(_) => self.counters.slow_readers[2] += 1,
        }
    }
}

/// A message of several rooms is a socket's in the first of them that it is in.
fn had_before(
    connections: &crate::core::slab::Slab<Box<crate::core::connection::Connection>>,
    socket: SocketKey,
    room: &RoomName,
    message: &Message,
) -> bool {
    let accepted = connections.get(socket.conn).and_then(|connection| connection.accepted.as_deref());
    let Some(accepted) = accepted else { return false };
    let before = message.places.iter().take_while(|place| place.room != *room);
    let mut seats = before.flat_map(|place| accepted.seats.iter().map(move |seat| (place, seat)));
    seats.any(|(place, seat)| seat.name == place.room && seat.index.is_some() && seat.since < place.at)
}
