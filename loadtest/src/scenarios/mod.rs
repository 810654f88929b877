//! What can be run. Each scenario starts what it needs, loads it, and ends it.

use crate::{options::WORDS, report::Outcome, stage::Stage, tools, trouble::Result};

pub struct Scenario {
    pub name: &'static str,
    pub shows: &'static str,
    pub run: fn(&Stage) -> Result<Outcome>,
    /// Whether `all` has it.
    pub in_all: bool,
    /// Which of the flags that not all have a use for it has one for.
    pub takes: &'static [&'static str],
}

/// What most take.
pub const LOAD: &[&str] = &["--seconds", "--warmup", "--rate", "--connections", "--bytes", "--shards"];

/// The service's own interval between two pings of a connection, in seconds.
const PING: u64 = 25;

pub mod churn;
pub mod fanout;
pub mod idle;
pub mod ingest;
pub mod iot;
pub mod knee;
pub mod lanes;
pub mod many_rooms;
pub mod market_feed;
pub mod mixed;
pub mod peers;
pub mod rooms;
pub mod sends;
pub mod shards;
pub mod storm;

const fn scenario(name: &'static str, shows: &'static str, run: fn(&Stage) -> Result<Outcome>) -> Scenario {
    Scenario { name, shows, run, in_all: true, takes: LOAD }
}

const fn with(scenario: Scenario, takes: &'static [&'static str]) -> Scenario {
    Scenario { takes, ..scenario }
}

/// In the order in which `all` runs them.
pub const SCENARIOS: &[Scenario] = &[
    with(
        scenario(
            "idle",
            "memory of idle connections in both directions, as many as the file limit allows, and their pings' CPU",
            idle::run,
        ),
        &["--seconds", "--connections", "--shards"],
    ),
    scenario("send-unary", "correlated Sends, a call for each", sends::unary_calls),
    scenario(
        "send-stream",
        "correlated Sends over SendStream: each waits for the upstream's echo",
        sends::stream,
    ),
    scenario("send-batch", "correlated Sends, a hundred in each SendBatch", sends::batch_calls),
    scenario("ingest", "many upstreams that talk, published to a topic, to its follower", ingest::run),
    with(
        scenario("churn", "connections that come and go, dialled and accepted", churn::run),
        &["--seconds", "--warmup", "--rate", "--shards"],
    ),
    scenario("mixed", "Sends, feeds, rooms and churn at the same time", mixed::mixed),
    with(
        scenario(
            "shards",
            "two shards of one service beside two services: work for each CPU-second",
            shards::run,
        ),
        &["--seconds", "--warmup", "--rate", "--connections", "--bytes"],
    ),
    scenario(
        "fanout",
        "one room of many members: one publish at a time, 64 in flight, and on a schedule",
        fanout::run,
    ),
    scenario("many-rooms", "small rooms, each published to by calls of Rooms.Send", many_rooms::run),
    with(
        scenario(
            "market-feed",
            "few hot upstreams in bursts, a room each, a thousand readers, slow ones among them",
            market_feed::run,
        ),
        &["--seconds", "--warmup", "--rate", "--connections", "--bytes", "--shards"],
    ),
    with(
        scenario(
            "iot",
            "as many devices as the file limit allows, mostly idle, a few commands a second, each answered",
            iot::run,
        ),
        &["--seconds", "--rate", "--connections", "--shards"],
    ),
    with(
        scenario("storm", "all clients lose their connections and come back at once", storm::run),
        &["--connections", "--shards"],
    ),
    with(
        scenario(
            "peers",
            "other people's servers beside the service, in one table; `peers nats node-ws` takes some of them",
            peers::run,
        ),
        &["--connections", "--install", WORDS],
    ),
    with(
        scenario(
            "knee",
            "the rate of Sends goes up until p99 breaks; then the tail at half of that",
            knee::run,
        ),
        &["--seconds", "--rate", "--connections", "--bytes", "--shards"],
    ),
    Scenario { in_all: false, ..scenario("soak", "mixed for hours, and whether memory grows", mixed::soak) },
];

/// Ours, and other people's tools.
pub fn every() -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS.iter().chain(tools::SCENARIOS)
}

#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    every().find(|scenario| scenario.name == name)
}

/// The name that a slip of the finger may have meant.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let names = every().map(|scenario| scenario.name).chain(["all"]);
    names.map(|known| (distance(name, known), known)).filter(|it| it.0 <= 3).min().map(|it| it.1)
}

/// Letters to put in, take out or change.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate().map(|(at, letter)| (at + 1, letter)) {
        let mut corner = row[0];
        row[0] = at;
        for (place, against) in other.iter().enumerate().map(|(place, it)| (place + 1, it)) {
            let changed = corner + usize::from(letter != *against);
            corner = row[place];
            row[place] = changed.min(row[place] + 1).min(row[place - 1] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood() {
        assert_eq!(nearest("send-stram"), Some("send-stream"));
        assert_eq!(nearest("al"), Some("all"));
        assert_eq!(nearest("something-else"), None);
    }
}
