//! Rooms, as their shards see them.

use super::{Handle, ShardCore};
use crate::core::{
    id::Ticket,
    io::{Context, Effects, SocketKey},
    reason::Fault,
    rooms::{Between, RoomCommand},
    time::Now,
};

impl ShardCore {
    pub(super) fn room_command(
        &mut self,
        _now: Now,
        ticket: Ticket,
        _context: &Context,
        _command: RoomCommand,
        fx: &mut Effects,
    ) -> Option<Handle> {
        self.answer(ticket, Err(Fault::unimplemented("rooms")), fx);
        None
    }

    /// The socket of an admitted connection is there. False: it is not wanted any more.
    pub fn attached(&mut self, _now: Now, _socket: SocketKey, _fx: &mut Effects) -> bool {
        false
    }

    /// What another shard's core says.
    pub fn told(&mut self, _now: Now, _word: Between, _fx: &mut Effects) {}
}
