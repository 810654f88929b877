//! Rooms: sockets that were accepted, words between shards, and what is numbered outside.

use super::{
    Local,
    io::{Io, Moving},
    mailbox::{Hub, Mail},
    socket::{Socket, Table},
};
use crate::{
    core::{
        io::SocketKey,
        names::RoomName,
        reason::{CloseCause, Fault},
        rooms::{Kept, Place, Position, Post, RoomEffect, here::Wrote},
        time::Now,
    },
    limits,
    ports::{BackendError, RoomBus, RoomRelay},
};
use std::{
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};
use tokio::task::spawn_local;

/// What rooms need of the world.
#[derive(Clone, Default)]
pub struct RoomWorld {
    /// All shards of this instance: their cores speak with one another.
    pub neighbours: Hub,
    /// What numbers and carries rooms; None: their homes do, and there are no other instances.
    pub bus: Option<Arc<dyn RoomBus>>,
    /// Another room system's bus.
    pub relay: Option<Arc<dyn RoomRelay>>,
}

impl Local {
    /// A socket whose handshake an edge has finished.
    pub(super) fn attach(self: &Rc<Self>, key: SocketKey, io: Io, ahead: Vec<u8>) {
        let now = self.now();
        if !self.core.borrow().expects(key) {
            // It came too late: another may stand in its place.
            return;
        }
        let socket = Socket::accepted(key, io);
        self.sockets.borrow_mut().live(socket.clone());
        self.step(|core, fx| core.attached(now, key, fx));
        // What it missed before it came, then what its rooms had for it since its admission.
        self.flush(now, key);
        self.flush_seats(now, key);
        self.received_early(&socket, ahead);
        spawn_local(self.clone().serve_socket(socket));
    }

    /// The same, from another thread.
    pub(super) fn take_in(self: &Rc<Self>, key: SocketKey, io: Moving, ahead: Vec<u8>) {
        match io.arrive() {
            Ok(io) => self.attach(key, io, ahead),
            // The connection that waits for it is dropped by its deadline.
            Err(error) => tracing::debug!(%error, "an accepted socket could not be taken in"),
        }
    }

    pub(super) fn perform_for_rooms(self: &Rc<Self>, effect: RoomEffect) {
        let rooms = &self.world.rooms;
        let mailbox = self.mailbox.clone();
        match effect {
            RoomEffect::Tell { shard, word } => rooms.neighbours.tell(shard, Mail::Told(Box::new(word))),
            RoomEffect::Subscribe(room) => {
                let Some(bus) = &rooms.bus else { return };
                let asked = room.clone();
                let done = move |head: Result<Position, BackendError>| {
                    mailbox.push(Mail::RoomSubscribed(asked, head.map_err(|error| error.message)));
                };
                bus.subscribe(&room, Box::new(done));
            }
            RoomEffect::Unsubscribe(room) => {
                if let Some(bus) = &rooms.bus {
                    bus.unsubscribe(&room);
                }
            }
            RoomEffect::Since { ticket, room, after } => {
                let Some(bus) = &rooms.bus else { return };
                let done = move |kept: Result<Kept, BackendError>| {
                    mailbox.push(Mail::RoomSince(ticket, kept.map_err(|error| error.message)));
                };
                bus.since(&room, after, limits::ROOM_HISTORY_LIMIT, Box::new(done));
            }
            RoomEffect::Post { rooms: names, post } => self.post_outside(names, post),
        }
    }

    /// A connection feeds rooms that something outside carries. Nobody waits for the answer: what is
    /// refused is counted.
    fn post_outside(self: &Rc<Self>, names: Arc<[RoomName]>, post: Post) {
        let refused = self.mailbox.feeds_refused.clone();
        let count = move |failed: bool| {
            refused.fetch_add(u64::from(failed), Ordering::Relaxed);
        };
        let rooms = &self.world.rooms;
        if let Some(relay) = &rooms.relay {
            relay.publish(names, post, Box::new(move |done: Result<(), Fault>| count(done.is_err())));
        } else if let Some(bus) = &rooms.bus {
            bus.publish(names, post, Box::new(move |done: Result<Vec<Place>, Fault>| count(done.is_err())));
        }
    }

    /// Room messages, one write for each member that is not behind; some of them a turn, so that a
    /// busy room leaves time to the shard's other sockets.
    pub(super) fn flush_rooms(self: &Rc<Self>, now: Now) {
        if !self.core.borrow().rooms_want_turn() {
            return;
        }
        let mut failed = Vec::new();
        let sockets = self.sockets.borrow();
        let mut write = |key: SocketKey, bytes: &[u8]| write_to(&sockets, key, bytes, &mut failed);
        self.core.borrow_mut().flush_rooms(now, limits::ROOM_WRITES_PER_TURN, &mut write);
        drop(sockets);
        self.end_failed(failed);
    }

    pub(super) fn flush_seats(self: &Rc<Self>, now: Now, key: SocketKey) {
        let mut failed = Vec::new();
        let sockets = self.sockets.borrow();
        let mut write = |key: SocketKey, bytes: &[u8]| write_to(&sockets, key, bytes, &mut failed);
        self.core.borrow_mut().flush_seats(now, key, &mut write);
        drop(sockets);
        self.end_failed(failed);
    }

    fn end_failed(self: &Rc<Self>, failed: Vec<(Rc<Socket>, io::Error)>) {
        for (socket, error) in failed {
            self.socket_ended(&socket, CloseCause::NetworkError, &error.to_string());
        }
    }
}

fn write_to(
    sockets: &Table,
    key: SocketKey,
    bytes: &[u8],
    failed: &mut Vec<(Rc<Socket>, io::Error)>,
) -> Wrote {
    // One that is not attached yet gets all when it is.
    let Some(socket) = sockets.get(key) else { return Wrote::Blocked };
    match socket.try_write(bytes) {
        Ok(taken) => Wrote::Taken(taken),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Wrote::Blocked,
        Err(error) => {
            failed.push((socket.clone(), error));
            Wrote::Gone
        }
    }
}
