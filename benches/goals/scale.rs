//! Two shards of one process, in memory, against two processes of one shard each: what they share
//! must not cost them anything.

use crate::common::{median, message, os, peer::put_frame, runs, scaled, shard::setup, table::Row};
use std::{
    process::{Command, Stdio},
    sync::{Arc, Barrier},
    thread,
    time::Instant,
};
use websocket_manager::{
    api::validate::{self, Defaults},
    core::{
        id::{ConnectionId, Ticket},
        io::{Command as ShardCommand, Context, Effect, Effects, Opened, SocketKey},
        shard::ShardCore,
        time::{Now, Time, Wall},
    },
    limits,
    proto::{ConnectRequest, PublishOptions},
    wire::ws::{Bounds, Decoder, Role},
};

pub fn run() -> Vec<Row> {
    let (mut apart, mut together) = (Vec::new(), Vec::new());
    for _ in 0..runs() {
        apart.push(in_processes());
        together.push(in_threads(2));
    }
    let (apart, together) = (median(apart), median(together));
    let ratio = together / apart;
    vec![Row {
        goal: "2 shards of one process, in memory".into(),
        bound: ">= 0.90x".into(),
        measured: format!("{ratio:.2}x ({:.2} M messages a CPU-second)", together / 1e6),
        floor: format!("{:.2} M, 2 processes", apart / 1e6),
        met: ratio >= 0.9,
    }]
}

/// Messages a CPU-second of both, running at the same time.
fn in_processes() -> f64 {
    let start = |core: usize| {
        Command::new(std::env::current_exe().expect("a path"))
            .args([crate::ROLE, "scale", &core.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again")
    };
    os::unpin();
    let children = [start(0), start(1)];
    os::pin(1);
    children
        .into_iter()
        .map(|child| {
            let out = child.wait_with_output().expect("it ends");
            String::from_utf8_lossy(&out.stdout).trim().parse::<f64>().expect("a figure")
        })
        .sum()
}

pub fn play(rest: &[String]) {
    os::pin(rest[0].parse().expect("a core"));
    println!("{}", work(0, 1));
}

fn in_threads(shards: u32) -> f64 {
    let barrier = Arc::new(Barrier::new(shards as usize));
    let threads: Vec<_> = (0..shards)
        .map(|shard| {
            let barrier = barrier.clone();
            thread::spawn(move || {
                os::pin(shard as usize);
                barrier.wait();
                work(shard, shards)
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
}

/// One shard's core and codec: 64 connections, 8 frames a read, everything published and taken.
fn work(shard: u32, shards: u32) -> f64 {
    let began = Instant::now();
    let now = || {
        let nanos = began.elapsed().as_nanos() as u64 + 1;
        Now { mono: Time::from_nanos(nanos), wall: Wall::from_unix_nanos(1_700_000_000_000_000_000 + nanos) }
    };
    let mut core = ShardCore::new(now(), setup(shard, shards));
    let mut fx = Effects::new();
    let mut sockets: Vec<(SocketKey, Decoder)> = Vec::new();
    let mut random = 7_u64;
    for number in 0..64 {
        let request = ConnectRequest {
            url: "ws://127.0.0.1:9/feed".to_owned(),
            publish: Some(PublishOptions { topic: "ticks".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let mint =
            || ConnectionId::mint(shard, shards, || websocket_manager::core::random::next(&mut random));
        let connect = validate::connect(&request, &Defaults::default(), mint).expect("valid");
        let command = ShardCommand::Connect(Box::new(connect));
        core.command(now(), Ticket(number), &Context::default(), command, &mut fx);
        settle(&mut core, &mut fx, &mut sockets, now());
    }
    let mut burst = Vec::new();
    (0..8).for_each(|n| put_frame(&mut burst, message(&format!("m{n}"), 256).as_bytes()));
    let rounds = scaled(8_000);
    let clock = os::CpuClock::of_this_thread();
    let before = clock.nanos();
    let mut input = burst.clone();
    for _ in 0..rounds {
        for (socket, decoder) in &mut sockets {
            let (now, key) = (now(), *socket);
            input.copy_from_slice(&burst);
            let bounds = Bounds {
                message_bytes_max: core.message_bytes_max(key),
                fragments_max: limits::FRAGMENTS_MAX,
            };
            decoder
                .feed(&bounds, &mut input, &mut |event| core.event(now, key, event, &mut fx))
                .expect("well formed");
        }
        core.end_turn(now(), &mut fx);
        settle(&mut core, &mut fx, &mut Vec::new(), now());
    }
    (rounds * sockets.len() * 8) as f64 / ((clock.nanos() - before) as f64 / 1e9)
}

/// Says yes to whatever the core asks for.
fn settle(core: &mut ShardCore, fx: &mut Effects, sockets: &mut Vec<(SocketKey, Decoder)>, now: Now) {
    while !fx.is_empty() {
        for effect in std::mem::take(fx) {
            match effect {
                Effect::Dial { socket, .. } => {
                    core.opened(now, socket, Opened { subprotocol: None }, fx);
                    sockets.push((socket, Decoder::new(Role::Client)));
                }
                Effect::Persist { ticket, .. } => core.stored(now, ticket, None, fx),
                Effect::Publish(batch) => {
                    let id = batch.id;
                    drop(batch);
                    core.published(now, id, Ok(()));
                }
                Effect::Spill { id, .. } => core.spilled(now, id, Ok(true)),
                Effect::PeekSpill => core.peeked(now, Ok(None)),
                Effect::PopSpill => core.popped(now, Ok(())),
                _ => {}
            }
        }
        core.end_turn(now, fx);
    }
}
