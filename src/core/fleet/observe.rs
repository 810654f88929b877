//! What this instance sees of the others: who is a member, whose lease moves, who is dead.

mod watch;

pub use watch::{Sight, Watch};

use super::{
    Canary, Effects, Fleet, Known, Pending,
    adopt::{Estate, LOOK_AGAIN},
    document::{Lease, LeaseState, MEMBERS, Read, Roster, bucket_key, lease_key, record_key},
    io::{Boot, DocAnswer, DocTicket, Expect, FleetEffect, Member, Version, Versioned},
};
use crate::{
    core::id::{ConnectionId, fnv1a},
    limits,
};
use std::{sync::Arc, time::Duration};

const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(500);
/// Whoever did not look for longer than this did not observe: a lease's silence begins anew.
const BLIND: Duration = Duration::from_secs(5);

/// What one look asked for, beside the members.
pub struct Asked {
    watches: Vec<Arc<str>>,
    bucket: Option<(usize, u64)>,
    records: Vec<(ConnectionId, Version)>,
}

pub struct Scan {
    next: Boot,
    busy: Option<(DocTicket, Boot)>,
    pub known: Known,
    pub roster: Roster,
    joining: bool,
    /// The last look read every member's lease.
    complete: bool,
    last: Boot,
    audit_bucket: usize,
    audit_after: Option<ConnectionId>,
    pub retiring: bool,
}

impl Scan {
    pub fn new() -> Self {
        Scan {
            next: Boot::ZERO,
            busy: None,
            known: Known::Read,
            roster: Roster::default(),
            joining: false,
            complete: false,
            last: Boot::ZERO,
            audit_bucket: 0,
            audit_after: None,
            retiring: false,
        }
    }

    pub fn due(&self) -> Boot {
        self.busy.map_or(self.next, |(_, start)| start + PATIENCE)
    }

    pub fn soon(&mut self, at: Boot) {
        self.next = self.next.min(at);
    }
}

impl Fleet {
    pub(super) fn drive_scan(&mut self, fx: &mut Effects) {
        let now = self.now.boot;
        if let Some((ticket, start)) = self.scan.busy {
            if now.since(start) < PATIENCE {
                return;
            }
            self.pending.remove(&ticket);
            self.scan.busy = None;
            self.scan.next = now;
        }
        if now < self.scan.next {
            return;
        }
        let asked = self.what_to_ask();
        let mut keys = vec![MEMBERS.to_owned()];
        keys.extend(asked.watches.iter().map(|incarnation| lease_key(incarnation)));
        keys.extend(asked.bucket.map(|(number, _)| bucket_key(&self.me.incarnation, number)));
        keys.extend(asked.records.iter().map(|(id, _)| record_key(id)));
        let ticket = self.get(keys, Pending::Scan(Box::new(asked)), fx);
        self.scan.busy = Some((ticket, now));
    }

    /// All leases, and a few of our own documents: a store that lost something says nothing itself.
    fn what_to_ask(&mut self) -> Asked {
        let mut asked =
            Asked { watches: self.watches.keys().cloned().collect(), bucket: None, records: Vec::new() };
        if !self.can_write() {
            return asked;
        }
        self.scan.audit_bucket = (self.scan.audit_bucket + 1) % self.buckets.len();
        let bucket = &self.buckets[self.scan.audit_bucket];
        asked.bucket = bucket.settled_at().map(|generation| (self.scan.audit_bucket, generation));
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.scan.audit_after.take().map_or(Unbounded, Excluded);
        for (id, entry) in self.entries.range((from, Unbounded)) {
            if asked.records.len() == limits::FLEET_AUDIT_KEYS {
                break;
            }
            self.scan.audit_after = Some(id.clone());
            asked.records.extend(entry.settled_at().map(|version| (id.clone(), version)));
        }
        if asked.records.len() < limits::FLEET_AUDIT_KEYS {
            self.scan.audit_after = None;
        }
        asked
    }

    pub(super) fn scanned(&mut self, asked: Asked, answer: DocAnswer, fx: &mut Effects) {
        self.scan.busy = None;
        let now = self.now.boot;
        let found = match answer {
            DocAnswer::Got(found) => found,
            _ => {
                self.scan.next = now + RETRY;
                return;
            }
        };
        let blind = now.since(self.scan.last) > BLIND;
        self.scan.last = now;
        let (min, max) = (self.setup.timings.scan_min, self.setup.timings.scan_max);
        self.scan.next = now + self.jitter(min, max);
        let mut found = found.into_iter();
        let strangers = self.members_read(found.next().flatten(), fx);
        for incarnation in &asked.watches {
            let found = found.next().flatten();
            self.observe(incarnation, found, blind, fx);
        }
        if let Some((number, generation)) = asked.bucket {
            self.audit_bucket(number, generation, found.next().flatten(), fx);
        }
        for (id, version) in asked.records {
            self.audit_record(&id, &version, found.next().flatten(), fx);
        }
        self.scan.complete = !strangers;
        if strangers {
            self.scan.next = now;
        }
        self.prune();
        self.tombstone_the_silent(fx);
        self.publish_members(fx);
    }

    /// Answers whether there are members whose lease was not read yet.
    fn members_read(&mut self, found: Option<Versioned>, fx: &mut Effects) -> bool {
        self.scan.known = Known::of(found.as_ref());
        self.scan.roster = match found.as_ref().map(|found| Roster::decode(&found.value)) {
            None => Roster::default(),
            Some(Read::Good(roster)) => roster,
            Some(Read::Newer) => {
                // Not ours to write; who is not listed may not act.
                self.newer(MEMBERS, fx);
                self.scan.known = Known::Read;
                return false;
            }
            Some(Read::Bad(why)) => {
                self.bad(MEMBERS, why, true, fx);
                Roster::default()
            }
        };
        let (mut strangers, mut listed) = (false, false);
        self.watches.values_mut().for_each(|watch| watch.listed = false);
        let members: Vec<Member> = self.scan.roster.members().collect();
        for member in members {
            if member.incarnation == self.me.incarnation {
                listed = true;
            } else if let Some(watch) = self.watches.get_mut(&member.incarnation) {
                watch.listed = true;
                watch.member = member;
            } else if self.watches.len() < limits::FLEET_MEMBERS_MAX {
                strangers = true;
                self.watch(member).listed = true;
            }
        }
        if listed {
            self.joined(fx);
        } else {
            self.join(fx);
        }
        strangers
    }

    pub(super) fn watch(&mut self, member: Member) -> &mut Watch {
        let now = self.now.boot;
        self.watches.entry(member.incarnation.clone()).or_insert_with(|| Watch::new(member, now))
    }

    fn joined(&mut self, fx: &mut Effects) {
        if !self.own.joined {
            self.own.joined = true;
            self.give(fx);
        }
    }

    fn join(&mut self, fx: &mut Effects) {
        if !self.own.holds_lease() || self.scan.joining {
            return;
        }
        if self.own.joined {
            self.store_lost(fx);
        }
        let Some(expect) = self.scan.known.expect() else { return };
        self.scan.joining = true;
        let mut roster = self.scan.roster.clone();
        roster.add(&self.me);
        self.put(MEMBERS.to_owned(), roster.encode(), expect, Pending::Join, fx);
    }

    pub(super) fn join_written(&mut self, answer: DocAnswer, fx: &mut Effects) {
        self.scan.joining = false;
        self.scan.soon(self.now.boot + RETRY / 10);
        if let DocAnswer::Written(_) = answer {
            self.joined(fx);
        }
    }

    fn observe(&mut self, incarnation: &str, found: Option<Versioned>, blind: bool, fx: &mut Effects) {
        let now = self.now.boot;
        let key = lease_key(incarnation);
        let mut lease = None;
        let sight = match found
            .as_ref()
            .map(|found| (Lease::decode(&found.value), fnv1a(found.value.iter().copied())))
        {
            None => Sight::Absent,
            Some((Read::Good(read), _)) if &*read.member.incarnation == incarnation => {
                let sight = Sight::Lease { renewals: read.renewals, state: read.state };
                lease = Some(read);
                sight
            }
            Some((Read::Good(_), hash)) => {
                self.bad(&key, "it names another owner".into(), false, fx);
                Sight::Odd(hash)
            }
            Some((Read::Bad(why), hash)) => {
                self.bad(&key, why, false, fx);
                Sight::Odd(hash)
            }
            Some((Read::Newer, hash)) => {
                self.newer(&key, fx);
                Sight::Newer(hash)
            }
        };
        if let Some(lease) = &lease {
            self.saw_epoch(lease.epoch);
        }
        let Some(watch) = self.watches.get_mut(incarnation) else { return };
        if blind || sight != watch.sight {
            watch.since = now;
        }
        watch.known = Known::of(found.as_ref());
        watch.sight = sight;
        if let Some(lease) = lease {
            watch.owned = lease.owned;
            watch.epoch = lease.epoch;
            watch.member = lease.member;
        }
        if !watch.is_dead() {
            // Also when a store that went back in time undid its death.
            watch.estate = None;
        } else if watch.estate.is_none() {
            watch.estate = Some(Box::new(Estate::new(now)));
        }
    }

    fn tombstone_the_silent(&mut self, fx: &mut Effects) {
        if !self.may_take() {
            return;
        }
        let now = self.now.boot;
        let silence = match self.breaks(Canary::Impatient) {
            true => self.setup.timings.renew,
            false => self.setup.timings.silence(),
        };
        let by = self.me.incarnation.clone();
        let mut writes: Vec<(Lease, Expect)> = Vec::new();
        for watch in self.watches.values_mut() {
            let newer = matches!(watch.sight, Sight::Newer(_) | Sight::Unseen);
            if newer || watch.is_dead() || watch.tombing || !watch.is_silent(now, silence) {
                continue;
            }
            let Some(expect) = watch.known.expect() else { continue };
            let renewals = match watch.sight {
                Sight::Lease { renewals, .. } => renewals,
                _ => 0,
            };
            watch.tombing = true;
            let (member, state, by) = (watch.member.clone(), LeaseState::Dead, Some(by.clone()));
            let lease = Lease { member, renewals, state, by, owned: watch.owned, epoch: watch.epoch };
            writes.push((lease, expect));
        }
        for (lease, expect) in writes {
            let incarnation = lease.member.incarnation.clone();
            self.put(lease_key(&incarnation), lease.encode(), expect, Pending::Tombstone(incarnation), fx);
        }
    }

    /// Dead is only whose tombstone is read: the next look comes at once.
    pub(super) fn tombstoned(&mut self, incarnation: &str, answer: DocAnswer) {
        let now = self.now.boot;
        self.scan.soon(now);
        if let DocAnswer::Written(_) = answer {
            self.counters.tombstones += 1;
        }
        if let Some(watch) = self.watches.get_mut(incarnation) {
            watch.tombing = false;
            if answer == DocAnswer::Conflict {
                // It renewed, or somebody else was quicker.
                watch.since = now;
            }
        }
    }

    /// Forgets who is neither listed nor of any interest.
    fn prune(&mut self) {
        let (now, silence) = (self.now.boot, self.setup.timings.silence());
        let before = self.watches.len();
        self.watches.retain(|_, watch| {
            let idle = watch.estate.as_ref().is_none_or(|estate| estate.is_idle());
            // Whoever looks for the owner of a record, and looks again, must find that he is dead.
            let known = now.since(watch.since) >= LOOK_AGAIN * 2;
            let over = match watch.sight {
                Sight::Lease { state, .. } => state.is_over() && idle && known,
                Sight::Unseen | Sight::Absent | Sight::Odd(_) | Sight::Newer(_) => {
                    now.since(watch.since) >= silence * 2
                }
            };
            watch.listed || !over
        });
        if self.watches.len() != before {
            self.index.dirty();
        }
    }

    fn publish_members(&mut self, fx: &mut Effects) {
        let live: Vec<Member> =
            self.watches.values().filter(|watch| watch.lives()).map(|watch| watch.member.clone()).collect();
        if *live != *self.members {
            self.members = live.into();
            fx.push(FleetEffect::Members(self.members.clone()));
            self.index.dirty();
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.scan.complete && self.watches.values().all(|watch| watch.is_dead() || watch.former.is_some())
    }

    /// Incarnations that share what is orphaned, ours among them.
    pub(super) fn takers(&self) -> Vec<Arc<str>> {
        let others = self.watches.iter().filter(|(_, watch)| watch.takes()).map(|(name, _)| name.clone());
        others.chain([self.me.incarnation.clone()]).collect()
    }

    /// One of the live ones does what is to be done once.
    pub(super) fn is_elected(&self) -> bool {
        self.may_take()
            && self.scan.complete
            && self.takers().iter().min().is_some_and(|first| *first == self.me.incarnation)
    }

    /// After a lost lease: what was seen counts no more, and our former self is one of the others.
    pub(super) fn begin_watching_anew(&mut self, former: Member) {
        let now = self.now.boot;
        for watch in self.watches.values_mut() {
            watch.since = now;
            watch.tombing = false;
            watch.viewing = false;
            watch.view = None;
            if watch.estate.is_some() {
                watch.estate = Some(Box::new(Estate::new(now)));
            }
        }
        self.watch(former).former = Some(now);
    }

    fn audit_bucket(&mut self, number: usize, generation: u64, found: Option<Versioned>, fx: &mut Effects) {
        let bucket = &self.buckets[number];
        if bucket.settled_at() == Some(generation) && *bucket.known() != Known::of(found.as_ref()) {
            self.store_lost(fx);
        }
    }
}
