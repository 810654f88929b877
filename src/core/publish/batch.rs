//! A batch of finished events: what a shard hands to the bus or to the spill log in one piece.

use crate::core::id::ConnectionId;
use std::{ops::Range, sync::Arc};

/// Unique within one shard and incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Message,
    Gap,
    End,
    Lifecycle,
}

/// One event: a CloudEvent in JSON, and what a reader needs to know without parsing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub topic: Arc<str>,
    pub connection: ConnectionId,
    pub kind: EventKind,
    pub epoch: u64,
    /// First and last seq inside; equal but for `frames`. A gap record or end marker takes no seq
    /// of its own and carries the last one before it.
    pub first_seq: u64,
    pub last_seq: u64,
    /// Messages inside: 1, more in `frames`, 0 for what is not a message.
    pub messages: u32,
    /// Its lane asked for no order: it may go beside, before or after its neighbours.
    pub relaxed: bool,
    /// Where its JSON stands in `Batch::bytes`.
    pub range: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub id: BatchId,
    /// The events' JSON, back to back.
    pub bytes: Vec<u8>,
    pub events: Vec<Event>,
}

/// How the bus answered for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// Some unknown part may have arrived: the whole batch is tried again.
    Retry,
    /// These events (indices into `Batch::events`) will never be taken; the others arrived.
    Refused(Vec<u32>),
}
