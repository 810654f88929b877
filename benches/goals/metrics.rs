//! What counting costs a message: everything that the shell and the core add up for one Send and
//! its reply, on one thread and on two at once. And what looking at it costs: one scrape.

use crate::common::{median, os, rooms, runs, scaled, shard::Shard, table::Row};
use std::{
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Builder;
use websocket_manager::{
    backend::{
        Backend,
        embedded::{Embedded, EmbeddedConfig},
    },
    config::Config,
    core::{
        counters::Counters,
        io::{Command, Context},
        names::RoomName,
        rooms::RoomCommand,
    },
    limits,
    shard::{
        mailbox::{Hub, Mailbox},
        metrics::ShardMetrics,
    },
    telemetry::collect::{Collector, Fixed, Sources, Standing},
};

pub fn run() -> Vec<Row> {
    let cost = |threads: usize| median((0..runs()).map(|_| count_on(threads)).collect());
    let (one, two) = (cost(1), cost(2));
    vec![Row {
        floor: format!("{one:.2} ns on one"),
        ..Row::absolute("metrics of a frame, on 2 shards at once", 10.0, two, f64::NAN, "ns")
    }]
}

fn count_on(threads: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let frames = scaled(20_000_000);
    let spent: Vec<f64> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|core| {
                let barrier = &barrier;
                scope.spawn(move || {
                    os::pin(core);
                    barrier.wait();
                    count(frames)
                })
            })
            .collect();
        started.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    spent.into_iter().fold(0.0, f64::max)
}

fn count(frames: usize) -> f64 {
    let (mut counters, mut metrics) = (Counters::default(), ShardMetrics::default());
    let clock = os::CpuClock::of_this_thread();
    let before = clock.nanos();
    for frame in 0..frames as u64 {
        let counters = std::hint::black_box(&mut counters);
        counters.messages_in += 1;
        counters.bytes_in += frame & 255;
        counters.replies += 1;
        counters.sends_ended[0] += 1;
        std::hint::black_box(&mut metrics).send_ended(Duration::from_nanos(frame << 4 & 0xff_ffff), true);
    }
    std::hint::black_box((&counters, &metrics));
    (clock.nanos() - before) as f64 / frames as f64
}

/// From asking two shards to the whole text, by the wall clock. The connections are those of clients that
/// have been let in and wait for their sockets: of a socket itself nothing is looked at.
pub fn scrape() -> Vec<Row> {
    let count = scaled(20_000);
    let hub = Hub::new((0..2).map(|_| Mailbox::new(limits::MAILBOX_COMMANDS_MAX)).collect(), 1);
    let _shards: Vec<Shard> = (0..2).map(|number| Shard::start(number, number as usize, &hub)).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let backend = Embedded::open(EmbeddedConfig::new(folder.path(), 2)).expect("a fresh folder");
    let collector = Collector::new(Sources {
        hub: hub.clone(),
        backend: Arc::new(Backend::Embedded(backend)),
        edge: Arc::default(),
        peers: Arc::default(),
        ingress: Arc::default(),
        commands: Arc::default(),
        intake: Arc::default(),
        fleet: None,
        rooms: None,
        relay: None,
        calls: vec![Arc::default(), Arc::default()],
        spans: Default::default(),
        fixed: Fixed::of(&Config::with_defaults(2)),
        standing: Box::new(|| Standing { ready: true, draining: false }),
    });
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let took = runtime.block_on(async {
        admit(&hub, count).await;
        let mut took = Vec::new();
        for _ in 0..21 {
            let begun = Instant::now();
            let page = collector.scrape().await;
            took.push(begun.elapsed().as_secs_f64() * 1e3);
            assert_eq!(connecting(&page), count, "they are all there while it is measured");
        }
        median(took)
    });
    let goal = format!("scrape of 2 shards with {count} connections");
    vec![Row::absolute(&goal, 5.0, took, f64::NAN, "ms")]
}

async fn admit(hub: &Hub, count: usize) {
    let (spec, room) = (rooms::spec(Duration::ZERO), RoomName::parse("room", rooms::ROOM).expect("valid"));
    for first in (0..count).step_by(64) {
        let calls: Vec<_> = (first..(first + 64).min(count))
            .map(|_| {
                let id = hub.mint();
                let owner = hub.owner(&id);
                let admit = rooms::admission(id, spec.clone(), std::slice::from_ref(&room));
                hub.call(owner, Context::default(), Command::Room(RoomCommand::Admit(Box::new(admit))))
            })
            .collect();
        for call in calls {
            call.await.expect("admitted");
        }
    }
}

/// As the page has it.
fn connecting(page: &str) -> usize {
    let of_status = |line: &&str| line.starts_with("wsm_connections{") && line.contains("\"connecting\"");
    let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    page.lines().filter(of_status).filter_map(value).sum::<f64>() as usize
}
