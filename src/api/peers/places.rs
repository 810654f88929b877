//! Where a follower of all instances is at each of them, and the one cursor made of that.

use crate::{
    core::{id::fnv1a, reason::Fault},
    limits,
    wire::cursor::{Cursor, CursorKind, MemberPlace},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::collections::{BTreeMap, BTreeSet};

/// Where to begin at one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    Now,
    Start,
    /// Its own cursor.
    After(String),
}

/// Names one run of an instance in a cursor.
pub fn key_of(incarnation: &str) -> u64 {
    fnv1a(incarnation.bytes())
}

pub struct Places {
    of: CursorKind,
    /// Cursors as bytes.
    known: BTreeMap<u64, Vec<u8>>,
    live: BTreeSet<u64>,
    /// For an instance that is not known.
    otherwise: At,
    /// The cursor had no room for all.
    cut: bool,
}

impl Places {
    pub fn begin(of: CursorKind, otherwise: At) -> Self {
        Places { of, known: BTreeMap::new(), live: BTreeSet::new(), otherwise, cut: false }
    }

    /// Begins where the cursor says. An instance that it does not name came later, and all it has
    /// is news, unless the cursor had no room for all.
    pub fn resume(of: CursorKind, text: &str) -> Result<Self, Fault> {
        match Cursor::decode_for(text, CursorKind::Fleet)? {
            Cursor::Fleet { of: given, cut, members } if given == of => Ok(Places {
                of,
                known: members.into_iter().collect(),
                live: BTreeSet::new(),
                otherwise: if cut { At::Now } else { At::Start },
                cut,
            }),
            _ => Err(Fault::invalid("cursor", format!("is not of a {}", of.name()))),
        }
    }

    /// An instance takes part; where to begin at it.
    pub fn join(&mut self, key: u64) -> At {
        self.live.insert(key);
        match self.known.get(&key) {
            Some(cursor) => At::After(URL_SAFE_NO_PAD.encode(cursor)),
            None => self.otherwise.clone(),
        }
    }

    /// From now on who comes is new.
    pub fn begun(&mut self) {
        self.otherwise = At::Start;
    }

    pub fn leave(&mut self, key: u64) {
        self.live.remove(&key);
        while self.known.len() > limits::PEER_PLACES_MAX.max(self.live.len()) {
            let Some(gone) = self.known.keys().find(|key| !self.live.contains(key)).copied() else { return };
            self.known.remove(&gone);
        }
    }

    /// True when something was followed at instances that are not there any more, or was cut.
    pub fn misses(&self) -> bool {
        self.cut || self.known.keys().any(|key| !self.live.contains(key))
    }

    pub fn set(&mut self, key: u64, cursor: &str) {
        // It is one of ours, made a moment ago.
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(cursor) {
            self.known.insert(key, bytes);
        }
    }

    pub fn cursor(&self) -> String {
        let of_live = |(key, cursor): (&u64, &Vec<u8>)| -> Option<MemberPlace> {
            self.live.contains(key).then(|| (*key, cursor.clone()))
        };
        let members = self.known.iter().filter_map(of_live).collect();
        Cursor::Fleet { of: self.of, cut: false, members }.encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(offset: u64) -> String {
        Cursor::Topic { offset }.encode()
    }

    #[test]
    fn a_cursor_brings_each_instance_back_to_its_place() {
        let mut places = Places::begin(CursorKind::Filter, At::Now);
        assert_eq!((places.join(1), places.join(2)), (At::Now, At::Now));
        places.set(1, &inner(5));
        places.set(2, &inner(6));
        assert!(!places.misses());
        places.begun();
        assert_eq!(places.join(3), At::Start, "who comes later is new");
        let text = places.cursor();
        let mut again = Places::resume(CursorKind::Filter, &text).unwrap();
        assert_eq!((again.join(2), again.join(3)), (At::After(inner(6)), At::Start));
        assert!(again.misses(), "the first is gone");
        assert_eq!(again.join(1), At::After(inner(5)));
        assert!(!again.misses());
        assert!(Places::resume(CursorKind::Lifecycle, &text).is_err());
        assert!(Places::resume(CursorKind::Filter, &inner(1)).is_err());
        again.leave(2);
        assert_eq!(again.join(2), At::After(inner(6)), "it is remembered while it is away");
    }

    #[test]
    fn a_cursor_is_bounded_and_says_what_it_left_out() {
        let mut places = Places::begin(CursorKind::Filter, At::Now);
        for key in 0..500 {
            places.join(key);
            places.set(key, &inner(u64::MAX - key));
        }
        let text = places.cursor();
        assert!(text.len() <= limits::CURSOR_CHARS_MAX);
        let mut again = Places::resume(CursorKind::Filter, &text).unwrap();
        assert_eq!(again.join(0), At::After(inner(u64::MAX)));
        assert_eq!(again.join(499), At::Now);
        assert!(again.misses());
        for key in 0..500 {
            places.leave(key);
        }
        assert!(places.known.len() <= limits::PEER_PLACES_MAX);
    }
}
