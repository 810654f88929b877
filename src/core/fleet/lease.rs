//! This instance's own lease, and until when it may act.

use super::{
    Canary, Effects, Fleet, Known, Pending,
    bucket::Bucket,
    document::{Lease, LeaseState, Read, lease_key},
    incarnation_name,
    index::Index,
    io::{Boot, DocAnswer, DocTicket, FleetEffect},
    observe::Scan,
};
use std::{collections::VecDeque, time::Duration};

/// A read or write of the lease that has not been answered by then counts as unknown.
const PATIENCE: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_millis(300);
/// Going on alone is decided while the lease is still valid, never after.
const ALONE_BEFORE: Duration = Duration::from_secs(1);
/// So often the right to go on alone is said again.
const ALONE_AGAIN: Duration = Duration::from_secs(1);
/// Attempts that a later read may still find to be the one that happened.
const ATTEMPTS: usize = 8;
/// Changed buckets are announced before the next renewal is due, but not more often.
const ANNOUNCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Live,
    Leaving,
    /// Everything is closed; what is to be written is being written.
    Finishing,
    Gone,
}

pub struct Own {
    known: Known,
    /// The number of the last attempt; each has its own.
    tried: u64,
    confirmed: u64,
    attempts: VecDeque<(u64, Boot)>,
    pub stage: Stage,
    /// By the last successful renewal.
    strict: Boot,
    /// As it was said.
    until: Boot,
    given: bool,
    pub advisory: bool,
    next: Boot,
    began: Boot,
    busy: Option<(DocTicket, Boot)>,
    /// The members document lists us: only then others see our lease end.
    pub joined: bool,
    failing: bool,
    /// Counts writes of buckets, and what of it others were told.
    pub owned: u64,
    told: u64,
}

impl Own {
    pub fn new() -> Self {
        Own {
            known: Known::Read,
            tried: 0,
            confirmed: 0,
            attempts: VecDeque::new(),
            stage: Stage::Live,
            strict: Boot::ZERO,
            until: Boot::ZERO,
            given: false,
            advisory: false,
            next: Boot::ZERO,
            began: Boot::ZERO,
            busy: None,
            joined: false,
            failing: false,
            owned: 0,
            told: 0,
        }
    }

    pub fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    pub fn until(&self) -> Boot {
        if self.given { self.until } else { Boot::ZERO }
    }

    pub fn holds_lease(&self) -> bool {
        self.confirmed > 0 && !self.is_gone()
    }

    pub fn due(&self) -> Boot {
        let next = self.busy.map_or(self.next, |(_, start)| start + PATIENCE);
        if self.given { next.min(self.until) } else { next }
    }
}

impl Fleet {
    /// Whether records and buckets may be written now.
    pub(super) fn can_write(&self) -> bool {
        self.own.given && self.now.boot < self.own.until && !self.own.is_gone()
    }

    /// Whether others' connections may be taken now.
    pub(super) fn may_take(&self) -> bool {
        self.can_write() && self.own.stage == Stage::Live && !self.own.advisory && self.own.joined
    }

    pub(super) fn expire(&mut self, fx: &mut Effects) {
        if self.own.given && self.now.boot >= self.own.until {
            self.fence(fx);
        }
    }

    pub(super) fn drive_lease(&mut self, fx: &mut Effects) {
        let now = self.now.boot;
        if let Some((ticket, start)) = self.own.busy {
            if now.since(start) < PATIENCE {
                return;
            }
            self.pending.remove(&ticket);
            self.lease_in_doubt(now);
        }
        let announce =
            self.own.owned != self.own.told && now >= self.own.began + ANNOUNCE && !self.own.failing;
        let finish = self.own.stage == Stage::Finishing && self.is_quiet() && !self.own.failing;
        if now < self.own.next && !announce && !finish {
            return;
        }
        let key = lease_key(&self.me.incarnation);
        let ticket = match self.own.known.expect() {
            None => self.get(vec![key], Pending::LeaseRead, fx),
            Some(expect) => {
                self.own.tried += 1;
                self.own.attempts.push_back((self.own.tried, now));
                if self.own.attempts.len() > ATTEMPTS {
                    self.own.attempts.pop_front();
                }
                self.own.began = now;
                self.own.told = self.own.owned;
                let value = self.lease(self.own.tried).encode();
                self.put(key, value, expect, Pending::Lease(self.own.tried), fx)
            }
        };
        self.own.busy = Some((ticket, now));
    }

    fn lease(&self, renewals: u64) -> Lease {
        let state = match self.own.stage {
            Stage::Live => LeaseState::Live,
            Stage::Finishing if self.is_quiet() => LeaseState::Left,
            _ => LeaseState::Leaving,
        };
        let member = self.me.clone();
        Lease { member, renewals, state, by: None, owned: self.own.owned, epoch: self.epoch_floor }
    }

    fn lease_in_doubt(&mut self, next: Boot) {
        self.own.busy = None;
        self.own.known = Known::Read;
        self.own.failing = true;
        self.own.next = next;
    }

    pub(super) fn lease_written(&mut self, attempt: u64, answer: DocAnswer, fx: &mut Effects) {
        self.own.busy = None;
        let now = self.now.boot;
        match answer {
            DocAnswer::Written(version) => {
                self.own.known = Known::At(version);
                let start = self.own.attempts.iter().find(|(number, _)| *number == attempt);
                let start = start.map_or(Boot::ZERO, |(_, start)| *start);
                self.renewed(attempt, start, fx);
                if self.own.stage == Stage::Finishing && self.is_quiet() {
                    // The quiet lasts since nothing is taken any more: this write said `left`, or
                    // the read that follows at once will tell.
                    self.own.known = Known::Read;
                    self.own.next = now;
                }
            }
            DocAnswer::Conflict => {
                self.own.known = Known::Read;
                self.own.next = now;
            }
            _ => self.lease_in_doubt(now + RETRY),
        }
    }

    pub(super) fn lease_read(&mut self, answer: DocAnswer, fx: &mut Effects) {
        self.own.busy = None;
        let now = self.now.boot;
        let DocAnswer::Got(mut found) = answer else { return self.lease_in_doubt(now + RETRY) };
        let found = found.pop().flatten();
        self.own.known = Known::of(found.as_ref());
        self.own.next = now;
        let Some(found) = found else {
            if self.own.confirmed > 0 {
                self.store_lost(fx);
            }
            return;
        };
        let key = lease_key(&self.me.incarnation);
        match Lease::decode(&found.value) {
            Read::Good(lease) if lease.member.incarnation != self.me.incarnation => self.fence(fx),
            Read::Good(lease) => self.lease_found(&lease, fx),
            Read::Newer => {
                self.newer(&key, fx);
                self.fence(fx);
            }
            // Only we write here, and we are valid or about to be: our own document is put right.
            Read::Bad(why) => self.bad(&key, why, true, fx),
        }
    }

    fn lease_found(&mut self, lease: &Lease, fx: &mut Effects) {
        if lease.state == LeaseState::Dead {
            return self.fence(fx);
        }
        if lease.state == LeaseState::Left {
            return self.gone(fx);
        }
        if lease.renewals < self.own.confirmed {
            return self.store_lost(fx);
        }
        let attempt = self.own.attempts.iter().find(|(number, _)| *number == lease.renewals).copied();
        if let Some((number, start)) = attempt
            && number > self.own.confirmed
        {
            self.renewed(number, start, fx);
        }
    }

    /// The attempt that began at `start` stands in the store.
    fn renewed(&mut self, attempt: u64, start: Boot, fx: &mut Effects) {
        let now = self.now.boot;
        let timings = self.setup.timings;
        self.own.confirmed = self.own.confirmed.max(attempt);
        self.own.failing = false;
        self.counters.renewals += 1;
        self.own.strict = self.own.strict.max(start + timings.valid);
        if self.breaks(Canary::OutlivesLease) {
            self.own.strict = now + timings.lease * 2;
        }
        let early = self.jitter(Duration::ZERO, timings.renew / 20);
        self.own.next = start + (timings.renew - early);
        self.give(fx);
    }

    /// Says until when this instance may act, once it is listed.
    pub(super) fn give(&mut self, fx: &mut Effects) {
        if self.own.joined && self.now.boot < self.own.strict && !self.own.is_gone() {
            self.own.given = true;
            self.own.advisory = false;
            self.own.until = self.own.strict;
            fx.push(FleetEffect::Valid { until: self.own.until, advisory: false });
        }
    }

    /// Near the end of a lease that the store does not renew: whoever knows to be alone goes on.
    pub(super) fn go_on_alone(&mut self, fx: &mut Effects) {
        let now = self.now.boot;
        if !self.own.given || self.own.is_gone() {
            return;
        }
        let valid = self.setup.timings.valid;
        let slow = self.own.busy.is_some_and(|(_, start)| now.since(start) >= ALONE_BEFORE);
        if self.own.advisory {
            if !self.is_alone() {
                // The store answers again and shows others: they may have taken what is ours.
                self.fence(fx);
            } else if now + valid >= self.own.until + ALONE_AGAIN {
                self.own.until = now + valid;
                fx.push(FleetEffect::Valid { until: self.own.until, advisory: true });
            }
        } else if self.own.until.since(now) <= ALONE_BEFORE && (self.own.failing || slow) && self.is_alone() {
            self.own.advisory = true;
            self.own.until = now + valid;
            fx.push(FleetEffect::Valid { until: self.own.until, advisory: true });
        }
    }

    pub(super) fn leave(&mut self) {
        if self.own.stage == Stage::Live {
            self.own.stage = Stage::Leaving;
            self.own.next = self.own.next.min(self.now.boot);
        }
    }

    pub(super) fn finish_leaving(&mut self, fx: &mut Effects) {
        if self.own.is_gone() {
            return;
        }
        self.own.stage = Stage::Finishing;
        if self.own.attempts.is_empty() {
            // Never a member, and no lease on its way: there is nothing to give back.
            self.gone(fx);
        }
    }

    /// Nothing of ours is on its way to the store any more.
    fn is_quiet(&self) -> bool {
        self.entries.values().all(|entry| entry.work.is_none()) && self.buckets.iter().all(Bucket::is_quiet)
    }

    fn gone(&mut self, fx: &mut Effects) {
        self.own.stage = Stage::Gone;
        self.own.given = false;
        self.forget_everything("this instance has left the fleet", fx);
        fx.push(FleetEffect::Left);
    }

    /// The lease is lost: nothing of what was owned is ours, and the next name is drawn.
    pub(super) fn fence(&mut self, fx: &mut Effects) {
        self.counters.fences += 1;
        let leaving = self.own.stage != Stage::Live;
        self.forget_everything("the lease was lost: another instance goes on with the connection", fx);
        let former = self.me.clone();
        let word = format!("{:016x}", self.random());
        self.me.incarnation = incarnation_name(&self.setup.instance, &word);
        self.own = Own::new();
        self.scan = Scan::new();
        self.index = Index::default();
        self.begin_watching_anew(former);
        fx.push(FleetEffect::Fence { incarnation: self.me.incarnation.clone() });
        if leaving {
            // Nothing is held any more, and nothing is to be taken.
            self.own.stage = Stage::Gone;
            fx.push(FleetEffect::Left);
        }
    }

    fn forget_everything(&mut self, why: &str, fx: &mut Effects) {
        let ids: Vec<_> = self.entries.keys().cloned().collect();
        for id in ids {
            self.refuse_all(&id, why, fx);
        }
        self.entries.clear();
        self.ready.clear();
        self.asks.clear();
        self.pending.clear();
        self.records_in_flight = 0;
        self.buckets = Bucket::fresh();
    }
}
