//! What a caller chose for a lane, and what an operator chose for a shard.

use crate::{limits, wire::event::Format};
use std::{sync::Arc, time::Duration};

/// Whether a lane minds that a failed batch is overtaken by a later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    #[default]
    Ordered,
    Relaxed,
}

/// What a lane does when the bus is slower than its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// To disk; past that bound reads pause.
    #[default]
    Spill,
    /// Reads pause at once.
    Pause,
    DropOldest,
    DropNewest,
    /// One message per value at this JSON pointer; without a pointer, one message. Messages
    /// without the value are only dropped by age.
    KeepLatest {
        key: Option<String>,
    },
}

/// Where gap records and end markers go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    #[default]
    InBand,
    /// For subscribers that know only messages.
    Lifecycle,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub topic: Arc<str>,
    pub format: Format,
    pub ordering: Ordering,
    pub overflow: Overflow,
    pub gaps: Gaps,
}

impl Spec {
    pub fn new(topic: impl Into<Arc<str>>) -> Self {
        Spec {
            topic: topic.into(),
            format: Format::default(),
            ordering: Ordering::default(),
            overflow: Overflow::default(),
            gaps: Gaps::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub batch_bytes: usize,
    pub batch_count: usize,
    pub linger: Duration,
    /// Batches under way at once, at least 1.
    pub in_flight: usize,
    /// Events in memory before lanes overflow.
    pub queue_bytes: usize,
    /// Whether there is a spill log; without one, lanes that would spill pause instead.
    pub spill: bool,
    /// The waiting room of one lane that drops its oldest or keeps its latest.
    pub lane_wait_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            batch_bytes: limits::PUBLISH_BATCH_BYTES,
            batch_count: limits::PUBLISH_BATCH_COUNT,
            linger: limits::PUBLISH_LINGER,
            in_flight: limits::PUBLISH_IN_FLIGHT,
            queue_bytes: limits::PUBLISH_QUEUE_BYTES,
            spill: true,
            lane_wait_bytes: limits::PUBLISH_LANE_WAIT_BYTES,
        }
    }
}
