//! The embedded backend: store, bus, spill logs and key, all in one data directory. Plain threads
//! and files; a single instance needs nothing else.

mod bus;
mod checksum;
mod data_dir;
mod disk;
mod frame;
mod local;
mod log;
mod reader;
mod seal;
mod segment;
mod spill;
mod spill_set;
mod stats;
mod store;
mod syncer;
mod topic;

pub use local::LocalDisk;
pub use seal::Sealer;
pub use stats::{EmbeddedStats, FSYNC_BUCKETS_MICROS};

use self::{bus::BusConfig, disk::RealDisk};
use crate::{
    limits::{
        BUS_FSYNC_INTERVAL_DEFAULT, SEGMENT_BYTES_DEFAULT, SPILL_BYTES_DEFAULT, TOPIC_LOG_AGE_DEFAULT,
        TOPIC_LOG_BYTES_DEFAULT, TOPICS_MAX,
    },
    ports::{BackendError, Bus, Store},
};
use parking_lot::Mutex;
use std::{
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Reads the wall clock: nanoseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// When written data is forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before a write is answered; what waits together is forced together.
    Always,
    /// At most so long after: a power cut may take that much, a crash of the process nothing.
    Interval(Duration),
    /// Whenever the system likes: a power cut may take minutes, a crash of the process nothing.
    UnsafeNever,
}

impl Fsync {
    pub const fn name(self) -> &'static str {
        match self {
            Fsync::Always => "always",
            Fsync::Interval(_) => "interval",
            Fsync::UnsafeNever => "unsafe-never",
        }
    }

    pub fn from_name(name: &str) -> Option<Fsync> {
        match name {
            "always" => Some(Fsync::Always),
            "interval" => Some(Fsync::Interval(BUS_FSYNC_INTERVAL_DEFAULT)),
            "unsafe-never" => Some(Fsync::UnsafeNever),
            _ => None,
        }
    }
}

#[derive(Clone)]
pub struct EmbeddedConfig {
    pub data_dir: PathBuf,
    /// None: the key stands in the data directory and is made when absent.
    pub secret_key_file: Option<PathBuf>,
    pub shards: u32,
    /// `Always` or `UnsafeNever`; an interval is taken as `Always`, for documents are few.
    pub store_fsync: Fsync,
    /// Of the bus. With `Always`, the spill logs fsync before they answer too.
    pub bus_fsync: Fsync,
    pub topic_bytes_max: u64,
    pub topic_age_max: Duration,
    pub segment_bytes: u64,
    /// Of one shard.
    pub spill_bytes_max: u64,
    pub clock: Clock,
}

impl EmbeddedConfig {
    pub fn new(data_dir: impl Into<PathBuf>, shards: u32) -> Self {
        EmbeddedConfig {
            data_dir: data_dir.into(),
            secret_key_file: None,
            shards,
            store_fsync: Fsync::Always,
            bus_fsync: Fsync::Interval(BUS_FSYNC_INTERVAL_DEFAULT),
            topic_bytes_max: TOPIC_LOG_BYTES_DEFAULT,
            topic_age_max: TOPIC_LOG_AGE_DEFAULT,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            spill_bytes_max: SPILL_BYTES_DEFAULT as u64,
            clock: Arc::new(wall_nanos),
        }
    }
}

fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub const CAPABILITIES: super::Capabilities = super::Capabilities {
    // One process holds the lock, so no other writer can come between.
    etag: true,
    ttl: false,
    ordered_bulk: true,
    broadcast: false,
    durable: true,
};

type Thread = JoinHandle<Result<(), BackendError>>;

pub struct Embedded {
    store: Arc<store::EmbeddedStore>,
    bus: Arc<bus::EmbeddedBus>,
    store_fsync: Fsync,
    threads: Mutex<Vec<Thread>>,
    /// Last, so that the lock is held until all else is gone.
    local: LocalDisk,
}

impl Embedded {
    pub fn open(config: EmbeddedConfig) -> Result<Embedded, BackendError> {
        Embedded::open_on(config, Arc::new(RealDisk))
    }

    fn open_on(config: EmbeddedConfig, disk: Arc<dyn disk::Disk>) -> Result<Embedded, BackendError> {
        let local = LocalDisk::open_on(&config, disk)?;
        let tools = local.tools();
        let store_fsync = match config.store_fsync {
            Fsync::UnsafeNever => Fsync::UnsafeNever,
            Fsync::Always | Fsync::Interval(_) => Fsync::Always,
        };
        let (store, store_thread) =
            store::start(local.data_dir().join("connections.redb"), store_fsync, tools.clone())?;
        let bus = BusConfig {
            dir: local.data_dir().join("bus"),
            fsync: config.bus_fsync,
            topic_bytes_max: config.topic_bytes_max,
            age_max: config.topic_age_max,
            segment_bytes: config.segment_bytes,
            topics_max: TOPICS_MAX,
            clock: config.clock,
        };
        let (bus, bus_thread) = match bus::start(bus, tools) {
            Ok(started) => started,
            Err(error) => {
                store.stop();
                let _ = store_thread.join();
                return Err(error);
            }
        };
        let threads = Mutex::new(vec![store_thread, bus_thread]);
        Ok(Embedded { store, bus, store_fsync, threads, local })
    }

    pub fn local(&self) -> &LocalDisk {
        &self.local
    }

    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    pub fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    pub fn capabilities(&self) -> super::Capabilities {
        super::Capabilities { durable: self.store_fsync != Fsync::UnsafeNever, ..CAPABILITIES }
    }

    /// Writes what waits, forces it to the disk and ends the threads. What comes later is dropped.
    pub fn close(&self) -> Result<(), BackendError> {
        let mut result = self.local.close();
        self.bus.stop();
        self.store.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            result = result.and(joined(thread));
        }
        result
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the embedded backend did not close well");
        }
    }
}

fn joined(thread: Thread) -> Result<(), BackendError> {
    thread.join().unwrap_or_else(|_| {
        Err(BackendError {
            message: "a disk thread of the embedded backend panicked".into(),
            transient: false,
        })
    })
}

#[cfg(test)]
mod tests;
