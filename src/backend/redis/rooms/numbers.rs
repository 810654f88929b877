//! What this instance itself knows of rooms' numbers: the highest it has seen, and its own.

use crate::core::{names::RoomName, rooms::Position};
use std::collections::BTreeMap;

/// The last used of many, about: what was not used for a whole generation is forgotten.
struct Lately {
    young: BTreeMap<RoomName, Position>,
    old: BTreeMap<RoomName, Position>,
    most: usize,
}

impl Lately {
    fn new(most: usize) -> Self {
        Lately { young: BTreeMap::new(), old: BTreeMap::new(), most: most / 2 }
    }

    fn get(&self, room: &str) -> Option<Position> {
        self.young.get(room).or_else(|| self.old.get(room)).copied()
    }

    fn put(&mut self, room: &RoomName, at: Position) {
        self.young.insert(room.clone(), at);
        if self.young.len() > self.most {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

pub struct Numbers {
    seen: Lately,
    own: Lately,
    /// The highest of our own; begun anew, a counter must not repeat itself.
    epoch: u64,
}

impl Numbers {
    pub fn new(most: usize) -> Self {
        Numbers { seen: Lately::new(most), own: Lately::new(most), epoch: 0 }
    }

    pub fn seen(&self, room: &RoomName) -> Position {
        self.seen.get(room.as_str()).unwrap_or_default()
    }

    pub fn saw(&mut self, room: &RoomName, at: Position) {
        if at > self.seen(room) {
            self.seen.put(room, at);
        }
    }

    /// The next number of a room that keeps nothing.
    pub fn next(&mut self, room: &RoomName, unix_millis: u64) -> Position {
        let next = match self.own.get(room.as_str()) {
            Some(last) => Position { offset: last.offset + 1, ..last },
            None => {
                self.epoch = unix_millis.max(self.epoch + 1);
                Position { epoch: self.epoch, offset: 1 }
            }
        };
        self.own.put(room, next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::parse("room", name).expect("a name")
    }

    #[test]
    fn what_was_seen_only_grows() {
        let mut numbers = Numbers::new(100);
        assert_eq!(numbers.seen(&room("a")), Position::default());
        numbers.saw(&room("a"), Position { epoch: 2, offset: 1 });
        numbers.saw(&room("a"), Position { epoch: 1, offset: 9 });
        assert_eq!(numbers.seen(&room("a")), Position { epoch: 2, offset: 1 });
    }

    #[test]
    fn a_forgotten_counter_begins_a_higher_epoch() {
        let mut numbers = Numbers::new(4);
        let first = numbers.next(&room("a"), 1000);
        assert_eq!(first, Position { epoch: 1000, offset: 1 });
        assert_eq!(numbers.next(&room("a"), 2000), Position { epoch: 1000, offset: 2 });
        for name in ["b", "c", "d", "e", "f", "g"] {
            numbers.next(&room(name), 1000);
        }
        let again = numbers.next(&room("a"), 1000);
        assert!(again.epoch > 1000 && again.offset == 1, "{again:?}");
        assert!(numbers.own.young.len() + numbers.own.old.len() <= 5);
    }
}
