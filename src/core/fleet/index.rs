//! The one list of all ids, for others who read it. Derived: written by the elected instance alone,
//! when something changed; what others put into it is looked at before it goes.

use super::{
    Effects, Fleet, Known, Pending,
    document::{BUCKETS, INDEX, Read, bucket_key, decode_ids, encode_ids},
    entry::What,
    io::{Boot, DocAnswer, Trouble},
};
use crate::core::id::ConnectionId;
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const RETRY: Duration = Duration::from_millis(500);
/// Whoever was elected before may have written last, by what it knew then: nothing else would show that.
const AUDIT: Duration = Duration::from_secs(30);

/// What another instance's buckets list.
pub struct View {
    generation: u64,
    ids: BTreeSet<ConnectionId>,
}

#[derive(Debug, Default)]
pub struct Index {
    elected: bool,
    known: Option<Known>,
    written: Option<Bytes>,
    dirty: bool,
    busy: bool,
    next: Boot,
    audit: Boot,
    /// Ids that stand in the index and in nobody's list, and when they are looked at.
    foreign: BTreeMap<ConnectionId, Boot>,
    open: BTreeSet<ConnectionId>,
    /// Strings that are no ids; somebody else's.
    odd: BTreeSet<String>,
}

impl Index {
    pub fn dirty(&mut self) {
        self.dirty = true;
    }

    pub fn doubt(&mut self) {
        self.known = None;
        self.written = None;
        self.dirty = true;
    }

    pub fn looked_at(&mut self, id: &ConnectionId, again: Option<Boot>) {
        self.open.remove(id);
        match again {
            Some(at) => {
                self.foreign.insert(id.clone(), at);
            }
            None => {
                self.foreign.remove(id);
                self.dirty = true;
            }
        }
    }
}

impl Fleet {
    pub(super) fn drive_index(&mut self, fx: &mut Effects) {
        let now = self.now.boot;
        if !self.is_elected() {
            if self.index.elected && !self.index.busy {
                self.index = Index::default();
            }
            return;
        }
        if !self.index.elected {
            self.index.elected = true;
            self.index.doubt();
        }
        self.view_others(fx);
        self.look_at_foreign(fx);
        let viewed = self.watches.values().all(|watch| watch.view.is_some() || !watch.listed);
        if self.index.busy || now < self.index.next || !viewed {
            return;
        }
        if now >= self.index.audit {
            self.index.known = None;
        }
        let Some(known) = self.index.known.clone() else {
            self.index.busy = true;
            self.index.audit = now + AUDIT;
            self.get(vec![INDEX.to_owned()], Pending::IndexRead, fx);
            return;
        };
        if std::mem::take(&mut self.index.dirty) {
            self.write_index(&known, fx);
        }
    }

    fn write_index(&mut self, known: &Known, fx: &mut Effects) {
        let all = self.listed_ids();
        let ids: BTreeSet<&str> = all
            .iter()
            .chain(self.index.foreign.keys())
            .map(ConnectionId::as_str)
            .chain(self.index.odd.iter().map(String::as_str))
            .collect();
        let (value, kept) = encode_ids(ids.iter().copied(), self.setup.index_bytes_max);
        let cut = (kept < ids.len()).then_some(Trouble::IndexCut { ids: ids.len(), kept });
        if let Some(cut) = cut {
            self.trouble(INDEX, cut, fx);
        }
        if self.index.written.as_ref() == Some(&value) {
            return;
        }
        let Some(expect) = known.expect() else { return };
        self.index.busy = true;
        self.index.next = self.now.boot + self.setup.timings.index_every;
        self.put(INDEX.to_owned(), value.clone(), expect, Pending::Index(value), fx);
    }

    /// Ours as we know them, others' as they list them.
    fn listed_ids(&self) -> BTreeSet<ConnectionId> {
        let ours = self.entries.iter().filter(|(_, entry)| entry.is_ours()).map(|(id, _)| id);
        let theirs = self.watches.values().filter_map(|watch| watch.view.as_ref()).flat_map(|view| &view.ids);
        ours.chain(theirs).cloned().collect()
    }

    fn view_others(&mut self, fx: &mut Effects) {
        let due: Vec<(Arc<str>, u64)> = self
            .watches
            .iter_mut()
            .filter(|(_, watch)| {
                let stale = watch.view.as_ref().is_none_or(|view| view.generation != watch.owned);
                watch.listed && !watch.viewing && stale
            })
            .map(|(incarnation, watch)| {
                watch.viewing = true;
                (incarnation.clone(), watch.owned)
            })
            .collect();
        for (incarnation, generation) in due {
            let keys = (0..BUCKETS).map(|bucket| bucket_key(&incarnation, bucket)).collect();
            self.get(keys, Pending::View(incarnation, generation), fx);
        }
    }

    pub(super) fn view_read(
        &mut self,
        incarnation: &str,
        generation: u64,
        answer: DocAnswer,
        fx: &mut Effects,
    ) {
        let mut ids = BTreeSet::new();
        let mut failed = true;
        if let DocAnswer::Got(found) = &answer {
            failed = false;
            for (number, found) in found.iter().enumerate() {
                match found.as_ref().map(|found| decode_ids(&found.value)) {
                    Some(Read::Good(listed)) => ids.extend(listed.ids),
                    Some(Read::Newer) => self.newer(&bucket_key(incarnation, number), fx),
                    Some(Read::Bad(why)) => self.bad(&bucket_key(incarnation, number), why, false, fx),
                    None => {}
                }
            }
        }
        let Some(watch) = self.watches.get_mut(incarnation) else { return };
        watch.viewing = false;
        if !failed {
            watch.view = Some(View { generation, ids });
            self.index.dirty();
        }
    }

    pub(super) fn index_read(&mut self, answer: DocAnswer, fx: &mut Effects) {
        self.index.busy = false;
        let now = self.now.boot;
        let DocAnswer::Got(mut found) = answer else {
            self.index.next = now + RETRY;
            return;
        };
        let found = found.pop().flatten();
        let mut known = Known::of(found.as_ref());
        self.index.written = found.as_ref().map(|found| found.value.clone());
        self.index.dirty = true;
        match found.as_ref().map(|found| decode_ids(&found.value)) {
            None => {}
            Some(Read::Good(listed)) => {
                let ours = self.listed_ids();
                for id in listed.ids {
                    if !ours.contains(&id) {
                        self.index.foreign.entry(id).or_insert(now);
                    }
                }
                self.index.odd.extend(listed.odd);
            }
            Some(Read::Newer) => {
                self.newer(INDEX, fx);
                known = Known::Read;
            }
            Some(Read::Bad(why)) => self.bad(INDEX, why, true, fx),
        }
        self.index.known = Some(known);
    }

    pub(super) fn index_written(&mut self, value: Bytes, answer: DocAnswer) {
        self.index.busy = false;
        match answer {
            DocAnswer::Written(version) if self.index.known.is_some() => {
                self.index.known = Some(Known::At(version));
                self.index.written = Some(value);
            }
            // Somebody else wrote: what he added is looked at before it goes.
            _ => self.index.doubt(),
        }
    }

    fn look_at_foreign(&mut self, fx: &mut Effects) {
        let now = self.now.boot;
        let due: Vec<ConnectionId> = self
            .index
            .foreign
            .iter()
            .filter(|(id, at)| **at <= now && !self.index.open.contains(*id))
            .map(|(id, _)| id.clone())
            .take(crate::limits::FLEET_RECORDS_IN_FLIGHT.saturating_sub(self.index.open.len()))
            .collect();
        for id in due {
            if self.entries.contains_key(&id) {
                self.index.looked_at(&id, None);
                continue;
            }
            self.index.open.insert(id.clone());
            self.submit(id, What::Take { from: None, epoch: 0 }, None, fx);
        }
    }
}
