//! What goes into the scheduler and what comes out.

use crate::core::publish::batch::Batch;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Rules {
    /// Requests under way at once.
    pub in_flight: usize,
    pub request_events: usize,
    pub request_bytes: usize,
    /// The component publishes a bulk natively and in order.
    pub ordered_bulk: bool,
    /// Where an event goes that its topic will never take.
    pub dead_letter: Option<Arc<str>>,
    /// Where a word is sent when one event fails alone and nothing else shows whether the broker
    /// lives. Without it such an event is tried for ever.
    pub canary: Option<Arc<str>>,
}

/// One event of a request.
#[derive(Clone, Debug)]
pub struct Entry {
    pub batch: Arc<Batch>,
    pub index: u32,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub number: u64,
    pub topic: Arc<str>,
    /// None: a canary, whose words are the sender's.
    pub entries: Vec<Entry>,
}

/// How the sidecar answered for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    /// All but those at these positions.
    Partly(Vec<usize>),
    /// The sidecar, or all of its broker, is not there: says nothing about the events.
    Away,
    /// An unknown part was taken, for a reason that may lie in an event.
    Failed,
    /// Nothing was taken, and never will be as it stands: the request, or an event in it.
    Never,
    /// The sidecar refuses the topic.
    TopicRefused,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were sent again.
    pub retries: u64,
    pub acknowledged: u64,
    pub refused: u64,
    /// Of the refused ones, those that the dead-letter topic has.
    pub dead_lettered: u64,
    pub given_back: u64,
}
