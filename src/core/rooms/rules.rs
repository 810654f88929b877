//! What each room keeps, and what happens to those who read too slowly.

use crate::{core::names::RoomName, limits};
use std::{sync::Arc, time::Duration};

/// What a room keeps for those who come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    pub messages: usize,
    pub bytes: usize,
    pub age: Duration,
}

impl Default for History {
    fn default() -> Self {
        History {
            messages: limits::ROOM_HISTORY_MESSAGES,
            bytes: limits::ROOM_HISTORY_BYTES,
            age: limits::ROOM_HISTORY_AGE,
        }
    }
}

impl History {
    pub const NONE: History = History { messages: 0, bytes: 0, age: Duration::ZERO };

    pub fn is_none(&self) -> bool {
        self.messages == 0 || self.bytes == 0 || self.age.is_zero()
    }
}

/// What happens to a member that the room's log overtakes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Slow {
    /// It is closed with 1013.
    #[default]
    Close,
    /// It loses the oldest.
    DropOldest,
    /// It keeps the latest message, for each value at this JSON pointer when there is one.
    KeepLatest(Option<Box<str>>),
}

/// One rule: for the rooms whose names fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A name, or a beginning and `*`.
    pub pattern: Box<str>,
    pub history: Option<History>,
    pub slow: Option<Slow>,
}

/// All rules; the first that fits and says something decides it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub rules: Vec<Rule>,
    pub history: History,
    pub slow: Slow,
}

impl Rules {
    pub fn history(&self, room: &RoomName) -> History {
        self.matching(room).find_map(|rule| rule.history).unwrap_or(self.history)
    }

    pub fn slow(&self, room: &RoomName) -> Slow {
        self.matching(room).find_map(|rule| rule.slow.clone()).unwrap_or_else(|| self.slow.clone())
    }

    fn matching(&self, room: &RoomName) -> impl Iterator<Item = &Rule> {
        let name = room.shared();
        self.rules.iter().filter(move |rule| fits(&rule.pattern, &name))
    }
}

fn fits(pattern: &str, name: &Arc<str>) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == &**name,
    }
}

#[cfg(test)]
mod tests;
