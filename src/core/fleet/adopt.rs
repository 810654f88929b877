//! What the dead leave: their connections are taken one by one, then their documents go.

use super::{
    Effects, Fleet, Known, Pending,
    document::{BUCKETS, MEMBERS, Read, bucket_key, decode_ids},
    entry::What,
    io::{Boot, DocAnswer, Member, Version},
};
use crate::core::{
    id::{ConnectionId, fnv1a},
    random,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Takes under way at once; the pace is kept elsewhere.
const OPEN_MAX: usize = 256;
const RETRY: Duration = Duration::from_secs(1);
/// An id of the index whose owner is not known yet, or whose record cannot be read.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Estate {
    state: State,
    next: Boot,
    /// When this instance takes which.
    queue: BTreeSet<(Boot, ConnectionId)>,
    open: BTreeSet<ConnectionId>,
    buckets: BTreeMap<usize, Version>,
    deleting: usize,
    failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unread,
    Reading,
    Read,
    Retiring,
}

impl Estate {
    pub fn new(now: Boot) -> Self {
        Estate {
            state: State::Unread,
            next: now,
            queue: BTreeSet::new(),
            open: BTreeSet::new(),
            buckets: BTreeMap::new(),
            deleting: 0,
            failed: false,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.state == State::Read && self.queue.is_empty() && self.open.is_empty() && self.deleting == 0
    }

    fn read_again(&mut self, at: Boot) {
        *self = Estate { open: std::mem::take(&mut self.open), ..Estate::new(at) };
    }
}

impl Fleet {
    pub(super) fn drive_estates(&mut self, fx: &mut Effects) {
        if !self.may_take() {
            return;
        }
        let dead: Vec<Arc<str>> = self
            .watches
            .iter()
            .filter(|(_, watch)| watch.estate.is_some())
            .map(|(incarnation, _)| incarnation.clone())
            .collect();
        for incarnation in dead {
            self.drive_estate(&incarnation, fx);
        }
    }

    fn drive_estate(&mut self, dead: &Arc<str>, fx: &mut Effects) {
        let now = self.now.boot;
        let elected = self.is_elected();
        let Some(watch) = self.watches.get_mut(dead) else { return };
        let listed = watch.listed;
        let Some(estate) = &mut watch.estate else { return };
        match estate.state {
            State::Unread if now >= estate.next => {
                estate.state = State::Reading;
                let keys = (0..BUCKETS).map(|bucket| bucket_key(dead, bucket)).collect();
                self.get(keys, Pending::Estate(dead.clone()), fx);
            }
            State::Read if estate.is_idle() && elected && now >= estate.next => {
                if !estate.buckets.is_empty() {
                    self.delete_buckets(dead, fx);
                } else if estate.failed {
                    estate.read_again(now + RETRY);
                } else if listed {
                    self.retire(dead, fx);
                }
            }
            State::Read => self.take_due(dead, fx),
            _ => {}
        }
    }

    pub(super) fn estate_read(&mut self, dead: &str, answer: DocAnswer, fx: &mut Effects) {
        let now = self.now.boot;
        let found = match answer {
            DocAnswer::Got(found) if found.len() == BUCKETS => found,
            _ => {
                if let Some(estate) = self.watches.get_mut(dead).and_then(|watch| watch.estate.as_mut()) {
                    estate.read_again(now + RETRY);
                }
                return;
            }
        };
        let takers = self.takers();
        let (mut queue, mut buckets) = (BTreeSet::new(), BTreeMap::new());
        for (number, found) in found.into_iter().enumerate() {
            let Some(found) = found else { continue };
            match decode_ids(&found.value) {
                Read::Good(ids) => {
                    buckets.insert(number, found.version);
                    for id in ids.ids {
                        let rank = rank(&id, &self.me.incarnation, &takers);
                        queue.insert((now + self.setup.timings.leftover * rank, id));
                    }
                }
                Read::Newer => self.newer(&bucket_key(dead, number), fx),
                Read::Bad(why) => self.bad(&bucket_key(dead, number), why, false, fx),
            }
        }
        let Some(estate) = self.watches.get_mut(dead).and_then(|watch| watch.estate.as_mut()) else { return };
        estate.state = State::Read;
        estate.queue = queue;
        estate.buckets = buckets;
    }

    fn take_due(&mut self, dead: &Arc<str>, fx: &mut Effects) {
        let now = self.now.boot;
        loop {
            let Some(estate) = self.watches.get_mut(dead).and_then(|watch| watch.estate.as_mut()) else {
                return;
            };
            let due = estate.queue.first().is_some_and(|(at, _)| *at <= now);
            if !due || estate.open.len() >= OPEN_MAX {
                return;
            }
            let Some((_, id)) = estate.queue.pop_first() else { return };
            match self.entries.get(&id) {
                Some(entry) if entry.is_ours() => continue,
                Some(entry) if entry.is_worked_at() => {
                    estate.queue.insert((now + RETRY, id));
                    continue;
                }
                _ => {}
            }
            estate.open.insert(id.clone());
            self.submit(id, What::Take { from: Some(dead.clone()), epoch: 0 }, None, fx);
        }
    }

    /// A take came to its end.
    pub(super) fn settled(&mut self, id: &ConnectionId, foreign: bool, again: bool) {
        for watch in self.watches.values_mut() {
            if let Some(estate) = &mut watch.estate {
                let open = estate.open.remove(id);
                if open && again {
                    estate.queue.insert((self.now.boot + RETRY, id.clone()));
                }
            }
        }
        if foreign {
            let again = again.then_some(self.now.boot + LOOK_AGAIN);
            self.index.looked_at(id, again);
        }
    }

    fn delete_buckets(&mut self, dead: &Arc<str>, fx: &mut Effects) {
        let Some(estate) = self.watches.get_mut(dead).and_then(|watch| watch.estate.as_mut()) else { return };
        let buckets = std::mem::take(&mut estate.buckets);
        estate.deleting = buckets.len();
        for (number, version) in buckets {
            self.delete(bucket_key(dead, number), version, Pending::EstateDelete(dead.clone()), fx);
        }
    }

    pub(super) fn estate_deleted(&mut self, dead: &str, answer: DocAnswer) {
        let Some(estate) = self.watches.get_mut(dead).and_then(|watch| watch.estate.as_mut()) else { return };
        estate.deleting = estate.deleting.saturating_sub(1);
        // Something was written late, or nobody knows: everything is looked at once more.
        estate.failed |= !matches!(answer, DocAnswer::Written(_));
    }

    /// Nothing is left of it: it is a member no more. Its tombstone ends by itself.
    fn retire(&mut self, dead: &Arc<str>, fx: &mut Effects) {
        let Known::At(_) = self.scan.known else { return };
        let Some(expect) = self.scan.known.expect() else { return };
        if std::mem::replace(&mut self.scan.retiring, true) {
            return;
        }
        if let Some(estate) = self.watches.get_mut(dead).and_then(|watch| watch.estate.as_mut()) {
            estate.state = State::Retiring;
        }
        let mut roster = self.scan.roster.clone();
        roster.remove(dead);
        self.put(MEMBERS.to_owned(), roster.encode(), expect, Pending::Retire(dead.clone()), fx);
    }

    pub(super) fn retired(&mut self, dead: &str, answer: DocAnswer) {
        let now = self.now.boot;
        self.scan.retiring = false;
        self.scan.known = Known::Read;
        self.scan.soon(now);
        let Some(estate) = self.watches.get_mut(dead).and_then(|watch| watch.estate.as_mut()) else { return };
        estate.state = State::Read;
        if !matches!(answer, DocAnswer::Written(_)) {
            estate.next = now + RETRY;
        }
    }
}

/// How many of the takers come before this one for a connection: highest random weight first.
fn rank(id: &ConnectionId, me: &str, takers: &[Arc<str>]) -> u32 {
    let mine = weight(id, me);
    takers.iter().filter(|taker| weight(id, taker) > mine).count() as u32
}

/// Members in the order in which they should be offered a connection: highest random weight first,
/// as for what a dead instance leaves behind.
pub fn by_preference<'a>(id: &ConnectionId, members: &'a [Member]) -> Vec<&'a Member> {
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by_key(|member| std::cmp::Reverse(weight(id, &member.incarnation)));
    order
}

fn weight(id: &ConnectionId, taker: &str) -> u64 {
    weight_of(id.as_str(), taker)
}

/// How much a member wants something, by both names: whoever has the highest weight has it. The same
/// everywhere: FNV-1a, its bits mixed once more, since only a few differ.
pub fn weight_of(what: &str, taker: &str) -> u64 {
    let bytes = what.bytes().chain([0]).chain(taker.bytes());
    random::next(&mut fnv1a(bytes))
}
