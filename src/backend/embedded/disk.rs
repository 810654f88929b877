//! The seam to the disk, with the errors that name a file, and the bounded set of open files.

use crate::{limits::LOG_FILES_OPEN_MAX, ports::BackendError};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

/// What can fail on a disk that fills up or breaks; tests put faults here.
pub trait Disk: Send + Sync {
    fn write_all_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;
    fn read_exact_at(&self, file: &File, bytes: &mut [u8], at: u64) -> io::Result<()>;
    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()>;
    fn sync(&self, file: &File) -> io::Result<()>;
}

pub struct RealDisk;

impl Disk for RealDisk {
    fn write_all_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }
    fn read_exact_at(&self, file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
        file.read_exact_at(bytes, at)
    }
    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// An error about one file, worth another try when the cause may pass.
pub fn file_error(what: &str, path: &Path, error: &io::Error) -> BackendError {
    let way_out = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free some space, then it goes on by itself"
        }
        io::ErrorKind::PermissionDenied => ": let the user of this process read and write it",
        _ => "",
    };
    BackendError { message: format!("cannot {what} {}: {error}{way_out}", path.display()), transient: true }
}

pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Opens for reading and writing; what is made is for this user alone.
pub fn open_file(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)
}

/// Open log files by (log, segment), the least recently used one closed first.
pub struct Files {
    open: BTreeMap<(u32, u64), (Arc<File>, u64)>,
    uses: u64,
    max: usize,
}

impl Default for Files {
    fn default() -> Self {
        Files { open: BTreeMap::new(), uses: 0, max: LOG_FILES_OPEN_MAX }
    }
}

impl Files {
    pub fn get(&mut self, key: (u32, u64), path: &Path, create: bool) -> io::Result<Arc<File>> {
        self.uses += 1;
        if let Some((file, used)) = self.open.get_mut(&key) {
            *used = self.uses;
            return Ok(file.clone());
        }
        let file = Arc::new(open_file(path, create)?);
        while self.open.len() >= self.max {
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            oldest.map(|key| self.open.remove(&key));
        }
        self.open.insert(key, (file.clone(), self.uses));
        Ok(file)
    }

    pub fn forget(&mut self, key: (u32, u64)) {
        self.open.remove(&key);
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
pub mod faulty {
    //! A disk with a quota, and with failures that a test turns on.
    use super::*;
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };

    pub struct FaultyDisk {
        /// Bytes that may still be written; a write past them is cut short and fails.
        quota: Mutex<u64>,
        pub sync_fails: AtomicBool,
        pub truncate_fails: AtomicBool,
        pub syncs: AtomicU64,
        pub writes: AtomicU64,
        /// Held by a test, it stops every write.
        pub gate: Mutex<()>,
    }

    impl FaultyDisk {
        pub fn with_quota(bytes: u64) -> Arc<Self> {
            Arc::new(FaultyDisk {
                quota: Mutex::new(bytes),
                sync_fails: AtomicBool::new(false),
                truncate_fails: AtomicBool::new(false),
                syncs: AtomicU64::new(0),
                writes: AtomicU64::new(0),
                gate: Mutex::new(()),
            })
        }

        pub fn unlimited() -> Arc<Self> {
            Self::with_quota(u64::MAX)
        }

        pub fn allow(&self, bytes: u64) {
            *self.quota.lock().unwrap() = bytes;
        }
    }

    impl Disk for FaultyDisk {
        fn write_all_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
            let _open = self.gate.lock().unwrap();
            self.writes.fetch_add(1, Ordering::SeqCst);
            let mut quota = self.quota.lock().unwrap();
            let part = (bytes.len() as u64).min(*quota);
            *quota -= part;
            file.write_all_at(&bytes[..part as usize], at)?;
            if part < bytes.len() as u64 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
        fn read_exact_at(&self, file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
            file.read_exact_at(bytes, at)
        }
        fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
            if self.truncate_fails.load(Ordering::SeqCst) {
                return Err(io::Error::other("truncation is off"));
            }
            file.set_len(bytes)
        }
        fn sync(&self, file: &File) -> io::Result<()> {
            self.syncs.fetch_add(1, Ordering::SeqCst);
            if self.sync_fails.load(Ordering::SeqCst) {
                return Err(io::Error::other("fsync is off"));
            }
            file.sync_data()
        }
    }
}
