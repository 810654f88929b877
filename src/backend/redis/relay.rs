//! The channels of the earlier room system: what is sent goes there and nowhere else, and comes back
//! with what others send. Nothing on them is numbered, kept or acknowledged.

use super::{
    RedisConfig,
    fault::Fault as Broken,
    link::Tools,
    pubsub::{self, Complaints, Hears, Line, Session},
    sending::{self, Load, Loaded, Sender, Unsent},
    stats::{RedisRelayStats, RelayCounters, add},
    thread::Thread,
    values,
};
use crate::{
    core::{correlation::Kind, names::RoomName, reason::Fault, rooms::Post},
    limits::REDIS_ROOM_SENDS_MAX,
    ports::{BackendError, Done, RelayListener, RoomRelay},
    wire::jararaca::{self, Poison},
};
use bytes::Bytes;
use redis::Value;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

const HEARING: &str = "the relay's channels";

/// The two channels, as all processes of the earlier system name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    pub send: String,
    pub broadcast: String,
}

struct Shared {
    tools: Arc<Tools>,
    channels: Channels,
    /// A member of several addressed rooms gets one copy; else one for each, as there.
    dedupe: bool,
    listener: Arc<dyn RelayListener>,
    counters: RelayCounters,
    complaints: Complaints,
}

struct Job {
    /// The message, ready, and whether it is a broadcast.
    bytes: Vec<u8>,
    broadcast: bool,
    done: Done<Result<(), Fault>>,
    until: Instant,
    loaded: Loaded,
}

pub struct RedisRelay {
    shared: Arc<Shared>,
    sends: mpsc::Sender<Job>,
    load: Load,
    thread: Thread,
}

impl RedisRelay {
    /// Checks the configuration and starts the thread; it does not wait for the server.
    pub fn open(
        config: RedisConfig,
        channels: Channels,
        dedupe: bool,
        listener: Arc<dyn RelayListener>,
    ) -> Result<Arc<RedisRelay>, BackendError> {
        let tools = Tools::new(config)?;
        let shared = Arc::new(Shared {
            tools: tools.clone(),
            channels,
            dedupe,
            listener,
            counters: RelayCounters::default(),
            complaints: Complaints::default(),
        });
        let (sends, inbox) = mpsc::channel(REDIS_ROOM_SENDS_MAX);
        let (sending, hearing) = (shared.clone(), Hearing(shared.clone()));
        // Before the thread begins, so that nobody finds it well.
        tools.health.awaited(HEARING);
        let thread = Thread::start("redis-relay", move || {
            tokio::spawn(run(sending, inbox));
            tokio::spawn(pubsub::keep(tools, HEARING, hearing));
        })?;
        Ok(Arc::new(RedisRelay { shared, sends, load: Load::default(), thread }))
    }

    /// What the relay waits for; for `/readyz`, so it asks nobody.
    pub fn health(&self) -> Result<(), String> {
        self.shared.tools.well()
    }

    pub fn stats(&self) -> RedisRelayStats {
        let connections = &self.shared.tools.counters;
        RedisRelayStats {
            connects: connections.connects.load(Relaxed),
            connection_failures: connections.connection_failures.load(Relaxed),
            lost: self.shared.listener.lost(),
            ..self.shared.counters.read()
        }
    }

    /// Ends the thread. What waits is dropped, which its callers see.
    pub fn close(&self) -> Result<(), BackendError> {
        self.thread.close()
    }
}

impl RoomRelay for RedisRelay {
    /// Text and binary are the same there. Without a connection `not_sent` at once.
    fn publish(&self, rooms: Arc<[RoomName]>, post: Post, done: Done<Result<(), Fault>>) {
        let broadcast = rooms.is_empty();
        let bytes = match broadcast {
            true => Ok(post.payload.to_vec()),
            false => jararaca::encode_send(&rooms, &post.payload),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(fault) => return done.complete(Err(fault)),
        };
        let counters = &self.shared.counters;
        let Some(loaded) = self.load.take(bytes.len() + 64) else {
            add(&counters.refused, 1);
            return done.complete(Err(sending::full()));
        };
        let until = Instant::now() + self.shared.tools.settings.command_timeout;
        // Closed: the completion is dropped, which says so.
        if let Err(TrySendError::Full(job)) =
            self.sends.try_send(Job { bytes, broadcast, done, until, loaded })
        {
            add(&counters.refused, 1);
            job.done.complete(Err(sending::full()));
        }
    }
}

async fn run(shared: Arc<Shared>, mut inbox: mpsc::Receiver<Job>) {
    let mut sender = Sender::start(&shared.tools, "the relay");
    while let Some(Job { bytes, broadcast, done, until, loaded }) = inbox.recv().await {
        let Some(place) = sender.place().await else { return };
        let live = match sender.live(until) {
            Ok(live) => live,
            Err(unsent) => {
                done.complete(answered(&shared, Err(unsent)));
                continue;
            }
        };
        let mut calling = live.clone();
        let Channels { send, broadcast: everybody } = &shared.channels;
        let mut command = redis::cmd("PUBLISH");
        command.arg(if broadcast { everybody } else { send }).arg(bytes);
        let answer = async move { calling.call(&command).await };
        let counting = shared.clone();
        let finish = move |answer| {
            drop(loaded);
            done.complete(answered(&counting, answer));
        };
        sender.send(live, until, place, Box::pin(answer), finish).await;
    }
}

fn answered(shared: &Shared, answer: Result<Value, Unsent>) -> Result<(), Fault> {
    let counters = &shared.counters;
    match answer {
        Ok(receivers) => {
            let receivers = values::number(Some(&receivers)).unwrap_or_default();
            add(&counters.sent, 1);
            add(&counters.receivers, receivers);
            add(&counters.unheard, u64::from(receivers == 0));
            Ok(())
        }
        Err(unsent) => Err(unsent.fault(&shared.tools, &counters.not_sent, &counters.maybe_sent)),
    }
}

struct Hearing(Arc<Shared>);

impl Session for Hearing {
    fn hears(&self) -> Arc<dyn Hears> {
        self.0.clone()
    }

    async fn serve(&mut self, mut line: Line) -> Broken {
        let Channels { send, broadcast } = &self.0.channels;
        match line.subscribe(&[send.clone().into(), broadcast.clone().into()]).await {
            Ok(()) => {
                self.0.tools.health.well(HEARING);
                // The connection's end is seen by who keeps it.
                std::future::pending().await
            }
            Err(fault) => fault,
        }
    }

    fn lost(&mut self) {}
}

impl Hears for Shared {
    fn heard(&self, channel: &[u8], payload: Bytes) {
        let length = payload.len() as u64;
        let broadcast = channel == self.channels.broadcast.as_bytes();
        let sent = match broadcast {
            true => jararaca::decode_broadcast(&payload).map(|payload| (Vec::new(), payload)),
            false => jararaca::decode_send(&payload).map(|sent| {
                sent.left_out.iter().for_each(|poison| self.complain(channel, *poison));
                (sent.rooms, sent.payload)
            }),
        };
        let (rooms, payload) = match sent {
            Ok(sent) => sent,
            Err(poison) => return self.complain(channel, poison),
        };
        add(&self.counters.heard, 1);
        add(&self.counters.heard_bytes, length);
        let post = Post { kind: Kind::Binary, payload };
        if self.dedupe || broadcast {
            self.listener.heard(rooms, post);
        } else {
            // Messages of one room each: who is in several gets each of them.
            rooms.into_iter().for_each(|room| self.listener.heard(vec![room], post.clone()));
        }
    }
}

impl Shared {
    fn complain(&self, channel: &[u8], poison: Poison) {
        add(self.poisoned(poison), 1);
        self.complaints.say(channel, poison.name());
    }

    fn poisoned(&self, poison: Poison) -> &AtomicU64 {
        match poison {
            Poison::NoSeparator => &self.counters.no_separator,
            Poison::NotUtf8 => &self.counters.not_utf8,
            Poison::BadRoom => &self.counters.bad_room,
            Poison::NoRooms => &self.counters.no_rooms,
            Poison::TooManyRooms => &self.counters.too_many_rooms,
            Poison::TooLong => &self.counters.too_long,
        }
    }
}

#[cfg(test)]
mod tests;
