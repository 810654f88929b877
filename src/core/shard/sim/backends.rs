//! A store, a bus and a spill log that are slow, fail, and are asked in order.

use super::*;

pub enum StoreOp {
    Put(StoreTicket, Box<Record>),
    Delete(StoreTicket, ConnectionId),
}

/// Documents; writes keep their order, may take long, may fail, and then may have arrived.
#[derive(Default)]
pub struct Store {
    pub documents: BTreeMap<ConnectionId, Record>,
    pub queue: VecDeque<StoreOp>,
    /// Writes of an owner whose lease was lost before they came.
    pub fenced: usize,
    pub at: Time,
}

impl Store {
    pub fn apply(&mut self, op: StoreOp) -> StoreTicket {
        match op {
            StoreOp::Put(ticket, record) => {
                self.documents.insert(record.id.clone(), *record);
                ticket
            }
            StoreOp::Delete(ticket, id) => {
                self.documents.remove(&id);
                ticket
            }
        }
    }
}

/// A bus that takes batches in order, and none behind a failed one.
#[derive(Default)]
pub struct Bus {
    pub queue: VecDeque<Arc<Batch>>,
    /// Batches that were on their way when one before them failed.
    pub doomed: usize,
    pub at: Time,
    pub down_until: Time,
    pub refuses: bool,
}

pub enum SpillOp {
    Append(BatchId, Vec<u8>),
    Peek,
    Pop,
}

/// A small log on disk that outlives a crash.
#[derive(Default)]
pub struct Spill {
    pub records: VecDeque<Vec<u8>>,
    pub bytes: usize,
    pub bound: usize,
    pub queue: VecDeque<SpillOp>,
    pub at: Time,
}

impl World {
    pub fn ask_store(&mut self, op: StoreOp) {
        let wait = if self.healed { self.rng.millis(0, 5) } else { self.rng.millis(0, self.store_slow) };
        self.store.at = self.store.at.max(self.now.mono + wait);
        self.store.queue.push_back(op);
        self.at(self.store.at, Event::Stored);
    }

    pub fn stored(&mut self) {
        let Some(op) = self.store.queue.pop_front() else { return };
        let fenced = self.store.fenced > 0;
        self.store.fenced = self.store.fenced.saturating_sub(1);
        let fails = fenced || !self.healed && self.rng.chance(self.store_fails);
        let arrives = !fenced && (!fails || self.rng.chance(500));
        let ticket = match (&op, arrives) {
            (_, true) => self.store.apply(op),
            (StoreOp::Put(ticket, _) | StoreOp::Delete(ticket, _), false) => *ticket,
        };
        self.note("stored", ticket.0, u64::from(fails));
        let failed = fails.then(|| "disk full".to_owned());
        self.step(|core, now, fx| core.stored(now, ticket, failed, fx));
    }

    pub fn ask_bus(&mut self, batch: Arc<Batch>) {
        let wait = if self.healed { self.rng.millis(0, 5) } else { self.rng.millis(0, self.bus_slow) };
        self.bus.at = self.bus.at.max(self.now.mono + wait).max(self.bus.down_until);
        self.bus.queue.push_back(batch);
        self.at(self.bus.at, Event::Published);
    }

    pub fn published(&mut self) {
        let Some(batch) = self.bus.queue.pop_front() else { return };
        let id = batch.id;
        let all = batch.events.len();
        let result = if self.bus.doomed > 0 {
            self.bus.doomed -= 1;
            Err(PublishError::Retry)
        } else if !self.healed && self.rng.chance(100) {
            self.bus.doomed = self.bus.queue.len();
            let arrived = self.rng.below(all as u64 + 1) as usize;
            self.take_events(&batch, arrived, &[]);
            Err(PublishError::Retry)
        } else if !self.healed && self.bus.refuses && self.rng.chance(60) {
            let refused: Vec<u32> = (0..all as u32).filter(|_| self.rng.chance(400)).collect();
            self.take_events(&batch, all, &refused);
            Err(PublishError::Refused(refused))
        } else {
            self.take_events(&batch, all, &[]);
            Ok(())
        };
        self.note("published", all as u64, u64::from(result.is_ok()));
        self.step(|core, now, _| core.published(now, id, result));
    }

    pub fn ask_spill(&mut self, op: SpillOp) {
        let wait = self.rng.millis(0, 20);
        self.spill.at = self.spill.at.max(self.now.mono + wait);
        self.spill.queue.push_back(op);
        self.at(self.spill.at, Event::Spilled);
    }

    pub fn spilled(&mut self) {
        let Some(op) = self.spill.queue.pop_front() else { return };
        let fails = !self.healed && self.rng.chance(30);
        self.note("spill", self.spill.records.len() as u64, u64::from(fails));
        match op {
            SpillOp::Append(id, record) => {
                let fits = self.spill.bytes + record.len() <= self.spill.bound;
                if fits && !fails {
                    self.spill.bytes += record.len();
                    self.spill.records.push_back(record);
                    self.stats.spilled += 1;
                }
                let result = if fails { Err(()) } else { Ok(fits) };
                self.step(|core, now, _| core.spilled(now, id, result));
            }
            SpillOp::Peek => {
                let record = self.spill.records.front().cloned();
                let result = if fails { Err(()) } else { Ok(record.as_deref()) };
                self.step(|core, now, _| core.peeked(now, result));
            }
            SpillOp::Pop => {
                if !fails && let Some(record) = self.spill.records.pop_front() {
                    self.spill.bytes -= record.len();
                }
                let result = if fails { Err(()) } else { Ok(()) };
                self.step(|core, now, _| core.popped(now, result));
            }
        }
    }
}
