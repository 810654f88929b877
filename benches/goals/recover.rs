//! What a restart and a death cost, as the upstream sees it.

use crate::common::{fleet::Fleet, os, quick, service::Service, table::Row, upstream::Upstream};
use std::{
    thread,
    time::{Duration, Instant},
};
use websocket_manager::limits;

const PATIENCE: Duration = Duration::from_secs(90);

/// A new start among records of the run before: after a planned end, and after a kill.
pub fn start() -> Vec<Row> {
    let count = if quick() { 200 } else { 1_000 };
    let mut rows = Vec::new();
    for (how, end) in [("an orderly end", Service::terminate as fn(&mut Service)), ("kill -9", Service::kill)]
    {
        let Some(fleet) = Fleet::start() else { return Vec::new() };
        let upstream = Upstream::start();
        let mut first = fleet.member("first");
        first.connect_all(upstream.connects(count));
        settle();
        end(&mut first);
        let second = fleet.member("first");
        let ready = second.ready_after.as_secs_f64();
        let goal = format!("start with {count} records after {how}: ready");
        rows.push(Row::absolute(&goal, 3.0, ready, f64::NAN, "s"));
        let waits = upstream.wait_for(count, second.began, PATIENCE);
        rows.push(dialled(&format!("... and all of them dialled again, after {how}"), count, &waits));
    }
    rows
}

/// The pace is a promise to the upstreams: what is bounded is how fast it goes, not how slowly.
fn dialled(goal: &str, count: usize, waits: &[Duration]) -> Row {
    let seconds = |wait: Option<&Duration>| wait.map_or(f64::NAN, Duration::as_secs_f64);
    let (first, last) = (seconds(waits.first()), seconds(waits.last()));
    let within_a_second =
        |from: usize| waits[from..].partition_point(|wait| *wait < waits[from] + Duration::from_secs(1));
    let most = (0..waits.len()).map(within_a_second).max().unwrap_or(0);
    let configured = limits::FLEET_TAKES_PER_SECOND as usize;
    Row {
        goal: goal.into(),
        bound: format!("<= {configured}/s, all"),
        measured: format!(
            "{} of {count} after {first:.2} to {last:.2} s, {most} within one second",
            waits.len()
        ),
        floor: "-".into(),
        // A tenth more: the upstream's clock is read later than the dial begins.
        met: waits.len() == count && most <= configured + configured / 10,
    }
}

/// Three instances, one is killed: until its connections stand at the others.
pub fn takeover() -> Vec<Row> {
    let Some(fleet) = Fleet::start() else { return Vec::new() };
    os::allow_many_files();
    let count = if quick() { 200 } else { 1_000 };
    let upstream = Upstream::start();
    let mut members = ["one", "two", "three"].map(|name| fleet.member(name));
    members[0].connect_all(upstream.connects(count));
    settle();
    let before = upstream.sockets();
    let since = Instant::now();
    members[0].kill();
    let waits = upstream.wait_for(count, since, PATIENCE);
    let again = upstream.sockets() - before;
    let at =
        |part: usize| waits.get((count * part / 100).min(count - 1)).map_or(f64::NAN, Duration::as_secs_f64);
    [(50, 12.0), (99, 15.0)]
        .map(|(part, bound)| {
            let goal = format!("kill -9 with {count} connections: re-owned p{part}");
            let mut row = Row::absolute(&goal, bound, at(part), f64::NAN, "s");
            row.measured = format!("{} ({} of {count}, {again} sockets)", row.measured, waits.len());
            row.floor = "10 s lease + 1 s margin from the last renewal".into();
            row
        })
        .into()
}

/// The lists of ids are written at most once a second; and the members have seen one another.
fn settle() {
    thread::sleep(Duration::from_secs(4));
}
