//! What counting costs a message: everything that the shell and the core add up for one Send and
//! its reply, on one thread and on two at once.

use crate::common::{median, os, runs, scaled, table::Row};
use std::{sync::Barrier, thread, time::Duration};
use websocket_manager::{core::counters::Counters, shard::metrics::ShardMetrics};

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
