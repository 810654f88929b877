//! The rest of the fleet: leases that are lost and found, and other owners.

use super::*;

impl World {
    /// The lease is lost for a while. What was on its way to the store is refused there.
    pub fn lose_lease(&mut self) {
        if self.core.is_fenced() {
            return;
        }
        self.note("fence", 0, 0);
        self.stats.fences += 1;
        self.command(Pending::Other, Command::Fence);
        let (open, sends) = (self.core.connections_len(), self.core.sends_in_flight());
        assert_eq!((open, sends), (0, 0), "a fence left something");
        self.store.fenced = self.store.queue.len();
        let wait = self.rng.millis(50, 4000);
        self.after(wait, Event::Unfence);
    }

    /// A new lease: some connections have other owners by now, the others are claimed anew.
    pub fn find_lease(&mut self) {
        self.note("unfence", 0, 0);
        let documents: Vec<Record> = self.store.documents.values().cloned().collect();
        let mut ours = Vec::new();
        for record in documents {
            if self.rng.chance(300) {
                self.taken_by_another(&record.id, record.epoch);
            } else {
                ours.push(record);
            }
        }
        self.command(Pending::Other, Command::Unfence);
        for record in ours {
            let claimed = self.core.epoch_floor.max(self.now.wall.unix_millis()).max(record.epoch + 1);
            self.take_up(record, Some(claimed));
        }
    }

    /// Another instance has it, with a higher epoch, and its document with it.
    fn taken_by_another(&mut self, id: &ConnectionId, epoch: u64) {
        let theirs = self.core.epoch_floor.max(epoch + 1);
        self.store.documents.remove(id);
        self.others.insert(id.clone(), theirs);
        self.command(Pending::Other, Command::Superseded { id: id.clone(), epoch: theirs });
        let upstream = self.upstreams.iter_mut().find(|upstream| upstream.id == *id).unwrap();
        upstream.epoch = upstream.epoch.max(theirs);
    }

    /// One of ours goes to another instance, or one of theirs comes.
    pub fn hand_over(&mut self) {
        let upstream = self.rng.below(self.upstreams.len() as u64) as usize;
        let id = self.upstreams[upstream].id.clone();
        match self.away.remove(&id) {
            Some((record, _)) if self.store.documents.contains_key(&id) => {
                // Connected anew here meanwhile.
                self.note("back already", record.epoch, 0);
            }
            Some((record, last_seq)) => {
                let restore = restore_of(record.clone(), None);
                let pending = Pending::Prepare { record: Box::new(record), last_seq };
                self.command(pending, Command::Prepare(Box::new(restore)));
            }
            None => {
                self.command(Pending::Retire(id.clone()), Command::Retire(id));
            }
        }
    }

    /// The new socket is open, or not: its old owner goes on.
    pub fn prepared(&mut self, record: Record, last_seq: u64, outcome: Outcome) {
        let id = record.id.clone();
        if outcome.is_err() {
            return;
        }
        self.stats.prepared += 1;
        let wait = self.rng.millis(0, 40_000);
        self.after(wait, Event::Prepared(Box::new(record), last_seq));
        self.note("prepared", id.shard(1).into(), last_seq);
    }

    /// Perhaps too late.
    pub fn commit(&mut self, record: Record, last_seq: u64) {
        let id = record.id.clone();
        if self.down || self.store.documents.contains_key(&id) {
            return;
        }
        if self.rng.chance(200) {
            self.command(Pending::Other, Command::Abort(id));
            return;
        }
        let epoch = self.core.epoch_floor.max(self.now.wall.unix_millis()).max(record.epoch + 1);
        self.others.remove(&id);
        self.command(Pending::Commit(id.clone()), Command::Commit { id, epoch, last_seq });
    }

    /// It is silent: another one takes it, or nobody does.
    pub fn retired(&mut self, id: ConnectionId, outcome: Outcome) {
        let Ok(Answer::Retired { epoch, last_seq, record }) = outcome else { return };
        assert_eq!((epoch, Some(last_seq)), (record.epoch, record.last_seq));
        self.stats.retired += 1;
        for (place, seen) in &self.topics {
            let lane = record.publish.as_ref().is_some_and(|spec| spec.topic == place.0);
            let here = place.1 == id && lane && !self.records_refused.contains(&id);
            let in_band = record.publish.as_ref().is_some_and(|spec| spec.gaps == Gaps::InBand);
            assert!(!here || !in_band || seen.ends.contains(&(epoch, last_seq)), "{id}: its end is not out");
        }
        let wait = self.rng.millis(0, 3000);
        self.after(wait, Event::Retired(record, last_seq));
    }

    pub fn release(&mut self, record: Record, last_seq: u64) {
        let id = record.id.clone();
        let key = self.core.by_id.get(&id).copied();
        if self.down || key.is_none_or(|key| !self.core.is_retired(key)) {
            return;
        }
        if self.rng.chance(400) {
            self.command(Pending::Commit(id.clone()), Command::Resume(id));
            return;
        }
        self.store.documents.remove(&id);
        let theirs = self.core.epoch_floor.max(record.epoch + 1);
        self.command(Pending::Other, Command::Release(id.clone()));
        self.command(Pending::Other, Command::Superseded { id: id.clone(), epoch: theirs });
        self.others.insert(id.clone(), theirs);
        let upstream = self.upstreams.iter_mut().find(|upstream| upstream.id == id).unwrap();
        upstream.epoch = upstream.epoch.max(theirs);
        self.away.insert(id, (Record { epoch: theirs, ..record }, last_seq));
    }

    /// It is ours under this epoch, or goes on here under another one.
    pub fn owned(&mut self, id: &ConnectionId, outcome: Outcome) {
        let Ok(Answer::Connected { epoch, .. }) = outcome else { return };
        let upstream = self.upstreams.iter_mut().find(|upstream| upstream.id == *id).unwrap();
        assert!(epoch >= upstream.epoch, "{id}: {epoch} after {}", upstream.epoch);
        upstream.epoch = epoch;
    }

    /// After a restart the documents say who else has what: the spill log may hold something of it.
    pub fn hear_of_others(&mut self) {
        for (id, epoch) in self.others.clone() {
            self.command(Pending::Other, Command::Superseded { id, epoch });
        }
    }

    /// A stored connection, after a restart or a new lease.
    pub fn take_up(&mut self, record: Record, claimed: Option<u64>) {
        let id = record.id.clone();
        let restore = restore_of(record, claimed);
        self.command(Pending::Other, Command::Restore(Box::new(restore)));
        if let Ok(info) = self.core.info(&id) {
            let upstream = self.upstreams.iter_mut().find(|upstream| upstream.id == id).unwrap();
            assert!(info.epoch > upstream.epoch, "{id}: {} after {}", info.epoch, upstream.epoch);
            assert!(claimed.is_none_or(|claimed| claimed == info.epoch), "{id}: not the epoch claimed");
            upstream.epoch = info.epoch;
        }
    }
}

fn restore_of(record: Record, claimed: Option<u64>) -> Restore {
    Restore {
        id: record.id,
        spec: record.spec,
        tags: record.tags,
        publish: record.publish,
        created: record.created,
        epoch: record.epoch,
        last_seq: record.last_seq,
        clean: record.clean,
        claimed,
    }
}
