//! What one scrape looks at: plain values, copied out of their owners.

use super::process::{Allocator, ByWork, Process, THREADS};
use crate::{
    api::{
        commands::counters::{CommandCounters, CommandOutcome, ReplyOutcome},
        counters::{
            Counters as EdgeCounters, ForwardOutcome, IntakeCounters, PeerCounters, WsCounters, WsRefusal,
            calls::CallsView,
        },
    },
    backend::{
        dapr::DaprStats,
        embedded::EmbeddedStats,
        redis::{RedisRelayStats, RedisRoomsStats, RedisStats},
    },
    config::{Config, MemoryBound},
    core::{
        counters::Counters,
        publish,
        rooms::{here::Deliveries, home::HomeCounters},
        shard::{Gauges, ShardCore},
        tally::Tally,
    },
    fleet,
    ports::{Directory, spans::SpanCounts, timing::CALLS},
    shard::{
        Local,
        mailbox::Mailbox,
        metrics::{OTHERS, ShardMetrics, VenueCounts},
    },
};
use std::{collections::BTreeMap, time::Duration};

/// Copied by the shard's own thread, between two turns of its work.
#[derive(Clone, Default)]
pub struct ShardSnapshot {
    pub core: Counters,
    pub gauges: Gauges,
    pub publish: publish::Counters,
    pub publisher: publish::Gauges,
    pub deliveries: Deliveries,
    pub homes: HomeCounters,
    pub metrics: ShardMetrics,
    /// Callers that wait for an answer.
    pub waiting: usize,
}

impl ShardSnapshot {
    pub fn take(local: &Local) -> Self {
        let (metrics, waiting) = (local.metrics().clone(), local.waiting());
        ShardSnapshot { metrics, waiting, ..ShardSnapshot::of_core(&local.core()) }
    }

    pub fn of_core(core: &ShardCore) -> Self {
        ShardSnapshot {
            core: core.counters().clone(),
            gauges: core.gauges(),
            publish: core.publisher().counters().clone(),
            publisher: core.publisher().gauges(),
            deliveries: core.deliveries(),
            homes: core.home_counters(),
            ..ShardSnapshot::default()
        }
    }
}

/// A shard as others see it, and the last that it said of itself.
#[derive(Clone, Default)]
pub struct ShardView {
    pub up: bool,
    pub busy_seconds: f64,
    pub mailbox_depth: usize,
    pub mailbox_refused: u64,
    pub feeds_refused: u64,
    pub inner: ShardSnapshot,
}

impl ShardView {
    /// None: the shard did not answer, so it stands as it stood.
    pub fn update(&mut self, fresh: Option<ShardSnapshot>, mailbox: &Mailbox, busy_seconds: Option<f64>) {
        self.up = fresh.is_some();
        self.mailbox_depth = mailbox.len();
        self.mailbox_refused = mailbox.refused();
        self.feeds_refused = mailbox.feeds_refused();
        // A thread that has ended keeps what it used.
        self.busy_seconds = busy_seconds.unwrap_or(self.busy_seconds);
        if let Some(fresh) = fresh {
            self.inner = fresh;
        }
    }
}

/// The lease and the other instances.
#[derive(Clone, Copy, Debug)]
pub struct FleetView {
    pub held: bool,
    pub advisory: bool,
    pub members: usize,
    pub view: fleet::View,
}

impl FleetView {
    pub fn read(handle: Option<&fleet::Handle>) -> Self {
        match handle {
            None => FleetView::default(),
            Some(handle) => FleetView {
                held: handle.state() != fleet::State::Waiting,
                advisory: handle.state() == fleet::State::Advisory,
                members: handle.members().len(),
                view: handle.view(),
            },
        }
    }
}

impl Default for FleetView {
    /// Without a fleet there is nobody to lose a lease to.
    fn default() -> Self {
        FleetView { held: true, advisory: false, members: 0, view: fleet::View::default() }
    }
}

/// How long the fleet's store took, and what is left of the lease.
#[derive(Clone, Copy, Debug, Default)]
pub struct FleetPace {
    pub lease_left: f64,
    pub renewal: Tally,
    /// Reads, writes.
    pub documents: [Tally; 2],
}

impl FleetPace {
    pub fn read(handle: &fleet::Handle) -> Self {
        let times = handle.times();
        FleetPace {
            lease_left: handle.lease_left().as_secs_f64(),
            renewal: times.lease.read(),
            documents: [times.read.read(), times.write.read()],
        }
    }
}

/// What does not change while the process runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fixed {
    pub backend: &'static str,
    pub config_hash: u64,
    pub memory_bound: u64,
    /// Of one shard.
    pub connections_max: u64,
    pub mailbox_max: u64,
    pub publish_queue_max: u64,
    pub spill_max: u64,
}

impl Fixed {
    pub fn of(config: &Config) -> Self {
        Fixed {
            backend: config.backend.name(),
            config_hash: config.fingerprint(),
            memory_bound: MemoryBound::of(config).total(),
            connections_max: config.max_connections as u64,
            mailbox_max: config.mailbox_max as u64,
            publish_queue_max: config.publish.queue_bytes as u64,
            spill_max: config.publish.spill_bytes,
        }
    }
}

/// How far the instance is in its life.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    pub ready: bool,
    pub draining: bool,
}

/// Calls between instances.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeersView {
    pub forwarded: [u64; ForwardOutcome::ALL.len()],
    pub served: u64,
    /// Opened, closed.
    pub streams: [u64; 2],
    pub hellos_refused: u64,
    /// Hits, misses.
    pub cache: [u64; 2],
    /// Calls that were answered.
    pub answered: Tally,
}

impl PeersView {
    pub fn read(counters: &PeerCounters) -> Self {
        PeersView {
            forwarded: std::array::from_fn(|n| counters.forwarded(ForwardOutcome::ALL[n]).get()),
            served: counters.served.get(),
            streams: [counters.streams_opened.get(), counters.streams_closed.get()],
            hellos_refused: counters.hellos_refused.get(),
            cache: [counters.holder_cache_hits.get(), counters.holder_cache_misses.get()],
            answered: counters.answered.read(),
        }
    }
}

/// How WebSocket clients came in.
#[derive(Clone, Copy, Debug, Default)]
pub struct IngressView {
    pub accepted: u64,
    pub vanished: u64,
    pub refused: [u64; WsRefusal::ALL.len()],
}

impl IngressView {
    pub fn read(counters: &WsCounters) -> Self {
        IngressView {
            accepted: counters.accepted.get(),
            vanished: counters.vanished.get(),
            refused: std::array::from_fn(|n| counters.refused(WsRefusal::ALL[n]).get()),
        }
    }
}

/// Commands over the bus.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandsView {
    pub ended: [u64; CommandOutcome::ALL.len()],
    pub replies: [u64; ReplyOutcome::ALL.len()],
    pub in_flight: u64,
    pub taking: bool,
}

impl CommandsView {
    pub fn read(counters: &CommandCounters) -> Self {
        CommandsView {
            ended: std::array::from_fn(|n| counters.commands(CommandOutcome::ALL[n])),
            replies: std::array::from_fn(|n| counters.replies(ReplyOutcome::ALL[n])),
            in_flight: counters.in_flight(),
            taking: counters.is_taking(),
        }
    }
}

/// Everything on the page.
#[derive(Default)]
pub struct Page {
    pub shards: Vec<ShardView>,
    pub process: Process,
    pub allocator: Allocator,
    /// Seconds, by `THREADS`.
    pub threads: [f64; THREADS.len()],
    pub by_work: ByWork,
    pub fixed: Fixed,
    pub standing: Standing,
    /// What the last scrape took.
    pub scraped: Duration,
    pub calls: CallsView,
    pub spans: SpanCounts,
    /// By host, over all shards.
    pub venues: BTreeMap<String, VenueCounts>,
    pub backend_ready: bool,
    pub embedded: EmbeddedStats,
    /// Of the backend in use.
    pub dapr: Option<DaprStats>,
    pub redis: Option<RedisStats>,
    /// In the order of `CALLS`.
    pub redis_times: Option<[Tally; CALLS.len()]>,
    pub rooms: Option<RedisRoomsStats>,
    pub rooms_send: Option<Tally>,
    pub relay: Option<RedisRelayStats>,
    pub fleet: FleetView,
    /// None: there is no fleet.
    pub pace: Option<FleetPace>,
    pub peers: PeersView,
    pub commands: CommandsView,
    pub ingress: IngressView,
    /// Names and values.
    pub edge: Vec<(&'static str, u64)>,
    pub intake: Vec<(&'static str, u64)>,
}

impl Page {
    /// As it is before anything happened.
    pub fn new(shards: u32) -> Self {
        Page {
            shards: vec![ShardView::default(); shards as usize],
            edge: EdgeCounters::default().all(),
            intake: IntakeCounters::default().all(),
            venues: BTreeMap::from([(OTHERS.to_owned(), VenueCounts::default())]),
            ..Page::default()
        }
    }

    /// A host keeps its name; one with the name of all others is among them.
    pub fn sum_venues(&mut self) {
        self.venues.values_mut().for_each(|counts| *counts = VenueCounts::default());
        for view in &self.shards {
            for (name, counts) in view.inner.metrics.venues.iter() {
                match self.venues.get_mut(name) {
                    Some(sum) => sum.add(counts),
                    None => drop(self.venues.insert(name.to_owned(), *counts)),
                }
            }
        }
    }
}
