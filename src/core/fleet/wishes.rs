//! What shards and edges want of connections' records: claims, writes, deletions. Every caller is
//! answered, by its deadline at the latest; what it wanted goes on.

use super::{
    Effects, Fleet, Known,
    document::own,
    entry::{Entry, Held, Job, What, Work},
    io::{Asker, Claim, FleetEffect},
    lease::Stage,
};
use crate::{core::id::ConnectionId, limits};
use bytes::Bytes;

const BUSY: &str = "this connection is being handed over, taken or ended; try again";
/// To whoever hands it over, and could not begin.
const STAYS: &str = "something newer is done about this connection; it is still ours";

/// What becomes of a wish that waits when a newer one comes.
enum Merge {
    /// The newer one takes its place, and its callers hear how that one ends.
    Replace,
    /// It stays, and whoever has the newer wish hears how it ends.
    Join,
    /// It stays, and the newer one cannot be had.
    Refuse,
}

/// Nobody may hear that something is done which was only forgotten.
fn merge(waits: &What, newer: &What) -> Merge {
    match (waits, newer) {
        (What::Expect | What::Delete | What::Transfer { .. } | What::Take { .. }, What::Claim { .. })
        | (What::Put { .. } | What::Delete | What::Transfer { .. } | What::Take { .. }, What::Expect) => {
            Merge::Refuse
        }
        // A document is more than a claim: it makes the connection ours as well.
        (What::Put { .. }, What::Claim { .. }) => Merge::Join,
        _ => Merge::Replace,
    }
}

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
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let is_idle = |job: &mut Job| job.askers.is_empty() && matches!(job.what, What::Claim { .. });
        if let Some(work) = &mut entry.work
            && work.next.take_if(is_idle).is_some()
            && !is_idle(&mut work.run)
        {
            // It had not begun, and what comes before it is as it was.
            return;
        }
        // What was stored since is no claim any more, nor is what is about to be.
        let stores = |work: &mut Box<Work>| work.jobs().any(|job| matches!(job.what, What::Put { .. }));
        if entry.held != Held::Yes && !entry.work.as_mut().is_some_and(stores) {
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
        if let Some(at) = entry.work.as_ref().and_then(|work| work.looks_back) {
            // Nobody waits for that look, and it comes again after what is wanted now.
            self.ready.remove(&(at, id.clone()));
            (entry.unsure, entry.work) = (true, None);
        }
        match &mut entry.work {
            None => {
                entry.work = Some(Work::new(Job { what, askers: Vec::from_iter(asker) }));
                self.ready.insert((now, id.clone()));
            }
            Some(work) => {
                let job = work.next.get_or_insert_with(|| Job { what: what.clone(), askers: Vec::new() });
                match merge(&job.what, &what) {
                    Merge::Refuse => return fx.extend(asker.map(|who| refusal(who, BUSY))),
                    Merge::Join => {}
                    Merge::Replace => {
                        let waits_in_vain = |(_, claims): &mut (Asker, bool)| match &job.what {
                            // Whoever waits to dial it would be told that it is ours.
                            _ if *claims => !matches!(what, What::Claim { .. } | What::Put { .. }),
                            // And who hands it over, that it is another's.
                            What::Transfer { .. } => true,
                            _ => false,
                        };
                        let refused = job.askers.extract_if(.., waits_in_vain);
                        let stays = matches!(what, What::Put { .. });
                        let why = |claims: bool| if stays && !claims { STAYS } else { BUSY };
                        fx.extend(refused.map(|who| refusal(who, why(who.1))));
                        job.what = what;
                    }
                }
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
}

/// To one caller, in the words of what it asked.
pub(super) fn refusal((asker, claim): (Asker, bool), why: &str) -> FleetEffect {
    match claim {
        true => FleetEffect::Claimed { asker, claim: Claim::Unknown(why.to_owned()) },
        false => FleetEffect::Stored { asker, result: Err(why.to_owned()) },
    }
}
