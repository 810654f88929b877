//! Random scripts against a simulated bus and spill log, judged by what the bus took.

mod judge;

use super::*;
use crate::core::random::Rng;
use crate::{
    core::{
        publish::{Format, Gaps, Ordering, Overflow, batch::PublishError},
        reason::GapCause,
        time::{Time, Wall},
    },
    wire::event::{Body, ParsedMessage, parse_event},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const EPOCH: u64 = 1_700_000_000_000;

struct Source {
    key: LaneKey,
    id: ConnectionId,
    spec: Spec,
    epoch: u64,
    seq: u64,
    paused: bool,
    /// Messages still to come after a pause: what one read buffer holds.
    budget: u64,
    /// Everything stamped, with its payload.
    stamped: BTreeMap<(u64, u64), Vec<u8>>,
    /// Somebody else went on with this epoch: what is lower may be missing without a word.
    superseded: u64,
}

struct World {
    rng: Rng,
    now: Now,
    publisher: Publisher,
    bounds: Bounds,
    sources: Vec<Source>,
    /// Sent and not answered, in the order of sending.
    bus: VecDeque<Arc<Batch>>,
    bus_down: bool,
    refusals: bool,
    /// What the bus took, in its order.
    taken: Vec<(String, ConnectionId, Vec<u8>)>,
    log: VecDeque<Vec<u8>>,
    log_bound: usize,
    log_faults: bool,
    appending: Option<(BatchId, Vec<u8>)>,
    peeking: bool,
    popping: bool,
}

fn key_of(payload: &[u8], pointer: &str) -> Option<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    Some(value.pointer(pointer)?.to_string().into_bytes())
}

fn spec(rng: &mut Rng) -> Spec {
    let overflow = match rng.below(8) {
        0..=2 => Overflow::Spill,
        3 => Overflow::Pause,
        4 => Overflow::DropOldest,
        5 => Overflow::DropNewest,
        6 => Overflow::KeepLatest { key: Some("/k".into()) },
        _ => Overflow::KeepLatest { key: None },
    };
    Spec {
        topic: format!("topic-{}", rng.below(2)).into(),
        format: [Format::Envelope, Format::Payload, Format::Frames][rng.below(3) as usize],
        ordering: if rng.one_in(8) { Ordering::Relaxed } else { Ordering::Ordered },
        overflow,
        gaps: if rng.one_in(4) { Gaps::Lifecycle } else { Gaps::InBand },
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let bounds = Bounds {
            batch_bytes: 500 + rng.below(4000) as usize,
            batch_count: 1 + rng.below(12) as usize,
            linger: Duration::from_millis(5),
            in_flight: 1 + rng.below(4) as usize,
            queue_bytes: 4000 + rng.below(20_000) as usize,
            spill: !rng.one_in(4),
            lane_wait_bytes: 1000 + rng.below(6000) as usize,
        };
        let now = Now { mono: Time::from_millis(1), wall: Wall::from_unix_millis(EPOCH) };
        let mut publisher = Publisher::new(now, bounds, "lifecycle", key_of);
        let mut sources = Vec::new();
        for number in 0..1 + rng.below(6) {
            let id = ConnectionId::parse(&format!("c{number}")).unwrap();
            let spec = spec(&mut rng);
            let key = publisher.open_lane(&id, "wss://host/", spec.clone());
            let stamped = BTreeMap::new();
            sources.push(Source {
                key,
                id,
                spec,
                epoch: EPOCH,
                seq: 0,
                paused: false,
                budget: 5,
                stamped,
                superseded: 0,
            });
        }
        let log_bound = rng.below(40_000) as usize;
        let (log_faults, refusals) = (rng.one_in(3), rng.one_in(3));
        World {
            rng,
            now,
            publisher,
            bounds,
            sources,
            bus: VecDeque::new(),
            bus_down: false,
            refusals,
            taken: Vec::new(),
            log: VecDeque::new(),
            log_bound,
            log_faults,
            appending: None,
            peeking: false,
            popping: false,
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..=59 => self.message(),
            60..=62 => self.reconnect(),
            63 => self.new_epoch(),
            64 => self.reopen(),
            65 => self.lifecycle(),
            66 => self.supersede(),
            67..=71 => {
                let millis = [1, 5, 60, 2500][self.rng.below(4) as usize];
                self.pass(Duration::from_millis(millis));
            }
            72 => self.bus_down = !self.bus_down,
            73..=90 => self.answer_bus(),
            _ => self.answer_log(),
        }
        self.turn();
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall = Wall::from_unix_nanos(self.now.wall.unix_nanos() + time.as_nanos() as u64);
    }

    fn message(&mut self) {
        let place = self.rng.below(self.sources.len() as u64) as usize;
        let source = &mut self.sources[place];
        if source.paused {
            if source.budget == 0 {
                return;
            }
            source.budget -= 1;
        }
        source.seq += 1;
        let filler = "x\"\n".repeat(self.rng.below(40) as usize);
        let value = serde_json::json!({"k": self.rng.below(4), "n": source.seq, "f": filler});
        let payload =
            if self.rng.one_in(10) { b"no json \"".to_vec() } else { value.to_string().into_bytes() };
        let kind = if self.rng.one_in(5) { Kind::Binary } else { Kind::Text };
        let stamp = Stamp { epoch: source.epoch, seq: source.seq, ..Stamp::default() };
        let taken = self.publisher.message(self.now, source.key, stamp, kind, &payload);
        match source.spec.overflow {
            Overflow::Spill | Overflow::Pause => assert_eq!(taken, Taken::Queued),
            _ => assert_ne!(taken, Taken::NoLane),
        }
        source.stamped.insert((source.epoch, source.seq), payload);
    }

    fn reconnect(&mut self) {
        let place = self.rng.below(self.sources.len() as u64) as usize;
        let source = &self.sources[place];
        let gap = Gap {
            from: (source.epoch, Some(source.seq)),
            to: Some((source.epoch, source.seq + 1)),
            cause: GapCause::Reconnect,
            count: None,
        };
        self.publisher.gap(self.now, source.key, &gap);
    }

    fn new_epoch(&mut self) {
        let place = self.rng.below(self.sources.len() as u64) as usize;
        let source = &mut self.sources[place];
        let gap = Gap {
            from: (source.epoch, Some(source.seq)),
            to: Some((source.epoch + 1, 1)),
            cause: GapCause::NewEpoch,
            count: None,
        };
        self.publisher.gap(self.now, source.key, &gap);
        (source.epoch, source.seq) = (source.epoch + 1, 0);
    }

    fn reopen(&mut self) {
        let place = self.rng.below(self.sources.len() as u64) as usize;
        let source = &mut self.sources[place];
        self.publisher.end(self.now, source.key, source.epoch, source.seq);
        self.publisher.close_lane(self.now, source.key);
        let stamp = Stamp { epoch: source.epoch, seq: source.seq + 1, ..Stamp::default() };
        let taken = self.publisher.message(self.now, source.key, stamp, Kind::Text, b"");
        assert_eq!(taken, Taken::NoLane);
        source.key = self.publisher.open_lane(&source.id, "wss://host/", source.spec.clone());
        (source.paused, source.budget) = (false, 5);
        self.new_epoch_of(place);
    }

    fn supersede(&mut self) {
        let place = self.rng.below(self.sources.len() as u64) as usize;
        let source = &mut self.sources[place];
        self.publisher.close_lane(self.now, source.key);
        source.superseded = source.epoch + 1;
        self.publisher.superseded(&source.id, source.superseded);
        source.key = self.publisher.open_lane(&source.id, "wss://host/", source.spec.clone());
        (source.paused, source.budget) = (false, 5);
        self.new_epoch_of(place);
        let held = self.rng.one_in(3);
        self.publisher.hold_back(held);
    }

    fn new_epoch_of(&mut self, place: usize) {
        let source = &mut self.sources[place];
        (source.epoch, source.seq) = (source.epoch + 1, 0);
    }

    fn lifecycle(&mut self) {
        let event = LifecycleEvent {
            state: crate::wire::event::LifecycleState::Connected,
            connection: &self.sources[0].id,
            redacted_url: "wss://host/",
            instance_id: "i",
            reason: "r",
            attempt: None,
        };
        self.publisher.lifecycle(self.now, &event);
    }

    /// The bus takes batches in order, and none behind one that failed.
    fn answer_bus(&mut self) {
        let Some(batch) = self.bus.pop_front() else { return };
        if self.bus_down || self.rng.one_in(12) {
            let part = self.rng.below(batch.events.len() as u64 + 1) as usize;
            self.take(&batch, 0..part, &[]);
            self.publisher.published(self.now, batch.id, Err(PublishError::Retry));
            for behind in std::mem::take(&mut self.bus) {
                self.publisher.published(self.now, behind.id, Err(PublishError::Retry));
            }
        } else if self.refusals && self.rng.one_in(6) {
            // Not the records: a loss whose record is refused can only be counted.
            let message = |index: &u32| {
                batch.events.get(*index as usize).is_none_or(|event| event.kind == EventKind::Message)
            };
            let count = batch.events.len() as u64;
            let refused = (0..1 + self.rng.below(3)).map(|_| self.rng.below(count + 1) as u32);
            let refused: Vec<u32> = refused.filter(message).collect();
            self.take(&batch, 0..batch.events.len(), &refused);
            self.publisher.published(self.now, batch.id, Err(PublishError::Refused(refused)));
        } else {
            self.take(&batch, 0..batch.events.len(), &[]);
            self.publisher.published(self.now, batch.id, Ok(()));
        }
    }

    fn take(&mut self, batch: &Batch, part: std::ops::Range<usize>, refused: &[u32]) {
        for place in part.filter(|place| !refused.contains(&(*place as u32))) {
            let event = &batch.events[place];
            let json = batch.bytes[event.range.clone()].to_vec();
            self.taken.push((event.topic.to_string(), event.connection.clone(), json));
        }
    }

    fn answer_log(&mut self) {
        let fault = self.log_faults && self.rng.one_in(5);
        if let Some((id, record)) = self.appending.take() {
            let held: usize = self.log.iter().map(Vec::len).sum();
            let fits = held + record.len() <= self.log_bound;
            if fits && !fault {
                self.log.push_back(record);
            }
            self.publisher.spilled(self.now, id, if fault { Err(()) } else { Ok(fits) });
        } else if std::mem::take(&mut self.peeking) {
            let head = self.log.front().cloned();
            self.publisher.unspilled(self.now, if fault { Err(()) } else { Ok(head.as_deref()) });
        } else if std::mem::take(&mut self.popping) {
            if !fault {
                self.log.pop_front();
            }
            self.publisher.popped(self.now, if fault { Err(()) } else { Ok(()) });
        }
    }

    fn turn(&mut self) {
        while let Some(action) = self.publisher.poll(self.now) {
            match action {
                Action::Publish(batch) => {
                    assert!(batch.events.iter().all(|event| event.range.end <= batch.bytes.len()));
                    assert!(self.bus.iter().all(|other| other.id != batch.id));
                    self.bus.push_back(batch);
                    assert!(self.bus.len() <= self.bounds.in_flight);
                }
                Action::Spill { id, record } => assert!(self.appending.replace((id, record)).is_none()),
                Action::PeekSpill => assert!(!std::mem::replace(&mut self.peeking, true)),
                Action::PopSpill => assert!(!std::mem::replace(&mut self.popping, true)),
                Action::PauseReads(key) => self.set_paused(key, true),
                Action::ResumeReads(key) => self.set_paused(key, false),
            }
        }
        self.publisher.check().unwrap();
        if let Some(at) = self.publisher.poll_timeout() {
            assert!(at > self.now.mono, "a timer in the past spins the loop: {at:?}, now {:?}", self.now);
        }
        let overshoot = 6 * 5 * 1000 + 6 * self.bounds.lane_wait_bytes + 10_000;
        let queued = self.publisher.gauges().queued_bytes;
        assert!(
            queued <= 2 * self.bounds.queue_bytes + overshoot,
            "{queued} bytes queued: {:?}",
            self.bounds
        );
    }

    fn set_paused(&mut self, key: LaneKey, paused: bool) {
        let source = self.sources.iter_mut().find(|source| source.key == key).unwrap();
        assert_ne!(source.paused, paused);
        assert!(matches!(source.spec.overflow, Overflow::Spill | Overflow::Pause));
        (source.paused, source.budget) = (paused, 5);
    }

    fn finish(&mut self) {
        (self.bus_down, self.refusals, self.log_faults) = (false, false, false);
        self.publisher.hold_back(false);
        self.publisher.flush();
        for _ in 0..20_000 {
            self.turn();
            if self.publisher.is_drained() && self.log.is_empty() && !self.popping && !self.peeking {
                break;
            }
            self.answer_bus();
            self.answer_log();
            if let Some(at) = self.publisher.poll_timeout()
                && self.bus.is_empty()
                && self.appending.is_none()
                && !self.peeking
                && !self.popping
            {
                self.pass(at.since(self.now.mono));
            }
        }
        self.turn();
        assert!(self.publisher.is_drained(), "{:?}", self.publisher.gauges());
        assert!(self.log.is_empty());
        assert!(self.sources.iter().all(|source| !source.paused));
    }
}

fn run(seed: u64) -> Counters {
    let mut world = World::new(seed);
    world.turn();
    for _ in 0..600 {
        world.step();
    }
    world.finish();
    world.judge();
    world.publisher.counters().clone()
}

#[test]
fn random_scripts_keep_every_promise() {
    let mut sums = Counters::default();
    for seed in 1..=150 {
        let outcome = std::panic::catch_unwind(|| run(seed));
        let Ok(counters) = outcome else { panic!("seed {seed}") };
        sums.batches_retried += counters.batches_retried;
        sums.batches_spilled += counters.batches_spilled;
        sums.lifecycle_dropped += counters.lifecycle_dropped;
        for (sum, count) in sums.dropped.iter_mut().zip(counters.dropped) {
            *sum += count;
        }
    }
    // The scripts reach what they are meant to judge.
    assert!(sums.batches_retried > 300 && sums.batches_spilled > 100, "{sums:?}");
    for reason in [
        DropReason::OverflowDropNewest,
        DropReason::OverflowDropOldest,
        DropReason::OverflowKeepLatest,
        DropReason::BusRefused,
        DropReason::Superseded,
    ] {
        assert!(sums.dropped_by(reason) > 100, "{reason:?}: {sums:?}");
    }
}
