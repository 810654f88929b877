//! Connections' records: one read or write at a time for each, the newest document next.

use super::{
    Canary, Effects, Fleet, Known, Pending,
    document::{placeholder, record_key},
    entry::{End, Held, Job, What, Work},
    io::{Boot, Claim, DocAnswer, Expect, FleetEffect},
    lease::Stage,
    wishes::refusal,
};
use crate::{
    core::{id::ConnectionId, time::Time},
    limits,
};
use std::time::Duration;

/// After a hand-over, or a deletion that an earlier write may overtake.
const LOOK_BACK: Duration = Duration::from_secs(4);

impl Fleet {
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
        work.looks_back = None;
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
        if matches!(end, End::Taken(_))
            && let Some(job) =
                next.take_if(|job| matches!(job.what, What::Put { epoch, .. } if epoch < entry.epoch))
        {
            // Written now it would bring an epoch back that is over.
            let why = format!("the connection was taken over meanwhile, with epoch {}", entry.epoch);
            fx.extend(job.askers.into_iter().map(|who| refusal(who, &why)));
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
        let deletes_again = (deleted || renounced) && entry.unsure && next.is_none();
        if deletes_again {
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
            let looks_back = deletes_again.then_some(at);
            entry.work = Some(Box::new(Work { looks_back, ..*Work::new(next) }));
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
