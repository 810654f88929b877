//! The embedded bus: one thread that owns every topic's log. Batches that wait together are
//! written together, with one write a topic.

use super::{
    Clock, Fsync, Thread,
    disk::Files,
    log::Tools,
    reader::{Fetch, Place, Readers},
    stats::add,
    syncer::Syncer,
    topic::Topics,
};
use crate::{
    core::publish::batch::{Batch, PublishError},
    limits::{BUS_BATCHES_MAX, BUS_FETCHES_MAX, DISK_GROUP_BYTES, DISK_GROUP_COUNT},
    ports::{BackendError, Bus, Done, TopicChunk, TopicFrom},
};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Fetches served in one turn, before batches are looked for again.
const READS_PER_TURN: usize = 16;
/// The same while more work waits: reads of a cold disk must not hold up writes.
const READS_UNDER_LOAD: usize = 4;
/// How often old segments and forgotten readers are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct BusConfig {
    pub dir: PathBuf,
    pub fsync: Fsync,
    pub topic_bytes_max: u64,
    pub age_max: Duration,
    pub segment_bytes: u64,
    pub topics_max: usize,
    pub clock: Clock,
}

enum Command {
    Publish(Arc<Batch>, Done<Result<(), PublishError>>),
    Fetch(Fetch),
    Stop,
}

pub struct EmbeddedBus {
    commands: Sender<Command>,
    fetches_waiting: Arc<AtomicUsize>,
    tools: Tools,
}

/// Opens every topic and starts the thread.
pub fn start(config: BusConfig, tools: Tools) -> Result<(Arc<EmbeddedBus>, Thread), BackendError> {
    // A topic must not be one segment: the active one is never deleted.
    let segment_bytes = config.segment_bytes.min(config.topic_bytes_max / 4).max(1);
    let topics = Topics::open(config.dir.clone(), segment_bytes, config.topics_max, tools.clone())?;
    let (commands, inbox) = bounded(BUS_BATCHES_MAX + BUS_FETCHES_MAX + 1);
    let bus = EmbeddedBus { commands, fetches_waiting: Arc::default(), tools: tools.clone() };
    let syncer = match config.fsync {
        Fsync::Interval(_) => Some(Syncer::start(tools.clone())?),
        Fsync::Always | Fsync::UnsafeNever => None,
    };
    let now = Instant::now();
    let mut worker = Worker {
        inbox,
        topics,
        files: Files::default(),
        readers: Readers::default(),
        unsynced: Vec::new(),
        synced_at: now,
        kept_at: now,
        syncer,
        config,
        tools,
    };
    worker.keep_house();
    let thread =
        std::thread::Builder::new().name("wsm-bus".into()).spawn(move || worker.run()).map_err(|e| {
            BackendError { message: format!("cannot start the bus thread: {e}"), transient: true }
        })?;
    Ok((Arc::new(bus), thread))
}

impl EmbeddedBus {
    /// Asks the thread to write what waits, fsync, and end.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }
}

impl Bus for EmbeddedBus {
    fn publish(&self, batch: Arc<Batch>, done: Done<Result<(), PublishError>>) {
        // Stopped: the completion is dropped, which says so.
        if let Err(TrySendError::Full(Command::Publish(_, done))) =
            self.commands.try_send(Command::Publish(batch, done))
        {
            add(&self.tools.counters.bus_retries, 1);
            done.complete(Err(PublishError::Retry));
        }
    }

    fn fetch(
        &self,
        topic: &str,
        from: TopicFrom,
        bytes_max: usize,
        done: Done<Result<TopicChunk, BackendError>>,
    ) {
        let refuse = |done: Done<Result<TopicChunk, BackendError>>| {
            add(&self.tools.counters.fetches_refused, 1);
            let message = "too many reads wait at the embedded log: try again later".to_owned();
            done.complete(Err(BackendError { message, transient: true }));
        };
        let Some(place) = Place::take(&self.fetches_waiting, BUS_FETCHES_MAX) else { return refuse(done) };
        let fetch = Fetch { topic: topic.into(), from, bytes_max, done, place: Some(place) };
        if let Err(TrySendError::Full(Command::Fetch(fetch))) = self.commands.try_send(Command::Fetch(fetch))
        {
            refuse(fetch.done);
        }
    }
}

/// A batch between its staging and its answer.
struct Taken {
    done: Done<Result<(), PublishError>>,
    topics: Vec<usize>,
    refused: Vec<u32>,
    failed: bool,
}

struct Worker {
    inbox: Receiver<Command>,
    config: BusConfig,
    tools: Tools,
    topics: Topics,
    files: Files,
    readers: Readers,
    syncer: Option<Syncer>,
    /// Files to be handed to the syncer.
    unsynced: Vec<PathBuf>,
    synced_at: Instant,
    kept_at: Instant,
}

impl Worker {
    fn run(mut self) -> Result<(), BackendError> {
        loop {
            let mut taken = Vec::new();
            let stop = self.collect(&mut taken);
            self.commit(taken);
            for served in 0..READS_PER_TURN {
                if served >= READS_UNDER_LOAD && !self.inbox.is_empty() {
                    break;
                }
                let Some(fetch) = self.readers.pending.pop_front() else { break };
                self.readers.serve(&mut self.topics, &mut self.files, fetch);
            }
            if stop {
                return self.finish();
            }
            self.tick();
        }
    }

    /// Waits for work and stages all that is there, within the bounds of a group.
    fn collect(&mut self, taken: &mut Vec<Taken>) -> bool {
        let mut command = match self.wait() {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => None,
            // Every handle is gone: nobody can ask for anything.
            Err(RecvTimeoutError::Disconnected) => return true,
        };
        let nanos = (self.config.clock)();
        let mut bytes = 0;
        let mut count = 0;
        while let Some(current) = command {
            match current {
                Command::Stop => return true,
                Command::Publish(batch, done) => {
                    bytes += batch.bytes.len();
                    taken.push(self.stage(nanos, &batch, done));
                }
                // At once: it must not see what is published after it.
                Command::Fetch(fetch) if fetch.from == TopicFrom::Now => {
                    self.readers.serve(&mut self.topics, &mut self.files, fetch);
                }
                Command::Fetch(fetch) => self.readers.pending.push_back(fetch),
            }
            count += 1;
            if bytes >= DISK_GROUP_BYTES || count >= DISK_GROUP_COUNT {
                break;
            }
            command = self.inbox.try_recv().ok();
        }
        false
    }

    fn wait(&self) -> Result<Command, RecvTimeoutError> {
        if !self.readers.pending.is_empty() {
            return self.inbox.recv_timeout(Duration::ZERO);
        }
        let mut until = self.kept_at + HOUSEKEEPING;
        if let (Fsync::Interval(interval), false) = (self.config.fsync, self.unsynced.is_empty()) {
            until = until.min(self.synced_at + interval);
        }
        self.inbox.recv_deadline(until)
    }

    fn stage(&mut self, nanos: u64, batch: &Batch, done: Done<Result<(), PublishError>>) -> Taken {
        let mut taken = Taken { done, topics: Vec::new(), refused: Vec::new(), failed: false };
        for (index, event) in batch.events.iter().enumerate() {
            let place = match taken.topics.last() {
                Some(&last) if self.topics.list[last].name == event.topic => last,
                _ => match self.topics.find_or_create(&event.topic) {
                    Ok(Some(place)) => place,
                    Ok(None) => {
                        taken.refused.push(index as u32);
                        continue;
                    }
                    Err(error) => {
                        self.failed(&error);
                        taken.failed = true;
                        break;
                    }
                },
            };
            if taken.topics.last() != Some(&place) {
                taken.topics.push(place);
            }
            let topic = &mut self.topics.list[place];
            if topic.failed {
                continue;
            }
            let json = batch.bytes.get(event.range.clone()).unwrap_or_default();
            match topic.stage(&mut self.files, nanos, event, json) {
                Ok(true) => {}
                Ok(false) => taken.refused.push(index as u32),
                Err(error) => {
                    topic.failed = true;
                    self.failed(&error);
                }
            }
        }
        taken
    }

    /// Writes what is staged, answers, and wakes the readers.
    fn commit(&mut self, mut taken: Vec<Taken>) {
        if taken.is_empty() {
            return;
        }
        let mut touched = Vec::new();
        for place in 0..self.topics.list.len() {
            let topic = &mut self.topics.list[place];
            if !std::mem::take(&mut topic.touched) {
                continue;
            }
            touched.push(place);
            let mut result = topic.log.flush(&mut self.files);
            let written = topic.log.take_written();
            add(&self.tools.counters.appended_events, written.records);
            add(&self.tools.counters.appended_bytes, written.bytes);
            add(&self.tools.counters.bus_writes, written.calls);
            if self.config.fsync == Fsync::Always {
                result = result.and_then(|()| {
                    let synced = topic.log.sync(&mut self.files);
                    if synced.is_err() {
                        // The kernel may have dropped what it could not write: go on elsewhere.
                        let _ = topic.log.roll(&mut self.files);
                    }
                    synced
                });
            } else {
                self.unsynced.extend(topic.log.take_unsynced());
            }
            if let Err(error) = result {
                topic.failed = true;
                self.failed(&error);
            }
            self.retain(place);
        }
        if self.config.fsync == Fsync::Always
            && let Err(error) = self.topics.sync_dir()
        {
            self.failed(&error);
            taken.iter_mut().for_each(|one| one.failed = true);
        }
        for one in taken {
            self.answer(one);
        }
        for place in touched {
            let topic = &mut self.topics.list[place];
            topic.failed = false;
            let name = topic.name.clone();
            self.readers.wake(&mut self.topics, &mut self.files, &name);
        }
    }

    fn answer(&self, taken: Taken) {
        let counters = &self.tools.counters;
        let failed = taken.failed || taken.topics.iter().any(|&place| self.topics.list[place].failed);
        if failed {
            add(&counters.bus_retries, 1);
            taken.done.complete(Err(PublishError::Retry));
        } else if taken.refused.is_empty() {
            taken.done.complete(Ok(()));
        } else {
            add(&counters.bus_refused_events, taken.refused.len() as u64);
            taken.done.complete(Err(PublishError::Refused(taken.refused)));
        }
    }

    fn retain(&mut self, place: usize) {
        let age = u64::try_from(self.config.age_max.as_nanos()).unwrap_or(u64::MAX);
        let cutoff = (self.config.clock)().saturating_sub(age);
        let log = &mut self.topics.list[place].log;
        if let Err(error) = log.retain(&mut self.files, self.config.topic_bytes_max, cutoff) {
            self.failed(&error);
        }
    }

    fn tick(&mut self) {
        if let Fsync::Interval(interval) = self.config.fsync
            && !self.unsynced.is_empty()
            && self.synced_at.elapsed() >= interval
        {
            self.hand_to_syncer();
        }
        if self.kept_at.elapsed() >= HOUSEKEEPING {
            self.keep_house();
        }
    }

    fn hand_to_syncer(&mut self) {
        let Some(syncer) = &self.syncer else { return };
        self.synced_at = Instant::now();
        self.unsynced.sort_unstable();
        self.unsynced.dedup();
        if std::mem::take(&mut self.topics.dir_unsynced) {
            self.unsynced.push(self.topics.dir().to_owned());
        }
        syncer.hand_over(&mut self.unsynced);
        for path in syncer.take_failed() {
            let of_path = |topic: &&mut super::topic::Topic| path.parent() == Some(topic.log.dir());
            if let Some(topic) = self.topics.list.iter_mut().find(of_path) {
                let _ = topic.log.roll(&mut self.files);
            }
        }
    }

    fn keep_house(&mut self) {
        self.kept_at = Instant::now();
        self.readers.sweep();
        for place in 0..self.topics.list.len() {
            self.retain(place);
        }
        self.unsynced.sort_unstable();
        self.unsynced.dedup();
        self.gauges();
    }

    fn gauges(&self) {
        let counters = &self.tools.counters;
        counters.topics.store(self.topics.list.len() as u64, Relaxed);
        counters.parked_readers.store(self.readers.parked() as u64, Relaxed);
        counters.open_files.store(self.files.len() as u64, Relaxed);
        let logs = || self.topics.list.iter().map(|topic| &topic.log);
        counters.segments.store(logs().map(|log| log.segments() as u64).sum(), Relaxed);
        counters.bus_bytes.store(logs().map(super::log::Log::bytes).sum(), Relaxed);
    }

    fn failed(&self, error: &BackendError) {
        add(&self.tools.counters.bus_errors, 1);
        tracing::error!(%error, "the embedded log failed");
    }

    fn finish(mut self) -> Result<(), BackendError> {
        if let Some(syncer) = self.syncer.take() {
            syncer.stop();
        }
        if self.config.fsync == Fsync::UnsafeNever {
            return Ok(());
        }
        self.unsynced.sort_unstable();
        self.unsynced.dedup();
        let mut result = self.topics.sync_dir();
        for path in &self.unsynced {
            result = result.and(super::syncer::sync_path(&self.tools, path));
        }
        for topic in &mut self.topics.list {
            result = result.and(topic.log.sync(&mut self.files));
        }
        result
    }
}

#[cfg(test)]
mod tests;
