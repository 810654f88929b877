//! Receiving: messages that are published, and replies that end a Send, against a raw client.

use crate::common::{
    median, message, os, peer,
    peer::{Peer, await_count},
    raw::Receiver,
    runs, scaled,
    shard::{self, Shard},
    table::Row,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use websocket_manager::{
    core::{
        correlation::Kind,
        id::ConnectionId,
        io::{Command, Context, Send},
    },
    shard::mailbox::Hub,
};

const BYTES: usize = 256;

struct Shape {
    name: &'static str,
    connections: usize,
    /// Frames that one write to one connection brings.
    frames: usize,
    rounds: usize,
    publish_bound: f64,
    reply_bound: f64,
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "1 frame a wake",
        connections: 256,
        frames: 1,
        rounds: 120,
        publish_bound: 1.10,
        reply_bound: 1.05,
    },
    Shape {
        name: "8 frames a wake",
        connections: 64,
        frames: 8,
        rounds: 200,
        publish_bound: 1.35,
        reply_bound: 1.05,
    },
    Shape {
        name: "saturated",
        connections: 8,
        frames: 100,
        rounds: 400,
        publish_bound: 2.0,
        reply_bound: 1.10,
    },
];

pub fn published() -> Vec<Row> {
    rows(false, "receive to enqueue", |shape| shape.publish_bound)
}

pub fn replied() -> Vec<Row> {
    rows(true, "matched reply", |shape| shape.reply_bound)
}

fn rows(replies: bool, goal: &str, bound: fn(&Shape) -> f64) -> Vec<Row> {
    let row = |shape: &Shape| {
        let (floor, ours) = measure(shape, replies);
        Row::ratio(&format!("{goal}, {}", shape.name), bound(shape), ours, floor, "ns")
    };
    SHAPES.iter().map(row).collect()
}

/// CPU nanoseconds a frame: raw, and ours, published or as a reply.
fn measure(shape: &Shape, as_replies: bool) -> (f64, f64) {
    let peer = Peer::listen();
    let raw = Receiver::start(peer.address, shape.connections);
    let mut raw_streams = peer.take(shape.connections);
    let (shard, hub) = shard::alone();
    let ids = shard::connect_all(&hub, peer.address, shape.connections, true);
    let mut streams = peer.take(shape.connections);
    let mut sends = Sends::start(&shard, hub.clone(), ids);
    // Somebody waits on each connection, so that each message is looked into.
    sends.issue(&mut streams, 1, "pending");

    let frames = |name: &str| {
        let mut bytes = Vec::new();
        (0..shape.frames)
            .for_each(|n| peer::put_frame(&mut bytes, message(&format!("{name}{n}"), BYTES).as_bytes()));
        bytes
    };
    let (burst, replies) = (frames("m"), frames("r"));
    let rounds = scaled(shape.rounds);
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for run in 0..=runs() {
        let raw_cost = feed(&mut raw_streams, &burst, shape.frames, rounds, &raw.seen, raw.clock);
        let cost = if as_replies {
            answer(&shard, &mut sends, &mut streams, &replies, shape.frames, rounds)
        } else {
            feed(&mut streams, &burst, shape.frames, rounds, &shard.seen.messages_in, shard.clock)
        };
        // The first run warms up.
        if run > 0 {
            floor.push(raw_cost);
            ours.push(cost);
        }
    }
    (median(floor), median(ours))
}

/// Each round waits for the last one, so that a wake brings what it is meant to bring.
fn feed(
    streams: &mut [TcpStream],
    burst: &[u8],
    frames: usize,
    rounds: usize,
    seen: &AtomicU64,
    clock: os::CpuClock,
) -> f64 {
    let mut target = seen.load(Ordering::Acquire);
    let before = clock.nanos();
    for _ in 0..rounds {
        for stream in streams.iter_mut() {
            stream.write_all(burst).expect("read by the other side");
        }
        target += (frames * streams.len()) as u64;
        await_count(seen, target);
    }
    peer::let_settle();
    (clock.nanos() - before) as f64 / (frames * streams.len() * rounds) as f64
}

/// Only the receiving is counted; the Sends that it answers were written before.
fn answer(
    shard: &Shard,
    sends: &mut Sends,
    streams: &mut [TcpStream],
    replies: &[u8],
    frames: usize,
    rounds: usize,
) -> f64 {
    let mut spent = 0;
    let per_round = frames * streams.len();
    for _ in 0..rounds {
        sends.issue(streams, frames, "r");
        peer::let_settle();
        let before = shard.clock.nanos();
        for stream in streams.iter_mut() {
            stream.write_all(replies).expect("read by the other side");
        }
        sends.answered += per_round as u64;
        await_count(&shard.seen.answered, sends.answered);
        peer::let_settle();
        spent += shard.clock.nanos() - before;
    }
    spent as f64 / (per_round * rounds) as f64
}

/// A stream of Sends that lives on the shard's own thread, as SendStream's does.
struct Sends {
    jobs: tokio::sync::mpsc::Sender<(usize, &'static str)>,
    answered: u64,
    sink: Vec<u8>,
}

impl Sends {
    fn start(shard: &Shard, hub: Hub, ids: Vec<ConnectionId>) -> Self {
        let (jobs, mut asked) = tokio::sync::mpsc::channel::<(usize, &'static str)>(1024);
        let seen = shard.seen.clone();
        shard.run(move |_| async move {
            let mut calls = hub.calls(1 << 20);
            let mut answered = 0;
            std::future::poll_fn::<(), _>(|cx| {
                while let std::task::Poll::Ready(Some((count, name))) = asked.poll_recv(cx) {
                    for (id, n) in ids.iter().flat_map(|id| (0..count).map(move |n| (id, n))) {
                        let send = Send {
                            id: id.clone(),
                            payload: message(&format!("{name}{n}"), BYTES).into(),
                            kind: Kind::Text,
                            timeout: Duration::from_secs(3600),
                            rule: None,
                        };
                        calls.start(0, Context::default(), Command::Send(send), 0).expect("room");
                    }
                }
                while let std::task::Poll::Ready((_, outcome)) = calls.poll_answer(cx) {
                    // Those that nobody answers end with their socket.
                    answered += u64::from(outcome.is_ok());
                }
                seen.answered.store(answered, Ordering::Release);
                std::task::Poll::Pending
            })
            .await;
        });
        Sends { jobs, answered: 0, sink: Vec::new() }
    }

    /// Issues `count` Sends a connection and takes their frames off the wire.
    fn issue(&mut self, streams: &mut [TcpStream], count: usize, name: &'static str) {
        self.jobs.try_send((count, name)).expect("the shard runs");
        let one = message(&format!("{name}0"), BYTES).len();
        // Ids have one or two digits more; the padding takes them up.
        self.sink.resize((one + 8) * count, 0);
        for stream in streams {
            stream.read_exact(&mut self.sink).expect("as many frames as Sends");
        }
    }
}
