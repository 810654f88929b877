//! Work for one connection runs in arrival order, one piece at a time; different connections do not
//! wait for each other.

use crate::limits::COMMANDS_PER_CONNECTION_MAX;
use std::collections::{BTreeMap, VecDeque};

/// The names of the connections with work under way, each with what waits for its turn.
pub struct Lanes<W>(BTreeMap<String, VecDeque<W>>);

pub enum Entered<W> {
    /// It is this one's turn.
    Starts(W),
    Waits,
    Full(W),
}

impl<W> Default for Lanes<W> {
    fn default() -> Self {
        Lanes(BTreeMap::new())
    }
}

impl<W> Lanes<W> {
    pub fn enter(&mut self, name: &str, work: W) -> Entered<W> {
        match self.0.get_mut(name) {
            None => {
                self.0.insert(name.to_owned(), VecDeque::new());
                Entered::Starts(work)
            }
            Some(waiting) if waiting.len() + 1 >= COMMANDS_PER_CONNECTION_MAX => Entered::Full(work),
            Some(waiting) => {
                waiting.push_back(work);
                Entered::Waits
            }
        }
    }

    /// The piece under way has ended: the next one's turn.
    pub fn leave(&mut self, name: &str) -> Option<W> {
        let next = self.0.get_mut(name)?.pop_front();
        if next.is_none() {
            self.0.remove(name);
        }
        next
    }

    /// What waits is given up; answers how many.
    pub fn clear_waiting(&mut self) -> usize {
        self.0.values_mut().map(|waiting| std::mem::take(waiting).len()).sum()
    }
}
