//! One connection of a whole shard: everything that the core does for a message, an answered Send and the
//! end of a turn. What the world is asked for, it does at once.

use crate::{Case, document};
use bytes::Bytes;
use std::{hint::black_box, sync::Arc, time::Duration};
use websocket_manager::{
    core::{
        correlation::{Kind, Rule},
        id::{ConnKey, ConnectionId, Ticket},
        io::{Answer, Command, Context, Effect, Effects, Opened, Send, SocketKey},
        publish,
        shard::{Setup, ShardCore},
        spec::{Connect, Dial, Settings, Spec},
        target::Target,
        time::{Now, Time, Wall},
    },
    wire::ws::Event,
};

const URL: &str = "ws://127.0.0.1:9/feed";
const CONTEXT: Context = Context { principal: None, deadline: None, trace: None };

pub fn cases() -> Vec<Case> {
    vec![received(), answered()]
}

/// Numbered, kept for followers, rendered, and batched at the end of the turn.
fn received() -> Case {
    let (mut shard, text) = (Shard::new(), document(256, "1"));
    Case::new("receive 10 messages of 256 B in a turn of a shard", 100, move || {
        for _ in 0..10 {
            shard.hear(black_box(&text));
        }
        shard.end_turn();
    })
}

fn answered() -> Case {
    let (mut shard, text) = (Shard::new(), document(256, "mine"));
    let request = Bytes::from(text.clone());
    Case::new("send 256 B through a shard and get the reply", 1000, move || {
        shard.send(black_box(request.clone()));
        shard.end_turn();
        shard.write();
        shard.hear(black_box(&text));
        shard.end_turn();
        assert!(std::mem::take(&mut shard.replied));
    })
}

struct Shard {
    core: ShardCore,
    fx: Effects,
    nanos: u64,
    id: ConnectionId,
    socket: SocketKey,
    buffer: Vec<u8>,
    replied: bool,
}

impl Shard {
    /// With one open connection, whose messages are published.
    fn new() -> Self {
        let id = ConnectionId::parse("connection-000001").expect("valid");
        let core = ShardCore::new(at(1), setup());
        let socket = SocketKey { conn: ConnKey { index: 0, generation: 0 }, nth: 0 };
        let (fx, buffer) = (Effects::new(), Vec::new());
        let mut shard = Shard { core, fx, nanos: 1, id, socket, buffer, replied: false };
        let connect = Connect {
            id: shard.id.clone(),
            chosen: true,
            spec: Arc::new(spec()),
            tags: Vec::new(),
            publish: Some(publish::Spec::new("ticks")),
        };
        shard.command(Command::Connect(Box::new(connect)));
        shard.end_turn();
        shard
    }

    /// A microsecond later each time.
    fn now(&mut self) -> Now {
        self.nanos += 1000;
        at(self.nanos)
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        self.core.command(now, Ticket(1), &CONTEXT, command, &mut self.fx);
        self.settle(now);
    }

    fn send(&mut self, payload: Bytes) {
        let timeout = Duration::from_secs(10);
        self.command(Command::Send(Send {
            id: self.id.clone(),
            payload,
            kind: Kind::Text,
            timeout,
            rule: None,
        }));
    }

    fn hear(&mut self, text: &str) {
        let now = self.now();
        self.core.event(now, self.socket, Event::Text(text), &mut self.fx);
        self.settle(now);
    }

    fn end_turn(&mut self) {
        let now = self.now();
        self.core.end_turn(now, &mut self.fx);
        self.settle(now);
    }

    /// The kernel takes all that waits.
    fn write(&mut self) {
        let now = self.now();
        self.buffer.clear();
        if let Some(outbox) = self.core.outbox(self.socket) {
            outbox.fill(&mut self.buffer, usize::MAX, &mut || Some([1, 2, 3, 4]));
        }
        let taken = self.buffer.len();
        self.core.wrote(now, self.socket, &self.buffer, taken, &mut self.fx);
        self.settle(now);
    }

    fn settle(&mut self, now: Now) {
        while !self.fx.is_empty() {
            for effect in std::mem::take(&mut self.fx) {
                match effect {
                    Effect::Dial { socket, .. } => {
                        self.core.opened(now, socket, Opened { subprotocol: None }, &mut self.fx);
                        self.socket = socket;
                    }
                    Effect::Persist { ticket, .. } => self.core.stored(now, ticket, None, &mut self.fx),
                    Effect::Publish(batch) => self.core.published(now, batch.id, Ok(())),
                    Effect::Spill { id, .. } => self.core.spilled(now, id, Ok(true)),
                    Effect::PeekSpill => self.core.peeked(now, Ok(None)),
                    Effect::PopSpill => self.core.popped(now, Ok(())),
                    Effect::SendEnded { outcome, .. } => {
                        self.replied = matches!(outcome, Ok(Answer::Replied { .. }));
                    }
                    Effect::Answer { outcome, .. } => drop(outcome.expect("connected")),
                    _ => {}
                }
            }
        }
    }
}

fn at(nanos: u64) -> Now {
    Now { mono: Time::from_nanos(nanos), wall: Wall::from_unix_nanos(1_700_000_000_000_000_000 + nanos) }
}

fn setup() -> Setup {
    Setup {
        shard: 0,
        shards: 1,
        instance: "bench".into(),
        connections_max: 10,
        outbox_bytes_max: 1 << 20,
        ring_bytes: 1 << 18,
        dials_per_second: 100,
        publish: publish::Bounds::default(),
        lifecycle_topic: "lifecycle".into(),
        rooms: Default::default(),
        seed: 1,
    }
}

fn spec() -> Spec {
    Spec {
        dial: Dial {
            target: Target::parse(URL).expect("valid"),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            tls: None,
            source_ip: None,
            timeout: Duration::from_secs(5),
        },
        settings: Arc::new(Settings {
            auto_reconnect: false,
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
            rooms: Arc::default(),
        }),
        source: Bytes::new(),
        has_secrets: false,
    }
}
