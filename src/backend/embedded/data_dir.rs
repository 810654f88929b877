//! The data directory: made for this user alone, held by one process, of a known format.

use super::{
    disk::{file_error, open_file, sync_dir},
    topic::make_dir,
};
use crate::ports::BackendError;
use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const LOCK_FILE: &str = "LOCK";
const FORMAT_FILE: &str = "FORMAT";
const FORMAT_NAME: &str = "websocket-manager-data";
pub const FORMAT_VERSION: u32 = 1;

/// Holds the lock for as long as it lives; the kernel lets go of it when the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    pub fn open(path: &Path) -> Result<DataDir, BackendError> {
        make_dir(path).map_err(|e| file_error("create the data directory", path, &e))?;
        let lock = lock(path)?;
        check_format(path)?;
        let mode = fs::metadata(path).map(|found| found.permissions().mode() & 0o7777);
        if mode.is_ok_and(|mode| mode & 0o077 != 0) {
            tracing::warn!(path = %path.display(), "the data directory is open to other users: chmod 700 closes it");
        }
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(dir: &Path) -> Result<File, BackendError> {
    let path = dir.join(LOCK_FILE);
    let mut file = open_file(&path, true).map_err(|e| file_error("open the lock file", &path, &e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = (&file).take(20).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => String::new(),
                pid => format!(" (process {pid})"),
            };
            return Err(lasting(format!(
                "the data directory {} is held by another process{holder}, by its lock file {}: stop that process, or \
                 choose another --data-dir",
                dir.display(),
                path.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(file_error("lock", &path, &error)),
    }
    // For the other process's message only: that it fails matters to nobody.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn check_format(dir: &Path) -> Result<(), BackendError> {
    let path = dir.join(FORMAT_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return write_format(dir, &path),
        Err(error) => return Err(file_error("read", &path, &error)),
    };
    let version = text.trim().strip_prefix(FORMAT_NAME).and_then(|rest| rest.trim().parse::<u32>().ok());
    match version {
        Some(FORMAT_VERSION) => Ok(()),
        Some(other) => Err(lasting(format!(
            "{} says format {other}, this program knows format {FORMAT_VERSION}: run the version that wrote it, or \
             choose another --data-dir",
            path.display()
        ))),
        None => Err(lasting(format!(
            "{} is not a format file of this program: choose another --data-dir, or restore the file, which holds \
             \"{FORMAT_NAME} {FORMAT_VERSION}\"",
            path.display()
        ))),
    }
}

fn write_format(dir: &Path, path: &Path) -> Result<(), BackendError> {
    let made = dir.join("FORMAT.new");
    File::create(&made)
        .and_then(|mut file| {
            writeln!(file, "{FORMAT_NAME} {FORMAT_VERSION}")?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&made, path))
        .and_then(|()| sync_dir(dir))
        .map_err(|e| file_error("create", path, &e))
}

fn lasting(message: String) -> BackendError {
    BackendError { message, transient: false }
}

#[cfg(test)]
mod tests;
