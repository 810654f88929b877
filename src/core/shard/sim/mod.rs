//! The whole core of a shard in a hostile world, from a seed: virtual time, fake peers that speak
//! real frames, a store, a bus and a spill log that are slow and fail, callers of every kind, a
//! crash and what is taken up after it; then the world heals, and nothing may be left undone.
//!
//! `WSM_SEEDS=50000 cargo test --lib --no-default-features -- sim` runs more, `WSM_SEED=7` one.

mod backends;
mod callers;
mod faults;
mod fleet;
mod follow;
mod oracle;
mod peer;
mod world;

use super::*;
use crate::{
    core::{
        connection::Phase,
        correlation::{Inject, Kind, Rule},
        io::{
            Command, Context, DialFailed, Fetch, FetchFrom, Fetched, Follow, Followed, List, Opened, Send,
            Update,
        },
        publish::{
            self, Format, Gaps, Ordering, Overflow,
            batch::{Batch, BatchId, EventKind, PublishError},
        },
        random::Rng,
        reason::{Certainty, CloseCause, DropReason, GapCause},
        ring::RecordKind,
        simulation,
        spec::{Connect, Dial, Record, Restore, Settings, Spec, Status},
        target::Target,
        time::Wall,
    },
    wire::{
        event::{Body, LifecycleState as S, ParsedMessage, parse_event},
        ws::{self, Decoder, Role},
    },
};
use backends::{Bus, Spill, SpillOp, Store, StoreOp};
use bytes::Bytes;
use callers::Upstream;
use follow::Follower;
use oracle::{Pending, Seen};
use peer::{Manner, Peer, Style};
use std::{collections::BTreeSet, time::Duration};
use world::{Event, Socket};

const TRACE_LINES: usize = 40;
/// 2023; only labels are made of it.
const WALL_MILLIS: u64 = 1_700_000_000_000;
const FAULTS_MILLIS: u64 = 60_000;
/// From the healing to the last demand.
const HEALING: Duration = Duration::from_secs(60);

/// What is broken on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Canary {
    Healthy,
    LosesAnswer,
    AnswersTwice,
    CrossesReplies,
    LiesOfNotSent,
    LosesEvent,
    LosesGap,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stats {
    steps: u64,
    answers: u64,
    replies: u64,
    not_sent: u64,
    published: u64,
    gaps: u64,
    spilled: u64,
    followed: u64,
    overruns: u64,
    gone: u64,
    fences: u64,
    named: u64,
    retired: u64,
    prepared: u64,
}

impl Stats {
    fn add(&mut self, other: &Stats) {
        self.steps += other.steps;
        self.answers += other.answers;
        self.replies += other.replies;
        self.not_sent += other.not_sent;
        self.published += other.published;
        self.gaps += other.gaps;
        self.spilled += other.spilled;
        self.followed += other.followed;
        self.overruns += other.overruns;
        self.gone += other.gone;
        self.fences += other.fences;
        self.named += other.named;
        self.retired += other.retired;
        self.prepared += other.prepared;
    }
}

/// One connection's part of a topic.
type Place = (Arc<str>, ConnectionId);

struct World {
    rng: Rng,
    canary: Canary,
    now: Now,
    core: ShardCore,
    setup: Setup,
    fx: Effects,
    events: BTreeMap<(Time, u64), Event>,
    order: u64,
    upstreams: Vec<Upstream>,
    sockets: BTreeMap<u64, Socket>,
    live: BTreeMap<SocketKey, u64>,
    next_sid: u64,
    /// What other instances took, with their epochs.
    others: BTreeMap<ConnectionId, u64>,
    /// What was handed over, as its next owner holds it, and where it ended here.
    away: BTreeMap<ConnectionId, (Record, u64)>,
    store: Store,
    store_slow: u64,
    store_fails: u64,
    bus: Bus,
    bus_slow: u64,
    spill: Spill,
    /// Callers.
    pending: BTreeMap<Ticket, Pending>,
    next_ticket: u64,
    next_nonce: u64,
    issuing: Option<Ticket>,
    cancelling: Option<Ticket>,
    caller_millis: u64,
    never: BTreeSet<u64>,
    peer_saw: BTreeSet<u64>,
    followers: Vec<Follower>,
    watch_at: Option<u64>,
    lifecycles: BTreeMap<ConnectionId, S>,
    /// What the bus has.
    topics: BTreeMap<Place, Seen>,
    taken: BTreeSet<(BatchId, String)>,
    refused: Vec<(Place, (u64, u64, u64))>,
    records_refused: BTreeSet<ConnectionId>,
    digests: BTreeMap<(ConnectionId, u64, u64), u64>,
    crashes: u32,
    /// By the wall clock, in nanoseconds: ids of batches begin there.
    restarted: u64,
    /// Between a crash and the restart.
    down: bool,
    healed: bool,
    stopped: bool,
    stats: Stats,
    hash: u64,
    trace: VecDeque<(u64, &'static str, u64, u64)>,
}

impl World {
    fn new(seed: u64, canary: Canary) -> Self {
        let mut rng = Rng(seed);
        let now = Now { mono: Time::from_millis(5), wall: Wall::from_unix_millis(WALL_MILLIS) };
        let setup = Setup {
            shard: 0,
            shards: 1,
            instance: "sim".into(),
            connections_max: 60,
            outbox_bytes_max: 2000 + rng.below(60_000) as usize,
            ring_bytes: 256 * 1024,
            dials_per_second: 20 + rng.below(200) as u32,
            publish: PublishBounds {
                batch_bytes: 500 + rng.below(8000) as usize,
                batch_count: 1 + rng.below(20) as usize,
                linger: Duration::from_millis(5),
                in_flight: 1 + rng.below(4) as usize,
                queue_bytes: 8000 + rng.below(60_000) as usize,
                spill: !rng.chance(200),
                lane_wait_bytes: 1000 + rng.below(8000) as usize,
            },
            lifecycle_topic: "lifecycle".into(),
            rooms: Default::default(),
            seed: rng.word(),
        };
        let refuses = rng.chance(300);
        let spill = Spill { bound: rng.below(60_000) as usize, ..Spill::default() };
        let mut world = World {
            canary,
            now,
            core: ShardCore::new(now, setup.clone()),
            setup,
            fx: Vec::new(),
            events: BTreeMap::new(),
            order: 0,
            upstreams: Vec::new(),
            sockets: BTreeMap::new(),
            live: BTreeMap::new(),
            next_sid: 0,
            others: BTreeMap::new(),
            away: BTreeMap::new(),
            store: Store::default(),
            store_slow: *rng.pick(&[1, 50, 2000]),
            store_fails: *rng.pick(&[0, 0, 100]),
            bus: Bus { refuses, ..Bus::default() },
            bus_slow: *rng.pick(&[2, 30, 400]),
            spill,
            pending: BTreeMap::new(),
            next_ticket: 1,
            next_nonce: 1,
            issuing: None,
            cancelling: None,
            caller_millis: 40 + rng.below(160),
            never: BTreeSet::new(),
            peer_saw: BTreeSet::new(),
            followers: Vec::new(),
            watch_at: Some(0),
            lifecycles: BTreeMap::new(),
            topics: BTreeMap::new(),
            taken: BTreeSet::new(),
            refused: Vec::new(),
            records_refused: BTreeSet::new(),
            digests: BTreeMap::new(),
            crashes: 0,
            restarted: 0,
            down: false,
            healed: false,
            stopped: false,
            stats: Stats::default(),
            hash: seed,
            trace: VecDeque::new(),
            rng,
        };
        world.prepare();
        world
    }

    fn prepare(&mut self) {
        // Mostly few: then more worlds fit into a minute.
        let more = self.rng.below(31).min(self.rng.below(31));
        for index in 0..10 + more as usize {
            let upstream = Upstream::new(index, &mut self.rng);
            self.upstreams.push(upstream);
        }
        for index in 0..self.upstreams.len() {
            if self.rng.chance(800) {
                self.connect(index);
            }
        }
        self.after(Duration::from_millis(1), Event::Caller);
        self.after(Duration::from_millis(500), Event::Fault);
        self.at(Time::from_millis(FAULTS_MILLIS), Event::Heal);
        if self.rng.chance(400) {
            let at = Time::from_millis(15_000 + self.rng.below(35_000));
            self.at(at, Event::Crash);
        } else if self.rng.chance(300) {
            let at = Time::from_millis(10_000 + self.rng.below(40_000));
            let millis = self.rng.below(7_200_000) as i64 - 3_600_000;
            self.at(at, Event::WallJump(millis));
        }
    }

    /// Up to this time, or until nothing is to happen any more.
    fn run_until(&mut self, end: Time) {
        while !self.stopped {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let timer = if self.down { None } else { self.core.poll_timeout() };
            let Some(next) = event.into_iter().chain(timer).min() else { break };
            if next > end {
                break;
            }
            self.advance(next);
            // Several inputs of one moment may share a turn.
            while let Some(entry) = self.events.first_entry()
                && entry.key().0 <= self.now.mono
            {
                let event = entry.remove();
                self.stats.steps += 1;
                assert!(self.stats.steps < 2_000_000, "the world does not come to rest");
                self.happen(event);
                if self.rng.chance(700) {
                    break;
                }
            }
            if !self.down {
                self.turn();
            }
        }
        self.advance(end.max(self.now.mono));
    }

    fn advance(&mut self, to: Time) {
        let passed = to.since(self.now.mono);
        self.now.mono = self.now.mono.max(to);
        self.now.wall = Wall::from_unix_nanos(self.now.wall.unix_nanos() + passed.as_nanos() as u64);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Caller => self.caller(),
            Event::Fault => self.fault(),
            Event::Dialled(sid, opened) => self.dialled(sid, opened),
            Event::ToPeer(sid, bytes) => self.heard(sid, bytes),
            Event::Says(sid, bytes) => self.says(sid, bytes),
            Event::FromPeer(sid, bytes) => self.received(sid, bytes),
            Event::PeerLeaves(sid) => self.peer_left(sid),
            Event::Writable(sid) => self.writable(sid),
            Event::Feed(sid) => self.feed(sid),
            Event::Stored => self.stored(),
            Event::Published => self.published(),
            Event::Spilled => self.spilled(),
            Event::Fetch(follower) => self.fetch(follower),
            Event::WallJump(millis) => {
                let wall = self.now.wall.unix_nanos() as i64 + millis * 1_000_000;
                self.now.wall = Wall::from_unix_nanos(wall as u64);
            }
            Event::Crash => self.crash(),
            Event::Restart => self.restart(),
            Event::Unfence => self.find_lease(),
            Event::Prepared(record, last_seq) => self.commit(*record, last_seq),
            Event::Retired(record, last_seq) => self.release(*record, last_seq),
            Event::ReadOut(socket) => self.step(|core, _, _| core.read_out(socket)),
            Event::Heal => self.heal(),
        }
    }

    /// The world is well again: everything that is to be up is up, and nothing is left undone.
    fn demand_health(&mut self) {
        let core = &self.core;
        for (_, connection) in core.connections.iter() {
            let settings = &connection.spec.settings;
            if settings.auto_reconnect && settings.reconnect_attempts_max == 0 {
                assert_eq!(connection.status(), Status::Connected, "{} is not back", connection.id);
            }
            assert!(!connection.reads_paused, "{} is paused", connection.id);
        }
        let gauges = core.publisher().gauges();
        assert_eq!((gauges.batches_in_flight, gauges.spilled_messages), (0, 0), "{gauges:?}");
        assert!(gauges.queued_bytes == 0 && gauges.holding_lanes == 0, "{gauges:?}");
        assert_eq!(core.sends_in_flight(), 0, "a Send still waits");
        for (ticket, pending) in &self.pending {
            let waits = matches!(pending, Pending::Fetch(_) | Pending::Watch(_));
            assert!(waits, "{ticket:?} was never answered: {pending:?}");
        }
    }

    fn run(&mut self) {
        self.run_until(Time::from_millis(FAULTS_MILLIS) + HEALING);
        // Feeds never pause: a moment between two of them is looked for.
        for _ in 0..100 {
            let publisher = self.core.publisher();
            let drained = publisher.is_drained() && publisher.gauges().spilled_messages == 0;
            if drained && self.core.sends_in_flight() == 0 {
                break;
            }
            self.run_until(self.now.mono + Duration::from_millis(7));
        }
        self.demand_health();
        let open_lanes: Vec<_> = (self.core.connections.iter())
            .filter(|(_, c)| c.lane.is_some() && !matches!(c.phase, Phase::Dead))
            .map(|(_, c)| {
                let spec = c.publish.as_ref().unwrap();
                let gaps_topic =
                    if spec.gaps == Gaps::InBand { spec.topic.clone() } else { "lifecycle".into() };
                ((gaps_topic, c.id.clone()), (c.numbering.epoch(), c.numbering.last_seq()))
            })
            .collect();
        self.command(Pending::Stop, Command::Stop);
        self.run_until(self.now.mono + Duration::from_secs(30));
        assert!(self.stopped, "Stop was never answered");
        // What is on the spill log would be published after the next start.
        for record in std::mem::take(&mut self.spill.records) {
            let batch = Arc::new(Batch::decode(&record).unwrap());
            self.take_events(&batch, batch.events.len(), &[]);
        }
        for (place, end) in open_lanes {
            let seen = self.topics.get(&place);
            let ends = seen.map(|seen| &seen.ends[..]).unwrap_or_default();
            assert!(ends.contains(&end), "{place:?}: no end marker {end:?} among {ends:?}");
        }
        self.check_topics();
        // A delete that failed leaves its document; nothing else does.
        let wanted = |record: &Record| record.spec.settings.auto_reconnect;
        assert!(self.store_fails > 0 || self.store.documents.values().all(wanted), "a document too many");
    }
}

/// The hash of everything that happened, or what went wrong.
fn simulate(seed: u64, canary: Canary) -> Result<(u64, Stats), String> {
    let mut world = World::new(seed, canary);
    let Some(why) = simulation::broken(|| world.run()) else { return Ok((world.hash, world.stats)) };
    let mut report = format!("seed {seed}: {}\n", why);
    for (at, what, a, b) in &world.trace {
        report += &format!("  {:>10.3} ms {what} {a} {b}\n", *at as f64 / 1e6);
    }
    Err(report)
}

#[test]
fn nothing_is_lost_or_told_twice_whatever_the_world_does() {
    let simulate = |seed| simulate(seed, Canary::Healthy).map(|(_, ran)| ran);
    simulation::every_seed_holds(simulate, Stats::add);
}

#[test]
fn a_seed_replays_to_the_last_event() {
    for seed in [3, 17, 40_000] {
        assert_eq!(simulate(seed, Canary::Healthy), simulate(seed, Canary::Healthy));
    }
}

#[test]
fn a_broken_core_is_found() {
    use Canary::*;
    let canaries = [LosesAnswer, AnswersTwice, CrossesReplies, LiesOfNotSent, LosesEvent, LosesGap];
    simulation::every_canary_is_found(&canaries, |seed, canary| simulate(seed, canary).is_err());
}
