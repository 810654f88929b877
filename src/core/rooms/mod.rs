//! Rooms: named sets of connections. A room is numbered in one place, kept in one ring, and written
//! to its members from one log for each wire format: a member is a position in that log.
//!
//! Three parts, each small. A room's home is a shard, `hash(name) % shards`: there its messages get
//! their numbers, or are checked to be whole when something outside numbers them, are kept, and are
//! handed to each shard that has members. A shard with members appends a message once, and each
//! member is a cursor. Between them go the words of `Between`.

pub mod bound;
pub mod choice;
pub mod here;
pub mod history;
pub mod home;
pub mod intake;
pub mod io;
mod log;
pub mod request;
pub mod route;
mod rules;
pub mod sequencer;
pub mod template;
pub mod typed;

pub use crate::core::names::RoomName;
pub use io::{RoomAnswer, RoomCommand, RoomEffect};
pub use rules::{History, Rule, Rules, Slow};

use crate::core::{
    correlation::Kind,
    id::{ConnKey, ConnectionId},
    io::SocketKey,
    time::Wall,
};
use bytes::Bytes;
use std::sync::Arc;

/// What a shard is told once about rooms.
#[derive(Clone, Debug)]
pub struct Setup {
    pub rules: Arc<Rules>,
    /// Something outside numbers and keeps rooms: homes check that what comes is whole.
    pub numbered_outside: bool,
    /// Another room system carries rooms and numbers nothing: each instance, by this name, numbers what it
    /// hears by itself. What connections feed leaves this instance before it comes to members.
    pub relayed: Option<Arc<str>>,
    /// How far a member may be behind.
    pub reader_bytes_max: usize,
    /// All histories of this shard's rooms.
    pub history_bytes_max: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            rules: Arc::default(),
            numbered_outside: false,
            relayed: None,
            reader_bytes_max: crate::limits::READER_BYTES_DEFAULT,
            history_bytes_max: crate::limits::ROOMS_HISTORY_BYTES,
        }
    }
}

/// A place in a room's numbers. Epochs only grow; offsets begin at 1 in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub epoch: u64,
    pub offset: u64,
}

/// Where a message stands in one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub room: RoomName,
    pub at: Position,
}

/// What somebody sends to rooms, before it has numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    pub kind: Kind,
    pub payload: Bytes,
}

/// One message of a room, or of several at once. Shared by all who deliver it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    pub payload: Bytes,
    pub wall: Wall,
    /// Every room that it was sent to, by name, each once: a member of several gets it in the first.
    pub places: Arc<[Place]>,
    /// The instance that numbered it alone: for a room that keeps nothing, or one of another room system.
    pub from: Option<Arc<str>>,
}

impl Message {
    /// Its number is one of a single sequence that this instance sees whole: the room's home gave it, or
    /// something outside that numbers the room for all. Of others, each comes from a sequence of its own.
    pub fn is_counted(&self, numbered_outside: bool) -> bool {
        !numbered_outside || self.from.is_none()
    }

    pub fn at(&self, room: &RoomName) -> Option<Position> {
        self.places.iter().find(|place| place.room == *room).map(|place| place.at)
    }
}

/// What the shard of a connection is told of a socket that was accepted, before its 101.
#[derive(Debug)]
pub struct Admit {
    /// Drawn by the edge, or given by the route.
    pub id: ConnectionId,
    /// The route gave it: an older socket under this id makes room.
    pub given: bool,
    /// What List shows as its address, and its bounds. Shared by those that have the same.
    pub spec: Arc<crate::core::spec::Spec>,
    pub tags: crate::core::spec::Tags,
    pub user: Option<Arc<str>>,
    pub subprotocol: Option<Arc<str>>,
    pub format: Format,
    /// It is a member of these from its first moment on.
    pub rooms: Vec<Entry>,
    /// Which others it may join by the protocol.
    pub may_join: Access,
    /// Its messages go to these.
    pub feeds: Vec<RoomName>,
    /// Its messages go to this topic.
    pub publish: Option<crate::core::publish::Spec>,
    /// Requests of the client are answered.
    pub protocol: bool,
    /// What let it in ends after this long.
    pub valid_for: Option<std::time::Duration>,
}

/// A room to enter, and from where on a client that comes back wants to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub room: RoomName,
    pub after: Option<Position>,
}

/// Which rooms a client may join by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    None,
    Any,
    /// Names; one that ends in `*` means all that begin so.
    Only(Arc<[Box<str>]>),
}

impl Access {
    pub fn allows(&self, room: &RoomName) -> bool {
        match self {
            Access::None => false,
            Access::Any => true,
            Access::Only(names) => names.iter().any(|name| match name.strip_suffix('*') {
                Some(prefix) => room.as_str().starts_with(prefix),
                None => room.as_str() == &**name,
            }),
        }
    }
}

/// How a member wants its messages written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Format {
    /// The payload as it is: text or binary.
    #[default]
    Verbatim,
    /// The payload as it is, always binary: what clients of the earlier room system expect.
    Binary,
    /// `wsm.rooms.v1`: JSON with numbers, gaps and answers.
    Numbered,
}

impl Format {
    pub const COUNT: usize = 3;
    pub const ALL: [Format; Self::COUNT] = [Format::Verbatim, Format::Binary, Format::Numbered];
}

/// Part of a room's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// In order.
    pub messages: Vec<Arc<Message>>,
    /// Nothing is missing between what was asked for and the first of these. When nothing was asked
    /// for, true.
    pub recovered: bool,
    /// The last number given, whether kept or not.
    pub head: Position,
}

/// Names one membership on the shard of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeatKey {
    pub socket: SocketKey,
    /// Counts the connection's memberships: an answer to an old one is told apart.
    pub nth: u32,
}

/// What the core of one shard says to another's, or to itself. Words of one shard to another keep
/// their order.
#[derive(Clone, Debug)]
pub enum Between {
    /// To the home: a socket of `shard` becomes a member; the shard wants the room's messages.
    Enter { shard: u32, room: RoomName, seat: SeatKey, after: Option<Position> },
    /// From the home: whatever comes after this word is the new member's to hear.
    Entered { room: RoomName, seat: SeatKey, outcome: Result<Entered, crate::core::reason::Fault> },
    /// To the home: the shard has no members any more.
    Exit { shard: u32, room: RoomName },
    /// From the home: one message, in the order of its numbers.
    Deliver { room: RoomName, at: Position, message: Arc<Message> },
    /// From the home: numbers that will never come.
    Gap { room: RoomName, gap: RoomGap },
    /// To the home: a connection of the sending shard feeds the room.
    Feed { room: RoomName, post: Post, source: ConnKey },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// The last message before those that will be delivered.
    pub head: Position,
    /// What the client missed, to be written first; None: it did not ask.
    pub missed: Option<Kept>,
}

/// Numbers of a room that members will not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomGap {
    /// After this one.
    pub from: Position,
    /// Before this one.
    pub to: Position,
    pub cause: RoomGapCause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomGapCause {
    /// Another sequencer, or one that lost its state.
    NewEpoch,
    /// The bus lost it and the history does not have it.
    Lost,
    /// This member was too slow.
    SlowReader,
}

impl RoomGapCause {
    pub const fn name(self) -> &'static str {
        match self {
            RoomGapCause::NewEpoch => "new_epoch",
            RoomGapCause::Lost => "lost",
            RoomGapCause::SlowReader => "slow_reader",
        }
    }
}
