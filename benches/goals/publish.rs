//! Publishing through a real sidecar on a real Redis: our adapter against a bare client of the
//! stub that it is made of.

use crate::common::{
    bus::{Ours, Way, bare},
    events::{Shape, batches},
    median, runs, scaled,
    servers::Sidecar,
    table::Row,
};
use std::net::SocketAddr;

/// What one event costs this process, in a bulk of a hundred and by itself: it has the first core,
/// the servers the second.
pub fn cpu() -> Vec<Row> {
    let Some(sidecar) = Sidecar::start(Some(1)) else { return Vec::new() };
    let made = batches(64, Shape { lanes: 64, events: 100, messages: 1, relaxed: true });
    let ours = Ours::open(sidecar.grpc, Some(0), |config| config.request_events = 100);
    let (count, singles) = (scaled(4_000), scaled(40_000));
    let (mut hundred, mut bulk, mut single) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=runs() {
        let floor = bare(sidecar.grpc, Some(0), &made, count * 100, Way::Bulk { events: 100, callers: 8 });
        let spent = ours.publish(&made, count, 16);
        let each = bare(sidecar.grpc, Some(0), &made, singles, Way::Single { callers: 64 });
        if run > 0 {
            hundred.push(spent.cpu.as_secs_f64() * 1e6 / (count * 100) as f64);
            bulk.push(floor.cpu.as_secs_f64() * 1e6 / (count * 100) as f64);
            single.push(each.cpu.as_secs_f64() * 1e6 / singles as f64);
        }
    }
    explain(&ours);
    let (ours, bulk, single) = (median(hundred), median(bulk), median(single));
    let mut own = Row::absolute("publish, relaxed, CPU an event at batch 100", 0.5, ours, bulk, "us");
    own.floor = format!("{bulk:.2} us, a bare client's bulk");
    let mut better = Row::at_least("publish, relaxed, against PublishEvent each", 30.0, single, ours, "us");
    better.measured = format!("{:.0}x less CPU", single / ours);
    better.floor = format!("{single:.1} us, a bare client's PublishEvent");
    vec![own, better]
}

/// Ordered lanes, and what `frames` does for one hot feed.
pub fn ordered() -> Vec<Row> {
    let Some(sidecar) = Sidecar::start(None) else { return Vec::new() };
    let one = [Way::Single { callers: 1 }, Way::Bulk { events: 1, callers: 1 }];
    let many = [64, 32, 16].map(|events| Way::Bulk { events, callers: 64 / events });
    let (single, row) = lanes(sidecar.grpc, "1 lane", 1, 1, scaled(20_000), &one);
    let mut rows = vec![row];
    rows.push(lanes(sidecar.grpc, "64 lanes", 64, 1, scaled(128_000), &many).1);
    rows.push(lanes(sidecar.grpc, "frames of 64 on 1 lane", 1, 64, scaled(12_000), &one).1);
    let (hot, row) = lanes(sidecar.grpc, "frames of 256 on 1 lane", 1, 256, scaled(6_000), &one);
    rows.push(row);
    let mut own =
        Row::at_least("publish, one hot feed: frames of 256 against singles", 40.0, hot, single, "");
    own.measured = format!("{:.0}x ({:.0} messages/s)", hot / single, hot);
    own.floor = format!("{single:.0}/s, our own singles");
    rows.push(own);
    rows
}

/// Messages a second of ours, and the row that compares them with the best way of a bare client
/// that keeps the order too.
fn lanes(
    sidecar: SocketAddr,
    name: &str,
    lanes: usize,
    messages: usize,
    events: usize,
    ways: &[Way],
) -> (f64, Row) {
    // As a shard makes them: a few hundred events, or one event of frames for each lane.
    let size = if messages > 1 { lanes } else { 256 };
    let made = batches(64, Shape { lanes, events: size, messages, relaxed: false });
    let ours = Ours::open(sidecar, None, |_| {});
    let rate = |seconds: f64, events: usize| (events * messages) as f64 / seconds;
    let mut theirs: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
    let mut own = Vec::new();
    for run in 0..=runs() {
        for (way, rates) in ways.iter().zip(&mut theirs) {
            let spent = bare(sidecar, None, &made, events, *way);
            if run > 0 {
                rates.push(rate(spent.wall.as_secs_f64(), events));
            }
        }
        let count = events / size;
        // Four under way at each of two shards.
        let spent = ours.publish(&made, count, 8);
        if run > 0 {
            own.push(rate(spent.wall.as_secs_f64(), count * size));
        }
    }
    explain(&ours);
    let own = median(own);
    let theirs: Vec<(f64, &Way)> = theirs.into_iter().map(median).zip(ways).collect();
    if is_verbose() {
        eprintln!("{name}: ours {own:.0}/s, bare {theirs:.0?}");
    }
    let best = theirs.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
    let (floor, way) = best.expect("a way");
    let mut row = Row::at_least(&format!("publish, ordered, {name}"), 0.9, own, floor, "");
    row.measured = format!("{:.2}x ({own:.0} messages/s)", own / floor);
    row.floor = format!("{floor:.0}/s, bare {way:?}");
    (own, row)
}

fn explain(ours: &Ours) {
    if is_verbose() {
        eprintln!("{:?}", ours.stats());
    }
}

fn is_verbose() -> bool {
    std::env::var_os("BENCH_VERBOSE").is_some()
}
