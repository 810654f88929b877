//! What can be asked of a shard about rooms, and what it answers.

use super::{Admit, Kept, Message, Place, Position, Post};
use crate::core::{id::ConnectionId, io::SocketKey, names::RoomName, reason::Fault};
use std::sync::Arc;

#[derive(Debug)]
pub enum RoomCommand {
    /// To the shard of the new connection. Answered with `Admitted` when it is a member of all its
    /// rooms; its socket must come soon.
    Admit(Box<Admit>),
    /// To the connection's shard. Answered with `Joined` when what comes next will be heard.
    Join {
        id: ConnectionId,
        room: RoomName,
        after: Option<Position>,
    },
    Leave {
        id: ConnectionId,
        room: RoomName,
    },
    /// To the room's home. Answered with `Placed` when it has its number and is on its way.
    Post {
        room: RoomName,
        post: Post,
    },
    /// To the home of one of several rooms: a number for what follows in `Fill`. Answered with
    /// `Placed`; what is sent to the room meanwhile waits.
    Reserve(RoomName),
    Fill {
        room: RoomName,
        at: Position,
        message: Arc<Message>,
    },
    /// To the home, from what numbers the room outside: the next message.
    Arrived {
        room: RoomName,
        at: Position,
        message: Arc<Message>,
    },
    /// To the home: what numbers the room was away, and is at this number now.
    Resumed {
        room: RoomName,
        head: Position,
    },
    /// To the home. Answered with `Kept`.
    History {
        room: RoomName,
        after: Option<Position>,
        limit: usize,
    },
    /// To the home: what comes after this position (None: from now on); waits for the first.
    /// Answered with `Kept`.
    Follow {
        room: RoomName,
        after: Option<Position>,
        limit: usize,
    },
    /// Rooms with members on this shard, by name. Answered with `Rooms`.
    List {
        prefix: Box<str>,
        after: Option<RoomName>,
        limit: usize,
    },
    /// Members on this shard, by id. Answered with `Listed`.
    Members {
        room: RoomName,
        after: Option<ConnectionId>,
        limit: usize,
    },
    /// To each of the user's connections on this shard. Answered with `Count`.
    PostToUser {
        user: Arc<str>,
        post: Post,
    },
    KickUser {
        user: Arc<str>,
        code: u16,
        reason: Box<str>,
    },
}

impl RoomCommand {
    /// Whether a message may be on its way to members when nothing more is heard of it.
    pub fn may_write(&self) -> bool {
        matches!(self, RoomCommand::Post { .. } | RoomCommand::Fill { .. } | RoomCommand::PostToUser { .. })
    }
}

#[derive(Debug)]
pub enum RoomAnswer {
    /// The socket is expected under this key.
    Admitted {
        socket: SocketKey,
        epoch: u64,
    },
    Joined {
        head: Position,
        recovered: Option<bool>,
    },
    Placed(Position),
    Kept(Box<Kept>),
    /// Name and members.
    Rooms(Vec<(RoomName, u64)>),
    Count(u64),
}

/// What the core asks of the shell about rooms.
#[derive(Debug)]
pub enum RoomEffect {
    /// For the core of this shard, in the order of these effects.
    Tell {
        shard: u32,
        word: super::Between,
    },
    /// Somebody outside numbers rooms: hand this to it. A connection feeds them.
    Post {
        rooms: Arc<[RoomName]>,
        post: Post,
    },
    /// The home wants the room's messages from outside; answered by `ShardCore::room_subscribed`.
    Subscribe(RoomName),
    Unsubscribe(RoomName),
    /// What the outside keeps; answered by `ShardCore::room_since` with this ticket.
    Since {
        ticket: u64,
        room: RoomName,
        after: Option<Position>,
    },
}

/// How posting went, for several rooms.
pub type Posted = Result<Vec<Place>, Fault>;
