//! A real shard on a pinned thread: its loop, its sockets, its dialler. The store and the bus say
//! yes at once, so that what is measured ends at the bus's door.

use super::os;
use bytes::Bytes;
use std::{
    future::Future,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    thread,
};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc,
};
use websocket_manager::{
    api::validate::{self, Defaults},
    core::{
        egress::{Pattern, Policy},
        id::ConnectionId,
        io::{Command, Context},
        publish::{
            Bounds,
            batch::{Batch, PublishError},
        },
        shard::Setup,
        spec::Connect,
    },
    limits, pki,
    ports::{BackendError, Bus, Done, Seal, Spill, Store, TopicChunk, TopicFrom},
    proto::{ConnectRequest, PublishOptions},
    shard::{
        self, Local, World,
        dial::{Dialler, SystemResolver},
        mailbox::{Hub, Mailbox},
        rooms::RoomWorld,
    },
};

type Job = Box<dyn FnOnce(Rc<Local>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// What the shard's thread lets others see, written once a turn.
#[derive(Default)]
pub struct Seen {
    pub messages_in: AtomicU64,
    pub messages_out: AtomicU64,
    pub answered: AtomicU64,
    /// Whether turns are timed: that costs two system calls each.
    pub times_turns: AtomicBool,
    /// CPU time of the longest turn: so long did every other socket wait, neighbours on the machine
    /// left out.
    pub longest_turn: AtomicU64,
}

pub struct Shard {
    pub clock: os::CpuClock,
    pub seen: Arc<Seen>,
    jobs: mpsc::Sender<Job>,
}

impl Shard {
    pub fn start(number: u32, core: usize, hub: &Hub) -> Self {
        let (hub, shards) = (hub.clone(), hub.shards());
        let mailbox = hub.mailbox(number).clone();
        let (jobs, mut waiting) = mpsc::channel::<Job>(1024);
        let (sender, started) = std_mpsc::sync_channel(64);
        let seen = Arc::new(Seen::default());
        let shown = seen.clone();
        thread::Builder::new()
            .name(format!("bench-shard-{number}"))
            .spawn(move || {
                os::pin(core);
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default())
                    .expect("a runtime");
                runtime.block_on(async move {
                    let local = Local::start(number, setup(number, shards), mailbox, world(hub));
                    let clock = os::CpuClock::of_this_thread();
                    sender.send(clock).expect("awaited");
                    let here = local.clone();
                    tokio::task::spawn_local(async move {
                        while let Some(job) = waiting.recv().await {
                            tokio::task::spawn_local(job(here.clone()));
                        }
                    });
                    let mut run = pin!(shard::run(local.clone()));
                    std::future::poll_fn(|cx| {
                        let began = shown.times_turns.load(Ordering::Relaxed).then(|| clock.nanos());
                        let ended = run.as_mut().poll(cx);
                        if let Some(began) = began {
                            shown.longest_turn.fetch_max(clock.nanos() - began, Ordering::Relaxed);
                        }
                        let core = local.core();
                        shown.messages_in.store(core.counters().messages_in, Ordering::Release);
                        shown.messages_out.store(core.counters().messages_out, Ordering::Release);
                        ended
                    })
                    .await;
                });
            })
            .expect("a thread");
        Shard { clock: started.recv().expect("a clock"), seen, jobs }
    }

    /// Runs on the shard's own thread.
    pub fn run<F: Future<Output = ()> + 'static>(&self, job: impl FnOnce(Rc<Local>) -> F + Send + 'static) {
        let _ = self.jobs.try_send(Box::new(|local| Box::pin(job(local))));
    }
}

/// One shard on the first core, and the way to it.
pub fn alone() -> (Shard, Hub) {
    let hub = Hub::new(vec![Mailbox::new(limits::MAILBOX_COMMANDS_MAX)], 1);
    (Shard::start(0, 0, &hub), hub)
}

/// Dialled through the hub, as an edge does; answers the ids.
pub fn connect_all(hub: &Hub, address: SocketAddr, count: usize, publish: bool) -> Vec<ConnectionId> {
    connect_some(hub, address, 0..count, publish)
}

pub fn connect_some(
    hub: &Hub,
    address: SocketAddr,
    numbers: std::ops::Range<usize>,
    publish: bool,
) -> Vec<ConnectionId> {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut ids = Vec::new();
    runtime.block_on(async {
        for first in numbers.clone().step_by(64) {
            let mut calls = Vec::new();
            for number in first..(first + 64).min(numbers.end) {
                let connect = connect(address, number, publish);
                ids.push(connect.id.clone());
                let owner = hub.owner(&connect.id);
                calls.push(hub.call(owner, Context::default(), Command::Connect(Box::new(connect))));
            }
            for call in calls {
                call.await.expect("connected");
            }
        }
    });
    ids
}

/// As it comes from a client: an id, a URL of 64 bytes, a tag, a topic.
fn connect(address: SocketAddr, number: usize, publish: bool) -> Connect {
    let mut url = format!("ws://{address}/{number:06}/");
    while url.len() < 64 {
        url.push('f');
    }
    let request = ConnectRequest {
        url,
        connection_id: format!("bench-connection-{number:06}"),
        tags: [("venue".to_owned(), "loopback".to_owned())].into(),
        publish: publish.then(|| PublishOptions { topic: "ticks".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    validate::connect(&request, &Defaults::default(), || unreachable!("the id is given")).expect("valid")
}

pub fn setup(shard: u32, shards: u32) -> Setup {
    Setup {
        shard,
        shards,
        instance: "bench".into(),
        connections_max: limits::CONNECTIONS_PER_SHARD_MAX,
        outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
        ring_bytes: limits::RING_BYTES_DEFAULT,
        dials_per_second: 100_000,
        publish: Bounds::default(),
        lifecycle_topic: "lifecycle".into(),
        rooms: Default::default(),
        seed: 1,
    }
}

fn world(neighbours: Hub) -> World {
    let policy = Policy { allow: vec![Pattern::parse("127.0.0.0/8").expect("valid")], ..Policy::default() };
    let tls = pki::client_config("", "", "").expect("valid");
    let dialler = Dialler { policy, resolver: Arc::new(SystemResolver), tls, user_agent: "bench".to_owned() };
    World {
        gate: None,
        store: Arc::new(Yes),
        bus: Arc::new(Yes),
        spill: Arc::new(Yes),
        seal: Arc::new(Yes),
        dialler: Arc::new(dialler),
        instance: "bench".into(),
        busy_poll: std::time::Duration::ZERO,
        rooms: RoomWorld { neighbours, ..RoomWorld::default() },
        spans: Default::default(),
    }
}

struct Yes;

impl Store for Yes {
    fn put(&self, _: &ConnectionId, _: Bytes, done: Done<Result<(), BackendError>>) {
        done.complete(Ok(()));
    }
    fn delete(&self, _: &ConnectionId, done: Done<Result<(), BackendError>>) {
        done.complete(Ok(()));
    }
    fn load(&self) -> Result<Vec<(ConnectionId, Bytes)>, BackendError> {
        Ok(Vec::new())
    }
}

impl Bus for Yes {
    fn publish(&self, batch: Arc<Batch>, done: Done<Result<(), PublishError>>) {
        drop(batch);
        done.complete(Ok(()));
    }
    fn fetch(&self, _: &str, _: TopicFrom, _: usize, _: Done<Result<TopicChunk, BackendError>>) {}
}

impl Spill for Yes {
    fn append(&self, _: Vec<u8>, done: Done<Result<bool, BackendError>>) {
        done.complete(Ok(true));
    }
    fn peek(&self, done: Done<Result<Option<Vec<u8>>, BackendError>>) {
        done.complete(Ok(None));
    }
    fn pop(&self, done: Done<Result<(), BackendError>>) {
        done.complete(Ok(()));
    }
}

impl Seal for Yes {
    fn seal(&self, _: &str, plain: &[u8]) -> Result<Vec<u8>, BackendError> {
        Ok(plain.to_vec())
    }
    fn open(&self, _: &str, sealed: &[u8]) -> Result<Vec<u8>, BackendError> {
        Ok(sealed.to_vec())
    }
}
