//! The spill log of one shard: a bounded queue on disk, with its own thread.
//!
//! How far it was popped stands in a small file that is written but not fsynced: after a crash of
//! the process it is exact, after a power cut popped records may come again; none is lost.

use super::{
    checksum::crc32,
    disk::{Files, file_error, open_file},
    frame::{Frame, HEADER_BYTES},
    log::{Log, Read, Tools},
    stats::add,
    topic::make_dir,
};
use crate::{
    limits::{DISK_GROUP_BYTES, DISK_GROUP_COUNT, RECORD_BYTES_MAX, SPILL_COMMANDS_MAX},
    ports::{BackendError, Done, Spill},
};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

const HEAD_FILE: &str = "head";
/// An emptied log gives its disk space back from this size on.
const EMPTIED_BYTES: u64 = 64 * 1024;

#[derive(Clone, Debug)]
pub struct SpillConfig {
    pub dir: PathBuf,
    /// Bytes of records that are not popped yet.
    pub bytes_max: u64,
    /// Fsync before an append is answered.
    pub fsync: bool,
}

enum Command {
    Append(Vec<u8>, Done<Result<bool, BackendError>>),
    Peek(Done<Result<Option<Vec<u8>>, BackendError>>),
    Pop(Done<Result<(), BackendError>>),
    Stop,
}

pub struct SpillLog {
    commands: Sender<Command>,
    bytes: Arc<AtomicU64>,
}

pub type SpillThread = JoinHandle<Result<(), BackendError>>;

/// Opens the log in its folder and starts its thread.
pub fn start(config: SpillConfig, tools: Tools) -> Result<(Arc<SpillLog>, SpillThread), BackendError> {
    let (commands, inbox) = bounded(SPILL_COMMANDS_MAX);
    let bytes: Arc<AtomicU64> = Arc::default();
    let worker = Worker::open(config, tools, inbox, bytes.clone())?;
    worker.count();
    let thread =
        std::thread::Builder::new().name("wsm-spill".into()).spawn(move || worker.run()).map_err(|e| {
            BackendError { message: format!("cannot start a spill thread: {e}"), transient: true }
        })?;
    Ok((Arc::new(SpillLog { commands, bytes }), thread))
}

impl SpillLog {
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    /// Bytes of records that are not popped yet, as of the last turn.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

fn busy() -> BackendError {
    BackendError { message: "too much waits at the spill log: try again later".into(), transient: true }
}

impl Spill for SpillLog {
    fn append(&self, record: Vec<u8>, done: Done<Result<bool, BackendError>>) {
        if let Err(TrySendError::Full(Command::Append(_, done))) =
            self.commands.try_send(Command::Append(record, done))
        {
            done.complete(Err(busy()));
        }
    }

    fn peek(&self, done: Done<Result<Option<Vec<u8>>, BackendError>>) {
        if let Err(TrySendError::Full(Command::Peek(done))) = self.commands.try_send(Command::Peek(done)) {
            done.complete(Err(busy()));
        }
    }

    fn pop(&self, done: Done<Result<(), BackendError>>) {
        if let Err(TrySendError::Full(Command::Pop(done))) = self.commands.try_send(Command::Pop(done)) {
            done.complete(Err(busy()));
        }
    }
}

struct Worker {
    inbox: Receiver<Command>,
    config: SpillConfig,
    tools: Tools,
    files: Files,
    log: Log,
    head_file: File,
    /// The number of the oldest record that is not popped.
    head: u64,
    /// Bytes of the first segment before it.
    popped_bytes: u64,
    /// The record at the head, once it was read.
    front: Option<Frame>,
    bytes: Arc<AtomicU64>,
    /// Appends that are staged and wait for the write.
    staged: Vec<Done<Result<bool, BackendError>>>,
}

impl Worker {
    fn open(
        config: SpillConfig,
        tools: Tools,
        inbox: Receiver<Command>,
        bytes: Arc<AtomicU64>,
    ) -> Result<Worker, BackendError> {
        make_dir(&config.dir).map_err(|e| file_error("create", &config.dir, &e))?;
        let segment_bytes = (config.bytes_max / 16).clamp(4096, 16 * 1024 * 1024);
        let log = Log::open(0, config.dir.clone(), segment_bytes, tools.clone())?;
        let path = config.dir.join(HEAD_FILE);
        let head_file = open_file(&path, true).map_err(|e| file_error("open", &path, &e))?;
        let mut entry = [0; 12];
        let head = match tools.disk.read_exact_at(&head_file, &mut entry, 0) {
            Ok(()) if crc32(&entry[..8]).to_le_bytes() == entry[8..] => {
                entry[..8].iter().rev().fold(0, |value, &byte| (value << 8) | u64::from(byte))
            }
            _ => 0,
        };
        let noted = head;
        // Cut by a power loss, the log may end before the head: it is empty then.
        let head = head.clamp(log.first(), log.next());
        let files = Files::default();
        let mut worker = Worker {
            inbox,
            config,
            tools,
            files,
            log,
            head_file,
            head,
            popped_bytes: 0,
            front: None,
            bytes,
            staged: Vec::new(),
        };
        if noted > head {
            // Else the numbers between, used again, would count as popped.
            worker.note_head().map_err(|e| file_error("write to", &path, &e))?;
        }
        worker.drop_popped_segments()?;
        if worker.read_front()?.is_none() {
            worker.popped_bytes = worker.log.bytes();
        }
        Ok(worker)
    }

    fn run(mut self) -> Result<(), BackendError> {
        while let Ok(mut command) = self.inbox.recv() {
            let mut count = 0;
            let stop = loop {
                if self.take(command) {
                    break true;
                }
                count += 1;
                if count >= DISK_GROUP_COUNT || self.log.staged_bytes() >= DISK_GROUP_BYTES as u64 {
                    break false;
                }
                match self.inbox.try_recv() {
                    Ok(next) => command = next,
                    Err(_) => break false,
                }
            };
            self.flush();
            self.count();
            if stop {
                break;
            }
        }
        self.tools.disk.sync(&self.head_file).map_err(|e| file_error("fsync", &self.config.dir, &e))?;
        self.log.sync(&mut self.files)
    }

    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Stop => return true,
            Command::Append(record, done) => self.append(&record, done),
            Command::Peek(done) => {
                self.flush();
                let front = self.read_front();
                done.complete(front.map(|front| front.map(|frame| frame.body.to_vec())));
            }
            Command::Pop(done) => {
                self.flush();
                let popped = self.pop();
                done.complete(popped);
            }
        }
        false
    }

    fn unpopped(&self) -> u64 {
        (self.log.bytes() + self.log.staged_bytes()).saturating_sub(self.popped_bytes)
    }

    fn append(&mut self, record: &[u8], done: Done<Result<bool, BackendError>>) {
        let size = (HEADER_BYTES + record.len()) as u64;
        if record.len() > RECORD_BYTES_MAX || self.unpopped() + size > self.config.bytes_max {
            add(&self.tools.counters.spill_refused, 1);
            return done.complete(Ok(false));
        }
        match self.log.stage(&mut self.files, 0, &[record]) {
            Ok(()) => self.staged.push(done),
            // What was staged before it failed with it.
            Err(error) => {
                self.staged.push(done);
                self.answer(&Err(error));
            }
        }
    }

    fn flush(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        let mut result = self.log.flush(&mut self.files);
        if self.config.fsync {
            result = result.and_then(|()| self.log.sync(&mut self.files));
        }
        self.answer(&result);
    }

    fn answer(&mut self, result: &Result<(), BackendError>) {
        match result {
            Ok(()) => add(&self.tools.counters.spill_appended, self.staged.len() as u64),
            Err(error) => self.failed(error),
        }
        for done in self.staged.drain(..) {
            done.complete(result.clone().map(|()| true));
        }
    }

    fn read_front(&mut self) -> Result<Option<Frame>, BackendError> {
        while self.front.is_none() {
            match self.log.read(&mut self.files, self.head, 1)? {
                Read::AtEnd | Read::Beyond => return Ok(None),
                Read::Again => {}
                Read::Records { frames, next, .. } => match frames.into_iter().next() {
                    Some(frame) => {
                        self.head = frame.sequence;
                        self.popped_bytes = frame.at;
                        self.front = Some(frame);
                    }
                    // Damaged to the end of a segment: the next one goes on.
                    None => {
                        self.head = next;
                        self.drop_popped_segments()?;
                    }
                },
            }
        }
        Ok(self.front.clone())
    }

    fn pop(&mut self) -> Result<(), BackendError> {
        let Some(front) = self.read_front()? else { return Ok(()) };
        self.front = None;
        self.head = front.sequence + 1;
        self.popped_bytes = front.at + front.size;
        add(&self.tools.counters.spill_popped, 1);
        if let Err(error) = self.note_head() {
            // Popped all the same: it would come again after a restart, which is allowed.
            self.failed(&file_error("write to", &self.config.dir.join(HEAD_FILE), &error));
        }
        self.drop_popped_segments()
    }

    fn note_head(&self) -> io::Result<()> {
        let mut entry = [0; 12];
        entry[..8].copy_from_slice(&self.head.to_le_bytes());
        entry[8..].copy_from_slice(&crc32(&self.head.to_le_bytes()).to_le_bytes());
        self.tools.disk.write_all_at(&self.head_file, &entry, 0)
    }

    fn drop_popped_segments(&mut self) -> Result<(), BackendError> {
        if self.head == self.log.next() && self.log.bytes() >= EMPTIED_BYTES {
            self.log.roll(&mut self.files)?;
        }
        while self.log.segments() > 1 && self.log.second_base().is_some_and(|base| base <= self.head) {
            self.log.delete_first(&mut self.files)?;
            self.popped_bytes = 0;
        }
        Ok(())
    }

    fn count(&self) {
        let now = self.unpopped();
        let before = self.bytes.swap(now, Relaxed);
        self.tools.counters.spill_bytes.fetch_add(now.wrapping_sub(before), Relaxed);
    }

    fn failed(&self, error: &BackendError) {
        add(&self.tools.counters.spill_errors, 1);
        tracing::error!(%error, "the spill log failed");
    }
}

#[cfg(test)]
mod tests;
