//! Every metric there is: its name, its type, its labels, what it says, and where it is read.
//! The page and the README's table are both made from this.

mod backends;
mod embedded;
mod fleet;
mod ingress;
mod peers;
mod process;
mod publish;
mod room_bus;
mod rooms;
mod shard;

use super::{
    process::THREADS,
    snapshot::{FleetPace, Page, ShardView},
};
use crate::{
    api::{
        commands::counters::{CommandOutcome, ReplyOutcome},
        counters::{
            ForwardOutcome, WsRefusal,
            calls::{CallEnd, Method},
        },
    },
    backend::{
        dapr::{DaprStats, ERROR_KINDS},
        embedded::{EmbeddedStats, FSYNC_BUCKETS_MICROS},
        redis::{POISON_KINDS, RedisRelayStats, RedisRoomsStats, RedisStats},
    },
    core::{
        counters::{SLOW_ACTIONS, SendEnd},
        reason::{CloseCause, DropReason, GapCause},
        tally::{BOUNDS_MICROS, Tally},
    },
    ports::{spans::SpanOutcome, timing::CALLS},
    shard::metrics::{Latency, VenueCounts},
};
use std::fmt::Write;

pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub read: Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Where the values of a metric are, and so which labels it has.
pub enum Read {
    Shard(fn(&ShardView) -> f64),
    /// One for each value of a set, by its place in the set.
    ShardSet(Set, fn(&ShardView, usize) -> f64),
    /// With its upper bounds in microseconds.
    ShardLatency(&'static [u64], fn(&ShardView) -> &Latency),
    Process(fn(&Page) -> f64),
    ProcessSet(Set, fn(&Page, usize) -> f64),
    /// Of a backend that may not be in use: then there is no series.
    Dapr(fn(&DaprStats) -> f64),
    DaprSet(Set, fn(&DaprStats, usize) -> f64),
    Redis(fn(&RedisStats) -> f64),
    RedisSet(Set, fn(&RedisStats, usize) -> f64),
    /// Of rooms on Redis, beside whatever backend.
    Rooms(fn(&RedisRoomsStats) -> f64),
    Relay(fn(&RedisRelayStats) -> f64),
    RelaySet(Set, fn(&RedisRelayStats, usize) -> f64),
    Embedded(fn(&EmbeddedStats) -> f64),
    EmbeddedSet(Set, fn(&EmbeddedStats, usize) -> f64),
    Fsync,
    /// Counted into the buckets of `Tally`; of a part that may not be there.
    Tally(fn(&Page) -> Option<Tally>),
    TallySet(Set, fn(&Page, usize) -> Option<Tally>),
    ShardTally(fn(&ShardView) -> &Tally),
    Fleet(fn(&FleetPace) -> f64),
    /// By the upstream's host.
    Venue(fn(&VenueCounts) -> u64),
    /// By method and end, and by method.
    Calls,
    CallTimes,
    /// By method, of those that are streams; and by method and end.
    Streams,
    StreamEnds,
    Edge,
    Intake,
    Build,
}

/// Label values that exist; no label has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    Direction,
    Status,
    SendOutcome,
    CloseCause,
    GapCause,
    DropReason,
    BatchOutcome,
    SpillOutcome,
    /// Parts of the embedded backend.
    Stage,
    DiskStage,
    /// Of calls that were passed on to another instance.
    ForwardOutcome,
    StreamEvent,
    CacheOutcome,
    CommandOutcome,
    ReplyOutcome,
    DaprError,
    DocumentCall,
    /// Of one message to one member of a room.
    DeliveryOutcome,
    SlowAction,
    /// Why an opening handshake was refused.
    WsRefusal,
    Poison,
    /// What threads that are no shards do.
    Thread,
    SpanOutcome,
    /// What a backend is asked.
    BackendCall,
    Method,
    CallEnd,
}

impl Set {
    pub const fn label(self) -> &'static str {
        match self {
            Set::Direction => "direction",
            Set::Status => "status",
            Set::SendOutcome
            | Set::BatchOutcome
            | Set::SpillOutcome
            | Set::ForwardOutcome
            | Set::CacheOutcome
            | Set::CommandOutcome
            | Set::ReplyOutcome
            | Set::SpanOutcome
            | Set::CallEnd
            | Set::DeliveryOutcome => "outcome",
            Set::SlowAction => "action",
            Set::StreamEvent => "event",
            Set::DaprError => "kind",
            Set::DocumentCall | Set::BackendCall => "call",
            Set::Thread => "work",
            Set::Method => "method",
            Set::CloseCause | Set::GapCause => "cause",
            Set::DropReason | Set::WsRefusal | Set::Poison => "reason",
            Set::Stage | Set::DiskStage => "stage",
        }
    }

    pub fn values(self) -> Vec<&'static str> {
        match self {
            Set::Direction => vec!["in", "out"],
            // In the order of `Status`.
            Set::Status => vec!["connecting", "connected", "disconnected", "error", "reconnecting"],
            Set::SendOutcome => SendEnd::ALL.iter().map(|end| end.name()).collect(),
            Set::CloseCause => CloseCause::ALL.iter().map(|cause| cause.name()).collect(),
            Set::GapCause => GapCause::ALL.iter().map(|cause| cause.name()).collect(),
            Set::DropReason => DropReason::ALL.iter().map(|reason| reason.name()).collect(),
            Set::BatchOutcome => vec!["taken", "retried", "spilled"],
            Set::SpillOutcome => vec!["appended", "popped", "refused"],
            Set::Stage => vec!["bus", "fsync", "spill", "store"],
            Set::DiskStage => vec!["bus", "spill"],
            Set::ForwardOutcome => ForwardOutcome::ALL.iter().map(|outcome| outcome.name()).collect(),
            Set::StreamEvent => vec!["opened", "closed"],
            Set::CacheOutcome => vec!["hit", "miss"],
            Set::CommandOutcome => CommandOutcome::ALL.iter().map(|outcome| outcome.name()).collect(),
            Set::ReplyOutcome => ReplyOutcome::ALL.iter().map(|outcome| outcome.name()).collect(),
            Set::DaprError => ERROR_KINDS.to_vec(),
            Set::DocumentCall => vec!["read", "write"],
            Set::DeliveryOutcome => {
                vec!["delivered", "repeated", "left", "dropped_closed", "dropped_oldest", "dropped_latest"]
            }
            Set::SlowAction => SLOW_ACTIONS.to_vec(),
            Set::WsRefusal => WsRefusal::ALL.iter().map(|reason| reason.name()).collect(),
            Set::Poison => POISON_KINDS.to_vec(),
            Set::Thread => THREADS.to_vec(),
            Set::SpanOutcome => SpanOutcome::ALL.map(SpanOutcome::name).to_vec(),
            Set::BackendCall => CALLS.to_vec(),
            Set::Method => Method::ALL.iter().map(|method| method.name()).collect(),
            Set::CallEnd => CallEnd::ALL.iter().map(|end| end.name()).collect(),
        }
    }
}

/// Network round trips to patient peers.
pub const WAIT_BUCKETS_MICROS: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// What one turn of a loop takes: microseconds when all is well.
pub const TURN_BUCKETS_MICROS: &[u64] =
    &[5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000];

/// In the order of the README.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    [
        process::PROCESS,
        shard::SHARD,
        shard::CONNECTIONS,
        publish::PUBLISH,
        rooms::ROOMS,
        fleet::FLEET,
        ingress::INGRESS,
        peers::PEERS,
        peers::COMMANDS,
        embedded::EMBEDDED,
        backends::DAPR,
        backends::REDIS,
        room_bus::ROOMS,
        room_bus::RELAY,
    ]
    .into_iter()
    .flatten()
}

impl Metric {
    pub fn labels(&self) -> Vec<&'static str> {
        match self.read {
            Read::Shard(_) | Read::ShardLatency(..) | Read::ShardTally(_) => vec!["shard"],
            Read::ShardSet(set, _) => vec!["shard", set.label()],
            Read::EmbeddedSet(set, _)
            | Read::ProcessSet(set, _)
            | Read::DaprSet(set, _)
            | Read::RedisSet(set, _)
            | Read::TallySet(set, _)
            | Read::RelaySet(set, _) => vec![set.label()],
            Read::Edge | Read::Intake => vec!["event"],
            Read::Build => vec!["version", "commit", "rustc", "backend"],
            Read::Venue(_) => vec!["venue"],
            Read::Calls | Read::StreamEnds => vec![Set::Method.label(), Set::CallEnd.label()],
            Read::CallTimes | Read::Streams => vec![Set::Method.label()],
            Read::Process(_)
            | Read::Embedded(_)
            | Read::Dapr(_)
            | Read::Redis(_)
            | Read::Rooms(_)
            | Read::Relay(_)
            | Read::Tally(_)
            | Read::Fleet(_)
            | Read::Fsync => Vec::new(),
        }
    }

    /// The bounds of a histogram, in microseconds.
    pub fn buckets(&self) -> &'static [u64] {
        match self.read {
            Read::ShardLatency(bounds, _) => bounds,
            Read::Fsync => &FSYNC_BUCKETS_MICROS,
            Read::Tally(_) | Read::TallySet(..) | Read::ShardTally(_) | Read::CallTimes => &BOUNDS_MICROS,
            _ => &[],
        }
    }
}

/// The metrics as the README shows them.
pub fn markdown_table() -> String {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in all() {
        let labels: Vec<_> = metric.labels().iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (metric.name, metric.kind.name(), labels.join(", "));
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{name}` | {kind} | {labels} | {} |", metric.help);
    }
    table
}

const fn counter(name: &'static str, help: &'static str, read: Read) -> Metric {
    Metric { name, kind: Kind::Counter, help, read }
}

const fn gauge(name: &'static str, help: &'static str, read: Read) -> Metric {
    Metric { name, kind: Kind::Gauge, help, read }
}

const fn histogram(name: &'static str, help: &'static str, read: Read) -> Metric {
    Metric { name, kind: Kind::Histogram, help, read }
}

#[cfg(test)]
mod tests;
