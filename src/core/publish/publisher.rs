//! The publisher of one shard: takes messages in, says what the shell is to do.

mod answers;
mod congestion;
mod left;
mod superseded;
mod turn;

use super::{
    batch::{Batch, BatchId, EventKind},
    bounds::{Bounds, Spec},
    counters::{Counters, Gauges},
    flight::{Closed, Origin, Window},
    lane::{Class, Lane, LaneKey, Lanes},
    open::{OpenBatch, Place},
    spill::SpillLog,
};
use crate::{
    core::{correlation::Kind, id::ConnectionId, reason::DropReason, sequence::Gap, time::Now},
    wire::event::{LifecycleEvent, Stamp, TimeCache, append_lifecycle},
};
use left::Left;
use std::{collections::VecDeque, sync::Arc};
use superseded::Superseded;

/// The value at a JSON pointer of a message, for lanes that keep the latest of each key.
pub type KeyOf = fn(&[u8], &str) -> Option<Vec<u8>>;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It will be published.
    Queued,
    /// In its lane's waiting room: published unless a newer one displaces it.
    Waiting,
    Dropped(DropReason),
    /// The lane is closed; the message is not counted here.
    NoLane,
}

/// What became of everything before a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    No,
    /// The bus has it, or has refused it for good.
    Yes,
    /// Some of it is on the spill log.
    Spilled,
}

/// What the shell is to do. Each of the calls is answered once, by the method of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand over to the bus, in the order given; `published` answers.
    Publish(Arc<Batch>),
    /// Append to the spill log; `spilled` answers.
    Spill {
        id: BatchId,
        record: Vec<u8>,
    },
    /// Read the log's oldest record; `unspilled` answers.
    PeekSpill,
    /// Forget the log's oldest record; `popped` answers.
    PopSpill,
    /// Read nothing more from this lane's socket until told.
    PauseReads(LaneKey),
    ResumeReads(LaneKey),
}

pub struct Publisher {
    bounds: Bounds,
    lifecycle_topic: Arc<str>,
    key_of: KeyOf,
    lanes: Lanes,
    /// By class.
    open: [OpenBatch; 2],
    /// Finished batches that wait for the bus, by class.
    ready: [VecDeque<Closed>; 2],
    window: Window,
    spill: SpillLog,
    /// Lanes that hold gap records or messages back, by class.
    held: [VecDeque<u32>; 2],
    /// Bytes of all finished batches in memory.
    closed_bytes: usize,
    /// Memory went over its bound and has not fallen to half of it since.
    over: bool,
    /// The next lane to compare with `swept`, the state that lanes were last paused for.
    sweep: u32,
    swept: (bool, bool),
    draining: bool,
    /// Nothing is handed to the bus.
    held_back: bool,
    superseded: Superseded,
    left: Left,
    next_batch: u64,
    next_record: u64,
    clock: TimeCache,
    /// Buffers of batches that the bus has taken.
    spares: Vec<Batch>,
    counters: Counters,
}

impl Publisher {
    /// Batch ids begin at the wall clock's reading, so that they differ from those that an
    /// earlier process left in the spill log.
    pub fn new(now: Now, bounds: Bounds, lifecycle_topic: impl Into<Arc<str>>, key_of: KeyOf) -> Self {
        Publisher {
            bounds,
            lifecycle_topic: lifecycle_topic.into(),
            key_of,
            lanes: Lanes::default(),
            open: Class::BOTH.map(OpenBatch::new),
            ready: Default::default(),
            window: Window::new(bounds.in_flight),
            spill: SpillLog::new(bounds.spill),
            held: Default::default(),
            closed_bytes: 0,
            over: false,
            sweep: 0,
            swept: (false, false),
            draining: false,
            held_back: false,
            superseded: Superseded::default(),
            left: Left::default(),
            next_batch: now.wall.unix_nanos(),
            next_record: 1,
            clock: TimeCache::default(),
            spares: Vec::new(),
            counters: Counters::default(),
        }
    }

    pub fn open_lane(&mut self, connection: &ConnectionId, redacted_url: &str, spec: Spec) -> LaneKey {
        let lane = Lane::new(connection, redacted_url, spec, &self.lifecycle_topic, self.bounds.spill);
        let key = self.lanes.insert(lane);
        if self.swept != (false, false) {
            // Born into a congestion, it has to be told.
            self.sweep = 0;
        }
        key
    }

    /// What was accepted still leaves.
    pub fn close_lane(&mut self, now: Now, key: LaneKey) {
        let Some(index) = self.lanes.find(key) else { return };
        self.release_gaps(now, index);
        // What waits moves to the queue, over its bound if need be: a lane that the same connection
        // opens next must find itself behind it.
        self.release_room(now, index, usize::MAX);
        if let Some(lane) = self.lanes.get_mut(index) {
            let class = lane.class as usize;
            self.open[class].flush_frame(lane);
            if lane.held {
                self.held[class].retain(|held| *held != index);
            }
        }
        self.lanes.remove(index);
    }

    /// One received message. `Text` payloads are UTF-8; that was checked when they were read.
    pub fn message(&mut self, now: Now, key: LaneKey, stamp: Stamp, kind: Kind, payload: &[u8]) -> Taken {
        let Some(index) = self.lanes.find(key) else { return Taken::NoLane };
        let Some(lane) = self.lanes.get_mut(index) else { return Taken::NoLane };
        self.counters.accepted += 1;
        lane.last = (stamp.epoch, stamp.seq);
        if lane.held || (self.over && lane.drops()) {
            return self.message_in_congestion(now, index, stamp, kind, payload);
        }
        self.append(now, index, &stamp, kind, payload);
        Taken::Queued
    }

    /// Announces what did not come. `from` and `to` are both exclusive.
    pub fn gap(&mut self, now: Now, key: LaneKey, gap: &Gap) {
        if let Some(index) = self.lanes.find(key) {
            self.gap_in(now, index, gap);
        }
    }

    /// Announces that nothing comes after `last_seq` in this epoch.
    pub fn end(&mut self, now: Now, key: LaneKey, epoch: u64, last_seq: u64) {
        let Some(index) = self.lanes.find(key) else { return };
        let Some(lane) = self.lanes.get_mut(index) else { return };
        if lane.room_used()
            && let Some(room) = &mut lane.room
        {
            let lost = room.push_end(epoch, last_seq);
            let (reason, _) = lane.loss();
            self.count_lost(reason, lost);
            return;
        }
        self.release_gaps(now, index);
        self.put_end(now, index, epoch, last_seq);
    }

    pub fn lifecycle(&mut self, now: Now, event: &LifecycleEvent<'_>) {
        if self.queued_bytes() > self.bounds.queue_bytes.saturating_mul(2) {
            self.counters.lifecycle_dropped += 1;
            return;
        }
        let unique = (now.wall.unix_nanos(), self.take_record_number());
        let time = self.clock.at(now.wall);
        let class = self.common_class();
        let place = Place::record(EventKind::Lifecycle, (0, 0));
        let topic = self.lifecycle_topic.clone();
        self.open[class as usize].record(now.mono, &topic, event.connection, place, |out| {
            append_lifecycle(out, unique, &time, event);
        });
        self.close_if_full(class);
    }

    /// From now on nothing lingers.
    pub fn flush(&mut self) {
        self.draining = true;
    }

    /// Whether the lane holds back what no batch has yet.
    pub fn holds(&self, lane: Option<LaneKey>) -> bool {
        let lane = lane.and_then(|key| self.lanes.find(key)).and_then(|index| self.lanes.get(index));
        lane.is_some_and(|lane| !lane.holds_nothing())
    }

    /// Everything in a batch so far is in one before this.
    pub fn barrier(&mut self) -> BatchId {
        for class in Class::BOTH {
            if !self.open[class as usize].is_empty() {
                self.close(class);
            }
        }
        BatchId(self.next_batch)
    }

    pub fn settled(&self, barrier: BatchId) -> Settled {
        let spilled = self.spill.own.front().is_some_and(|record| record.id < barrier)
            || self.spill.append.as_ref().is_some_and(|closed| closed.batch.id < barrier);
        let in_memory = |closed: &Closed| closed.origin == Origin::Memory && closed.batch.id < barrier;
        match (spilled, self.finished().any(in_memory)) {
            (true, _) => Settled::Spilled,
            (false, true) => Settled::No,
            (false, false) => Settled::Yes,
        }
    }

    /// While true nothing is handed to the bus; the spill log goes on taking what memory cannot.
    pub fn hold_back(&mut self, held: bool) {
        self.held_back = held;
    }

    /// Whether nothing is left in memory; what is on the spill log waits for the next start.
    pub fn is_drained(&self) -> bool {
        self.open.iter().all(OpenBatch::is_empty)
            && self.ready.iter().all(VecDeque::is_empty)
            && self.held.iter().all(VecDeque::is_empty)
            && self.window.len() == 0
            && self.spill.append.is_none()
    }

    /// Time is up: forgets what is in memory and counts it. Returns the number of messages.
    pub fn abandon(&mut self) -> u64 {
        let left = self.memory_messages();
        self.counters.drop(DropReason::DrainForced, left);
        self.lanes = Lanes::default();
        self.open = Class::BOTH.map(OpenBatch::new);
        self.ready = Default::default();
        self.held = Default::default();
        self.window.clear();
        self.spill.append = None;
        self.spill.head = super::spill::Head::Popping;
        self.closed_bytes = 0;
        left
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn gauges(&self) -> Gauges {
        Gauges {
            lanes: self.lanes.len(),
            pending_messages: self.pending_messages(),
            queued_bytes: self.queued_bytes(),
            batches_in_flight: self.window.len(),
            spilled_batches: self.spill.own.len(),
            spilled_messages: self.spill.own_messages,
            holding_lanes: self.held.iter().map(VecDeque::len).sum(),
            overflowing: self.over,
            spill_full: self.spill.full,
        }
    }

    /// The books against what is really there. Walks over everything: for tests and diagnosis.
    pub fn check(&self) -> Result<(), String> {
        let counters = &self.counters;
        let came = counters.accepted + counters.restored;
        let held = self.memory_messages() + self.spill.own_messages;
        let went = counters.delivered + counters.dropped_in_all() + held;
        if came != went {
            return Err(format!("{came} messages came, {went} are accounted for: {counters:?}, held {held}"));
        }
        if self.pending_messages() != self.memory_messages() {
            return Err(format!("a waiting room outside the list of lanes that hold: {:?}", self.gauges()));
        }
        let listed: u64 = self.spill.own.iter().map(|record| record.messages).sum();
        let bytes: usize = self.finished().map(|closed| closed.batch.bytes.len()).sum();
        if listed != self.spill.own_messages || bytes != self.closed_bytes {
            return Err(format!("{listed} spilled, {bytes} bytes finished: {:?}", self.gauges()));
        }
        Ok(())
    }

    /// Every finished batch in memory.
    fn finished(&self) -> impl Iterator<Item = &Closed> {
        let loaded = match &self.spill.head {
            super::spill::Head::Loaded(closed) => Some(closed),
            _ => None,
        };
        self.ready.iter().flatten().chain(self.window.iter()).chain(&self.spill.append).chain(loaded)
    }

    /// Messages that are in memory alone.
    fn memory_messages(&self) -> u64 {
        self.batched_messages() + self.waiting_messages(0..self.lanes.places())
    }

    /// The same, without a look at lanes that hold nothing back.
    fn pending_messages(&self) -> u64 {
        self.batched_messages() + self.waiting_messages(self.held.iter().flatten().copied())
    }

    fn batched_messages(&self) -> u64 {
        let open: u64 = self.open.iter().map(OpenBatch::messages).sum();
        let finished = self.finished().filter(|closed| closed.origin == Origin::Memory);
        open + finished.map(|closed| closed.messages).sum::<u64>()
    }

    fn waiting_messages(&self, lanes: impl Iterator<Item = u32>) -> u64 {
        let lanes = lanes.filter_map(|index| self.lanes.get(index));
        lanes.filter_map(|lane| lane.room.as_ref()).map(|room| room.messages()).sum()
    }

    fn queued_bytes(&self) -> usize {
        self.closed_bytes + self.open[0].size() + self.open[1].size()
    }

    fn take_record_number(&mut self) -> u64 {
        self.next_record += 1;
        self.next_record - 1
    }

    /// Where events go that belong to no lane.
    fn common_class(&self) -> Class {
        if self.bounds.spill { Class::Spill } else { Class::Direct }
    }

    fn append(&mut self, now: Now, index: u32, stamp: &Stamp, kind: Kind, payload: &[u8]) {
        let time = self.clock.at(now.wall);
        let Some(lane) = self.lanes.get_mut(index) else { return };
        let class = lane.class;
        self.open[class as usize].message(now.mono, (index, lane), stamp, &time, kind, payload);
        self.close_if_full(class);
    }

    fn close_if_full(&mut self, class: Class) {
        if self.open[class as usize].is_full(&self.bounds) {
            self.close(class);
        }
        self.over |= self.queued_bytes() > self.bounds.queue_bytes;
    }

    fn close(&mut self, class: Class) {
        let id = BatchId(self.next_batch);
        self.next_batch += 1;
        let spare = self.spares.pop().unwrap_or(Batch { id, bytes: Vec::new(), events: Vec::new() });
        let closed = self.open[class as usize].close(id, &mut self.lanes, spare);
        self.closed_bytes += closed.batch.bytes.len();
        self.ready[class as usize].push_back(closed);
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
