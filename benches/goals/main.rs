//! Every performance goal, measured side by side with its floor in one run, printed as one table.
//!
//! `cargo bench` runs all, `cargo bench -- NAME...` some, by their names or by the group before the
//! dot; `BENCH_QUICK=1` runs a tenth, once. What needs daprd or Redis says so where they are not.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark is no shard: its threads may sleep, its process may exit"
)]

#[path = "../common/mod.rs"]
mod common;

mod fleet;
mod hop;
mod ids;
mod memory;
mod metrics;
mod publish;
mod receive;
mod recover;
mod rooms;
mod scale;
mod sends;

use common::{os, table, table::Row};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Goal = (&'static str, fn() -> Vec<Row>);

const GOALS: &[Goal] = &[
    ("receive", receive::published),
    ("reply", receive::replied),
    ("unary", sends::unary),
    ("stream", sends::stream),
    ("hop", hop::run),
    ("memory", memory::run),
    ("metrics", metrics::run),
    ("metrics.scrape", metrics::scrape),
    ("ids", ids::run),
    ("scale", scale::run),
    ("rooms.fanout", rooms::fan_out),
    ("rooms.latency", rooms::latency),
    ("rooms.idle", memory::accepted),
    ("rooms.churn", rooms::churn::run),
    ("rooms.cores", rooms::cores::run),
    ("rooms.handshakes", rooms::handshakes::run),
    ("publish.cpu", publish::cpu),
    ("publish.ordered", publish::ordered),
    ("fleet.forward", fleet::forward),
    ("fleet.idle", fleet::idle),
    ("fleet.start", recover::start),
    ("fleet.takeover", recover::takeover),
];

/// The first argument of a process of our own: what it plays.
const ROLE: &str = "--role";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, role, rest @ ..] = arguments.as_slice()
        && first == ROLE
    {
        return play(role, rest);
    }
    let names: Vec<&String> = arguments.iter().filter(|text| !text.starts_with('-')).collect();
    if let Some(unknown) = names.iter().find(|name| GOALS.iter().all(|(known, _)| !is_wanted(known, name))) {
        let known: Vec<&str> = GOALS.iter().map(|(name, _)| *name).collect();
        eprintln!("no goal '{unknown}'; there are {}", known.join(", "));
        std::process::exit(2);
    }
    if os::cores() < 2 {
        eprintln!("the thread under test and its peer need a core each");
        std::process::exit(2);
    }
    os::pin(1);
    let mut rows = Vec::new();
    for (name, run) in GOALS {
        if names.is_empty() || names.iter().any(|wanted| is_wanted(name, wanted)) {
            eprintln!("{name} ...");
            rows.extend(run());
        }
    }
    table::print(&rows);
}

fn is_wanted(name: &str, wanted: &str) -> bool {
    name == wanted || name.split_once('.').is_some_and(|(group, _)| group == wanted)
}

fn play(role: &str, rest: &[String]) {
    match role {
        "memory-bare" => memory::bare(rest),
        "memory-shard" => memory::shard(rest),
        "memory-accepted" => memory::members(rest),
        "scale" => scale::play(rest),
        _ => unreachable!("roles are ours"),
    }
}
