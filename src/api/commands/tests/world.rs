//! A shard with real sockets, an upstream that echoes, and around them a broker, a bus and
//! documents that do as they are told.

use super::super::*;
use crate::api::service::{Inner, Life, Readiness};
use crate::{
    api::validate::Defaults,
    core::{
        egress::{Pattern, Policy},
        publish::{
            Bounds,
            batch::{Batch, PublishError},
        },
        shard::Setup,
    },
    pki,
    ports::{
        BackendError, Documents, Expect, Pending, Put, TopicChunk, TopicFrom, Versioned, testing::Nothing,
    },
    shard::{
        self, Local, World as ShardWorld,
        dial::{Dialler, SystemResolver},
        mailbox::{Hub, Mailbox},
    },
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    task::{Context, Poll},
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

pub struct World {
    pub service: Service,
    pub url: String,
    /// What came to the upstream.
    pub said: mpsc::Receiver<String>,
    pub bus: Arc<CapturingBus>,
    pub documents: Arc<MemoryDocuments>,
}

/// One instance that takes commands.
pub struct Instance {
    pub counters: Arc<CommandCounters>,
    deliveries: mpsc::Sender<Delivery>,
    stop: Option<oneshot::Sender<()>>,
    ended: task::JoinHandle<()>,
}

struct ScriptedInbox(mpsc::Receiver<Delivery>);

impl Inbox for ScriptedInbox {
    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.0.poll_recv(context)
    }
}

pub const TOPIC: &str = "websocketmanager.commands";

impl World {
    /// Inside `on_a_shard`.
    pub async fn start() -> Self {
        let mailbox = Mailbox::new(limits::MAILBOX_COMMANDS_MAX);
        let hub = Hub::new(vec![mailbox.clone()], 1);
        let local = Local::start(0, setup(), mailbox, shard_world());
        task::spawn_local(shard::run(local));
        let readiness = Arc::new(Readiness::default());
        readiness.set(Life::Ready);
        let (defaults, bus) = (Defaults::default(), None);
        let service = Service::new(Inner {
            hub,
            defaults,
            instance: "i1".into(),
            bus,
            readiness,
            fleet: None,
            rooms: Default::default(),
            check: None,
            observer: Default::default(),
        });
        let (url, said) = upstream().await;
        World { service, url, said, bus: Arc::default(), documents: Arc::default() }
    }

    pub fn instance(&self, run: u64) -> Instance {
        let (deliveries, receiver) = mpsc::channel(2000);
        let counters = Arc::new(CommandCounters::default());
        let parts = Parts {
            service: self.service.clone(),
            bus: self.bus.clone(),
            documents: Some(self.documents.clone()),
            run,
            commands_topic: TOPIC.into(),
            counters: counters.clone(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let ended = task::spawn_local(super::super::run(parts, ScriptedInbox(receiver), stopped));
        Instance { counters, deliveries, stop: Some(stop), ended }
    }

    /// A connection under this id, made by a command.
    pub async fn connect(&self, instance: &Instance, id: &str) {
        let data = json!({"connectionId": id, "url": self.url});
        let (ack, reply) = self.ask(instance, command("Connect", data)).await;
        assert_eq!((ack, &reply["grpccode"]), (Ack::Done, &json!(0)), "{reply}");
        assert_eq!(reply["data"]["id"], id);
    }

    /// Delivers with a reply topic of its own; answers the ack and the reply.
    pub async fn ask(&self, instance: &Instance, mut event: Value) -> (Ack, Value) {
        event["replyto"] = "replies".into();
        let before = self.bus.events.lock().len();
        let ack = instance.deliver(&event).await.expect("acked");
        let events = self.bus.events.lock();
        assert_eq!(events.len(), before + 1, "one reply: {events:?}");
        let (topic, reply) = &events[before];
        assert_eq!(topic, "replies");
        (ack, reply.clone())
    }

    /// What the upstream hears before `last`, which is sent now.
    pub async fn heard(&mut self, instance: &Instance, id: &str, last: &str) -> Vec<String> {
        let marker = command("SendRaw", json!({"id": id, "message": last}));
        assert_eq!(instance.deliver(&marker).await, Ok(Ack::Done));
        let mut heard = Vec::new();
        loop {
            match self.said.recv().await.expect("the upstream lives") {
                said if said == last => return heard,
                said => heard.push(said),
            }
        }
    }
}

impl Instance {
    /// The ack, when it comes; an error when the delivery was dropped.
    pub fn deliver(&self, event: &Value) -> oneshot::Receiver<Ack> {
        self.deliver_bytes(event.to_string())
    }

    pub fn deliver_bytes(&self, event: impl Into<Bytes>) -> oneshot::Receiver<Ack> {
        let (ack, acked) = oneshot::channel();
        let ack: Done<Ack> = Box::new(move |told| {
            let _ = ack.send(told);
        });
        self.deliveries.try_send(Delivery { event: event.into(), ack }).expect("room");
        acked
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counters.commands(outcome)
    }

    pub async fn stop(mut self) {
        self.stop.take().map(|stop| stop.send(()));
        self.ended.await.expect("it ends by itself");
    }
}

/// As a caller publishes it, just now.
pub fn command(method: &str, data: Value) -> Value {
    static IDS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let id = IDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    json!({
        "specversion": "1.0",
        "id": format!("command-{id}"),
        "source": "tests",
        "type": format!("com.virtufin.websocketmanager.command.{method}"),
        "time": crate::wire::event::rfc3339(wall()),
        "data": data,
    })
}

pub fn aged(mut event: Value, age: Duration) -> Value {
    let at = Wall::from_unix_nanos(wall().unix_nanos() - age.as_nanos() as u64);
    event["time"] = crate::wire::event::rfc3339(at).into();
    event
}

/// Echoes, but for messages that begin with "quiet".
async fn upstream() -> (String, mpsc::Receiver<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/feed", listener.local_addr().unwrap());
    let (sender, said) = mpsc::channel(4000);
    task::spawn_local(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let sender = sender.clone();
            task::spawn_local(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(tcp).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    let Message::Text(text) = message else { continue };
                    sender.try_send(text.to_string()).expect("room");
                    if !text.starts_with("quiet") && socket.send(Message::Text(text)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, said)
}

#[derive(Default)]
pub struct CapturingBus {
    /// Topic and event, as taken.
    pub events: Mutex<Vec<(String, Value)>>,
    /// Answers for the next batches; after them all are taken. `Retry` has taken it all the same.
    pub script: Mutex<VecDeque<PublishError>>,
}

impl Bus for CapturingBus {
    fn publish(&self, batch: Arc<Batch>, done: Done<Result<(), PublishError>>) {
        let answer = self.script.lock().pop_front();
        if !matches!(answer, Some(PublishError::Refused(_))) {
            for event in &batch.events {
                let json = serde_json::from_slice(&batch.bytes[event.range.clone()]).expect("JSON");
                self.events.lock().push((event.topic.to_string(), json));
            }
        }
        done.complete(answer.map_or(Ok(()), Err));
    }
    fn fetch(&self, _: &str, _: TopicFrom, _: usize, _: Done<Result<TopicChunk, BackendError>>) {}
}

/// What goes wrong with the documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// Nothing is written, and nobody says so.
    Down,
    /// Writes happen, but their answers are lost; reads fail.
    Deaf,
}

pub struct MemoryDocuments {
    pub stored: Arc<Mutex<BTreeMap<String, (Bytes, u64)>>>,
    pub trouble: Mutex<Trouble>,
    /// Each write takes one of these.
    pub gate: Arc<Semaphore>,
}

impl Default for MemoryDocuments {
    fn default() -> Self {
        MemoryDocuments {
            stored: Arc::default(),
            trouble: Mutex::default(),
            gate: Arc::new(Semaphore::new(100_000)),
        }
    }
}

fn lost<T>() -> Result<T, BackendError> {
    Err(BackendError { message: "the store is away".into(), transient: true })
}

impl Documents for MemoryDocuments {
    fn get(&self, keys: Vec<String>) -> Pending<Result<Vec<Option<Versioned>>, BackendError>> {
        let (stored, trouble) = (self.stored.clone(), *self.trouble.lock());
        Box::pin(async move {
            if trouble != Trouble::None {
                return lost();
            }
            let stored = stored.lock();
            let found = |key: &String| {
                let (value, version) = stored.get(key)?.clone();
                Some(Versioned { value, version: version.to_string().into() })
            };
            Ok(keys.iter().map(found).collect())
        })
    }

    fn put(
        &self,
        key: String,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Pending<Result<Put, BackendError>> {
        assert!(ttl.is_some_and(|ttl| ttl > 2 * limits::COMMAND_AGE_MAX) && expect == Expect::Absent);
        let (stored, trouble, gate) = (self.stored.clone(), *self.trouble.lock(), self.gate.clone());
        Box::pin(async move {
            gate.acquire().await.expect("open").forget();
            if trouble == Trouble::Down {
                return lost();
            }
            let mut stored = stored.lock();
            if stored.contains_key(&key) {
                return if trouble == Trouble::Deaf { lost() } else { Ok(Put::Conflict) };
            }
            stored.insert(key, (value, 1));
            if trouble == Trouble::Deaf { lost() } else { Ok(Put::Written("1".into())) }
        })
    }

    fn delete(&self, _: String, _: crate::ports::Version) -> Pending<Result<Put, BackendError>> {
        unreachable!("claims go by their time")
    }
}

fn setup() -> Setup {
    Setup {
        shard: 0,
        shards: 1,
        instance: "i1".into(),
        connections_max: 100,
        outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
        ring_bytes: limits::RING_BYTES_DEFAULT,
        dials_per_second: limits::DIALS_PER_SECOND,
        publish: Bounds::default(),
        lifecycle_topic: "lifecycle".into(),
        rooms: Default::default(),
        seed: 1,
    }
}

fn shard_world() -> ShardWorld {
    let policy = Policy { allow: vec![Pattern::parse("127.0.0.0/8").unwrap()], ..Policy::default() };
    let tls = pki::client_config("", "", "").unwrap();
    let dialler = Dialler { policy, resolver: Arc::new(SystemResolver), tls, user_agent: "tests".into() };
    ShardWorld {
        gate: None,
        store: Arc::new(Nothing),
        bus: Arc::new(Nothing),
        spill: Arc::new(Nothing),
        seal: Arc::new(Nothing),
        dialler: Arc::new(dialler),
        instance: "i1".into(),
        busy_poll: Duration::ZERO,
        rooms: Default::default(),
        spans: Default::default(),
    }
}
