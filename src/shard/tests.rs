//! A shard on its own loop, with real sockets and backends that keep nothing.

mod rooms;

use super::{
    dial::{Dialler, SystemResolver},
    gate::{Gate, boot_now},
    mailbox::{Hub, Mailbox},
    *,
};
use crate::{
    core::{
        correlation::Kind,
        egress::{Pattern, Policy},
        fleet::io::Boot,
        id::ConnectionId,
        io::{Answer, Fetch, FetchFrom, Follow, Outcome},
        publish::Bounds,
        reason::{Certainty, FaultKind},
        ring::RecordKind,
        spec::{self, Connect, Restore, Settings, Spec},
        time::Wall,
    },
    ports::testing::Nothing,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite};

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
        dial: spec::testing::dial(&format!("ws://127.0.0.1:{port}/")),
        settings: Arc::new(spec::testing::settings()),
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
        rooms: Default::default(),
        seed: 1,
    }
}

fn world(gate: Arc<Gate>) -> World {
    let policy =
        Policy { allow: vec![Pattern::parse("127.0.0.0/8").unwrap()], deny: Vec::new(), own: Vec::new() };
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
        rooms: Default::default(),
        spans: Default::default(),
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
        let (outcome, peer) = tokio::join!(self.call(Command::Connect(Box::new(connect))), self.accept());
        assert!(matches!(outcome, Ok(Answer::Connected { created: true, .. })), "{outcome:?}");
        peer
    }

    async fn accept(&self) -> WebSocketStream<TcpStream> {
        accept_async(self.listener.accept().await.unwrap().0).await.unwrap()
    }

    /// So many messages, and whether each may be a duplicate.
    async fn messages(&self, count: usize) -> Vec<(String, bool)> {
        let (mut from, mut messages) = (FetchFrom::Start, Vec::new());
        while messages.len() < count {
            let fetch = Fetch { follow: Follow::Connection(id()), from, bytes_max: 1 << 20, wait: true };
            let Ok(Answer::Fetched(fetched)) = self.call(Command::Fetch(Box::new(fetch))).await else {
                panic!("nothing fetched");
            };
            from = FetchFrom::At { incarnation: fetched.incarnation, position: fetched.next };
            let texts = fetched.records.into_iter().filter(|record| record.kind == RecordKind::Text);
            messages.extend(texts.map(|record| {
                (String::from_utf8(record.payload.to_vec()).unwrap(), record.possible_duplicate)
            }));
        }
        messages
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

#[test]
fn what_waits_in_a_prepared_socket_is_read_when_it_is_ours_and_marked() {
    on_a_shard(Arc::new(open_for_ever()), async |running: Running| {
        let restore = Restore {
            id: id(),
            spec: spec(running.listener.local_addr().unwrap().port()),
            tags: Vec::new(),
            publish: None,
            created: Wall::default(),
            epoch: 7,
            last_seq: None,
            clean: false,
            claimed: None,
        };
        let prepare = running.call(Command::Prepare(Box::new(restore)));
        let (outcome, mut peer) = tokio::join!(prepare, running.accept());
        assert!(matches!(outcome, Ok(Answer::Done)), "{outcome:?}");
        for text in ["one", "two", "three"] {
            peer.send(tungstenite::Message::text(text)).await.unwrap();
        }
        assert_eq!(running.raw("early").await.unwrap_err().kind, FaultKind::Unavailable);
        let commit = Command::Commit { id: id(), epoch: 9, last_seq: 40 };
        assert!(matches!(running.call(commit).await, Ok(Answer::Connected { epoch: 9, .. })));
        let waited = running.messages(3).await;
        assert_eq!(waited, ["one", "two", "three"].map(|text| (text.to_owned(), true)));
        peer.send(tungstenite::Message::text("fresh")).await.unwrap();
        assert_eq!(running.messages(4).await[3], ("fresh".to_owned(), false));
        running.raw("ours").await.unwrap();
        assert_eq!(peer.next().await.unwrap().unwrap(), tungstenite::Message::text("ours"));
        // And on to the next instance.
        let retired = running.call(Command::Retire(id())).await;
        assert!(matches!(retired, Ok(Answer::Retired { epoch: 9, last_seq: 4, .. })), "{retired:?}");
        peer.send(tungstenite::Message::text("for the next one")).await.unwrap();
        running.call(Command::Release(id())).await.unwrap();
        let Some(Ok(tungstenite::Message::Close(Some(frame)))) = peer.next().await else {
            panic!("no close")
        };
        assert_eq!(u16::from(frame.code), 1001);
        assert_eq!(running.messages(4).await.len(), 4, "nothing was read after its end");
    });
}

fn open_for_ever() -> Gate {
    let gate = Gate::default();
    gate.reopen(Boot(u64::MAX));
    gate
}
