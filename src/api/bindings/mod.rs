//! Topics that are bound to rooms: each event of a bound topic goes to the room that its data names.
//!
//! Decisions that readers can rely on:
//! - At least once, in order in each topic. An event is done when its rooms took it, or never will: then
//!   it is counted and let go. Rooms that cannot take it now are asked again, and what comes behind it
//!   waits.
//! - In a fleet one instance sends each event. With a sidecar the broker's consumer group says which;
//!   on Redis it is the live instance with the smallest incarnation, and the place up to which a topic
//!   was read stands in the shared documents, changed by compare-and-set: two that each take
//!   themselves for the reader send some events twice, and none not at all.
//! - A topic that was never read before is read from now on.
//! - Gap records and end markers in a topic are for its followers, and go to no room.

mod book;
mod follow;
mod inbox;
#[cfg(test)]
mod tests;

pub use book::{Book, FileBook, SharedBook};
pub use follow::{follow, is_reader};
pub use inbox::receive;

use super::{counters::IntakeCounters, posts::Poster, typed::Check};
use crate::{
    core::{
        backoff,
        names::Topic,
        reason::{Fault, FaultKind},
        rooms::{
            Post, RoomName,
            bound::{self, Read},
            intake::Binding,
        },
    },
    limits,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// What all bindings work with.
#[derive(Clone)]
pub struct Parts {
    pub poster: Arc<dyn Poster>,
    pub check: Option<Arc<dyn Check>>,
    pub counters: Arc<IntakeCounters>,
}

/// The bindings of one topic.
pub struct Lane {
    topic: Topic,
    bindings: Vec<Binding>,
    parts: Parts,
    /// When the log last had a line about an event that goes nowhere, and how many came since.
    said: Option<Instant>,
    unsaid: u64,
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    /// To at least one room.
    Posted,
    /// For no room, though there is nothing wrong with it.
    Passed,
    /// Nobody could ever use it.
    Useless,
}

/// A lane for each topic, in the order of the settings.
pub fn lanes(bindings: &[Binding], parts: &Parts) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    for binding in bindings {
        match lanes.iter_mut().find(|lane| lane.topic == binding.topic) {
            Some(lane) => lane.bindings.push(binding.clone()),
            None => lanes.push(Lane {
                topic: binding.topic.clone(),
                bindings: vec![binding.clone()],
                parts: parts.clone(),
                said: None,
                unsaid: 0,
            }),
        }
    }
    lanes
}

impl Lane {
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Until its rooms have taken the event. Given up in the middle, it was not sent to all.
    async fn carry(&mut self, event: &Bytes) -> Carried {
        self.parts.counters.events_read.add();
        let data = match bound::read(event) {
            Read::Data(data) => data,
            Read::Record => {
                self.parts.counters.events_records.add();
                return Carried::Passed;
            }
            Read::Malformed(why) => {
                self.parts.counters.events_invalid.add();
                self.say(why);
                return Carried::Useless;
            }
        };
        let mut carried = Carried::Useless;
        for at in 0..self.bindings.len() {
            let binding = &self.bindings[at];
            let room = match data.room(binding) {
                Ok(room) => room,
                Err(why) => {
                    self.parts.counters.events_without_room.add();
                    self.say(&why.to_string());
                    continue;
                }
            };
            let Some(post) = data.post(binding) else {
                self.parts.counters.events_invalid.add();
                self.say("bytes that are no text cannot stand under a MESSAGE_ID");
                continue;
            };
            if let Some(check) = &self.parts.check
                && let Err(fault) = check.check(&post.payload)
            {
                self.parts.counters.events_invalid.add();
                self.say(&fault.to_string());
                continue;
            }
            if self.post(room, post).await {
                carried = Carried::Posted;
            }
        }
        carried
    }

    /// False: the room will never take it.
    async fn post(&mut self, room: RoomName, post: Post) -> bool {
        let mut attempt = 0;
        loop {
            let fault = match self.parts.poster.post(vec![room.clone()], post.clone()).await {
                Ok(_) => {
                    self.parts.counters.events_posted.add();
                    return true;
                }
                Err(fault) => fault,
            };
            if !may_pass(fault.kind) {
                self.parts.counters.events_refused.add();
                self.say(&fault.to_string());
                return false;
            }
            self.parts.counters.events_retried.add();
            attempt = u32::saturating_add(attempt, 1);
            if attempt.is_power_of_two() {
                let topic = self.topic.as_str();
                tracing::warn!(topic, %room, attempt, %fault, "a room does not take an event; trying again");
            }
            sleep(pause(attempt, &fault)).await;
        }
    }

    /// A flood of bad events must not become a flood of lines.
    fn say(&mut self, why: &str) {
        let now = Instant::now();
        if self.said.is_some_and(|said| now - said < limits::BINDING_LOG_INTERVAL) {
            self.unsaid += 1;
            return;
        }
        self.said = Some(now);
        let (topic, unsaid) = (self.topic.as_str(), std::mem::take(&mut self.unsaid));
        let why: String = why.chars().take(limits::LOG_TEXT_CHARS_MAX).collect();
        tracing::warn!(topic, unsaid, why, "an event of a bound topic goes to no room");
    }
}

/// Whether the same post may be taken later.
fn may_pass(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Full
        | FaultKind::Unavailable
        | FaultKind::NotSent
        | FaultKind::MaybeSent
        | FaultKind::TimedOut
        | FaultKind::Cancelled
        | FaultKind::DialFailed
        | FaultKind::NotOpen
        // By another version, while instances are replaced one by one.
        | FaultKind::Unimplemented => true,
        FaultKind::NotFound
        | FaultKind::Invalid
        | FaultKind::EgressDenied
        | FaultKind::IdInUse
        | FaultKind::CorrelationInUse
        | FaultKind::FifoResync
        | FaultKind::PeerProtocol
        | FaultKind::Unauthenticated
        | FaultKind::Forbidden
        | FaultKind::Internal => false,
    }
}

fn pause(attempt: u32, fault: &Fault) -> Duration {
    let (base, max) = (limits::BINDING_RETRY_BASE, limits::BINDING_RETRY_MAX);
    backoff::ceiling(attempt.saturating_sub(1), base, max).max(fault.retry_after.unwrap_or_default().min(max))
}
