//! The thread that fsyncs log files behind the bus: a slow disk must not hold up writes.

use super::{
    disk::{file_error, open_file, sync_dir},
    log::Tools,
};
use crate::ports::BackendError;
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Instant,
};

/// Failed files that are remembered until the bus asks.
const FAILED_MAX: usize = 64;

pub struct Syncer {
    jobs: Sender<Vec<PathBuf>>,
    failed: Arc<Mutex<Vec<PathBuf>>>,
    thread: JoinHandle<()>,
}

impl Syncer {
    pub fn start(tools: Tools) -> Result<Syncer, BackendError> {
        let (jobs, inbox) = bounded(1);
        let failed: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
        let noted = failed.clone();
        let thread =
            std::thread::Builder::new().name("wsm-fsync".into()).spawn(move || run(&inbox, &tools, &noted));
        let thread = thread.map_err(|e| BackendError {
            message: format!("cannot start the fsync thread: {e}"),
            transient: true,
        })?;
        Ok(Syncer { jobs, failed, thread })
    }

    /// Takes the files, or leaves them when it is still busy with earlier ones.
    pub fn hand_over(&self, paths: &mut Vec<PathBuf>) {
        if !self.jobs.is_full() {
            let _ = self.jobs.try_send(std::mem::take(paths));
        }
    }

    /// Files whose fsync failed: what the kernel holds of them may be lost.
    pub fn take_failed(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.failed.lock())
    }

    pub fn stop(self) {
        drop(self.jobs);
        let _ = self.thread.join();
    }
}

fn run(inbox: &Receiver<Vec<PathBuf>>, tools: &Tools, failed: &Mutex<Vec<PathBuf>>) {
    for paths in inbox {
        for path in paths {
            if let Err(error) = sync_path(tools, &path) {
                tracing::error!(%error, "the embedded log failed");
                let mut failed = failed.lock();
                if failed.len() < FAILED_MAX {
                    failed.push(path);
                }
            }
        }
    }
}

/// Fsyncs a file or folder; one that retention has deleted needs none.
pub fn sync_path(tools: &Tools, path: &Path) -> Result<(), BackendError> {
    let began = Instant::now();
    let result = if path.is_dir() {
        sync_dir(path)
    } else {
        match open_file(path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.and_then(|file| tools.disk.sync(&file)),
        }
    };
    tools.counters.fsynced(began.elapsed(), result.is_ok());
    result.map_err(|e| file_error("fsync", path, &e))
}
