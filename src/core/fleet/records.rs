//! Connections' records: one write at a time for each, the newest document next, and every caller
//! is answered.

use super::{
    Canary, Effects, Fleet, Known, Pending,
    document::{own, placeholder, record_key},
    entry::{End, Entry, Held, Job, What, Work},
    io::{Asker, Boot, Claim, DocAnswer, Expect, FleetEffect},
    lease::Stage,
};
use crate::{
    core::{id::ConnectionId, time::Time},
    limits,
};
use bytes::Bytes;
use std::time::Duration;

/// After a hand-over, or a deletion that an earlier write may overtake.
const LOOK_BACK: Duration = Duration::from_secs(4);

const BUSY: &str = "this connection is being handed over, taken or ended; try again";

impl Fleet {
    pub(super) fn claim(&mut self, asker: Asker, id: ConnectionId, fx: &mut Effects) {
        if let Some(entry) = self.entries.get(&id)
            && entry.is_ours()
            && entry.work.is_none()
        {
            let claim = Claim::Mine { epoch: entry.epoch };
            return fx.push(FleetEffect::Claimed { asker, claim });
        }
        let epoch = self.next_epoch(0);
        self.ask(id, What::Claim { epoch }, Some((asker, true)), fx);
    }

    pub(super) fn unclaim(&mut self, id: ConnectionId, fx: &mut Effects) {
        // What was stored since is no claim any more.
        if self.entries.get(&id).is_some_and(|entry| entry.held != Held::Yes) {
            self.ask(id, What::Delete, None, fx);
        }
    }

    pub(super) fn store(
        &mut self,
        asker: Asker,
        id: ConnectionId,
        epoch: u64,
        document: Bytes,
        fx: &mut Effects,
    ) {
        let held = self.entries.get(&id).filter(|entry| entry.held == Held::Yes);
        if let Some(entry) = held.filter(|entry| entry.epoch > epoch) {
            let result = Err(format!("epoch {epoch} is below {}, which is stored", entry.epoch));
            return fx.push(FleetEffect::Stored { asker, result });
        }
        match own(&document, &self.me.incarnation) {
            Some(document) => {
                self.saw_epoch(epoch);
                self.submit(id, What::Put { epoch, document }, Some(asker), fx);
            }
            None => {
                let result = Err("the document is no JSON object".to_owned());
                fx.push(FleetEffect::Stored { asker, result });
            }
        }
    }

    pub(super) fn forget(&mut self, asker: Asker, id: ConnectionId, fx: &mut Effects) {
        let taking = self
            .entries
            .get(&id)
            .filter(|entry| entry.held == Held::No)
            .and_then(|entry| entry.work.as_ref());
        if taking.is_some_and(|work| matches!(work.run.what, What::Take { .. }) && work.next.is_none()) {
            // It is not ours yet; whoever forgets it means what he had before.
            return fx.push(FleetEffect::Stored { asker, result: Ok(()) });
        }
        self.submit(id, What::Delete, Some(asker), fx);
    }

    pub(super) fn submit(&mut self, id: ConnectionId, what: What, asker: Option<Asker>, fx: &mut Effects) {
        let what = match what {
            What::Transfer { to, epoch, document } => match own(&document, &to) {
                Some(document) => What::Transfer { to, epoch, document },
                None => {
                    let result = Err("the document is no JSON object".to_owned());
                    return fx.extend(asker.map(|asker| FleetEffect::Stored { asker, result }));
                }
            },
            other => other,
        };
        self.ask(id, what, asker.map(|asker| (asker, false)), fx);
    }

    fn ask(&mut self, id: ConnectionId, what: What, asker: Option<(Asker, bool)>, fx: &mut Effects) {
        let expects = matches!(what, What::Expect);
        if self.own.stage >= Stage::Finishing || expects && self.own.stage > Stage::Live {
            return fx.extend(asker.map(|who| refusal(who, "this instance is leaving the fleet")));
        }
        let now = self.now.boot;
        // Whoever hands over must know whether he did.
        let transfers = matches!(what, What::Transfer { .. });
        let fresh = match what {
            What::Put { .. } | What::Claim { .. } => Known::Absent,
            _ => Known::Read,
        };
        let entry = self.entries.entry(id.clone()).or_insert(Entry {
            known: fresh,
            epoch: 0,
            held: Held::No,
            listed: 0,
            unsure: false,
            work: None,
        });
        match &mut entry.work {
            None => {
                entry.work = Some(Work::new(Job { what, askers: Vec::from_iter(asker) }));
                self.ready.insert((now, id.clone()));
            }
            Some(work) => {
                let job = work.next.get_or_insert_with(|| Job { what: what.clone(), askers: Vec::new() });
                if matches!((&job.what, &what), (What::Expect, What::Claim { .. })) {
                    return fx.extend(asker.map(|who| refusal(who, BUSY)));
                }
                if !matches!(what, What::Claim { .. } | What::Put { .. }) {
                    // Whoever waits to dial it would be told that it is ours.
                    fx.extend(job.askers.extract_if(.., |(_, claims)| *claims).map(|who| refusal(who, BUSY)));
                }
                job.what = what;
                if job.askers.len() >= limits::FLEET_ASKERS_MAX {
                    return fx.extend(asker.map(|who| refusal(who, "too many callers wait for this record")));
                }
                job.askers.extend(asker);
            }
        }
        if let Some((asker, _)) = asker
            && !transfers
        {
            self.asks.push_back((now + self.setup.timings.ask, asker, id));
        }
    }

    /// Callers whose time is over; the document stays and is written later.
    pub(super) fn give_up_waiting(&mut self, fx: &mut Effects) {
        while let Some((at, ..)) = self.asks.front()
            && *at <= self.now.boot
        {
            let Some((_, asker, id)) = self.asks.pop_front() else { break };
            let Some(work) = self.entries.get_mut(&id).and_then(|entry| entry.work.as_mut()) else {
                continue;
            };
            let mut given_up = None;
            for job in work.jobs() {
                if let Some(at) = job.askers.iter().position(|(waits, _)| *waits == asker) {
                    given_up = Some(job.askers.swap_remove(at));
                    break;
                }
            }
            let Some(who) = given_up else { continue };
            self.counters.given_up += 1;
            fx.push(refusal(who, "the state store did not answer in time; the write goes on"));
            let newest = work.next.as_ref().unwrap_or(&work.run);
            if who.1 && newest.askers.is_empty() && matches!(newest.what, What::Claim { .. }) {
                // Nobody will dial under this claim.
                self.unclaim(id, fx);
            }
        }
    }

    /// Everybody who waits for this connection is told why he waits no more.
    pub(super) fn refuse_all(&mut self, id: &ConnectionId, why: &str, fx: &mut Effects) {
        if let Some(work) = self.entries.get_mut(id).and_then(|entry| entry.work.as_mut()) {
            for job in work.jobs() {
                fx.extend(job.askers.drain(..).map(|who| refusal(who, why)));
            }
        }
    }

    pub(super) fn wake(&mut self, id: &ConnectionId) {
        if let Some(work) = self.entries.get_mut(id).and_then(|entry| entry.work.as_mut()) {
            work.busy = false;
            self.ready.insert((self.now.boot, id.clone()));
        }
    }

    pub(super) fn drive_records(&mut self, fx: &mut Effects) {
        let now = self.now.boot;
        let mut reads = Vec::new();
        while self.can_write() && now >= self.hold && self.records_in_flight < limits::FLEET_RECORDS_IN_FLIGHT
        {
            let Some((at, _)) = self.ready.first() else { break };
            if *at > now {
                break;
            }
            let Some((_, id)) = self.ready.pop_first() else { break };
            if self.step(&id, fx) {
                reads.push(id);
            }
            if reads.len() == limits::FLEET_READ_KEYS {
                self.read_records(std::mem::take(&mut reads), fx);
            }
        }
        if !reads.is_empty() {
            self.read_records(reads, fx);
        }
    }

    fn read_records(&mut self, ids: Vec<ConnectionId>, fx: &mut Effects) {
        self.records_in_flight += 1;
        self.get(ids.iter().map(record_key).collect(), Pending::RecordRead(ids), fx);
    }

    /// One step of one connection's job; true when its record must be read now.
    fn step(&mut self, id: &ConnectionId, fx: &mut Effects) -> bool {
        let Some(entry) = self.entries.get_mut(id) else { return false };
        let Some(work) = &mut entry.work else { return false };
        if work.busy {
            return false;
        }
        if matches!(work.run.what, What::Take { .. }) {
            if !work.paced {
                if let Err(wait) = self.takes.take(Time::from_nanos(self.now.boot.0), 1) {
                    self.ready.insert((self.now.boot + wait, id.clone()));
                    return false;
                }
                work.paced = true;
            }
            if work.prepared.is_none() && !work.drop_placeholder {
                work.busy = true;
                return true;
            }
        }
        if matches!(work.run.what, What::Claim { .. }) && matches!(entry.held, Held::Yes | Held::Placeholder)
        {
            let claim = Claim::Mine { epoch: entry.epoch };
            self.end(id, End::Claimed(claim), fx);
            return false;
        }
        if matches!(work.run.what, What::Expect) {
            let listed = entry.listed;
            match self.is_listed(id, listed) {
                true => self.end(id, End::Done, fx),
                false => self.list_first(id),
            }
            return false;
        }
        let Some(expect) = entry.known.expect() else {
            work.busy = true;
            return true;
        };
        let deletes = work.drop_placeholder || matches!(work.run.what, What::Delete | What::Transfer { .. });
        if !deletes {
            let listed = entry.listed;
            if !self.is_listed(id, listed) && !self.breaks(Canary::ForgetsBucket) {
                self.list_first(id);
                return false;
            }
        }
        self.write(id, expect, fx);
        false
    }

    /// Before the record: whoever finds us dead must find the id in our list.
    fn list_first(&mut self, id: &ConnectionId) {
        let generation = self.list(id);
        let listed = self.is_listed(id, generation);
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.listed = generation;
        if listed {
            self.ready.insert((self.now.boot, id.clone()));
        } else {
            entry.work.as_mut().into_iter().for_each(|work| work.busy = true);
            self.wait_for_list(id);
        }
    }

    fn write(&mut self, id: &ConnectionId, expect: Expect, fx: &mut Effects) {
        let me = self.me.clone();
        let Some(work) = self.entries.get_mut(id).and_then(|entry| entry.work.as_mut()) else { return };
        let value = match &work.run.what {
            What::Put { document, .. } | What::Transfer { document, .. } => Some(document.clone()),
            What::Claim { epoch } => Some(placeholder(id, &me, *epoch)),
            What::Take { .. } => work.prepared.clone(),
            What::Delete | What::Expect => None,
        };
        work.busy = true;
        match (value, expect) {
            (Some(value), expect) => {
                self.records_in_flight += 1;
                self.put(record_key(id), value, expect, Pending::Record(id.clone()), fx);
            }
            (None, Expect::Version(version)) => {
                self.records_in_flight += 1;
                self.delete(record_key(id), version, Pending::Record(id.clone()), fx);
            }
            (None, Expect::Absent) => self.end(id, End::Done, fx),
        }
    }

    pub(super) fn record_written(&mut self, id: ConnectionId, answer: DocAnswer, fx: &mut Effects) {
        self.records_in_flight -= 1;
        let now = self.now.boot;
        let anyway = self.breaks(Canary::TakesAnyway);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(work) = &mut entry.work else { return };
        let taking = work.prepared.is_some();
        match answer {
            DocAnswer::Written(version) => {
                entry.known = Known::At(version);
                self.store_answered();
                self.succeed(&id, fx);
            }
            DocAnswer::Conflict if anyway && taking => self.succeed(&id, fx),
            other => {
                entry.known = Known::Read;
                work.prepared = None;
                work.drop_placeholder = false;
                if !matches!(other, DocAnswer::Conflict) {
                    entry.unsure = true;
                    self.store_failed();
                }
                self.try_again(&id, now);
            }
        }
    }

    /// With what is newest by now.
    pub(super) fn try_again(&mut self, id: &ConnectionId, at: Boot) {
        let Some(work) = self.entries.get_mut(id).and_then(|entry| entry.work.as_mut()) else { return };
        if let Some(mut next) = work.next.take_if(|next| replaces(&work.run.what, &next.what)) {
            next.askers.append(&mut work.run.askers);
            work.run = next;
        }
        work.busy = false;
        self.ready.insert((at, id.clone()));
    }

    /// The write of the running job stands.
    pub(super) fn succeed(&mut self, id: &ConnectionId, fx: &mut Effects) {
        let Some(work) = self.entries.get_mut(id).and_then(|entry| entry.work.as_mut()) else { return };
        let end = match &work.run.what {
            What::Claim { epoch } => End::Claimed(Claim::Mine { epoch: *epoch }),
            What::Take { .. } => match work.prepared.take() {
                Some(document) => End::Taken(document),
                // A dead one's placeholder, which is gone now.
                None => End::Nothing { again: false },
            },
            _ => End::Done,
        };
        self.end(id, end, fx);
    }

    pub(super) fn end(&mut self, id: &ConnectionId, end: End, fx: &mut Effects) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Some(work) = entry.work.take() else { return };
        let before = entry.held;
        let Work { run, mut next, .. } = *work;
        let mut result = Ok(());
        match (&run.what, &end) {
            (What::Put { epoch, .. }, End::Done) => (entry.held, entry.epoch) = (Held::Yes, *epoch),
            (What::Claim { epoch }, End::Claimed(Claim::Mine { .. })) if before == Held::No => {
                (entry.held, entry.epoch) = (Held::Placeholder, *epoch);
            }
            (What::Take { epoch, .. }, End::Taken(document)) => {
                (entry.held, entry.epoch) = (Held::Yes, *epoch);
                self.counters.taken += 1;
                let document = document.clone();
                if self.own.stage < Stage::Finishing {
                    fx.push(FleetEffect::Take { id: id.clone(), epoch: *epoch, document });
                }
            }
            (What::Expect, End::Done) if before == Held::No => entry.held = Held::Expected,
            (What::Delete, End::Done) => (entry.held, entry.known) = (Held::No, Known::Absent),
            (What::Transfer { .. }, End::Done) => (entry.held, entry.known) = (Held::No, Known::Read),
            (_, End::Lost(epoch)) => {
                (entry.held, entry.known) = (Held::No, Known::Read);
                self.counters.lost += 1;
                result = Err("another instance owns this connection".to_owned());
                fx.push(FleetEffect::Lost { id: id.clone(), epoch: *epoch });
                for (asker, claim) in next.take().into_iter().flat_map(|next| next.askers) {
                    fx.push(refusal((asker, claim), "another instance owns this connection"));
                }
            }
            (_, End::Failed(why)) => result = Err(why.clone()),
            _ => {}
        }
        let claim = match &end {
            End::Claimed(claim) => claim.clone(),
            _ => result.clone().err().map_or(Claim::Mine { epoch: entry.epoch }, Claim::Unknown),
        };
        for (asker, claims) in run.askers {
            fx.push(match claims {
                true => FleetEffect::Claimed { asker, claim: claim.clone() },
                false => FleetEffect::Stored { asker, result: result.clone() },
            });
        }
        if before != entry.held {
            self.index.dirty();
        }
        if matches!(end, End::Taken(_))
            && let Some(job) = next.take_if(|job| matches!(job.what, What::Delete))
        {
            // It was meant for what stood there before, not for what was taken just now.
            for (asker, _) in job.askers {
                fx.push(FleetEffect::Stored { asker, result: Ok(()) });
            }
        }
        let mut at = self.now.boot;
        if let (What::Transfer { to, .. }, End::Done, None) = (&run.what, &end, &next) {
            // Its new owner may have left while this was under way: one more look, when that shows.
            let what = What::Take { from: Some(to.clone()), epoch: 0 };
            next = Some(Job { what, askers: Vec::new() });
            at = at + LOOK_BACK;
        }
        let mut looks_back = false;
        if matches!((&run.what, &end), (What::Take { .. }, End::Nothing { .. }))
            && entry.unsure
            && next.is_none()
        {
            // An earlier attempt of this very take may be late.
            (entry.unsure, looks_back) = (false, true);
            next = Some(Job { what: run.what.clone(), askers: Vec::new() });
            at = at + LOOK_BACK;
        }
        let deleted = matches!((&run.what, &end), (What::Delete, End::Done));
        let renounced = matches!(run.what, What::Claim { .. }) && !entry.is_held();
        if (deleted || renounced) && entry.unsure && next.is_none() {
            // What was late must not bring it back, nor leave a claim that nobody knows of.
            (entry.unsure, entry.known) = (false, Known::Read);
            next = Some(Job { what: What::Delete, askers: Vec::new() });
            at = at + LOOK_BACK;
        }
        if !entry.is_ours() && entry.known != Known::Absent {
            // What stands there is another's: seen by this job, not by the next.
            entry.known = Known::Read;
        }
        if let Some(next) = next {
            entry.work = Some(Work::new(next));
            self.ready.insert((at, id.clone()));
        } else if !entry.is_held() {
            self.entries.remove(id);
            self.unlist(id);
        }
        if let What::Take { from, .. } = run.what
            && !looks_back
        {
            self.settled(id, from.is_none(), matches!(end, End::Nothing { again: true }));
        }
    }

    pub(super) fn records_read(&mut self, ids: Vec<ConnectionId>, answer: DocAnswer, fx: &mut Effects) {
        self.records_in_flight -= 1;
        match answer {
            DocAnswer::Got(found) if found.len() == ids.len() => {
                self.store_answered();
                for (id, found) in ids.iter().zip(found) {
                    self.judge(id, found, fx);
                }
            }
            _ => {
                self.store_failed();
                let now = self.now.boot;
                ids.iter().for_each(|id| self.try_again(id, now));
            }
        }
    }
}

/// Whether the newer wish makes the older one needless.
fn replaces(old: &What, new: &What) -> bool {
    matches!((old, new), (What::Put { .. }, What::Put { .. }))
}

fn refusal((asker, claim): (Asker, bool), why: &str) -> FleetEffect {
    match claim {
        true => FleetEffect::Claimed { asker, claim: Claim::Unknown(why.to_owned()) },
        false => FleetEffect::Stored { asker, result: Err(why.to_owned()) },
    }
}
