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

/// What `Batch::remove` took out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub messages: u64,
    /// Messages, and records that are none.
    pub entries: usize,
}

impl Batch {
    /// Takes events out; the others keep their order.
    pub fn remove(&mut self, gone: impl Fn(&Event) -> bool) -> Removed {
        remove_events(&mut self.bytes, &mut self.events, gone)
    }
}

pub(super) fn remove_events(
    bytes: &mut Vec<u8>,
    events: &mut Vec<Event>,
    gone: impl Fn(&Event) -> bool,
) -> Removed {
    let (mut removed, mut end) = (Removed::default(), 0);
    events.retain_mut(|event| {
        if gone(event) {
            removed.messages += u64::from(event.messages);
            removed.entries += event.messages.max(1) as usize;
            return false;
        }
        let length = event.range.len();
        bytes.copy_within(event.range.clone(), end);
        event.range = end..end + length;
        end += length;
        true
    });
    bytes.truncate(end);
    removed
}

/// How the bus answered for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// Some unknown part may have arrived: the whole batch is tried again.
    Retry,
    /// These events (indices into `Batch::events`) will never be taken; the others arrived.
    Refused(Vec<u32>),
}
