//! What every backend keeps on this machine: the locked data directory, the spill logs of the
//! shards and the key that seals secrets.

use super::{
    EmbeddedConfig, EmbeddedStats, Fsync,
    data_dir::DataDir,
    disk::{Disk, RealDisk},
    log::Tools,
    seal::Sealer,
    spill_set::SpillSet,
    stats::Counters,
};
use crate::ports::{BackendError, Spill};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub struct LocalDisk {
    spills: SpillSet,
    sealer: Arc<Sealer>,
    counters: Arc<Counters>,
    disk: Arc<dyn Disk>,
    /// Last, so that the lock is held until all else is gone.
    dir: DataDir,
}

impl LocalDisk {
    pub fn open(config: &EmbeddedConfig) -> Result<LocalDisk, BackendError> {
        LocalDisk::open_on(config, Arc::new(RealDisk))
    }

    pub(super) fn open_on(config: &EmbeddedConfig, disk: Arc<dyn Disk>) -> Result<LocalDisk, BackendError> {
        let dir = DataDir::open(&config.data_dir)?;
        let sealer = match &config.secret_key_file {
            Some(path) => Sealer::from_file(path)?,
            None => Sealer::from_file_or_new(&dir.path().join("secret.key"))?,
        };
        let counters: Arc<Counters> = Arc::default();
        let spills = SpillSet::open(
            dir.path().join("spill"),
            config.shards,
            config.spill_bytes_max,
            config.bus_fsync == Fsync::Always,
            Tools { disk: disk.clone(), counters: counters.clone() },
        )?;
        Ok(LocalDisk { spills, sealer: Arc::new(sealer), counters, disk, dir })
    }

    pub(super) fn tools(&self) -> Tools {
        Tools { disk: self.disk.clone(), counters: self.counters.clone() }
    }

    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The spill log of one of the configured shards.
    pub fn spill(&self, shard: u32) -> Option<Arc<dyn Spill>> {
        self.spills.of_shard(shard)
    }

    /// Folders with records that a run with another number of shards left. Each is to be opened and
    /// drained before its connections' next epochs are published.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>, BackendError> {
        self.spills.leftovers()
    }

    /// Opens one of `leftovers` for draining. Its folder goes when it is empty at `close`.
    pub fn open_leftover(&self, folder: &Path) -> Result<Arc<dyn Spill>, BackendError> {
        self.spills.open_leftover(folder)
    }

    pub fn sealer(&self) -> Arc<Sealer> {
        self.sealer.clone()
    }

    pub fn stats(&self) -> EmbeddedStats {
        self.counters.read()
    }

    /// Writes what waits and ends the threads. What comes later is dropped.
    pub fn close(&self) -> Result<(), BackendError> {
        self.spills.close()
    }
}
