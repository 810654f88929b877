//! The core of one shard: composes the machines and decides. Values in, values out; it never waits
//! and never fails. The shell calls `end_turn` after each batch of inputs.

mod accepted;
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
mod taking;
#[cfg(test)]
mod tests;
mod timers;

pub use stop::Stopping;

use crate::{
    core::{
        admission::TokenBucket,
        connection::{Connection, Phase},
        counters::Counters,
        follow::Followers,
        id::{ConnKey, ConnectionId, Ticket},
        io::{Answer, Command, Context, Effect, Effects, Outcome, SocketKey, StoreTicket},
        json,
        outbox::Outbox,
        publish::{Bounds as PublishBounds, LaneKey, Publisher},
        reason::{Fault, FaultKind},
        ring::Ring,
        rooms::{
            self as rooms_of,
            here::{Deliveries, Here, Overtaken},
            home::{HomeCounters, Homes},
        },
        slab::Slab,
        spec::Tags,
        time::{Now, Time},
        watch::{LifecycleEvent, Watch},
        wheel::{TimerId, Wheel},
    },
    limits,
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

/// By which the shell takes back a command whose caller went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    Connect(ConnKey),
    Send(Ticket),
    Raw(SocketKey),
    Fetch,
    Watch,
    Follow,
    Admit(ConnKey),
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
                next_random(&mut seed)
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
            here: Here::new(setup.rooms.reader_bytes_max),
            users: HashMap::new(),
            overtaken: Vec::new(),
            resumed: Vec::new(),
            due: Vec::new(),
            setup,
        }
    }

    /// Answers by an effect with this ticket, now or later, exactly once. The handle takes the
    /// command back when its caller goes away before that.
    pub fn command(
        &mut self,
        now: Now,
        ticket: Ticket,
        context: &Context,
        command: Command,
        fx: &mut Effects,
    ) -> Option<Handle> {
        let outcome = match command {
            Command::Send(send) => return self.send(now, ticket, context, send, fx),
            Command::SendRaw { id, payload, kind } => {
                return self.send_raw(now, ticket, &id, payload, kind, fx);
            }
            Command::Connect(connect) => return self.connect(now, ticket, *connect, fx),
            Command::Fetch(fetch) => return self.fetch(ticket, *fetch, fx),
            Command::Watch { after, wait } => return self.watch(ticket, after, wait, fx),
            Command::Disconnect { id, code, reason } => {
                return self.disconnect(now, ticket, &id, code, &reason, fx);
            }
            Command::StartPublish { id, spec } => return self.start_publish(now, ticket, &id, *spec, fx),
            Command::StopPublish(id) => return self.stop_publish(now, ticket, &id, fx),
            Command::SetTags { id, tags } => return self.set_tags(ticket, &id, &tags, fx),
            Command::Update(update) => return self.update(now, ticket, *update, fx),
            Command::Restore(restore) => self.restore(now, *restore, fx),
            Command::Prepare(restore) => return self.prepare(now, ticket, *restore, fx),
            Command::Commit { id, epoch, last_seq } => self.commit(now, &id, epoch, last_seq, fx),
            Command::Abort(id) => self.abort_prepared(&id, fx),
            Command::Retire(id) => return self.retire(now, ticket, &id, fx),
            Command::Release(id) => self.release(now, &id, fx),
            Command::Resume(id) => self.resume(now, &id, fx),
            Command::Get(id) => self.info(&id).map(|info| Answer::Info(Box::new(info))),
            Command::List(list) => Ok(self.list(&list)),
            Command::Source(id) => self.source(&id),
            Command::GetTags(id) => self.tags(&id).map(Answer::Tags),
            Command::Fence => {
                self.fence(now, fx);
                Ok(Answer::Done)
            }
            Command::Unfence => Ok(self.unfence()),
            Command::Superseded { id, epoch } => Ok(self.superseded(now, &id, epoch, fx)),
            Command::PersistAll => Ok(self.persist_all(fx)),
            Command::Refuse => self.refuse(),
            Command::Stop => return self.stop(now, ticket, fx),
            Command::Abandon => Ok(self.abandon(now, fx)),
            Command::Room(command) => return self.room_command(now, ticket, command, fx),
        };
        fx.push(Effect::Answer { ticket, outcome });
        None
    }

    /// The caller of a command went away: nothing of it stays behind that only the caller wanted.
    pub fn cancel(&mut self, now: Now, ticket: Ticket, handle: Handle, fx: &mut Effects) {
        match handle {
            Handle::Connect(key) => self.cancel_connect(now, key, ticket, fx),
            Handle::Send(send) => self.cancel_send(now, send, fx),
            Handle::Raw(socket) => self.cancel_raw(socket, ticket),
            Handle::Fetch => {
                self.followers.cancel(ticket);
            }
            Handle::Follow => self.homes.stop_following(now, ticket),
            Handle::Admit(key) => self.drop_connection(now, key, 1001, "gone", fx),
            Handle::Watch => self.watchers.retain(|(waiting, _)| *waiting != ticket),
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

    /// What waits to be written on a socket that is still the connection's.
    pub fn outbox(&self, socket: SocketKey) -> Option<&Outbox> {
        let connection = self.connections.get(socket.conn)?;
        (connection.nth == socket.nth && connection.is_open()).then_some(&connection.outbox)
    }

    pub fn message_bytes_max(&self, socket: SocketKey) -> usize {
        let spec = self.connections.get(socket.conn).map(|connection| &connection.spec);
        spec.map_or(limits::MESSAGE_BYTES_DEFAULT, |spec| spec.settings.message_bytes_max)
    }

    /// Rooms with members here, and what became of their messages.
    pub fn rooms_here(&self) -> &Here {
        &self.here
    }

    /// Rooms whose home this shard is.
    pub fn rooms_home(&self) -> &Homes {
        &self.homes
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What became of rooms' messages, member by member.
    pub fn deliveries(&self) -> Deliveries {
        self.here.deliveries
    }

    pub fn home_counters(&self) -> HomeCounters {
        self.homes.counters
    }

    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Connections by status name, in the order of `Status`.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges { ring_bytes: self.ring.allocated_bytes() as u64, ..Gauges::default() };
        gauges.followers = self.followers.len() as u64;
        gauges.sends_in_flight = self.sends.len() as u64;
        gauges.timers = self.timers.len() as u64;
        gauges.rooms = self.here.len() as u64;
        gauges.room_members = self.here.iter().map(|room| room.members().len() as u64).sum();
        gauges.room_members_behind = self.here.behind();
        gauges.room_backlog_bytes = self.here.held_bytes();
        gauges.deliveries_in_flight = self.here.in_flight();
        gauges.homes = self.homes.len() as u64;
        gauges.history_bytes = self.homes.kept_bytes() as u64;
        for (_, connection) in self.connections.iter() {
            gauges.accepted += u64::from(connection.accepted.is_some() && connection.is_open());
            gauges.connections[connection.status() as usize] += 1;
            gauges.outbox_bytes += connection.outbox.queued_bytes() as u64;
            gauges.reads_paused += u64::from(connection.reads_paused);
        }
        gauges
    }

    /// Of the connection that a socket is for.
    pub fn name_of(&self, socket: SocketKey) -> Option<String> {
        self.connections.get(socket.conn).map(|connection| connection.id.to_string())
    }

    pub fn connections_len(&self) -> usize {
        self.by_id.len()
    }

    /// Every invariant; called after each step in simulation.
    pub fn check(&self) {
        let mut in_flight = 0;
        for (key, connection) in self.connections.iter() {
            connection.outbox.check();
            in_flight += connection.sends_in_flight();
            let found = self.by_id.get(&connection.id);
            assert_eq!(found, Some(&key), "{} is not found by its id", connection.id);
            assert!(
                connection.is_open()
                    || connection.outbox.is_empty()
                    || matches!(connection.phase, Phase::Admitted(_)),
                "{}: frames without a socket",
                connection.id
            );
            assert!(
                connection.is_open() || connection.sends_in_flight() == 0,
                "{}: a Send outlives its socket",
                connection.id
            );
            assert_eq!(
                connection.id.shard(self.setup.shards),
                self.setup.shard,
                "{}: not this shard's",
                connection.id
            );
        }
        assert_eq!(self.by_id.len(), self.connections.len(), "an id without a connection");
        for (_, send) in self.sends.iter() {
            assert!(self.connections.get(send.conn).is_some(), "a Send without a connection");
        }
        assert_eq!(in_flight, self.sends.len(), "a Send was dropped without an outcome");
        self.homes.check();
        self.here.check();
        if let Err(wrong) = self.publisher.check() {
            panic!("{wrong}");
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

    /// SplitMix64: small, and the same on every machine from the same seed.
    fn random(&mut self) -> u64 {
        next_random(&mut self.entropy)
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

#[derive(Clone, Debug, Default)]
pub struct Gauges {
    pub connections: [u64; 5],
    pub outbox_bytes: u64,
    pub reads_paused: u64,
    pub ring_bytes: u64,
    pub followers: u64,
    pub sends_in_flight: u64,
    pub timers: u64,
    pub accepted: u64,
    pub rooms: u64,
    pub room_members: u64,
    pub room_members_behind: u64,
    pub room_backlog_bytes: u64,
    pub deliveries_in_flight: u64,
    pub homes: u64,
    pub history_bytes: u64,
}

/// For lanes that keep the latest message of each key.
fn key_of(message: &[u8], pointer: &str) -> Option<Vec<u8>> {
    let pointer = json::Pointer::parse(pointer).ok()?;
    json::pointer(message, &pointer).map(<[u8]>::to_vec)
}

pub fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
