//! What the bus and the spill log answered.

use super::Publisher;
use crate::{
    core::{
        id::ConnectionId,
        publish::{
            batch::{Batch, BatchId, Event, EventKind, PublishError},
            flight::{Closed, Origin},
            gaps::{gap_of, join},
            lane::Class,
            open::Place,
            spill::{Head, Record},
        },
        reason::{DropReason, GapCause},
        sequence::Gap,
        time::Now,
    },
    limits,
    wire::event::append_gap,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

impl Publisher {
    /// The bus answered for a batch. A second answer for the same sending is ignored.
    pub fn published(&mut self, now: Now, id: BatchId, answer: Result<(), PublishError>) {
        let refused = match answer {
            Ok(()) => Vec::new(),
            Err(PublishError::Refused(refused)) => refused,
            Err(PublishError::Retry) => {
                self.counters.batches_retried += u64::from(self.window.fail(id, now.mono));
                return;
            }
        };
        let Some(closed) = self.window.take(id) else { return };
        self.counters.batches_taken += 1;
        if closed.origin != Origin::Memory && matches!(self.spill.head, Head::Flying(head) if head == id) {
            if closed.origin == Origin::Spill {
                self.spill.forget_first();
            } else {
                self.counters.restored += closed.messages;
            }
            self.spill.head = Head::Done;
        }
        let lost = self.refuse(now, &closed.batch, &refused);
        self.counters.delivered += closed.messages.saturating_sub(lost);
        self.release(closed);
    }

    /// The spill log answered for an append: written, or false when its bound is reached.
    pub fn spilled(&mut self, now: Now, id: BatchId, answer: Result<bool, ()>) {
        let Some(closed) = self.spill.append.take_if(|closed| closed.batch.id == id) else { return };
        if answer == Ok(true) {
            self.counters.batches_spilled += 1;
            self.spill.written(Record { id, messages: closed.messages });
            self.release(closed);
        } else {
            if let Some(closed) = self.strip(closed) {
                self.ready[Class::Spill as usize].push_front(closed);
            }
            self.spill.refused = true;
            self.spill.full = true;
            self.spill.offer_at = now.mono + limits::PUBLISH_RETRY_MAX;
        }
    }

    /// The spill log's oldest record, None when the log is empty, Err when it could not be read.
    pub fn unspilled(&mut self, now: Now, answer: Result<Option<&[u8]>, ()>) {
        if !matches!(self.spill.head, Head::Peeking) {
            return;
        }
        match answer {
            Err(()) => {
                self.spill.head = Head::Unknown;
                self.spill.head_at = now.mono + limits::PUBLISH_RETRY_MAX;
            }
            Ok(None) => {
                self.spill.old_possible = false;
                self.lose_spilled(now, self.spill.peeked_over);
                self.spill.next_head();
            }
            Ok(Some(record)) => match Batch::decode(record) {
                Some(batch) => self.load(now, batch),
                None => {
                    self.counters.records_unreadable += 1;
                    self.spill.head = Head::Done;
                    if !self.spill.old_possible {
                        self.lose_spilled(now, 1);
                    }
                }
            },
        }
    }

    /// Whether the spill log forgot its oldest record.
    pub fn popped(&mut self, now: Now, answer: Result<(), ()>) {
        if !matches!(self.spill.head, Head::Popping) {
            return;
        }
        if answer.is_ok() {
            self.spill.refused = false;
            self.spill.next_head();
        } else {
            self.spill.head = Head::Done;
            self.spill.head_at = now.mono + limits::PUBLISH_RETRY_MAX;
        }
    }

    fn load(&mut self, now: Now, batch: Batch) {
        let messages = batch.messages();
        let origin = match self.spill.own.iter().position(|record| record.id == batch.id) {
            Some(place) => {
                self.spill.old_possible = false;
                self.lose_spilled(now, place);
                Origin::Spill
            }
            None => Origin::OldSpill,
        };
        self.closed_bytes += batch.bytes.len();
        let closed = Closed { batch: Arc::new(batch), ordered: true, messages, origin, since: now.mono };
        self.set_head(closed);
        self.mark_left(now);
    }

    /// Our oldest records are gone from the log: counts them, and tells every lane that may have
    /// had a message there.
    fn lose_spilled(&mut self, now: Now, records: usize) {
        if records == 0 {
            return;
        }
        for _ in 0..records {
            let messages = self.spill.forget_first();
            self.counters.drop(DropReason::SpillLost, messages);
        }
        for index in 0..self.lanes.places() {
            let Some(lane) = self.lanes.get(index) else { continue };
            let (epoch, seq) = lane.last;
            if lane.class == Class::Spill && seq > 0 {
                let to = Some((epoch, seq.saturating_add(1)));
                let gap = Gap { from: (epoch, None), to, cause: GapCause::NotRetained, count: None };
                self.gap_in(now, index, &gap);
            }
        }
    }

    /// Counts events that the bus will never take and announces them in their lanes. Returns the
    /// number of messages in them.
    fn refuse(&mut self, now: Now, batch: &Batch, refused: &[u32]) -> u64 {
        let mut lost = 0;
        let mut gaps: BTreeMap<(&ConnectionId, &str), (&Event, Vec<Gap>)> = BTreeMap::new();
        let indices: BTreeSet<u32> = refused.iter().copied().collect();
        for event in indices.into_iter().filter_map(|index| batch.events.get(index as usize)) {
            if event.kind != EventKind::Message {
                self.counters.records_refused += 1;
                continue;
            }
            lost += u64::from(event.messages);
            let next = gap_of(
                event.epoch,
                event.first_seq,
                event.last_seq,
                GapCause::Refused,
                u64::from(event.messages),
            );
            let (_, gaps) = gaps.entry((&event.connection, &event.topic)).or_insert((event, Vec::new()));
            if !gaps.last_mut().is_some_and(|last| join(last, &next)) {
                gaps.push(next);
            }
        }
        self.counters.drop(DropReason::BusRefused, lost);
        for ((connection, topic), (event, gaps)) in gaps {
            // The connection may publish to another topic by now: that one has lost nothing.
            let lane = self.lanes.find_by_id(connection);
            match lane.filter(|index| self.lanes.get(*index).is_some_and(|lane| *lane.topic == *topic)) {
                Some(index) => gaps.iter().for_each(|gap| self.gap_in(now, index, gap)),
                None => gaps.iter().for_each(|gap| self.put_stray_gap(now, event, gap)),
            }
        }
        lost
    }

    /// A gap record of a lane that is closed by now: to where its messages went.
    fn put_stray_gap(&mut self, now: Now, event: &Event, gap: &Gap) {
        self.counters.gap_records[gap.cause.index()] += 1;
        let (number, time, class) = (self.take_record_number(), self.clock.at(now.wall), self.common_class());
        let place = Place::record(EventKind::Gap, gap.place());
        self.open[class as usize].record(now.mono, &event.topic, &event.connection, place, |out| {
            append_gap(out, &event.connection, number, &time, gap);
        });
        self.close_if_full(class);
    }

    /// Lets go of a batch; its buffers are used again when nobody else holds it.
    fn release(&mut self, closed: Closed) {
        self.closed_bytes -= closed.batch.bytes.len();
        let Ok(mut batch) = Arc::try_unwrap(closed.batch) else { return };
        let fits = batch.bytes.capacity() <= self.bounds.batch_bytes.saturating_mul(4);
        if fits && self.spares.len() <= self.bounds.in_flight {
            batch.bytes.clear();
            batch.events.clear();
            self.spares.push(batch);
        }
    }
}
