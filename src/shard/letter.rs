//! How long mail waits in a mailbox. One letter in sixteen is timed, drawn at random: reading the clock
//! for each would cost a message that crosses threads more than all the rest of what is counted, and
//! every sixteenth would always be for the same shard where callers take turns.

use super::{clock, mailbox::Mail};
use crate::core::{random, time::Time};
use std::cell::Cell;

/// One in this many.
const TIMED: u64 = 16;

pub struct Letter {
    pub mail: Mail,
    /// When it was posted, of those that are timed.
    pub posted: Option<Time>,
}

impl Letter {
    pub fn new(mail: Mail) -> Self {
        Letter { mail, posted: is_drawn().then(clock::mono) }
    }
}

fn is_drawn() -> bool {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    STATE.with(|state| {
        let mut next = state.get();
        let drawn = random::next(&mut next).is_multiple_of(TIMED);
        state.set(next);
        drawn
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_in_sixteen_is_timed() {
        let timed = (0..16_000).filter(|_| is_drawn()).count();
        assert!((800..1200).contains(&timed), "{timed}");
        // Two shards that take turns both get their share.
        let of = |shard: usize| (0..16_000).filter(|n| is_drawn() && n % 2 == shard).count();
        assert!([0, 1].map(of).into_iter().all(|timed| timed > 300));
    }
}
