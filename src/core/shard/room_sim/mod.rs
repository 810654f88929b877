//! Rooms over several shards, from a seed: sockets that come, join, leave, resume and end, posts to
//! one room and to several at once, kernels that take a part of anything or nothing, and words between
//! shards that keep their order and nothing else. Then the world heals, and everybody must have had
//! everything that was theirs, once, in order, or have been told what is missing.
//!
//! `WSM_SEEDS=50000 cargo test --lib --no-default-features room_sim` runs more, `WSM_SEED=7` one.

mod client;
mod oracle;
mod world;

use super::*;
use crate::{
    core::{
        correlation::Kind,
        io::{Command, Context},
        random::Rng,
        rooms::{
            Access, Admit, Between, Entry, Format, History, Message, Place, Position, Post, RoomAnswer,
            RoomCommand, RoomEffect, RoomName, Rule, Rules, Slow, here::Wrote,
        },
        simulation,
        time::Wall,
    },
    wire::ws::{self, Decoder, Role},
};
use bytes::Bytes;
use client::Client;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const WALL_MILLIS: u64 = 1_700_000_000_000;
const TRACE_LINES: usize = 200;
const STEPS: u64 = 600;
const ROOMS: [&str; 4] = ["a", "bb", "ccc", "a/long/name"];

fn room(name: &str) -> RoomName {
    RoomName::parse("room", name).unwrap()
}

/// What is broken on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Canary {
    Healthy,
    LosesMessage,
    LosesGap,
    RepeatsMessage,
    SwapsWords,
    LosesBytes,
    LosesAnswer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stats {
    steps: u64,
    posts: u64,
    shared: u64,
    given_up: u64,
    frames: u64,
    gaps: u64,
    joined: u64,
    resumed: u64,
    not_recovered: u64,
    slow: u64,
    dropped: u64,
    kept: u64,
    ended: u64,
    /// Of several rooms, and lost since the socket left the one in which it was to come.
    lost_by_leaving: u64,
}

impl Stats {
    fn add(&mut self, other: &Stats) {
        self.steps += other.steps;
        self.posts += other.posts;
        self.shared += other.shared;
        self.given_up += other.given_up;
        self.frames += other.frames;
        self.gaps += other.gaps;
        self.joined += other.joined;
        self.resumed += other.resumed;
        self.not_recovered += other.not_recovered;
        self.slow += other.slow;
        self.dropped += other.dropped;
        self.kept += other.kept;
        self.ended += other.ended;
        self.lost_by_leaving += other.lost_by_leaving;
    }
}

/// What was posted, and where it stands by now.
struct Posted {
    kind: Kind,
    payload: Bytes,
    step: u64,
    places: BTreeMap<RoomName, Position>,
}

/// A message whose numbers are reserved, and the rooms that have not had it.
struct Filling {
    message: Arc<Message>,
    rooms: Vec<RoomName>,
}

struct World {
    rng: Rng,
    canary: Canary,
    now: Now,
    cores: Vec<ShardCore>,
    words: BTreeMap<(u32, u32), VecDeque<Between>>,
    rules: Arc<Rules>,
    /// What the messages of another room system are marked with.
    relayed: Option<Arc<str>>,
    clients: Vec<Client>,
    by_socket: BTreeMap<(u32, SocketKey), usize>,
    posted: Vec<Posted>,
    filling: Vec<Filling>,
    /// What homes handed to shards.
    handed_on: BTreeSet<(RoomName, Position)>,
    answers: BTreeMap<Ticket, Outcome>,
    next_ticket: u64,
    step: u64,
    /// The canary did it.
    broken: bool,
    healed: bool,
    stats: Stats,
    trace: VecDeque<String>,
}

/// What happened, or what went wrong.
fn simulate(seed: u64, canary: Canary) -> Result<Stats, String> {
    let mut world = World::new(seed, canary);
    let Some(why) = simulation::broken(|| world.run()) else { return Ok(world.stats) };
    let mut report = format!("seed {seed}: {why}\n");
    for line in &world.trace {
        report += &format!("  {line}\n");
    }
    Err(report)
}

#[test]
fn everybody_has_everything_once_and_in_order_or_is_told() {
    simulation::every_seed_holds(|seed| simulate(seed, Canary::Healthy), Stats::add);
}

#[test]
fn a_seed_replays() {
    for seed in [3, 17, 40_000] {
        assert_eq!(simulate(seed, Canary::Healthy), simulate(seed, Canary::Healthy));
    }
}

#[test]
fn a_broken_room_is_found() {
    use Canary::*;
    let canaries = [LosesMessage, LosesGap, RepeatsMessage, SwapsWords, LosesBytes, LosesAnswer];
    simulation::every_canary_is_found(&canaries, |seed, canary| simulate(seed, canary).is_err());
}
