//! The shared store of the simulation, with the manners of the two kinds that are met.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Versions begin at 1 again after a deletion, and a version that is shown for a key that is not
    /// there is taken.
    Redis,
    Strict,
}

#[derive(Clone, Debug)]
pub struct Doc {
    pub value: Bytes,
    pub version: u64,
    expires: u64,
}

pub struct Store {
    pub manner: Manner,
    pub docs: BTreeMap<String, Doc>,
    next: u64,
    applied: u64,
}

#[derive(Clone, Debug)]
pub enum Op {
    Get(Vec<String>),
    Put(String, Bytes, Expect, Option<Duration>),
    Delete(String, Version),
}

impl Store {
    pub fn new(manner: Manner) -> Self {
        Store { manner, docs: BTreeMap::new(), next: 1, applied: 0 }
    }

    pub fn apply(&mut self, now: u64, op: &Op) -> DocAnswer {
        self.applied += 1;
        if self.applied.is_multiple_of(64) {
            self.docs.retain(|_, doc| doc.expires > now);
        }
        match op {
            Op::Get(keys) => DocAnswer::Got(keys.iter().map(|key| self.read(key)).collect()),
            Op::Put(key, value, expect, ttl) => {
                let there = self.docs.get(key).map(|doc| doc.version);
                let fits = match (expect, there) {
                    (Expect::Absent, there) => there.is_none(),
                    (Expect::Version(_), None) => self.manner == Manner::Redis,
                    (Expect::Version(version), Some(there)) => *version == text(there),
                };
                if !fits {
                    return DocAnswer::Conflict;
                }
                self.next += 1;
                let version = match self.manner {
                    Manner::Redis => there.unwrap_or(0) + 1,
                    Manner::Strict => self.next,
                };
                let expires = ttl.map_or(u64::MAX, |ttl| now + ttl.as_nanos() as u64);
                self.docs.insert(key.clone(), Doc { value: value.clone(), version, expires });
                DocAnswer::Written(text(version))
            }
            Op::Delete(key, version) => match self.docs.get(key) {
                Some(doc) if text(doc.version) != *version => DocAnswer::Conflict,
                _ => {
                    self.docs.remove(key);
                    DocAnswer::Written(Bytes::new())
                }
            },
        }
    }

    fn read(&self, key: &str) -> Option<Versioned> {
        let doc = self.docs.get(key)?;
        Some(Versioned { value: doc.value.clone(), version: text(doc.version) })
    }

    /// Ids of the records that stand there.
    pub fn records(&self) -> BTreeSet<ConnectionId> {
        let ids = self.docs.keys().filter_map(|key| key.strip_prefix("websocket-"));
        ids.filter_map(|id| ConnectionId::parse(id).ok()).collect()
    }
}

fn text(version: u64) -> Version {
    version.to_string().into()
}
