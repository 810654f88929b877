//! Rooms on Redis: one script numbers a message, keeps it and publishes it to the channel of each of
//! its rooms; each instance subscribes the rooms that have members here.
//!
//! A channel a room, `wsm:rooms:m:<room>`, never a pattern. A room that keeps nothing costs the server
//! a PUBLISH alone: its messages are numbered by the instance that sends them. Pub/sub itself loses
//! what is sent while nobody is connected, so after every break the numbers of all rooms are read
//! again, and who listens fetches what is missing from the streams.
//!
//! Histories are bounded by messages and age at the server, and by bytes about; what an instance
//! holds of them is bounded exactly where it is held.

mod interest;
mod numbers;
mod publish;
mod scripts;
mod since;
mod subscriber;

use super::{
    RedisConfig,
    link::Tools,
    pubsub::{self, Complaints},
    sending::{self, Load},
    stats::{RedisRoomsStats, RoomCounters, add},
    thread::Thread,
};
use crate::{
    core::{
        names::RoomName,
        reason::Fault,
        rooms::{History, Kept, Place, Position, Post, Rules},
        tally::Tally,
    },
    limits::{REDIS_ROOM_NUMBERS_MAX, REDIS_ROOM_READS_MAX, REDIS_ROOM_SENDS_MAX},
    ports::{BackendError, Done, RoomBus, RoomListener},
};
use interest::Interest;
use numbers::Numbers;
use parking_lot::Mutex;
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use subscriber::Subscriber;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

const CHANNEL: &str = "wsm:rooms:m:";
const NUMBER: &str = "wsm:rooms:n:";
const STREAM: &str = "wsm:rooms:s:";

/// What the tasks of one thread share, and who calls them.
struct Shared {
    tools: Arc<Tools>,
    /// Tells the numbers of rooms that keep nothing apart.
    instance: Arc<str>,
    rules: Arc<Rules>,
    listener: Arc<dyn RoomListener>,
    interest: Interest,
    numbers: Mutex<Numbers>,
    counters: RoomCounters,
    complaints: Complaints,
}

impl Shared {
    /// Of a room that keeps something.
    fn history(&self, room: &RoomName) -> Option<History> {
        Some(self.rules.history(room)).filter(|history| !history.is_none())
    }

    /// The highest number that this instance knows.
    fn floor(&self, room: &RoomName) -> Position {
        self.numbers.lock().seen(room).max(self.interest.seen(room))
    }
}

pub struct RedisRooms {
    shared: Arc<Shared>,
    sends: mpsc::Sender<publish::Job>,
    reads: mpsc::Sender<since::Job>,
    load: Load,
    thread: Thread,
}

impl RedisRooms {
    /// Checks the configuration and starts the thread; it does not wait for the server. Beside any
    /// backend. `instance` names this run, `listener` hears what comes.
    pub fn open(
        config: RedisConfig,
        instance: Arc<str>,
        rules: Arc<Rules>,
        listener: Arc<dyn RoomListener>,
    ) -> Result<Arc<RedisRooms>, BackendError> {
        let shared = Arc::new(Shared {
            tools: Tools::new(config)?,
            instance,
            rules,
            listener,
            interest: Interest::default(),
            numbers: Mutex::new(Numbers::new(REDIS_ROOM_NUMBERS_MAX)),
            counters: RoomCounters::default(),
            complaints: Complaints::default(),
        });
        let (sends, send_inbox) = mpsc::channel(REDIS_ROOM_SENDS_MAX);
        let (reads, read_inbox) = mpsc::channel(REDIS_ROOM_READS_MAX);
        let (publishing, reading, expiring) = (shared.clone(), shared.clone(), shared.clone());
        let (tools, subscriber) = (shared.tools.clone(), Subscriber::new(shared.clone()));
        // Before the thread begins, so that nobody finds it well.
        tools.health.awaited(subscriber::PART);
        let thread = Thread::start("redis-rooms", move || {
            tokio::spawn(publish::run(publishing, send_inbox));
            tokio::spawn(since::run(reading, read_inbox));
            tokio::spawn(subscriber::expire(expiring));
            tokio::spawn(pubsub::keep(tools, subscriber::PART, subscriber));
        })?;
        Ok(Arc::new(RedisRooms { shared, sends, reads, load: Load::default(), thread }))
    }

    /// What rooms wait for; for `/readyz`, so it asks nobody.
    pub fn health(&self) -> Result<(), String> {
        self.shared.tools.well()
    }

    /// From a message's turn to its numbers.
    pub fn send_times(&self) -> Tally {
        self.shared.tools.times.publish.read()
    }

    pub fn stats(&self) -> RedisRoomsStats {
        let connections = &self.shared.tools.counters;
        RedisRoomsStats {
            connects: connections.connects.load(Relaxed),
            connection_failures: connections.connection_failures.load(Relaxed),
            subscribed: self.shared.interest.len() as u64,
            ..self.shared.counters.read()
        }
    }

    /// Ends the thread. What waits is dropped, which its callers see.
    pub fn close(&self) -> Result<(), BackendError> {
        let closed = self.thread.close();
        self.shared.interest.close();
        closed
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.tools.settings.command_timeout
    }
}

impl RoomBus for RedisRooms {
    /// Answers places by name. Without a connection `not_sent` at once.
    fn publish(&self, rooms: Arc<[RoomName]>, post: Post, done: Done<Result<Vec<Place>, Fault>>) {
        let rooms = match publish::checked(&rooms) {
            Ok(rooms) => rooms,
            Err(fault) => return done.complete(Err(fault)),
        };
        let Some(loaded) = self.load.take(post.payload.len() + 64) else {
            add(&self.shared.counters.refused, 1);
            return done.complete(Err(sending::full()));
        };
        let job = publish::Job { rooms, post, done, until: self.deadline(), loaded };
        // Closed: the completion is dropped, which says so.
        if let Err(TrySendError::Full(job)) = self.sends.try_send(job) {
            add(&self.shared.counters.refused, 1);
            job.done.complete(Err(sending::full()));
        }
    }

    /// A room that keeps nothing has no number at the server: the answer is then the default.
    fn subscribe(&self, room: &RoomName, done: Done<Result<Position, BackendError>>) {
        self.shared.interest.want(room, self.deadline(), done);
    }

    fn unsubscribe(&self, room: &RoomName) {
        self.shared.interest.unwant(room);
    }

    fn since(
        &self,
        room: &RoomName,
        after: Option<Position>,
        limit: usize,
        done: Done<Result<Kept, BackendError>>,
    ) {
        if self.shared.history(room).is_none() {
            return done.complete(Ok(Kept { recovered: after.is_none(), ..Kept::default() }));
        }
        let job = since::Job { room: room.clone(), after, limit, done, until: self.deadline() };
        if let Err(TrySendError::Full(job)) = self.reads.try_send(job) {
            add(&self.shared.counters.read_errors, 1);
            let message = "too many reads of rooms' histories wait at Redis: try again later".to_owned();
            job.done.complete(Err(BackendError { message, transient: true }));
        }
    }
}

fn key(prefix: &str, room: &RoomName) -> Vec<u8> {
    [prefix.as_bytes(), room.as_str().as_bytes()].concat()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
