//! Three instances and their store in a hostile world, from a seed: clocks that differ and jump,
//! answers that come late or never, partitions, pauses, crashes, a store that goes back in time.
//! Then the world heals, and everything must have exactly one owner.
//!
//! `WSM_SEEDS=50000 cargo test --lib --no-default-features fleet::sim` runs more, `WSM_SEED=7` one.

mod callers;
mod faults;
mod oracle;
mod store;
mod world;

use super::{
    document::{INDEX, Read, decode_ids, decode_record},
    io::Claim,
    *,
};
use crate::core::{random::Rng, simulation, time::Wall};
use bytes::Bytes;
use callers::{Planned, Wants};
use std::collections::VecDeque;
use store::{Manner, Op, Store};
use world::{Event, Instance};

const TRACE_LINES: usize = 60;
const WALL_MILLIS: u64 = 1_700_000_000_000;
const FAULTS: u64 = 60_000 * MILLI;
const HEALING: u64 = 60_000 * MILLI;
const MILLI: u64 = 1_000_000;
/// After a rollback of the store two may hold one connection, for as long as it takes to notice:
/// no compare-and-set can know what was forgotten.
const ROLLBACK_GRACE: u64 = 30_000 * MILLI;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stats {
    steps: u64,
    taken: u64,
    fences: u64,
    lost: u64,
    stored: u64,
    claims: u64,
    advisory: u64,
    rollbacks: u64,
    crashes: u64,
    transfers: u64,
    store_losses: u64,
}

impl Stats {
    fn add(&mut self, other: &Stats) {
        self.steps += other.steps;
        self.taken += other.taken;
        self.fences += other.fences;
        self.lost += other.lost;
        self.stored += other.stored;
        self.claims += other.claims;
        self.advisory += other.advisory;
        self.rollbacks += other.rollbacks;
        self.crashes += other.crashes;
        self.transfers += other.transfers;
        self.store_losses += other.store_losses;
    }
}

struct World {
    rng: Rng,
    canary: Canary,
    /// Nanoseconds of the world's own clock.
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    instances: Vec<Instance>,
    store: Store,
    /// An older state, to which the store may go back.
    snapshot: BTreeMap<String, store::Doc>,
    deadline: u64,
    /// Per mille of operations.
    fails: u64,
    stalled_until: u64,
    /// Worlds whose store goes back have honest wall clocks: with both nobody knows what was.
    rolls_back: bool,
    rolled_back: Option<u64>,
    healed: bool,
    next_asker: u64,
    next_id: u64,
    /// The highest epoch under which a connection was owned.
    epochs: BTreeMap<ConnectionId, u64>,
    /// Ids that stand for sure, or are gone for sure.
    standing: BTreeMap<ConnectionId, bool>,
    stats: Stats,
    hash: u64,
    trace: VecDeque<String>,
    /// `WSM_TRACE=minted-7` leaves everything out of the trace that is about others.
    watched: Option<String>,
}

fn simulate(seed: u64, canary: Canary) -> Result<(u64, Stats), String> {
    let mut world = World::new(seed, canary);
    let Some(why) = simulation::broken(|| world.run()) else { return Ok((world.hash, world.stats)) };
    let mut report = format!("seed {seed}: {}\n", why);
    world.trace.iter().for_each(|line| report += &format!("  {line}\n"));
    Err(report)
}

#[test]
fn every_connection_has_one_owner_whatever_the_world_does() {
    let simulate = |seed| simulate(seed, Canary::Healthy).map(|(_, ran)| ran);
    simulation::every_seed_holds(simulate, Stats::add);
}

#[test]
fn a_seed_replays_to_the_last_answer() {
    for seed in [3, 17, 40_000] {
        assert_eq!(simulate(seed, Canary::Healthy), simulate(seed, Canary::Healthy));
    }
}

#[test]
fn a_broken_machine_is_found() {
    use Canary::*;
    let canaries = [OutlivesLease, Impatient, TakesAnyway, KeepsEpoch, ForgetsBucket];
    simulation::every_canary_is_found(&canaries, |seed, canary| simulate(seed, canary).is_err());
}
