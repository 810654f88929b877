//! Who held what, as far as one thread remembers. Two generations: when the young one is full it
//! becomes the old one, and what was not used since goes.

use crate::core::id::ConnectionId;
use std::{collections::HashMap, sync::Arc};

pub struct Holders {
    young: HashMap<ConnectionId, Arc<str>>,
    old: HashMap<ConnectionId, Arc<str>>,
    half: usize,
}

impl Holders {
    pub fn new(max: usize) -> Self {
        Holders { young: HashMap::new(), old: HashMap::new(), half: (max / 2).max(1) }
    }

    /// The incarnation of the holder.
    pub fn get(&mut self, id: &ConnectionId) -> Option<Arc<str>> {
        if let Some(known) = self.young.get(id) {
            return Some(known.clone());
        }
        let known = self.old.remove(id)?;
        self.remember(id.clone(), known.clone());
        Some(known)
    }

    pub fn remember(&mut self, id: ConnectionId, incarnation: Arc<str>) {
        if self.young.len() >= self.half && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, incarnation);
    }

    pub fn forget(&mut self, id: &ConnectionId) {
        self.young.remove(id);
        self.old.remove(id);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let id = |number: usize| ConnectionId::parse(&format!("c{number}")).unwrap();
        let mut holders = Holders::new(8);
        holders.remember(id(0), "a".into());
        for number in 1..100 {
            holders.remember(id(number), "b".into());
            assert_eq!(holders.get(&id(0)).as_deref(), Some("a"), "after {number}");
            assert!(holders.len() <= 8);
        }
        assert_eq!(holders.get(&id(5)), None);
        holders.forget(&id(0));
        assert_eq!(holders.get(&id(0)), None);
    }
}
