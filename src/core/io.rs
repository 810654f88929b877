//! What goes into a shard's core and what comes out: closed sets of values.

use crate::core::{
    correlation::{Kind, Rule},
    id::{ConnKey, ConnectionId, Ticket},
    publish::{
        self,
        batch::{Batch, BatchId},
    },
    reason::{CloseCause, Fault},
    ring::RecordKind,
    rooms::{RoomAnswer, RoomCommand, RoomEffect},
    spec::{Connect, Direction, Info, Record, Restore, Spec, Status, Tags},
    time::{Time, Wall},
    watch::LifecycleEvent,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// Who asks, until when, and under which trace. Limits, forwarding and audit need them; the trace is
/// given only with what makes a span of its own on the shard.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// None: anonymous.
    pub principal: Option<Arc<str>>,
    pub deadline: Option<Time>,
    pub trace: Option<Arc<str>>,
}

/// One of the sockets that a connection has in its life; late events of an old one are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketKey {
    pub conn: ConnKey,
    pub nth: u32,
}

#[derive(Debug)]
pub enum Command {
    Connect(Box<Connect>),
    Restore(Box<Restore>),
    /// A hand-over to this instance: dial now, and hold. Answered with `Done` when it is open.
    Prepare(Box<Restore>),
    /// What was prepared is ours under this epoch; its last owner's ended with `last_seq`.
    Commit {
        id: ConnectionId,
        epoch: u64,
        last_seq: u64,
    },
    /// What was prepared is not wanted any more.
    Abort(ConnectionId),
    /// A hand-over from this instance: end what is under way, read no more, and mark the end.
    /// Answered with `Retired`, the socket open and silent; or with why it stays here.
    Retire(ConnectionId),
    /// The retired connection has another owner: close its socket, without a write to the store.
    Release(ConnectionId),
    /// Nobody took it: go on as before, in a new epoch if the end of the old one was marked.
    Resume(ConnectionId),
    Get(ConnectionId),
    List(Box<List>),
    /// The stored request, for an Update to be merged into.
    Source(ConnectionId),
    Update(Box<Update>),
    Disconnect {
        id: ConnectionId,
        code: u16,
        reason: Box<str>,
    },
    StartPublish {
        id: ConnectionId,
        spec: Box<publish::Spec>,
    },
    StopPublish(ConnectionId),
    Send(Send),
    SendRaw {
        id: ConnectionId,
        payload: Bytes,
        kind: Kind,
    },
    /// Merges; an empty value deletes the key.
    SetTags {
        id: ConnectionId,
        tags: Tags,
    },
    GetTags(ConnectionId),
    Fetch(Box<Fetch>),
    /// Lifecycle events after this position; None: from now. Answered at once unless `wait`.
    Watch {
        after: Option<u64>,
        wait: bool,
    },
    /// The lease is lost: drop everything that was dialled, without a write to the store, refuse
    /// new work, and hand nothing to the bus until `Unfence`.
    Fence,
    /// There is a lease again. What others took meanwhile was told by `Superseded` before.
    Unfence,
    /// Another instance owns it with this epoch: drop it here, without a write to the store, and
    /// publish nothing more of a lower one.
    Superseded {
        id: ConnectionId,
        epoch: u64,
    },
    /// Write every document again: the store lost some.
    PersistAll,
    /// Refuse new work from now on.
    Refuse,
    /// Close every socket; answered when all are gone and every event left.
    Stop,
    /// Drop what is left; answered with what that was.
    Abandon,
    Room(RoomCommand),
}

impl Command {
    /// Whether a frame may have left for the peer when nothing more is heard of it.
    pub fn may_write(&self) -> bool {
        match self {
            Command::Send(_) | Command::SendRaw { .. } => true,
            Command::Room(room) => room.may_write(),
            _ => false,
        }
    }
}

#[derive(Debug)]
pub struct Send {
    pub id: ConnectionId,
    pub payload: Bytes,
    pub kind: Kind,
    pub timeout: Duration,
    /// None: the connection's.
    pub rule: Option<Box<Rule>>,
}

#[derive(Debug, Default)]
pub struct List {
    pub tags: Vec<(String, String)>,
    /// Empty: any.
    pub status: Vec<Status>,
    /// None: both.
    pub direction: Option<Direction>,
    pub after: Option<ConnectionId>,
    pub limit: usize,
}

#[derive(Debug)]
pub struct Update {
    pub id: ConnectionId,
    /// What the new spec was made from: refused when somebody changed it meanwhile.
    pub expected: Bytes,
    pub spec: Arc<Spec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFrom {
    Now,
    Start,
    /// A place in this shard's ring; of another incarnation, everything there is begins anew.
    At {
        incarnation: u64,
        position: u64,
    },
}

#[derive(Clone, Debug)]
pub enum Follow {
    Connection(ConnectionId),
    /// All connections with these tags.
    Tags(Vec<(String, String)>),
    /// All connections of this shard that publish to this topic.
    Topic(Arc<str>),
}

#[derive(Debug)]
pub struct Fetch {
    pub follow: Follow,
    pub from: FetchFrom,
    pub bytes_max: usize,
    /// Park until there is something; otherwise answer at once.
    pub wait: bool,
}

/// One message, gap record or end marker for a follower.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    pub id: ConnectionId,
    pub kind: RecordKind,
    pub epoch: u64,
    pub seq: u64,
    pub wall: Wall,
    pub reply: bool,
    /// The connection's last owner may have published it too.
    pub possible_duplicate: bool,
    pub payload: Bytes,
    /// Where to go on after this one.
    pub position: u64,
}

/// What a follower gets at once.
#[derive(Debug)]
pub struct Fetched {
    pub records: Vec<Followed>,
    /// Where to go on.
    pub next: u64,
    /// There is more at once.
    pub more: bool,
    /// What was asked for first is no longer kept.
    pub overrun: bool,
    /// The connection has ended, and this was the last of it.
    pub gone: bool,
    /// Epoch and last seq of the connection followed, as they are now.
    pub numbering: Option<(u64, u64)>,
    pub incarnation: u64,
}

impl Fetched {
    pub fn is_nothing(&self) -> bool {
        self.records.is_empty() && !self.more && !self.overrun && !self.gone
    }
}

#[derive(Debug)]
pub enum Answer {
    Done,
    Connected {
        status: Status,
        epoch: u64,
        subprotocol: Option<Arc<str>>,
        created: bool,
    },
    Info(Box<Info>),
    Listed {
        infos: Vec<Info>,
        total: u64,
    },
    Source(Bytes),
    Updated {
        info: Box<Info>,
        live: bool,
    },
    Publishing {
        epoch: u64,
        next_seq: u64,
    },
    Replied {
        payload: Bytes,
        kind: Kind,
    },
    Tags(Tags),
    Fetched(Box<Fetched>),
    /// `start`: the position of the first event, to see what was missed.
    Watched {
        events: Vec<Arc<LifecycleEvent>>,
        start: u64,
        next: u64,
        incarnation: u64,
    },
    /// What the next owner has to know: the end of this epoch was marked and is on the bus.
    Retired {
        epoch: u64,
        last_seq: u64,
        record: Box<Record>,
    },
    Abandoned {
        sockets: u64,
        events: u64,
    },
    Room(RoomAnswer),
}

pub type Outcome = Result<Answer, Fault>;

/// What the core asks of the shell.
#[derive(Debug)]
pub enum Effect {
    Answer {
        ticket: Ticket,
        outcome: Outcome,
    },
    /// As `Answer`, with what the metrics want to know.
    SendEnded {
        ticket: Ticket,
        outcome: Outcome,
        took: Duration,
    },
    Dial {
        socket: SocketKey,
        spec: Arc<Spec>,
    },
    /// Write these last bytes, wait a little for the peer's end, and drop the socket. Nothing of it
    /// comes back to the core.
    Finish {
        socket: SocketKey,
        last: Vec<u8>,
    },
    /// Drop the socket, or give up its dial, now.
    Abort(SocketKey),
    PauseReads(SocketKey),
    ResumeReads(SocketKey),
    /// Read, and tell by `ShardCore::read_out` when the receive buffer was first found empty.
    ReadOut(SocketKey),
    Persist {
        ticket: StoreTicket,
        record: Box<Record>,
    },
    Forget {
        ticket: StoreTicket,
        id: ConnectionId,
    },
    Publish(Arc<Batch>),
    Spill {
        id: BatchId,
        record: Vec<u8>,
    },
    PeekSpill,
    PopSpill,
    Room(RoomEffect),
}

/// Names one write to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreTicket(pub u64);

pub type Effects = Vec<Effect>;

/// How a dial ended.
#[derive(Debug)]
pub struct Opened {
    pub subprotocol: Option<Arc<str>>,
}

#[derive(Debug)]
pub struct DialFailed {
    pub cause: CloseCause,
    pub fault: Fault,
}
