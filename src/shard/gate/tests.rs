use super::*;
use crate::{
    core::{
        correlation::{Kind, Rule},
        egress::{Pattern, Policy},
        id::ConnectionId,
        io::{Answer, Command, Context, Outcome},
        publish::{
            Bounds,
            batch::{Batch, PublishError},
        },
        reason::{Certainty, FaultKind},
        shard::Setup,
        spec::{Connect, Dial, Settings, Spec},
        target::Target,
    },
    ports::{BackendError, Bus, Done, Seal, Spill, Store, TopicChunk, TopicFrom},
    shard::{
        Local, World,
        dial::{Dialler, SystemResolver},
        mailbox::{Hub, Mailbox},
        run,
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use std::{rc::Rc, sync::Arc, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite};

/// A backend that keeps nothing and agrees to everything.
struct Nothing;

impl Store for Nothing {
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

impl Bus for Nothing {
    fn publish(&self, _: Arc<Batch>, done: Done<Result<(), PublishError>>) {
        done.complete(Ok(()));
    }
    fn fetch(&self, _: &str, _: TopicFrom, _: usize, done: Done<Result<TopicChunk, BackendError>>) {
        done.complete(Ok(TopicChunk { events: Vec::new(), next: 0, skipped: 0 }));
    }
}

impl Spill for Nothing {
    fn append(&self, _: Vec<u8>, done: Done<Result<bool, BackendError>>) {
        done.complete(Ok(false));
    }
    fn peek(&self, done: Done<Result<Option<Vec<u8>>, BackendError>>) {
        done.complete(Ok(None));
    }
    fn pop(&self, done: Done<Result<(), BackendError>>) {
        done.complete(Ok(()));
    }
}

impl Seal for Nothing {
    fn seal(&self, _: &str, plain: &[u8]) -> Result<Vec<u8>, BackendError> {
        Ok(plain.to_vec())
    }
    fn open(&self, _: &str, sealed: &[u8]) -> Result<Vec<u8>, BackendError> {
        Ok(sealed.to_vec())
    }
}

/// A clock that a test sets.
fn set_clock() -> (Arc<AtomicU64>, Gate) {
    let now = Arc::new(AtomicU64::new(1000));
    let read = now.clone();
    (now, Gate::with_clock(Box::new(move || Boot(read.load(Ordering::SeqCst)))))
}

#[test]
fn a_gate_found_shut_stays_shut_until_it_is_opened_anew() {
    let (now, gate) = set_clock();
    assert!(!gate.is_open() && !gate.extend(Boot(5000)), "no lease yet");
    gate.reopen(Boot(2000));
    assert!(gate.is_open());
    assert!(gate.extend(Boot(3000)));
    now.store(2999, Ordering::SeqCst);
    assert!(gate.is_open());
    now.store(3000, Ordering::SeqCst);
    assert!(!gate.is_open());
    now.store(10, Ordering::SeqCst);
    assert!(!gate.is_open() && !gate.extend(Boot(9000)), "what was dropped is not undone");
    gate.reopen(Boot(u64::MAX));
    now.store(u64::MAX, Ordering::SeqCst);
    assert!(gate.is_open(), "for ever");
    gate.shut();
    assert!(!gate.is_open());
}

#[test]
fn the_boot_clock_goes_on() {
    let before = boot_now();
    assert!(before > Boot(0) && boot_now() >= before);
}

fn spec(port: u16) -> Arc<Spec> {
    Arc::new(Spec {
        dial: Dial {
            target: Target::parse(&format!("ws://127.0.0.1:{port}/")).unwrap(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            tls: None,
            source_ip: None,
            timeout: Duration::from_secs(5),
        },
        settings: Arc::new(Settings {
            auto_reconnect: true,
            reconnect_attempts_max: 0,
            reconnect_base: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(1),
            ping_interval: Duration::ZERO,
            pong_timeout: Duration::from_secs(5),
            idle_data: Duration::ZERO,
            sends_per_second: 0.0,
            sends_burst: 0,
            send_bytes_max: 10_000,
            sends_in_flight_max: 10,
            message_bytes_max: 10_000,
            correlation: Rule::Auto,
        }),
        source: Bytes::from_static(b"a"),
        has_secrets: false,
    })
}

fn setup() -> Setup {
    Setup {
        shard: 0,
        shards: 1,
        instance: "one".into(),
        connections_max: 10,
        outbox_bytes_max: 10_000,
        ring_bytes: 1 << 16,
        dials_per_second: 100,
        publish: Bounds::default(),
        lifecycle_topic: "lifecycle".into(),
        seed: 1,
    }
}

fn world(gate: Arc<Gate>) -> World {
    let policy = Policy { allow: vec![Pattern::parse("127.0.0.0/8").unwrap()], deny: Vec::new(), own: Vec::new() };
    let tls = crate::pki::client_config("", "", "").unwrap();
    let dialler = Dialler { policy, resolver: Arc::new(SystemResolver), tls, user_agent: "test".into() };
    World {
        store: Arc::new(Nothing),
        bus: Arc::new(Nothing),
        spill: Arc::new(Nothing),
        seal: Arc::new(Nothing),
        dialler: Arc::new(dialler),
        instance: "one".into(),
        busy_poll: Duration::ZERO,
        gate: Some(gate),
    }
}

fn id() -> ConnectionId {
    ConnectionId::parse("a").unwrap()
}

struct Running {
    hub: Arc<Hub>,
    local: Rc<Local>,
    listener: TcpListener,
}

impl Running {
    async fn call(&self, command: Command) -> Outcome {
        self.hub.call(0, Context::default(), command).await
    }

    /// A connection and its peer.
    async fn connect(&self) -> WebSocketStream<TcpStream> {
        let spec = spec(self.listener.local_addr().unwrap().port());
        let connect = Connect { id: id(), chosen: true, spec, tags: Vec::new(), publish: None };
        let accept = async { accept_async(self.listener.accept().await.unwrap().0).await.unwrap() };
        let (outcome, peer) = tokio::join!(self.call(Command::Connect(Box::new(connect))), accept);
        assert!(matches!(outcome, Ok(Answer::Connected { created: true, .. })), "{outcome:?}");
        peer
    }

    async fn raw(&self, text: &'static str) -> Outcome {
        let payload = Bytes::from_static(text.as_bytes());
        self.call(Command::SendRaw { id: id(), payload, kind: Kind::Text }).await
    }
}

fn on_a_shard<F: Future<Output = ()>>(gate: Arc<Gate>, test: impl FnOnce(Running) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mailbox = Mailbox::new(16);
        let local = Local::start(0, setup(), mailbox.clone(), world(gate));
        let running = tokio::task::spawn_local(run(local.clone()));
        let hub = Hub::new(vec![mailbox], 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        test(Running { hub: Arc::new(hub), local: local.clone(), listener }).await;
        local.stop();
        running.await.unwrap();
    });
}

#[test]
fn a_jump_of_the_boot_clock_alone_stops_every_write() {
    let (clock, gate) = set_clock();
    let gate = Arc::new(gate);
    gate.reopen(Boot(2000));
    on_a_shard(gate.clone(), async move |running: Running| {
        let mut peer = running.connect().await;
        running.raw("before").await.unwrap();
        assert_eq!(peer.next().await.unwrap().unwrap(), tungstenite::Message::text("before"));
        // The machine was suspended; nothing else happened.
        clock.store(60_000, Ordering::SeqCst);
        let fault = running.raw("after").await.unwrap_err();
        assert_eq!((fault.kind, fault.certainty), (FaultKind::NotSent, Some(Certainty::NotSent)), "{fault}");
        // Not even a close frame: the stream ends.
        let end = peer.next().await;
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
        assert!(running.local.core().is_fenced());
        let fault = running.call(Command::Get(id())).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::NotFound);
        // A renewal that comes too late changes nothing; a new lease does.
        assert!(!gate.extend(Boot(90_000)));
        let port = running.listener.local_addr().unwrap().port();
        let again = Connect { id: id(), chosen: true, spec: spec(port), tags: Vec::new(), publish: None };
        let fault = running.call(Command::Connect(Box::new(again))).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable);
        gate.reopen(Boot(90_000));
        running.call(Command::Unfence).await.unwrap();
        let mut peer = running.connect().await;
        running.raw("again").await.unwrap();
        assert_eq!(peer.next().await.unwrap().unwrap(), tungstenite::Message::text("again"));
    });
}
