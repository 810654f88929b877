//! What must be true at every step, and what at the end.

use super::*;

macro_rules! need {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}

impl World {
    pub fn note(&mut self, at: usize, what: &str, more: &str) {
        for byte in what.bytes().chain(more.bytes()).chain([at as u8]) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.hash = self.hash.rotate_left(23) ^ self.now;
        let shown = format!("{what} {more}");
        if self.watched.as_ref().is_some_and(|word| !more.contains(word.as_str()) && more.contains('-')) {
            return;
        }
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>10.3} ms {at} {shown}", self.now as f64 / 1e6));
    }

    pub fn perform(&mut self, at: usize, effect: FleetEffect) {
        match effect {
            FleetEffect::Get { ticket, keys } => self.send(at, ticket, Op::Get(keys)),
            FleetEffect::Put { ticket, key, value, expect, ttl } => {
                self.may_write(at, &key);
                self.note(at, "puts", &key);
                self.send(at, ticket, Op::Put(key, value, expect, ttl));
            }
            FleetEffect::Delete { ticket, key, expect } => {
                self.may_write(at, &key);
                self.note(at, "deletes", &key);
                self.send(at, ticket, Op::Delete(key, expect));
            }
            FleetEffect::Valid { until, advisory } => {
                if advisory && !self.instances[at].advisory {
                    self.note(at, "goes on alone", "");
                    self.stats.advisory += 1;
                }
                assert!(until > self.clocks(at).boot, "validity that is over already");
                self.instances[at].until = until;
                self.instances[at].advisory = advisory;
                let held: Vec<ConnectionId> = self.instances[at].held.keys().cloned().collect();
                held.iter().for_each(|id| self.demand_one_owner(at, id));
            }
            FleetEffect::Fence { incarnation } => {
                self.note(at, "is fenced, now", &incarnation);
                self.instances[at].until = Boot::ZERO;
                self.instances[at].advisory = false;
                self.instances[at].held.clear();
                self.instances[at].dialling.clear();
            }
            FleetEffect::Take { id, epoch, .. } => {
                self.stats.taken += 1;
                self.note(at, "takes", &format!("{id} {epoch}"));
                let before = self.epochs.insert(id.clone(), epoch);
                let known = before.filter(|_| self.rolled_back.is_none());
                assert!(known.is_none_or(|before| before < epoch), "{id}: epoch {epoch} after {before:?}");
                self.instances[at].held.insert(id.clone(), epoch);
                self.demand_one_owner(at, &id);
            }
            FleetEffect::Lost { id, epoch } => {
                self.note(at, "lost", &format!("{id} {epoch}"));
                self.stats.lost += 1;
                self.instances[at].held.remove(&id);
            }
            FleetEffect::StoreLost => self.write_all_again(at),
            FleetEffect::Claimed { asker, claim } => self.claimed(at, asker, claim),
            FleetEffect::Stored { asker, result } => self.stored(at, asker, result),
            FleetEffect::Left => {
                self.note(at, "has left", "");
                self.stop(at);
                let wait = self.rng.nanos(100, 5000);
                self.after(wait, Event::Start(at));
            }
            FleetEffect::Members(_) | FleetEffect::Trouble(_) => {}
        }
    }

    fn is_valid(&self, at: usize) -> bool {
        self.clocks(at).boot < self.instances[at].until
    }

    /// No write of a fenced incarnation begins, and none without a valid lease.
    fn may_write(&self, at: usize, key: &str) {
        let Some(fleet) = &self.instances[at].fleet else { return };
        let mine = format!("wsm-owned-{}", fleet.me().incarnation);
        if key.starts_with("websocket-") || key.starts_with(&mine) {
            assert!(self.is_valid(at), "{at} writes {key} without a valid lease");
        }
    }

    fn demand_one_owner(&mut self, at: usize, id: &ConnectionId) {
        if self.rolled_back.is_some_and(|then| self.now < then + ROLLBACK_GRACE) {
            return;
        }
        // Whoever goes on alone has said so; others may have come since.
        if !self.is_valid(at) || self.instances[at].advisory {
            return;
        }
        for other in 0..self.instances.len() {
            let instance = &self.instances[other];
            if other != at && !instance.advisory && instance.held.contains_key(id) && self.is_valid(other) {
                panic!("{id} is held by {other} and by {at}");
            }
        }
    }

    fn write_all_again(&mut self, at: usize) {
        self.note(at, "writes all again", "");
        let held: Vec<_> = self.instances[at].held.iter().map(|(id, epoch)| (id.clone(), *epoch)).collect();
        let life = self.instances[at].life;
        for (id, _) in held {
            self.after(MILLI, Event::Later { at, life, what: Planned::Again(id) });
        }
    }

    fn claimed(&mut self, at: usize, asker: Asker, claim: Claim) {
        let Some(Wants::Claim(id)) = self.instances[at].asked.remove(&asker) else {
            panic!("{asker:?} was answered twice, or wrongly");
        };
        self.stats.claims += 1;
        self.note(at, "is told of its claim", &format!("{id} {claim:?}"));
        if let Claim::Mine { epoch } = claim
            && !self.is_there(at, &id)
        {
            let life = self.instances[at].life;
            self.instances[at].dialling.insert(id.clone());
            let what =
                if self.rng.chance(750) { Planned::Dialled(id, epoch) } else { Planned::DialFailed(id) };
            let wait = self.rng.nanos(1, 400);
            self.after(wait, Event::Later { at, life, what });
        }
    }

    fn stored(&mut self, at: usize, asker: Asker, result: Result<(), String>) {
        let Some(wants) = self.instances[at].asked.remove(&asker) else {
            panic!("{asker:?} was answered twice");
        };
        match (wants, result) {
            (Wants::Store(id, epoch, fresh), Ok(())) => {
                self.stats.stored += 1;
                if self.instances[at].closed || !fresh && !self.instances[at].held.contains_key(&id) {
                    // Given away or forgotten since.
                    return;
                }
                let known = self.instances[at].held.insert(id.clone(), epoch);
                if known.is_none() {
                    self.note(at, "holds", &format!("{id} {epoch}"));
                }
                let highest = self.epochs.entry(id.clone()).or_insert(epoch);
                *highest = epoch.max(*highest);
                self.standing.insert(id.clone(), true);
                self.demand_one_owner(at, &id);
            }
            (Wants::Forget(id), Ok(())) => {
                self.epochs.remove(&id);
                self.standing.remove(&id);
            }
            (Wants::Transfer(id, epoch, other), Ok(())) => {
                let life = self.instances[other].life;
                self.after(MILLI, Event::Later { at: other, life, what: Planned::TakeOver(id, epoch) });
            }
            (Wants::Expect(id, from), Ok(())) => {
                let life = self.instances[from].life;
                let what = Planned::HandOver(id, at);
                self.after(MILLI, Event::Later { at: from, life, what });
            }
            (Wants::Expect(id, _), Err(_)) => self.forget_soon(at, id),
            (Wants::Store(id, ..), Err(_)) => {
                self.standing.remove(&id);
                if !self.instances[at].held.contains_key(&id) {
                    self.forget_soon(at, id);
                }
            }
            (Wants::Forget(id), Err(_)) => {
                self.standing.remove(&id);
            }
            (Wants::Transfer(id, epoch, other), Err(why)) => {
                self.standing.remove(&id);
                if why.contains("still ours") {
                    // The shard goes on with it, as before the offer.
                    self.instances[at].held.entry(id.clone()).or_insert(epoch - 1);
                    self.demand_one_owner(at, &id);
                }
                let life = self.instances[other].life;
                let what = Planned::TakeOver(id, epoch);
                self.after(6000 * MILLI, Event::Later { at: other, life, what });
            }
            (Wants::Claim(_), _) => panic!("a claim was answered as a write"),
        }
    }

    /// What a Connect that failed leaves behind.
    fn forget_soon(&mut self, at: usize, id: ConnectionId) {
        let life = self.instances[at].life;
        self.after(MILLI, Event::Later { at, life, what: Planned::Forget(id) });
    }

    /// The world is well: every connection has its owner, and the list is right.
    pub fn is_healthy(&self) -> Result<(), String> {
        let mut owners = BTreeMap::new();
        for at in 0..self.instances.len() {
            need!(self.is_valid(at) && !self.instances[at].advisory, "{at} has no lease");
            let asked = &self.instances[at].asked;
            need!(asked.is_empty(), "{at} left callers unanswered: {asked:?}");
            let Some(fleet) = &self.instances[at].fleet else { return Err(format!("{at} does not run")) };
            need!(fleet.members().len() == 2, "{at} does not see the others");
            owners.insert(fleet.me().incarnation.clone(), at);
        }
        let records = self.store.records();
        let mut revived = BTreeSet::new();
        for id in &records {
            let doc = &self.store.docs[&record_key(id)];
            let Read::Good(head) = decode_record(&doc.value) else { return Err(format!("{id} is broken")) };
            let owner = head.owner.as_ref().and_then(|owner| owners.get(owner).copied());
            if owner.is_none() && self.rolled_back.is_some() {
                revived.insert(id.clone());
                continue;
            }
            let Some(at) = owner else { return Err(format!("{id} is nobody's, but {head:?}")) };
            let held = self.instances[at].held.get(id);
            if self.rolled_back.is_some() && held.is_none() {
                // Deleted, and brought back by a store that went back in time.
                revived.insert(id.clone());
                continue;
            }
            need!(held == Some(&head.epoch), "{id} is {at}'s with {} but it holds {held:?}", head.epoch);
        }
        for (at, instance) in self.instances.iter().enumerate() {
            for id in instance.held.keys() {
                need!(records.contains(id), "{at} holds {id}, which is not stored");
            }
        }
        if !self.rolls_back {
            for id in self.standing.keys() {
                need!(records.contains(id), "{id} is lost");
            }
        }
        let index = self.store.docs.get(INDEX).map(|doc| decode_ids(&doc.value));
        let Some(Read::Good(index)) = index else { return Err(format!("the index is {index:?}")) };
        let matches = match self.rolled_back {
            None => index.ids == records,
            Some(_) => records.difference(&revived).all(|id| index.ids.contains(id)),
        };
        need!(matches, "the index is {:?}, the records {records:?}", index.ids);
        Ok(())
    }

    pub fn count(&mut self) {
        for instance in &mut self.instances {
            let Some(counters) = instance.fleet.as_ref().map(|fleet| fleet.counters()) else { continue };
            self.stats.fences += counters.fences;
            self.stats.store_losses += counters.store_losses;
        }
    }
}
