//! The spill logs of all shards, and what runs with another number of shards left behind.

use super::{
    Thread,
    disk::file_error,
    joined,
    log::Tools,
    spill::{self, SpillConfig, SpillLog},
    topic::make_dir,
};
use crate::ports::{BackendError, Spill};
use parking_lot::Mutex;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

const SHARDS_FILE: &str = "SHARDS";
const LEFT: &str = "left-";

pub struct SpillSet {
    dir: PathBuf,
    bytes_max: u64,
    fsync: bool,
    tools: Tools,
    shards: Vec<Open>,
    leftovers: Mutex<Vec<Open>>,
}

struct Open {
    folder: PathBuf,
    log: Arc<SpillLog>,
    thread: Mutex<Option<Thread>>,
}

impl SpillSet {
    pub fn open(
        dir: PathBuf,
        shards: u32,
        bytes_max: u64,
        fsync: bool,
        tools: Tools,
    ) -> Result<SpillSet, BackendError> {
        make_dir(&dir).map_err(|e| file_error("create", &dir, &e))?;
        set_aside(&dir, shards).map_err(|e| file_error("prepare", &dir, &e))?;
        let mut set =
            SpillSet { dir, bytes_max, fsync, tools, shards: Vec::new(), leftovers: Mutex::default() };
        for shard in 0..shards {
            let opened = set.open_log(set.dir.join(shard.to_string()));
            match opened {
                Ok(log) => set.shards.push(log),
                Err(error) => {
                    let _ = set.close();
                    return Err(error);
                }
            }
        }
        Ok(set)
    }

    fn open_log(&self, folder: PathBuf) -> Result<Open, BackendError> {
        let config = SpillConfig { dir: folder.clone(), bytes_max: self.bytes_max, fsync: self.fsync };
        let (log, thread) = spill::start(config, self.tools.clone())?;
        Ok(Open { folder, log, thread: Mutex::new(Some(thread)) })
    }

    pub fn of_shard(&self, shard: u32) -> Option<Arc<dyn Spill>> {
        self.shards.get(shard as usize).map(|open| open.log.clone() as Arc<dyn Spill>)
    }

    pub fn leftovers(&self) -> Result<Vec<PathBuf>, BackendError> {
        let mut found = Vec::new();
        let entries = fs::read_dir(&self.dir).map_err(|e| file_error("list", &self.dir, &e))?;
        for entry in entries {
            let path = entry.map_err(|e| file_error("list", &self.dir, &e))?.path();
            if is_left(&path) && holds_records(&path).map_err(|e| file_error("list", &path, &e))? {
                found.push(path);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    pub fn open_leftover(&self, folder: &Path) -> Result<Arc<dyn Spill>, BackendError> {
        let mut leftovers = self.leftovers.lock();
        if let Some(open) = leftovers.iter().find(|open| open.folder == folder) {
            return Ok(open.log.clone());
        }
        if folder.parent() != Some(&self.dir) || !is_left(folder) {
            let message = format!("{} is not a leftover spill log of this data directory", folder.display());
            return Err(BackendError { message, transient: false });
        }
        let open = self.open_log(folder.to_owned())?;
        let log = open.log.clone();
        leftovers.push(open);
        Ok(log)
    }

    pub fn close(&self) -> Result<(), BackendError> {
        let mut result = Ok(());
        for open in &self.shards {
            result = result.and(open.close());
        }
        for open in self.leftovers.lock().drain(..) {
            let closed = open.close();
            if closed.is_ok() && open.log.bytes() == 0 {
                // Empty: if it stays, the next start finds it empty again.
                let _ = fs::remove_dir_all(&open.folder);
            }
            result = result.and(closed);
        }
        result
    }
}

impl Open {
    fn close(&self) -> Result<(), BackendError> {
        self.log.stop();
        self.thread.lock().take().map_or(Ok(()), joined)
    }
}

/// When the number of shards has changed, connections have moved between shards: what the old
/// shards left is renamed, so that no shard takes it for its own.
fn set_aside(dir: &Path, shards: u32) -> io::Result<()> {
    let note = dir.join(SHARDS_FILE);
    let before = fs::read_to_string(&note).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if before == Some(shards) {
        return Ok(());
    }
    let mut folders = Vec::new();
    let mut number = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        if let Some(rest) = name.strip_prefix(LEFT) {
            number = number.max(rest.parse::<u64>().map_or(0, |last| last + 1));
        } else if let Ok(shard) = name.parse::<u32>() {
            folders.push((shard, path));
        }
    }
    folders.sort_unstable();
    for (_, path) in folders {
        fs::rename(&path, dir.join(format!("{LEFT}{number}")))?;
        number += 1;
    }
    fs::write(&note, format!("{shards}\n"))
}

fn is_left(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(LEFT).is_some_and(|number| number.parse::<u64>().is_ok())
}

fn holds_records(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|ext| ext == "log") && entry.metadata()?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
