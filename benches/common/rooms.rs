//! Who writes to a room's members: a real shard, a raw loop, and a NATS server. All of them on the
//! first core, told by this thread what to publish.

use super::{
    clients::{Clients, pairs, subscribers},
    os,
    peer::put_frame,
    servers::Nats,
    shard::{self, Shard},
};
use bytes::Bytes;
use std::{
    io::Write,
    net::TcpStream,
    sync::{Arc, mpsc as std_mpsc},
    thread,
    time::Duration,
};
use tokio::sync::mpsc;
use websocket_manager::{
    api::validate::{self, Defaults},
    core::{
        correlation::Kind,
        id::ConnectionId,
        io::{Answer, Command, Context},
        names::RoomName,
        rooms::{Access, Admit, Entry, Format, Post, RoomAnswer, RoomCommand},
        spec::{Dial, Settings, Spec},
        target::Target,
    },
    proto::ConnectRequest,
    shard::mailbox::{Hub, Io},
};

pub const ROOM: &str = "bench-room";
/// Rounds that may wait while a server is held up by something else.
const WAITING: usize = 4096;

/// A server of many members, told to publish.
pub trait Room {
    /// These at once, in order.
    fn publish(&mut self, payloads: &[Bytes]);
    fn clients(&mut self) -> &mut Clients;
    fn clock(&self) -> os::CpuClock;
    /// What one message of this many bytes is to a client, and how the last one ends.
    fn seen(&self, payload: &Bytes) -> (u64, Vec<u8>) {
        (payload.len() as u64, payload.to_vec())
    }
}

/// A payload that no other message has.
pub fn payload(number: u64, bytes: usize) -> Bytes {
    format!("{number:0bytes$}").into()
}

// ------------------------------------------------------------------------ ours

/// One room on a real shard whose sockets came in without HTTP.
pub struct Ours {
    pub shard: Shard,
    pub hub: Hub,
    pub ids: Vec<ConnectionId>,
    pub clients: Clients,
    posts: mpsc::Sender<Vec<Bytes>>,
}

impl Ours {
    pub fn start(members: usize) -> Self {
        let (shard, hub) = shard::alone();
        let (served, clients) = pairs(members);
        let ids = admit(&shard, &hub, served, &spec(Duration::ZERO), true);
        let (posts, mut asked) = mpsc::channel::<Vec<Bytes>>(WAITING);
        let own = hub.clone();
        // As an edge's stream does it: on the shard's own thread.
        shard.run(move |_| async move {
            let mut calls = own.calls(1 << 20);
            let room = RoomName::parse("room", ROOM).expect("valid");
            std::future::poll_fn::<(), _>(|cx| {
                while let std::task::Poll::Ready(Some(payloads)) = asked.poll_recv(cx) {
                    for payload in payloads {
                        let post = Post { kind: Kind::Text, payload };
                        let command = Command::Room(RoomCommand::Post { room: room.clone(), post });
                        calls.start(0, Context::default(), command, 0).expect("room");
                    }
                }
                while let std::task::Poll::Ready((_, outcome)) = calls.poll_answer(cx) {
                    outcome.expect("it gets a number");
                }
                std::task::Poll::Pending
            })
            .await;
        });
        Ours { shard, hub, ids, clients, posts }
    }
}

impl Room for Ours {
    fn publish(&mut self, payloads: &[Bytes]) {
        self.posts.try_send(payloads.to_vec()).expect("the shard runs");
    }

    fn clients(&mut self) -> &mut Clients {
        &mut self.clients
    }

    fn clock(&self) -> os::CpuClock {
        self.shard.clock
    }
}

/// Every connection's, with no pings when this is zero.
pub fn spec(ping_interval: Duration) -> Arc<Spec> {
    let request = ConnectRequest { url: "ws://127.0.0.1:9/ws".to_owned(), ..Default::default() };
    let id = || ConnectionId::parse("any").expect("valid");
    let usual = validate::connect(&request, &Defaults::default(), id).expect("valid").spec;
    Arc::new(Spec {
        dial: Dial {
            target: Target::parse("ws://127.0.0.1:9/ws").expect("valid"),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            tls: None,
            source_ip: None,
            timeout: Duration::from_secs(5),
        },
        settings: Arc::new(Settings { ping_interval, ..(*usual.settings).clone() }),
        source: Bytes::new(),
        has_secrets: false,
    })
}

pub fn admission(id: ConnectionId, spec: Arc<Spec>, rooms: &[RoomName]) -> Admit {
    Admit {
        id,
        given: false,
        spec,
        tags: Vec::new(),
        user: None,
        subprotocol: None,
        format: Format::Verbatim,
        rooms: rooms.iter().map(|room| Entry { room: room.clone(), after: None }).collect(),
        may_join: Access::None,
        feeds: Vec::new(),
        publish: None,
        protocol: false,
        valid_for: None,
    }
}

/// Admitted and attached on the shard's thread, one after another; all of them, when this returns.
pub fn admit(
    shard: &Shard,
    hub: &Hub,
    streams: Vec<TcpStream>,
    spec: &Arc<Spec>,
    enters: bool,
) -> Vec<ConnectionId> {
    let (sender, done) = std_mpsc::sync_channel(1);
    let (hub, spec) = (hub.clone(), spec.clone());
    shard.run(move |_| async move {
        let room = enters.then(|| RoomName::parse("room", ROOM).expect("valid"));
        let mut ids = Vec::new();
        for stream in streams {
            stream.set_nonblocking(true).expect("a socket");
            let stream = tokio::net::TcpStream::from_std(stream).expect("in a runtime");
            let id = hub.mint_accepted("AAAAAAAA");
            let admit = admission(id.clone(), spec.clone(), room.as_slice());
            let command = Command::Room(RoomCommand::Admit(Box::new(admit)));
            let answer = hub.call(0, Context::default(), command).await.expect("admitted");
            let Answer::Room(RoomAnswer::Admitted { socket, .. }) = answer else { panic!("{answer:?}") };
            hub.attach(0, socket, Io::Plain(stream), Vec::new());
            ids.push(id);
        }
        let _ = sender.send(ids);
    });
    done.recv().expect("the shard runs")
}

// ------------------------------------------------------------------- raw loop

/// The floor: `send(2)` over the same kind of sockets, of bytes that were made before, one for each
/// socket and round.
pub struct Raw {
    clients: Clients,
    clock: os::CpuClock,
    rounds: std_mpsc::SyncSender<Vec<u8>>,
}

impl Raw {
    pub fn start(members: usize) -> Self {
        let (mut served, clients) = pairs(members);
        let (rounds, asked) = std_mpsc::sync_channel::<Vec<u8>>(WAITING);
        let (sender, started) = std_mpsc::sync_channel(1);
        thread::spawn(move || {
            os::pin(0);
            sender.send(os::CpuClock::of_this_thread()).expect("awaited");
            for bytes in asked {
                for stream in &mut served {
                    stream.write_all(&bytes).expect("read by the other side");
                }
            }
        });
        Raw { clients, clock: started.recv().expect("a clock"), rounds }
    }
}

impl Room for Raw {
    fn publish(&mut self, payloads: &[Bytes]) {
        let mut frames = Vec::new();
        payloads.iter().for_each(|payload| put_frame(&mut frames, payload));
        self.rounds.try_send(frames).expect("it runs");
    }

    fn clients(&mut self) -> &mut Clients {
        &mut self.clients
    }

    fn clock(&self) -> os::CpuClock {
        self.clock
    }
}

// ----------------------------------------------------------------------- NATS

pub struct OfNats {
    server: Nats,
    publisher: TcpStream,
    clients: Clients,
}

impl OfNats {
    /// None, and said, where there is no server.
    pub fn start(members: usize) -> Option<Self> {
        let server = Nats::start()?;
        let mut clients = subscribers(server.websocket, members);
        let mut publisher = TcpStream::connect(server.tcp).expect("it listens");
        publisher.set_nodelay(true).expect("TCP");
        publisher.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n").expect("open");
        // Each client gets one ping after two seconds and a little.
        clients.settle(Duration::from_secs(3));
        Some(OfNats { server, publisher, clients })
    }
}

impl Room for OfNats {
    fn publish(&mut self, payloads: &[Bytes]) {
        let mut text = Vec::new();
        for payload in payloads {
            text.extend_from_slice(format!("PUB r {}\r\n", payload.len()).as_bytes());
            text.extend_from_slice(payload);
            text.extend_from_slice(b"\r\n");
        }
        self.publisher.write_all(&text).expect("open");
    }

    fn clients(&mut self) -> &mut Clients {
        &mut self.clients
    }

    fn clock(&self) -> os::CpuClock {
        self.server.clock
    }

    fn seen(&self, payload: &Bytes) -> (u64, Vec<u8>) {
        let head = format!("MSG r 1 {}\r\n", payload.len()).len();
        ((head + payload.len() + 2) as u64, [payload, &b"\r\n"[..]].concat())
    }
}
