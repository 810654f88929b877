//! The last lifecycle events of one shard, for those who watch.

use crate::{
    core::{
        id::ConnectionId,
        spec::{Tags, has_tags},
        time::Wall,
    },
    limits,
    wire::event::LifecycleState,
};
use std::{collections::VecDeque, sync::Arc};

#[derive(Debug)]
pub struct LifecycleEvent {
    pub state: LifecycleState,
    pub connection: ConnectionId,
    /// Redacted.
    pub url: String,
    pub instance: Arc<str>,
    pub reason: Box<str>,
    pub attempt: Option<u32>,
    pub tags: Tags,
    pub wall: Wall,
}

impl LifecycleEvent {
    pub fn is_wanted(&self, id: Option<&ConnectionId>, tags: &[(String, String)]) -> bool {
        id.is_none_or(|id| *id == self.connection) && has_tags(&self.tags, tags)
    }
}

#[derive(Default)]
pub struct Watch {
    events: VecDeque<Arc<LifecycleEvent>>,
    /// Position of the first one kept.
    start: u64,
}

impl Watch {
    pub fn push(&mut self, event: Arc<LifecycleEvent>) {
        if self.events.len() == limits::WATCH_EVENTS_MAX {
            self.events.pop_front();
            self.start += 1;
        }
        self.events.push_back(event);
    }

    pub fn end(&self) -> u64 {
        self.start + self.events.len() as u64
    }

    pub fn start(&self) -> u64 {
        self.start
    }

    /// From `position` on, or from the oldest kept; and where to go on.
    pub fn read(&self, position: u64, max: usize) -> (Vec<Arc<LifecycleEvent>>, u64) {
        let from = position.clamp(self.start, self.end());
        let events: Vec<_> =
            self.events.iter().skip((from - self.start) as usize).take(max).cloned().collect();
        let next = from + events.len() as u64;
        (events, next)
    }
}
