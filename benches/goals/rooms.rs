//! Rooms: what it costs to write one message to many sockets, beside a raw loop that does nothing
//! else and beside a NATS server; and what members cost when they come, go, and do nothing.
//!
//! The sockets of the shard come in by its own door, without HTTP: what is measured is the shard.

pub mod churn;
pub mod cores;
pub mod handshakes;

use crate::common::{
    clients::Clients,
    median, os, peer,
    rooms::{OfNats, Ours, Raw, Room, payload},
    runs, scaled,
    table::Row,
};
use bytes::Bytes;
use std::time::{Duration, Instant};

const MEMBERS: usize = 1000;
/// Short alternating runs: a neighbour on the machine then disturbs all sides alike.
const ROUNDS_PER_RUN: usize = 3;

struct Shape {
    name: &'static str,
    bytes: usize,
    /// Messages that are published at once.
    at_once: usize,
    publishes: usize,
    /// Of the raw loop's deliveries, and of the NATS server's.
    of_raw: f64,
    of_nats: f64,
}

const SHAPES: [Shape; 4] = [
    Shape { name: "128 B, one at a time", bytes: 128, at_once: 1, publishes: 40, of_raw: 0.92, of_nats: 2.0 },
    Shape { name: "512 B, one at a time", bytes: 512, at_once: 1, publishes: 40, of_raw: 0.92, of_nats: 2.0 },
    Shape { name: "128 B, 64 at once", bytes: 128, at_once: 64, publishes: 20, of_raw: 0.8, of_nats: 3.0 },
    Shape { name: "512 B, 64 at once", bytes: 512, at_once: 64, publishes: 10, of_raw: 0.8, of_nats: 3.0 },
];

/// Deliveries for each second of the writing thread's CPU time.
pub fn fan_out() -> Vec<Row> {
    os::allow_many_files();
    let (mut raw, mut ours, mut nats) = (Raw::start(MEMBERS), Ours::start(MEMBERS), OfNats::start(MEMBERS));
    let mut rows = Vec::new();
    for shape in &SHAPES {
        let (mut floor, mut own, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..=runs() * ROUNDS_PER_RUN {
            let figures = (
                deliveries(&mut raw, shape),
                deliveries(&mut ours, shape),
                nats.as_mut().map(|nats| deliveries(nats, shape)),
            );
            if run > 0 {
                floor.push(figures.0);
                own.push(figures.1);
                theirs.extend(figures.2);
            }
        }
        let own = median(own);
        rows.push(row(
            &format!("room of {MEMBERS}, {}", shape.name),
            shape.of_raw,
            own,
            median(floor),
            "raw",
        ));
        if !theirs.is_empty() {
            let goal = format!("... beside nats-server, {}", shape.name);
            rows.push(row(&goal, shape.of_nats, own, median(theirs), "nats-server"));
        }
    }
    rows
}

fn row(goal: &str, bound: f64, ours: f64, floor: f64, whose: &str) -> Row {
    let mut row = Row::at_least(goal, bound, ours, floor, "");
    let figure = |figure: f64| {
        if figure >= 1e6 { format!("{:.2} M", figure / 1e6) } else { format!("{:.0} k", figure / 1e3) }
    };
    row.measured = format!("{:.2}x ({} deliveries a CPU-second, no HTTP)", ours / floor, figure(ours));
    row.floor = format!("{}, {whose}", figure(floor));
    row
}

fn row_in_millis(goal: &str, bound: f64, nanos: u64) -> Row {
    Row::absolute(goal, bound, nanos as f64 / 1e6, f64::NAN, "ms")
}

fn deliveries(room: &mut impl Room, shape: &Shape) -> f64 {
    let (clock, publishes) = (room.clock(), scaled(shape.publishes));
    let before = clock.nanos();
    for publish in 0..publishes {
        let payloads: Vec<Bytes> = (0..shape.at_once)
            .map(|nth| payload((publish * shape.at_once + nth) as u64, shape.bytes))
            .collect();
        room.publish(&payloads);
        let (each, ending) = room.seen(&payloads[shape.at_once - 1]);
        room.clients().await_all(each * shape.at_once as u64, &ending);
    }
    peer::let_settle();
    (publishes * shape.at_once * MEMBERS) as f64 / ((clock.nanos() - before) as f64 / 1e9)
}

/// From the publish to each delivery, at half of what the raw loop can do.
pub fn latency() -> Vec<Row> {
    os::allow_many_files();
    let (mut raw, mut ours) = (Raw::start(MEMBERS), Ours::start(MEMBERS));
    let publishes = scaled(50);
    let one = time_of_one(&mut raw);
    let (mut floor, mut own) = (Vec::new(), Vec::new());
    for run in 0..=runs() * ROUNDS_PER_RUN {
        let figures = (waits(&mut raw, publishes, one * 2), waits(&mut ours, publishes, one * 2));
        if run > 0 {
            floor.push(figures.0);
            own.push(figures.1);
        }
    }
    let of =
        |figures: &[(f64, f64)], which: fn(&(f64, f64)) -> f64| median(figures.iter().map(which).collect());
    let mut row = Row::ratio(
        &format!("room of {MEMBERS}, publish to delivery at half load, p99"),
        1.5,
        of(&own, |p| p.1),
        of(&floor, |p| p.1),
        "us",
    );
    row.measured = format!("{}, p50 {:.0} us", row.measured, of(&own, |p| p.0));
    row.floor = format!("{}, p50 {:.0} us, raw", row.floor, of(&floor, |p| p.0));
    vec![row]
}

const LATENCY_BYTES: usize = 128;

fn time_of_one(room: &mut Raw) -> Duration {
    let times = (0..20).map(|number| {
        let payload = payload(number, LATENCY_BYTES);
        let began = Instant::now();
        room.publish(std::slice::from_ref(&payload));
        room.clients().await_all(LATENCY_BYTES as u64, &payload);
        began.elapsed().as_secs_f64()
    });
    Duration::from_secs_f64(median(times.collect()))
}

/// Microseconds, p50 and p99, over all members and messages.
fn waits(room: &mut impl Room, publishes: usize, every: Duration) -> (f64, f64) {
    let mut published: Vec<Instant> = Vec::with_capacity(publishes);
    let mut waits = Vec::with_capacity(publishes * MEMBERS);
    let mut start = vec![None; MEMBERS];
    let mut next = Instant::now();
    while waits.len() < publishes * MEMBERS {
        if published.len() < publishes && Instant::now() >= next {
            published.push(Instant::now());
            room.publish(&[payload(published.len() as u64, LATENCY_BYTES)]);
            next += every;
        }
        read(room.clients(), &mut start, &published, &mut waits);
    }
    waits.sort_unstable_by(f64::total_cmp);
    (waits[waits.len() / 2], waits[waits.len() * 99 / 100])
}

/// Spins: a thread that sleeps would add its own wake.
fn read(clients: &mut Clients, start: &mut [Option<u64>], published: &[Instant], waits: &mut Vec<f64>) {
    clients.read(0, |got| {
        let start = *start[got.client].get_or_insert(got.before);
        let number = |at: u64| ((at - start) / LATENCY_BYTES as u64) as usize;
        for publish in &published[number(got.before)..number(got.after)] {
            waits.push(publish.elapsed().as_secs_f64() * 1e6);
        }
    });
}
