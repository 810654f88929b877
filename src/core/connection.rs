//! One connection as its shard knows it.
//!
//! ```text
//!            Connect                     opened
//!   (none) ----------> Dialling --------------------> Storing ---stored---> Open
//!                          | failed: leaves nothing      |                 |   ^
//!                          v                             |            lost |   | opened: gap record
//!                       (none)                           +---- lost ---+   v   |
//!                                                                      |  Waiting <--> Redialling
//!   Restore ------------------------------------------------------------> |   attempts used up
//!                                                                         v
//!   lost without auto_reconnect ---------------------------------------> Dead --5 min--> (none)
//! ```
//! A connection that comes from another instance is Preparing, then Prepared, and Open when it is ours.
//! Disconnect leads from every state to (none); the socket finishes its close handshake alone.

use crate::core::{
    admission::TokenBucket,
    correlation::{Correlator, Kind},
    id::{ConnKey, ConnectionId, Ticket},
    io::SocketKey,
    names::RoomName,
    outbox::Outbox,
    publish::{self, LaneKey, batch::BatchId},
    rooms::{Access, Format, Position, here::RoomKey},
    sequence::Numbering,
    spec::{ConnectionCounters, Direction, Info, Record, Spec, Status, Tags, has_tags},
    time::{Time, Wall},
    wheel::TimerId,
};
use crate::wire::members::{Tag, Verb};
use std::sync::Arc;

pub struct Connection {
    pub id: ConnectionId,
    pub spec: Arc<Spec>,
    pub tags: Tags,
    pub phase: Phase,
    /// Counts this connection's sockets: events of an old one are told apart.
    pub nth: u32,
    /// In the list of those with something to write this turn.
    pub dirty: bool,
    pub reads_paused: bool,
    /// Its last socket was cut while reads were paused: the next gap says so.
    pub lost_by_backpressure: bool,
    /// Taken from the store and not open since: its new epoch was announced already.
    pub restored: bool,
    /// What arrived before it was ours is being read: the last owner may have published it too.
    pub catching_up: bool,
    /// On its way to another instance.
    pub leaving: Option<Box<Leaving>>,
    /// It came to us.
    pub accepted: Option<Box<Accepted>>,
    /// The route's word on where an accepted one's messages go.
    pub route_feeds: Option<Arc<[RoomName]>>,
    pub numbering: Numbering,
    pub publish: Option<Box<publish::Spec>>,
    pub lane: Option<LaneKey>,
    /// The last seq that went to a topic, and to which.
    pub published_seq: u64,
    pub published_topic: Option<Arc<str>>,
    pub outbox: Outbox,
    /// Made by the first Send, gone when nobody waits.
    pub correlator: Option<Box<Correlator>>,
    /// Where injected integers go on when the next correlator is made.
    pub next_integer: u64,
    pub heart: Heart,
    pub rates: Option<Box<Rates>>,
    /// Of the phase: the dial's deadline, the next dial, the end of being listed.
    pub timer: Option<TimerId>,
    pub attempt: u32,
    pub created: Wall,
    pub connected: Option<Wall>,
    pub content_type: Option<Kind>,
    pub subprotocol: Option<Arc<str>>,
    pub last_error: Option<Box<str>>,
    pub counters: ConnectionCounters,
}

pub enum Phase {
    /// The first dial; nothing is left behind when it fails.
    Dialling(Vec<Ticket>),
    /// Open, while its first document is being written.
    Storing(Vec<Ticket>),
    Open,
    /// For the time of the next dial.
    Waiting,
    Redialling,
    Dead,
    /// Accepted, and its socket is still at the edge: its rooms are being entered, or its 101 is on
    /// the way. The caller waits for the rooms.
    Admitted(Option<Ticket>),
    /// Being dialled for a hand-over; `from` is the last owner's epoch.
    Preparing {
        caller: Ticket,
        from: u64,
    },
    /// Open and silent, until it is ours or given up.
    Prepared {
        from: u64,
    },
}

/// What only an accepted connection has.
pub struct Accepted {
    pub user: Option<Arc<str>>,
    pub format: Format,
    pub may_join: Access,
    /// Requests of the client are answered.
    pub protocol: bool,
    /// Its rooms, that of everybody among them.
    pub seats: Vec<Seat>,
    pub next_seat: u32,
    pub expiry: Option<TimerId>,
}

/// One membership.
pub struct Seat {
    pub name: RoomName,
    pub room: RoomKey,
    pub nth: u32,
    /// None: the home was told, and has not answered.
    pub index: Option<u32>,
    /// Only what comes after this is its to hear.
    pub since: Position,
    pub then: SeatThen,
}

/// Whom to tell when it is in.
#[derive(Debug)]
pub enum SeatThen {
    Nobody,
    Admission { resume: bool },
    Client { verb: Verb, resume: bool, tag: Tag },
    Caller(Ticket),
}

/// How far a connection is on its way to another instance.
pub struct Leaving {
    /// Who asked; None when answered.
    pub caller: Option<Ticket>,
    pub step: LeavingStep,
    pub timer: TimerId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeavingStep {
    /// Pending Sends may still end.
    Finishing,
    /// Nothing is read any more; everything before this batch is to be taken by the bus.
    Draining(Option<BatchId>),
    /// So is the end marker.
    Ending(BatchId),
    /// The other one may have it.
    Retired,
}

/// The clocks of a live socket.
#[derive(Default)]
pub struct Heart {
    pub timer: Option<TimerId>,
    pub last_data: Time,
    /// When the first ping was sent that no pong answered.
    pub unanswered: Option<Time>,
    pub last_ping: Time,
    /// Armed while the socket takes nothing.
    pub stall: Option<TimerId>,
    pub last_write: Time,
}

impl Heart {
    /// The time in which we did not read says nothing of the peer.
    pub fn rest(&mut self, now: Time) {
        self.last_data = now;
        self.unanswered = None;
    }
}

/// Buckets that few connections need.
#[derive(Default)]
pub struct Rates {
    pub sends: Option<TokenBucket>,
    pub control: Option<TokenBucket>,
}

impl Connection {
    pub fn socket(&self, key: ConnKey) -> SocketKey {
        SocketKey { conn: key, nth: self.nth }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Storing(_))
    }

    /// Not ours yet: nobody but the one who asked for it knows of it.
    pub fn is_prepared(&self) -> bool {
        matches!(self.phase, Phase::Preparing { .. } | Phase::Prepared { .. })
    }

    /// Nobody who asks for it may find it yet.
    pub fn is_hidden(&self) -> bool {
        self.is_prepared() || matches!(self.phase, Phase::Admitted(_))
    }

    pub fn direction(&self) -> Direction {
        if self.accepted.is_some() { Direction::In } else { Direction::Out }
    }

    /// Nothing is read for a hand-over, whatever its lane says.
    pub fn is_silent(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.step != LeavingStep::Finishing)
    }

    /// Reads were paused until now: the time says nothing of the peer.
    pub fn rested(&mut self, now: Time) {
        self.heart.rest(now);
        if let Some(correlator) = &mut self.correlator {
            correlator.heard_nothing(now);
        }
    }

    pub fn status(&self) -> Status {
        match self.phase {
            Phase::Dialling(_) | Phase::Preparing { .. } | Phase::Prepared { .. } | Phase::Admitted(_) => {
                Status::Connecting
            }
            Phase::Storing(_) | Phase::Open => Status::Connected,
            Phase::Waiting | Phase::Redialling => Status::Reconnecting,
            Phase::Dead => Status::Disconnected,
        }
    }

    pub fn has_tags(&self, wanted: &[(String, String)]) -> bool {
        has_tags(&self.tags, wanted)
    }

    pub fn sends_in_flight(&self) -> usize {
        self.correlator.as_ref().map_or(0, |correlator| correlator.in_flight())
    }

    pub fn info(&self) -> Info {
        Info {
            id: self.id.clone(),
            url: self.spec.dial.target.redacted(),
            status: self.status(),
            direction: self.direction(),
            topic: self.publish.as_ref().map(|spec| spec.topic.clone()),
            content_type: match self.content_type {
                None => "",
                Some(Kind::Text) => "text/plain",
                Some(Kind::Binary) => "application/octet-stream",
            },
            tags: self.tags.clone(),
            auto_reconnect: self.spec.settings.auto_reconnect,
            created: self.created,
            connected: if self.is_open() { self.connected } else { None },
            last_error: self.last_error.as_deref().unwrap_or_default().to_owned(),
            epoch: self.numbering.epoch(),
            seq: self.numbering.last_seq(),
            subprotocol: self.subprotocol.clone(),
            attempt: self.attempt,
            sends_in_flight: self.sends_in_flight() as u32,
            counters: self.counters,
            rooms: self.rooms(),
            user: self.accepted.as_ref().and_then(|accepted| accepted.user.clone()),
        }
    }

    /// Those it is a member of, or feeds when it is none of ours to write to.
    fn rooms(&self) -> Vec<Arc<str>> {
        let seats = self.accepted.iter().flat_map(|accepted| &accepted.seats);
        let mut rooms: Vec<_> =
            seats.filter(|seat| !seat.name.is_everyone()).map(|seat| seat.name.shared()).collect();
        if self.accepted.is_none() {
            rooms.extend(self.feeds().iter().map(RoomName::shared));
        }
        rooms.sort_unstable();
        rooms
    }

    /// The rooms that its messages go to.
    pub fn feeds(&self) -> &Arc<[RoomName]> {
        self.route_feeds.as_ref().unwrap_or(&self.spec.settings.rooms)
    }

    pub fn record(&self, clean: bool) -> Record {
        Record {
            id: self.id.clone(),
            spec: self.spec.clone(),
            tags: self.tags.clone(),
            publish: self.publish.as_deref().cloned(),
            created: self.created,
            epoch: self.numbering.epoch(),
            last_seq: clean.then(|| self.numbering.last_seq()),
            clean,
            status: self.status(),
        }
    }
}
