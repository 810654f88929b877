//! The core of one shard: composes the machines and decides. Values in, values out; it never waits
//! and never fails. The shell calls `end_turn` after each batch of inputs.

mod accepted;
mod command;
mod connect;
mod fence;
mod follow;
mod inbound;
mod leaving;
mod live;
mod manage;
mod publishing;
#[cfg(test)]
mod room_sim;
mod rooms;
mod send;
#[cfg(test)]
mod sim;
mod stop;
mod stored;
mod taking;
#[cfg(test)]
mod tests;
mod timers;
mod view;

pub use command::Handle;
pub use stop::Stopping;
pub use view::Gauges;

use crate::{
    core::{
        admission::TokenBucket,
        connection::Connection,
        counters::Counters,
        follow::Followers,
        id::{ConnKey, ConnectionId, Ticket},
        io::{Answer, Effect, Effects, Outcome, SocketKey, StoreTicket},
        json,
        publish::{Bounds as PublishBounds, LaneKey, Publisher},
        random,
        reason::{Fault, FaultKind},
        ring::Ring,
        rooms::{
            self as rooms_of,
            here::{Here, Overtaken},
            home::Homes,
        },
        slab::Slab,
        spec::Tags,
        time::{Now, Time},
        watch::{LifecycleEvent, Watch},
        wheel::{TimerId, Wheel},
    },
    wire::event::{self, LifecycleState},
};
use hashbrown::HashMap;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// What a shard is told once.
#[derive(Clone, Debug)]
pub struct Setup {
    pub shard: u32,
    pub shards: u32,
    pub instance: Arc<str>,
    pub connections_max: usize,
    pub outbox_bytes_max: usize,
    pub ring_bytes: usize,
    pub dials_per_second: u32,
    pub publish: PublishBounds,
    pub lifecycle_topic: Arc<str>,
    pub rooms: rooms_of::Setup,
    /// Seeds the generator of ids, masks and jitter; from real entropy outside simulations.
    pub seed: u64,
}

pub struct ShardCore {
    setup: Setup,
    connections: Slab<Box<Connection>>,
    by_id: HashMap<ConnectionId, ConnKey>,
    /// Ended, but their last records may still be read by id.
    ended: VecDeque<Ended>,
    /// Higher than the epoch of every connection that ended: an id that is used again goes on above.
    epoch_floor: u64,
    sends: Slab<PendingSend>,
    timers: Wheel<Timer>,
    publisher: Publisher,
    /// Which connection a lane is for, to pause and resume its reads.
    lanes: BTreeMap<LaneKey, ConnKey>,
    /// On their way to another instance, and not retired yet.
    leaving: Vec<ConnKey>,
    ring: Ring,
    followers: Followers,
    followers_left: bool,
    /// Tells this run's places in the ring from those of the last.
    incarnation: u64,
    watch: Watch,
    watchers: VecDeque<(Ticket, u64)>,
    dials: TokenBucket,
    stores: BTreeMap<StoreTicket, StoreWait>,
    next_store: u64,
    /// Open sockets with something to write.
    dirty: Vec<SocketKey>,
    entropy: u64,
    stopping: Stopping,
    /// The lease is lost: nothing is dialled, written or handed to the bus.
    fenced: bool,
    counters: Counters,
    homes: Homes,
    here: Here,
    /// Connections of each user.
    users: HashMap<Arc<str>, Vec<ConnKey>>,
    /// Members that a room overtook; kept for its memory.
    overtaken: Vec<Overtaken>,
    /// Sockets whose paused lane was closed.
    resumed: Vec<SocketKey>,
    /// Timers being fired; kept for its memory.
    due: Vec<Timer>,
}

/// A Send between its acceptance and its one outcome. Its place, packed, is the ticket by which
/// the correlator and the outbox know it.
struct PendingSend {
    conn: ConnKey,
    caller: Ticket,
    timer: TimerId,
    started: Time,
    /// Its first byte was handed to the kernel.
    begun: bool,
}

#[derive(Clone, Copy, Debug)]
enum Timer {
    /// The deadline of a Send.
    Send(Ticket),
    /// The dial's deadline, the next dial, or the end of a dead connection.
    Phase(ConnKey),
    Heart(ConnKey),
    Stall(ConnKey),
    /// A hand-over takes too long.
    Leaving(ConnKey),
    /// What let an accepted connection in is over.
    Expiry(ConnKey),
}

struct Ended {
    id: ConnectionId,
    key: ConnKey,
    tags: Tags,
    /// The one it published to last.
    topic: Option<Arc<str>>,
}

struct StoreWait {
    conn: Option<ConnKey>,
    then: StoreThen,
}

enum StoreThen {
    /// The first document: Connect answers when it stands.
    Connected,
    Answer(Ticket, Box<Answer>),
    Nothing,
}

impl ShardCore {
    pub fn new(now: Now, setup: Setup) -> Self {
        let per_second = f64::from(setup.dials_per_second);
        ShardCore {
            connections: Slab::default(),
            by_id: HashMap::new(),
            ended: VecDeque::new(),
            epoch_floor: 0,
            sends: Slab::default(),
            timers: Wheel::new(now.mono),
            publisher: Publisher::new(now, setup.publish, setup.lifecycle_topic.clone(), key_of),
            lanes: BTreeMap::new(),
            leaving: Vec::new(),
            ring: Ring::new(setup.ring_bytes),
            followers: Followers::default(),
            followers_left: false,
            incarnation: {
                let mut seed = setup.seed;
                random::next(&mut seed)
            },
            watch: Watch::default(),
            watchers: VecDeque::new(),
            dials: TokenBucket::new(per_second, setup.dials_per_second, now.mono),
            stores: BTreeMap::new(),
            next_store: 0,
            dirty: Vec::new(),
            entropy: setup.seed,
            stopping: Stopping::No,
            fenced: false,
            counters: Counters::default(),
            homes: Homes::new(&setup.rooms),
            here: Here::new(&setup.rooms),
            users: HashMap::new(),
            overtaken: Vec::new(),
            resumed: Vec::new(),
            due: Vec::new(),
            setup,
        }
    }

    /// What must happen once per turn and not once per input: followers are answered, batches leave.
    pub fn end_turn(&mut self, now: Now, fx: &mut Effects) {
        self.answer_followers(fx);
        self.answer_watchers(fx);
        self.pump_publisher(now, fx);
        if !self.leaving.is_empty() {
            self.advance_leaving(now, fx);
            self.pump_publisher(now, fx);
        }
        self.finish_stop(fx);
    }

    pub fn handle_timeout(&mut self, now: Now, fx: &mut Effects) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.expire(now.mono, &mut |timer| due.push(timer));
        for timer in due.drain(..) {
            self.fire(now, timer, fx);
        }
        self.due = due;
        self.homes.expire(now, fx);
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        let others = [self.publisher.poll_timeout(), self.homes.poll_timeout()];
        self.timers.next().into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Sockets whose outbox has something, once each.
    pub fn take_dirty(&mut self, into: &mut Vec<SocketKey>) {
        for socket in self.dirty.drain(..) {
            if let Some(connection) = self.connections.get_mut(socket.conn) {
                connection.dirty = false;
            }
            into.push(socket);
        }
    }

    fn find(&self, id: &ConnectionId) -> Result<ConnKey, Fault> {
        let key = self.by_id.get(id).copied();
        let known = |key: &ConnKey| self.connections.get(*key).is_none_or(|known| !known.is_hidden());
        key.filter(known).ok_or_else(|| Fault::not_found(id.as_str()))
    }

    fn find_mut(&mut self, id: &ConnectionId) -> Result<(ConnKey, &mut Connection), Fault> {
        let key = self.find(id)?;
        match self.connections.get_mut(key) {
            Some(connection) if connection.leaving.is_some() => Err(taking::moving()),
            Some(connection) => Ok((key, connection)),
            None => Err(Fault::new(FaultKind::Internal, "an id led nowhere")),
        }
    }

    fn mark_dirty(&mut self, key: ConnKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(connection.socket(key));
        }
    }

    fn set_timer(&mut self, id: Option<TimerId>, at: Time, timer: Timer) -> Option<TimerId> {
        if let Some(id) = id {
            self.timers.cancel(id);
        }
        Some(self.timers.insert(at, timer))
    }

    fn random(&mut self) -> u64 {
        random::next(&mut self.entropy)
    }

    fn lifecycle(
        &mut self,
        now: Now,
        key: ConnKey,
        state: LifecycleState,
        reason: &str,
        attempt: Option<u32>,
    ) {
        let Some(connection) = self.connections.get(key) else { return };
        let event = Arc::new(LifecycleEvent {
            state,
            connection: connection.id.clone(),
            url: connection.spec.dial.target.redacted(),
            instance: self.setup.instance.clone(),
            reason: reason.into(),
            attempt,
            tags: connection.tags.clone(),
            wall: now.wall,
        });
        let published = event::LifecycleEvent {
            state,
            connection: &event.connection,
            redacted_url: &event.url,
            instance_id: &event.instance,
            reason: &event.reason,
            attempt,
        };
        self.publisher.lifecycle(now, &published);
        self.watch.push(event);
    }

    fn answer(&self, ticket: Ticket, outcome: Outcome, fx: &mut Effects) {
        fx.push(Effect::Answer { ticket, outcome });
    }
}

/// For lanes that keep the latest message of each key.
fn key_of(message: &[u8], pointer: &str) -> Option<Vec<u8>> {
    let pointer = json::Pointer::parse(pointer).ok()?;
    json::pointer(message, &pointer).map(<[u8]>::to_vec)
}
