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

    /// After a restart the documents say who else has what: the spill log may hold something of it.
    pub fn hear_of_others(&mut self) {
        for (id, epoch) in self.others.clone() {
            self.command(Pending::Other, Command::Superseded { id, epoch });
        }
    }

    /// A stored connection, after a restart or a new lease.
    pub fn take_up(&mut self, record: Record, claimed: Option<u64>) {
        let id = record.id.clone();
        let restore = Restore {
            id: record.id,
            spec: record.spec,
            tags: record.tags,
            publish: record.publish,
            created: record.created,
            epoch: record.epoch,
            last_seq: record.last_seq,
            clean: record.clean,
            claimed,
        };
        self.command(Pending::Other, Command::Restore(Box::new(restore)));
        if let Ok(info) = self.core.info(&id) {
            let upstream = self.upstreams.iter_mut().find(|upstream| upstream.id == id).unwrap();
            assert!(info.epoch > upstream.epoch, "{id}: {} after {}", info.epoch, upstream.epoch);
            assert!(claimed.is_none_or(|claimed| claimed == info.epoch), "{id}: not the epoch claimed");
            upstream.epoch = info.epoch;
        }
    }
}
