//! What one room keeps for those who come back: its last messages, within a count, bytes and an age.
//! Only of the current epoch: who knows an older one cannot be told what came between.

use super::{Kept, Message, Position, rules};
use crate::core::time::Time;
use std::{collections::VecDeque, sync::Arc};

/// What a kept message costs beside its payload: the entry, the message and its place.
const OVERHEAD: usize = 192;

#[derive(Clone, Debug)]
pub struct History {
    rules: rules::History,
    entries: VecDeque<(Position, Time, Arc<Message>)>,
    bytes: usize,
    /// The last number that was pushed, whether kept or not.
    head: Position,
}

impl History {
    pub fn new(rules: rules::History) -> Self {
        History { rules, entries: VecDeque::new(), bytes: 0, head: Position::default() }
    }

    /// The next message: numbers only grow, and may have holes. One of a new epoch ends what is kept
    /// of the old one; one that is not above the last is not kept.
    pub fn push(&mut self, message: Arc<Message>, at: Position, now: Time) {
        if at <= self.head {
            return;
        }
        if at.epoch != self.head.epoch {
            self.clear();
        }
        self.head = at;
        if self.rules.is_none() {
            return;
        }
        self.bytes += cost(&message);
        self.entries.push_back((at, now, message));
        while self.entries.len() > self.rules.messages || self.bytes > self.rules.bytes {
            self.drop_oldest();
        }
        self.expire(now);
    }

    /// With a position: what is kept after it, oldest first, or everything that is kept when it is
    /// of another epoch or ahead of this room. Without: the newest `limit`, oldest first.
    pub fn since(&self, after: Option<Position>, limit: usize) -> Kept {
        let Some(after) = after else {
            let skip = self.entries.len().saturating_sub(limit);
            return Kept { messages: self.messages(skip, limit), recovered: true, head: self.head };
        };
        if after == self.head {
            return Kept { messages: Vec::new(), recovered: true, head: self.head };
        }
        let comparable = after.epoch == self.head.epoch && after < self.head;
        let skip = if comparable { self.entries.partition_point(|(at, ..)| *at <= after) } else { 0 };
        let next = self.entries.get(skip).map(|(at, ..)| at.offset);
        Kept {
            messages: self.messages(skip, limit),
            recovered: comparable && next == Some(after.offset + 1),
            head: self.head,
        }
    }

    fn messages(&self, skip: usize, limit: usize) -> Vec<Arc<Message>> {
        self.entries.iter().skip(skip).take(limit).map(|(.., message)| message.clone()).collect()
    }

    /// With their numbers, newest first.
    pub fn newest(&self) -> impl Iterator<Item = (Position, Time, &Arc<Message>)> {
        self.entries.iter().rev().map(|(at, time, message)| (*at, *time, message))
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn head(&self) -> Position {
        self.head
    }

    /// What is too old goes.
    pub fn expire(&mut self, now: Time) {
        while self.entries.front().is_some_and(|(_, at, _)| now.since(*at) >= self.rules.age) {
            self.drop_oldest();
        }
    }

    /// Answers how many bytes that gave back.
    pub fn drop_oldest(&mut self) -> usize {
        let freed = self.entries.pop_front().map_or(0, |(.., message)| cost(&message));
        self.bytes -= freed;
        if self.entries.is_empty() {
            // A room that was busy once does not hold its room for ever.
            self.entries = VecDeque::new();
        }
        freed
    }

    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.bytes = 0;
    }
}

fn cost(message: &Message) -> usize {
    message.payload.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{correlation::Kind, names::RoomName, rooms::Place, time::Wall};
    use std::time::Duration;

    fn message(epoch: u64, offset: u64, bytes: usize) -> (Arc<Message>, Position) {
        let at = Position { epoch, offset };
        let places = Arc::from([Place { room: RoomName::everyone(), at }]);
        let payload = vec![b'x'; bytes].into();
        let wall = Wall::default();
        (Arc::new(Message { kind: Kind::Text, payload, wall, places, from: None }), at)
    }

    fn history(messages: usize, bytes: usize, age: Duration) -> History {
        History::new(rules::History { messages, bytes, age })
    }

    fn fill(history: &mut History, epoch: u64, offsets: impl IntoIterator<Item = u64>) {
        for offset in offsets {
            let (message, at) = message(epoch, offset, 10);
            history.push(message, at, Time::from_millis(offset));
        }
    }

    fn offsets(kept: &Kept) -> Vec<u64> {
        kept.messages.iter().map(|message| message.places[0].at.offset).collect()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_kept_is_told_in_order_and_what_is_not_is_not_hidden() {
        let mut history = history(3, 1 << 20, LONG);
        let nothing = history.since(None, 10);
        assert!(nothing.recovered && nothing.messages.is_empty());
        fill(&mut history, 7, 1..=5);
        let at = |offset| Some(Position { epoch: 7, offset });
        let cases: [(Option<Position>, usize, &[u64], bool); 8] = [
            (None, 10, &[3, 4, 5], true),
            (None, 2, &[4, 5], true),
            (at(5), 10, &[], true),
            (at(3), 10, &[4, 5], true),
            (at(2), 2, &[3, 4], true),
            (at(1), 10, &[3, 4, 5], false),
            (at(9), 10, &[3, 4, 5], false),
            (Some(Position { epoch: 6, offset: 4 }), 10, &[3, 4, 5], false),
        ];
        for (after, limit, expected, recovered) in cases {
            let kept = history.since(after, limit);
            assert_eq!((offsets(&kept).as_slice(), kept.recovered), (expected, recovered), "{after:?}");
            assert_eq!(kept.head, Position { epoch: 7, offset: 5 });
        }
    }

    #[test]
    fn a_number_that_never_came_is_a_loss_for_who_was_before_it() {
        let mut history = history(10, 1 << 20, LONG);
        fill(&mut history, 7, [1, 2, 4, 5]);
        let since = |offset| history.since(Some(Position { epoch: 7, offset }), 10);
        assert_eq!((offsets(&since(2)), since(2).recovered), (vec![4, 5], false));
        assert_eq!((offsets(&since(1)), since(1).recovered), (vec![2, 4, 5], true));
        assert!(since(3).recovered);
    }

    #[test]
    fn a_new_epoch_ends_the_old_one_and_numbers_never_go_back() {
        let mut history = history(10, 1 << 20, LONG);
        fill(&mut history, 7, 1..=3);
        fill(&mut history, 8, [1]);
        assert_eq!(offsets(&history.since(None, 10)), [1]);
        let one = history.bytes();
        fill(&mut history, 7, [4]);
        fill(&mut history, 8, [1]);
        assert_eq!((history.bytes(), history.head()), (one, Position { epoch: 8, offset: 1 }));
    }

    #[test]
    fn count_bytes_and_age_bound_it() {
        let mut small = history(100, 2 * (10 + OVERHEAD), LONG);
        fill(&mut small, 1, 1..=9);
        assert_eq!((offsets(&small.since(None, 10)), small.bytes()), (vec![8, 9], 2 * (10 + OVERHEAD)));
        let (huge, at) = message(1, 10, 1 << 20);
        small.push(huge, at, Time::from_millis(10));
        assert!(small.is_empty() && small.bytes() == 0);
        assert!(!small.since(Some(Position { epoch: 1, offset: 9 }), 10).recovered);

        let mut aging = history(100, 1 << 20, Duration::from_millis(5));
        fill(&mut aging, 1, 1..=9);
        assert_eq!(offsets(&aging.since(None, 10)), [5, 6, 7, 8, 9]);
        aging.expire(Time::from_millis(12));
        assert_eq!(offsets(&aging.since(None, 10)), [8, 9]);
        aging.expire(Time::from_millis(60));
        assert!(aging.is_empty() && aging.bytes() == 0);

        let mut none = History::new(rules::History::NONE);
        fill(&mut none, 1, 1..=3);
        assert!(none.is_empty() && !none.since(Some(Position { epoch: 1, offset: 2 }), 10).recovered);
    }
}
