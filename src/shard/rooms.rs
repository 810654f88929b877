//! Rooms: sockets that were accepted, words between shards, and what is numbered outside.

use super::{
    Local,
    io::{Io, Moving},
    mailbox::{Hub, Mail},
    socket::Socket,
};
use crate::{
    core::{io::SocketKey, rooms::RoomEffect},
    ports::{RoomBus, RoomRelay},
};
use std::{rc::Rc, sync::Arc};
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
        let socket = Socket::accepted(key, io);
        self.sockets.borrow_mut().live(socket.clone());
        if !self.step(|core, fx| core.attached(now, key, fx)) {
            self.sockets.borrow_mut().remove(key);
            return;
        }
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
        if let RoomEffect::Tell { shard, word } = effect {
            self.world.rooms.neighbours.tell(shard, Mail::Told(Box::new(word)));
        }
    }
}
