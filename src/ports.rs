//! The seams: what the shell asks of the world. Adapters stand behind them, and simulation too.
//! Nothing here waits: each call takes a completion that is called once, from any thread.

pub mod spans;
#[cfg(test)]
pub mod testing;
pub mod timing;

pub use crate::core::fleet::io::{Expect, Member, Version, Versioned};
use crate::core::{
    id::ConnectionId,
    names::RoomName,
    publish::batch::{Batch, PublishError},
    reason::Fault,
    rooms::{Kept, Message, Place, Position, Post},
};
use bytes::Bytes;
use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// Called with the answer, exactly once; a dropped completion means that the backend stopped.
pub trait Completion<T>: Send {
    fn complete(self: Box<Self>, answer: T);
    /// False when nobody waits any more: parked work for it can be forgotten.
    fn wanted(&self) -> bool {
        true
    }
}

impl<T, F: FnOnce(T) + Send> Completion<T> for F {
    fn complete(self: Box<Self>, answer: T) {
        self(answer);
    }
}

pub type Done<T> = Box<dyn Completion<T>>;

/// Why a backend could not; the text names the file or the component and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendError {
    pub message: String,
    /// Worth another try as it is.
    pub transient: bool,
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BackendError {}

/// What a backend can do; the service says so, and does without what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Compare-and-set on documents: ownership is fenced, not advisory.
    pub etag: bool,
    /// Documents may expire by themselves.
    pub ttl: bool,
    /// A bulk publish keeps the order of its events.
    pub ordered_bulk: bool,
    /// A message can reach every instance.
    pub broadcast: bool,
    /// What was answered survives a power cut.
    pub durable: bool,
}

/// How the backend is now, for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub backend: &'static str,
    pub capabilities: Capabilities,
    /// Why this instance cannot do its work, in one line.
    pub problem: Option<String>,
    /// What does not work now, though the service goes on.
    pub degraded: Option<String>,
    /// Ownership is not fenced: alone, without the store.
    pub advisory: bool,
}

/// Cheap: asked at every probe.
pub trait Health: Send + Sync {
    fn condition(&self) -> Condition;
}

/// Documents of dialled connections, by state key (`websocket-<id>`).
pub trait Store: Send + Sync {
    /// Durable when `done` is called. Writes of one caller to one key keep their order.
    fn put(&self, id: &ConnectionId, document: Bytes, done: Done<Result<(), BackendError>>);
    fn delete(&self, id: &ConnectionId, done: Done<Result<(), BackendError>>);
    /// Every stored document, ordered by id. Called at start.
    fn load(&self) -> Result<Vec<(ConnectionId, Bytes)>, BackendError>;
}

/// Where a reader of a topic begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicFrom {
    Now,
    Start,
    /// The first event at or after this log offset.
    Offset(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEvent {
    /// Counts the topic's events from 0, without holes, for ever.
    pub offset: u64,
    /// When the log took it.
    pub unix_nanos: u64,
    /// The CloudEvent, JSON.
    pub event: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicChunk {
    pub events: Vec<TopicEvent>,
    /// Where to go on.
    pub next: u64,
    /// Events from the asked offset on that are no longer retained.
    pub skipped: u64,
}

/// Topics. Batches of one caller are taken in order.
pub trait Bus: Send + Sync {
    fn publish(&self, batch: Arc<Batch>, done: Done<Result<(), PublishError>>);
    /// Answers when there is at least one event (or `skipped`), with at most about `bytes_max`;
    /// parks until then. `TopicFrom::Now` answers at once with the position and no event.
    fn fetch(
        &self,
        topic: &str,
        from: TopicFrom,
        bytes_max: usize,
        done: Done<Result<TopicChunk, BackendError>>,
    );
}

/// A bounded first-in first-out log on disk, one a shard, for batches that the bus cannot take now.
pub trait Spill: Send + Sync {
    /// False in the answer: the bound is reached, nothing was written.
    fn append(&self, record: Vec<u8>, done: Done<Result<bool, BackendError>>);
    /// The oldest record, which stays until `pop`; None when the log is empty.
    fn peek(&self, done: Done<Result<Option<Vec<u8>>, BackendError>>);
    /// Forgets the oldest record.
    fn pop(&self, done: Done<Result<(), BackendError>>);
}

/// Seals what must not be stored in clear. `name` binds a sealed value to its document.
pub trait Seal: Send + Sync {
    fn seal(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, BackendError>;
    fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, BackendError>;
}

/// What an adapter answers later. It owns what it needs, so that it can be spawned.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// Taken; by this version the next write shows it.
    Written(Version),
    /// Something else stands there, surely.
    Conflict,
}

/// The fleet's shared documents, with compare-and-set. An error means that nobody knows whether
/// it happened: read before you believe either. Every call ends within the adapter's own deadline.
pub trait Documents: Send + Sync {
    /// One answer a key, in their order.
    fn get(&self, keys: Vec<String>) -> Pending<Result<Vec<Option<Versioned>>, BackendError>>;
    fn put(
        &self,
        key: String,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Pending<Result<Put, BackendError>>;
    /// `Put::Written` when it is gone by now, whoever did it.
    fn delete(&self, key: String, expect: Version) -> Pending<Result<Put, BackendError>>;
}

/// What becomes of an event that a broker delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ack {
    Done,
    /// Deliver it again, if the broker was told how often; many lose it otherwise.
    Retry,
    /// Nobody will ever want it: to the dead letters, where there are any.
    Drop,
}

/// One event from a broker.
pub struct Delivery {
    /// A CloudEvent, JSON.
    pub event: Bytes,
    /// Dropped without an answer it says `Retry`.
    pub ack: Done<Ack>,
}

/// Events that a broker hands to this instance. How many may wait for their ack is bounded by the
/// adapter, which also comes back by itself after whatever broke.
pub trait Inbox: Send {
    /// None: closed for good.
    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>>;
}

/// Who holds a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Its shard here, now.
    Me,
    Member(Member),
    /// Its owner is dead or leaving and nobody has taken it yet.
    Orphan,
    /// There is no such connection.
    Nobody,
}

/// Where things are in the fleet; asked by the edges.
pub trait Directory: Send + Sync {
    /// This run's name, as peers know it; a new one after the lease was lost.
    fn me(&self) -> Arc<str>;
    /// Other instances whose leases live, by incarnation.
    fn members(&self) -> Arc<[Member]>;
    /// Reads the store; the edges remember the answer.
    fn locate(&self, id: &ConnectionId) -> Pending<Result<Holder, BackendError>>;
    /// Before a connection with a chosen id is dialled: afterwards it is this instance's
    /// (`Holder::Me`), or the answer says whose.
    fn claim(&self, id: &ConnectionId) -> Pending<Result<Holder, BackendError>>;
    /// The dial failed: nothing of the claim stays behind.
    fn unclaim(&self, id: &ConnectionId);
    /// The documents of the connections that a member owns, as the store has them: for when it
    /// cannot be asked.
    fn recorded(&self, incarnation: &str) -> Pending<Result<Vec<Bytes>, BackendError>>;
}

/// Takes connections over from a member that leaves in order, one by one. `from` is its incarnation.
pub trait Adoption: Send + Sync {
    /// Dials it, so that it is ready when the owner lets go. The error says why it cannot.
    fn offer(
        &self,
        from: Arc<str>,
        id: ConnectionId,
        document: Bytes,
        epoch: u64,
    ) -> Pending<Result<(), String>>;
    /// The owner has let go after `last_seq` and the document names this instance: take it up with
    /// this epoch.
    fn commit(
        &self,
        from: Arc<str>,
        id: ConnectionId,
        epoch: u64,
        last_seq: u64,
    ) -> Pending<Result<(), BackendError>>;
    /// The owner keeps it, or is gone: forget what was dialled.
    fn abort(&self, from: Arc<str>, id: ConnectionId) -> Pending<()>;
}

/// Rooms that are numbered, kept and carried outside this instance. Every call ends within the
/// adapter's own deadline, and it comes back by itself after whatever broke.
pub trait RoomBus: Send + Sync {
    /// Numbers, keeps and carries one message to all these rooms (each once), in one step. A fault
    /// says whether it may have happened (`Certainty`).
    fn publish(&self, rooms: Arc<[RoomName]>, post: Post, done: Done<Result<Vec<Place>, Fault>>);
    /// From now on the room's messages come to the listener; answered when that is so, with the
    /// last number before them. Asked once until `unsubscribe`.
    fn subscribe(&self, room: &RoomName, done: Done<Result<Position, BackendError>>);
    fn unsubscribe(&self, room: &RoomName);
    /// What is kept after a position, oldest first, or the last `limit` when it is None.
    fn since(
        &self,
        room: &RoomName,
        after: Option<Position>,
        limit: usize,
        done: Done<Result<Kept, BackendError>>,
    );
}

/// Who hears what a `RoomBus` carries. Called from any thread, never waits.
pub trait RoomListener: Send + Sync {
    /// The next message of a room; its numbers may have holes.
    fn arrived(&self, room: RoomName, at: Position, message: Arc<Message>);
    /// The subscription was broken for a while and stands again; the last number by now.
    fn resumed(&self, room: RoomName, head: Position);
}

/// The bus of another room system that numbers nothing: what is sent to it comes back to its listener
/// like what others send, and this instance numbers it alone.
pub trait RoomRelay: Send + Sync {
    /// No rooms: to everybody.
    fn publish(&self, rooms: Arc<[RoomName]>, post: Post, done: Done<Result<(), Fault>>);
}

/// Who hears what a `RoomRelay` carries.
pub trait RelayListener: Send + Sync {
    /// No rooms: to everybody.
    fn heard(&self, rooms: Vec<RoomName>, post: Post);
    /// What was heard and did not come to a room here so far, each room counted.
    fn lost(&self) -> u64;
}

pub type Resolved<'a> = Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, BackendError>> + 'a>>;

/// Names to addresses. What it answers is checked and dialled as it stands: nothing looks up twice.
pub trait Resolver: Send + Sync {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolved<'a>;
}
