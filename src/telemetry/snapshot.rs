//! What one scrape looks at: plain values, copied out of their owners.

use super::process::Process;
use crate::{
    api::{
        commands::counters::{CommandCounters, CommandOutcome, ReplyOutcome},
        counters::{
            Counters as EdgeCounters, ForwardOutcome, IntakeCounters, PeerCounters, WsCounters, WsRefusal,
        },
    },
    backend::{
        dapr::DaprStats,
        embedded::EmbeddedStats,
        redis::{RedisRelayStats, RedisRoomsStats, RedisStats},
    },
    core::{
        counters::Counters,
        publish,
        rooms::{here::Deliveries, home::HomeCounters},
        shard::{Gauges, ShardCore},
    },
    fleet,
    ports::Directory,
    shard::{Local, mailbox::Mailbox, metrics::ShardMetrics},
};

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
}

impl PeersView {
    pub fn read(counters: &PeerCounters) -> Self {
        PeersView {
            forwarded: std::array::from_fn(|n| counters.forwarded(ForwardOutcome::ALL[n]).get()),
            served: counters.served.get(),
            streams: [counters.streams_opened.get(), counters.streams_closed.get()],
            hellos_refused: counters.hellos_refused.get(),
            cache: [counters.holder_cache_hits.get(), counters.holder_cache_misses.get()],
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
    pub backend_ready: bool,
    pub embedded: EmbeddedStats,
    /// Of the backend in use.
    pub dapr: Option<DaprStats>,
    pub redis: Option<RedisStats>,
    pub rooms: Option<RedisRoomsStats>,
    pub relay: Option<RedisRelayStats>,
    pub fleet: FleetView,
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
            ..Page::default()
        }
    }
}
