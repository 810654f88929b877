//! What a record that was read means for what was to be done with it.

use super::{
    Canary, Effects, Fleet, Known,
    document::{Head, Read, decode_record, record_key, take},
    entry::{End, Held, What},
    io::{Boot, Claim, FleetEffect, Member, Version, Versioned},
};
use crate::core::id::ConnectionId;
use bytes::Bytes;
use std::sync::Arc;

/// Where the owner of a record stands.
enum Owner {
    Me,
    Nobody,
    Dead,
    Live(Member),
    /// Of whom nothing is known yet: he is watched from now on.
    Stranger,
}

enum Verdict {
    Write,
    /// The same, and the store has lost what we wrote.
    WriteAgain,
    WriteThis(Bytes),
    End(End),
}

impl Fleet {
    pub(super) fn judge(&mut self, id: &ConnectionId, found: Option<Versioned>, fx: &mut Effects) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Some(work) = &mut entry.work else { return };
        work.busy = false;
        entry.known = Known::of(found.as_ref());
        let what = work.run.what.clone();
        let (held, epoch) = (entry.held, entry.epoch);
        let key = record_key(id);
        let head = match found.as_ref().map(|found| decode_record(&found.value)) {
            None => None,
            Some(Read::Good(head)) => Some(head),
            Some(Read::Newer) => {
                self.newer(&key, fx);
                return self.unreadable(id, &what, "was written by a newer version", fx);
            }
            Some(Read::Bad(why)) => {
                self.bad(&key, why, false, fx);
                return self.unreadable(id, &what, "cannot be read", fx);
            }
        };
        // An epoch that nobody can have meant is not followed by everybody's.
        let seen = head.as_ref().map_or(0, |head| head.epoch);
        self.saw_epoch(seen);
        let value = found.map(|found| found.value);
        // Lost to somebody who is dead himself.
        let dead = head.as_ref().filter(|head| matches!(self.owner(head), Owner::Dead));
        let dead = dead.and_then(|head| head.owner.clone());
        let verdict = match what {
            What::Put { epoch: wanted, document } => {
                self.judge_put((held, epoch), wanted, &document, head, value)
            }
            What::Delete => self.judge_delete(head),
            What::Expect => Verdict::Write,
            What::Transfer { to, epoch, .. } => self.judge_transfer(&to, epoch, head),
            What::Claim { epoch } => self.judge_claim(epoch, held, head),
            What::Take { from, epoch } => self.judge_take(id, from.as_ref(), epoch, head, value),
        };
        let now = self.now.boot;
        match verdict {
            Verdict::Write => {
                self.ready.insert((now, id.clone()));
            }
            Verdict::WriteAgain => {
                let known = self.entries.get(id).map(|entry| entry.known.clone());
                self.store_lost(fx);
                if let (Some(entry), Some(known)) = (self.entries.get_mut(id), known) {
                    entry.known = known;
                }
                self.ready.insert((now, id.clone()));
            }
            Verdict::WriteThis(document) => self.prepare(id, document, now),
            Verdict::End(end) => {
                let lost = matches!(end, End::Lost(_));
                self.end(id, end, fx);
                if let Some(owner) = dead.filter(|_| lost) {
                    self.submit(id.clone(), What::Take { from: Some(owner), epoch: 0 }, None, fx);
                }
            }
        }
    }

    fn prepare(&mut self, id: &ConnectionId, document: Bytes, now: Boot) {
        let Some(work) = self.entries.get_mut(id).and_then(|entry| entry.work.as_mut()) else { return };
        work.prepared = Some(document);
        self.ready.insert((now, id.clone()));
    }

    fn unreadable(&mut self, id: &ConnectionId, what: &What, why: &str, fx: &mut Effects) {
        let end = match what {
            What::Take { from, .. } => End::Nothing { again: from.is_none() },
            _ => End::Failed(format!("the record {} {why}; it is left alone", record_key(id))),
        };
        self.end(id, end, fx);
    }

    fn owner(&self, head: &Head) -> Owner {
        let Some(owner) = &head.owner else { return Owner::Nobody };
        if *owner == self.me.incarnation {
            return Owner::Me;
        }
        match self.watches.get(owner) {
            None => Owner::Stranger,
            Some(watch) if watch.is_dead() => Owner::Dead,
            Some(watch) => Owner::Live(watch.member.clone()),
        }
    }

    fn judge_put(
        &mut self,
        (held, epoch): (Held, u64),
        wanted: u64,
        document: &[u8],
        head: Option<Head>,
        found: Option<Bytes>,
    ) -> Verdict {
        let Some(head) = head else {
            return if held == Held::Yes { Verdict::WriteAgain } else { Verdict::Write };
        };
        match self.owner(&head) {
            Owner::Me if found.as_deref() == Some(document) => Verdict::End(End::Done),
            Owner::Me if held == Held::Yes && head.epoch < epoch => Verdict::WriteAgain,
            Owner::Me if head.epoch > wanted && !head.claim => {
                Verdict::End(End::Failed(format!("epoch {wanted} is below {}, which is stored", head.epoch)))
            }
            Owner::Me => Verdict::Write,
            // The store went back to before this was ours.
            _ if held == Held::Yes && head.epoch < wanted => Verdict::WriteAgain,
            _ => Verdict::End(End::Lost(head.epoch)),
        }
    }

    fn judge_delete(&mut self, head: Option<Head>) -> Verdict {
        match head.map(|head| self.owner(&head)) {
            Some(Owner::Me) => Verdict::Write,
            // Gone, or not ours to delete.
            _ => Verdict::End(End::Done),
        }
    }

    fn judge_transfer(&mut self, to: &str, epoch: u64, head: Option<Head>) -> Verdict {
        let there = self.watches.get(to).is_some_and(|watch| !watch.is_dead());
        let gone =
            || Verdict::End(End::Failed("the member that expected it is gone; it is still ours".into()));
        let Some(head) = head else { return if there { Verdict::Write } else { gone() } };
        match self.owner(&head) {
            Owner::Me if there => Verdict::Write,
            Owner::Me => gone(),
            _ if head.owner.as_deref() == Some(to) && head.epoch >= epoch => Verdict::End(End::Done),
            _ => Verdict::End(End::Lost(head.epoch)),
        }
    }

    fn judge_claim(&mut self, epoch: u64, held: Held, head: Option<Head>) -> Verdict {
        let Some(head) = head else { return Verdict::Write };
        let claim = match self.owner(&head) {
            // An attempt of ours that happened; or the claim meets a connection that we hold.
            Owner::Me if head.claim && (head.epoch == epoch || held == Held::No) => Claim::Mine { epoch },
            Owner::Me => Claim::Mine { epoch: head.epoch },
            Owner::Live(member) => Claim::Member(member),
            Owner::Nobody | Owner::Dead | Owner::Stranger => Claim::Orphan,
        };
        Verdict::End(End::Claimed(claim))
    }

    fn judge_take(
        &mut self,
        id: &ConnectionId,
        from: Option<&Arc<str>>,
        epoch: u64,
        head: Option<Head>,
        found: Option<Bytes>,
    ) -> Verdict {
        let nothing = |again| Verdict::End(End::Nothing { again });
        let (Some(head), Some(found)) = (head, found) else { return nothing(false) };
        let takeable = match self.owner(&head) {
            Owner::Me if epoch > 0 && head.epoch == epoch => return Verdict::End(End::Taken(found)),
            // An earlier attempt that was late, or what a store that went back brought again: once
            // more, with an epoch that is surely the highest.
            // Handed to us when we had stopped to expect it.
            Owner::Me => true,
            Owner::Nobody => from.is_none(),
            Owner::Dead => from.is_none() || from == head.owner.as_ref(),
            Owner::Live(_) => false,
            Owner::Stranger => {
                if let Some(owner) = &head.owner {
                    let unknown = Arc::<str>::from("");
                    let (instance, address) = (unknown.clone(), unknown);
                    self.watch(Member { incarnation: owner.clone(), instance, address });
                    self.scan.soon(self.now.boot);
                }
                return nothing(from.is_none());
            }
        };
        if !takeable || !self.may_take() {
            return nothing(takeable);
        }
        if head.claim {
            return self.drop_placeholder(id);
        }
        let epoch = match self.breaks(Canary::KeepsEpoch) {
            true => head.epoch,
            false => self.next_epoch(head.epoch),
        };
        let Some(document) = take(&found, &self.me, epoch) else { return nothing(from.is_none()) };
        self.chose(id, epoch);
        Verdict::WriteThis(document)
    }

    fn chose(&mut self, id: &ConnectionId, epoch: u64) {
        let work = self.entries.get_mut(id).and_then(|entry| entry.work.as_mut());
        if let Some(What::Take { epoch: chosen, .. }) = work.map(|work| &mut work.run.what) {
            *chosen = epoch;
        }
    }

    /// Its dial died with its owner: the job becomes a deletion, for the same askers (none).
    fn drop_placeholder(&mut self, id: &ConnectionId) -> Verdict {
        let Some(entry) = self.entries.get_mut(id) else {
            return Verdict::End(End::Nothing { again: false });
        };
        if let Some(work) = &mut entry.work {
            work.drop_placeholder = true;
        }
        Verdict::Write
    }

    /// A record of ours as the store has it: taken from us, or lost by the store, or as we know it.
    pub(super) fn audit_record(
        &mut self,
        id: &ConnectionId,
        version: &Version,
        found: Option<Versioned>,
        fx: &mut Effects,
    ) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.settled_at().as_ref() != Some(version) {
            return;
        }
        if Known::of(found.as_ref()) == entry.known {
            return;
        }
        match found.as_ref().map(|found| decode_record(&found.value)) {
            Some(Read::Good(head))
                if head.owner.as_ref() != Some(&self.me.incarnation) && head.epoch >= entry.epoch =>
            {
                self.entries.remove(id);
                self.unlist(id);
                self.index.dirty();
                self.counters.lost += 1;
                fx.push(FleetEffect::Lost { id: id.clone(), epoch: head.epoch });
            }
            Some(Read::Bad(_) | Read::Newer) => {
                // Somebody else's doing: left alone, and said when we are to write it.
                entry.known = Known::Read;
            }
            _ => self.store_lost(fx),
        }
    }
}
