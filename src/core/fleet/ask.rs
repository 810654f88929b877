//! What is asked of the shared documents, and whose answer it is.

use super::{
    Effects, Fleet,
    io::{DocAnswer, DocTicket, Expect, FleetEffect, Version},
    observe::Asked,
};
use crate::core::id::ConnectionId;
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// What a ticket was for.
pub(super) enum Pending {
    Lease(u64),
    LeaseRead,
    Scan(Box<Asked>),
    Join,
    Tombstone(Arc<str>),
    Bucket(usize, u64),
    BucketRead(usize),
    Record(ConnectionId),
    RecordRead(Vec<ConnectionId>),
    Estate(Arc<str>),
    EstateDelete(Arc<str>),
    Retire(Arc<str>),
    View(Arc<str>, u64),
    IndexRead,
    Index(Bytes),
}

impl Fleet {
    pub(super) fn dispatch(&mut self, pending: Pending, answer: DocAnswer, fx: &mut Effects) {
        match pending {
            Pending::Lease(attempt) => self.lease_written(attempt, answer, fx),
            Pending::LeaseRead => self.lease_read(answer, fx),
            Pending::Scan(asked) => self.scanned(*asked, answer, fx),
            Pending::Join => self.join_written(answer, fx),
            Pending::Tombstone(incarnation) => self.tombstoned(&incarnation, answer),
            Pending::Bucket(number, generation) => self.bucket_written(number, generation, answer),
            Pending::BucketRead(number) => self.bucket_read(number, answer, fx),
            Pending::Record(id) => self.record_written(id, answer, fx),
            Pending::RecordRead(ids) => self.records_read(ids, answer, fx),
            Pending::Estate(incarnation) => self.estate_read(&incarnation, answer, fx),
            Pending::EstateDelete(incarnation) => self.estate_deleted(&incarnation, answer),
            Pending::Retire(incarnation) => self.retired(&incarnation, answer),
            Pending::View(incarnation, generation) => self.view_read(&incarnation, generation, answer, fx),
            Pending::IndexRead => self.index_read(answer, fx),
            Pending::Index(value) => self.index_written(value, answer),
        }
    }

    fn ticket(&mut self, pending: Pending) -> DocTicket {
        self.next_ticket += 1;
        let ticket = DocTicket(self.next_ticket);
        self.pending.insert(ticket, pending);
        ticket
    }

    pub(super) fn get(&mut self, keys: Vec<String>, pending: Pending, fx: &mut Effects) -> DocTicket {
        let ticket = self.ticket(pending);
        fx.push(FleetEffect::Get { ticket, keys });
        ticket
    }

    pub(super) fn put(
        &mut self,
        key: String,
        value: Bytes,
        expect: Expect,
        pending: Pending,
        fx: &mut Effects,
    ) -> DocTicket {
        // Only leases end by themselves.
        let lease = matches!(pending, Pending::Lease(_) | Pending::Tombstone(_));
        let record = matches!(pending, Pending::Record(_));
        let ttl = match record {
            true => self.setup.record_ttl,
            false => lease.then(|| self.setup.timings.ttl()),
        };
        let ticket = self.ticket(pending);
        self.counters.writes += 1;
        fx.push(FleetEffect::Put { ticket, key, value, expect, ttl });
        ticket
    }

    pub(super) fn delete(&mut self, key: String, expect: Version, pending: Pending, fx: &mut Effects) {
        let ticket = self.ticket(pending);
        self.counters.writes += 1;
        fx.push(FleetEffect::Delete { ticket, key, expect });
    }

    /// Records and buckets: a store that does not answer is asked less and less often.
    pub(super) fn store_failed(&mut self) {
        self.failures = (self.failures + 1).min(5);
        let wait = Duration::from_millis(60) * (1 << self.failures);
        self.hold = self.hold.max(self.now.boot + wait);
    }

    pub(super) fn store_answered(&mut self) {
        self.failures = 0;
    }
}
