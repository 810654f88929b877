//! A log: records numbered without holes, in segment files of one folder. Topics and spill logs
//! are made of it. It belongs to one thread and never waits but for the disk.

use super::{
    disk::{Disk, Files, file_error, sync_dir},
    frame::{Frame, HEADER_BYTES, encode},
    segment::{Segment, SegmentRead},
    stats::{Counters, add},
};
use crate::ports::BackendError;
use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

/// Damaged places that are remembered so as to be reported once.
const REPORTED_MAX: usize = 256;
const NAME_DIGITS: usize = 20;

/// What a log needs of the world.
#[derive(Clone)]
pub struct Tools {
    pub disk: Arc<dyn Disk>,
    pub counters: Arc<Counters>,
}

pub struct Log {
    id: u32,
    dir: PathBuf,
    segment_bytes: u64,
    tools: Tools,
    segments: VecDeque<Segment>,
    next: u64,
    staged: Staged,
    /// A failed write left bytes behind that could not be cut yet.
    overhang: bool,
    unsynced: BTreeSet<u64>,
    dir_unsynced: bool,
    reported: BTreeSet<(u64, u64)>,
    written: Written,
}

/// What was written since somebody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub records: u64,
    pub bytes: u64,
    pub calls: u64,
}

#[derive(Default)]
struct Staged {
    bytes: Vec<u8>,
    count: u64,
    first_nanos: u64,
    last_nanos: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Everything before the asked number was read, nothing is there yet.
    AtEnd,
    /// The asked number is higher than that of the next record.
    Beyond,
    /// Found only the way there so far; ask again.
    Again,
    Records {
        frames: Vec<Frame>,
        next: u64,
        skipped: u64,
    },
}

impl Log {
    pub fn open(id: u32, dir: PathBuf, segment_bytes: u64, tools: Tools) -> Result<Log, BackendError> {
        let mut found = segment_files(&dir).map_err(|e| file_error("list", &dir, &e))?;
        found.sort_unstable();
        let mut log = Log {
            id,
            dir,
            segment_bytes: segment_bytes.max(1),
            tools,
            segments: found.into_iter().map(|(base, bytes)| Segment::new(base, bytes)).collect(),
            next: 0,
            staged: Staged::default(),
            overhang: false,
            unsynced: BTreeSet::new(),
            dir_unsynced: false,
            reported: BTreeSet::new(),
            written: Written::default(),
        };
        if let Some(last) = log.segments.pop_back() {
            log.recover(last.base)?;
        }
        Ok(log)
    }

    fn recover(&mut self, base: u64) -> Result<(), BackendError> {
        let path = self.path(base);
        let recovered = super::disk::open_file(&path, false)
            .and_then(|file| Segment::recover(&*self.tools.disk, &file, base))
            .map_err(|e| file_error("recover", &path, &e))?;
        for hole in recovered.holes {
            self.report(base, hole);
        }
        if recovered.torn > 0 {
            add(&self.tools.counters.torn_bytes, recovered.torn);
            tracing::warn!(
                file = %path.display(), byte = recovered.segment.bytes, bytes = recovered.torn,
                "cut an unfinished record from the end of a log file"
            );
        }
        self.next = recovered.next;
        self.segments.push_back(recovered.segment);
        Ok(())
    }

    /// The number of the next record to be written.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest record that is kept.
    pub fn first(&self) -> u64 {
        self.segments.front().map_or(self.next, |segment| segment.base)
    }

    /// Where the second segment begins: below it all is in the first.
    pub fn second_base(&self) -> Option<u64> {
        self.segments.get(1).map(|segment| segment.base)
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn staged_bytes(&self) -> u64 {
        self.staged.bytes.len() as u64
    }

    pub fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// Prepares one record for `flush`. When a segment is full, what was prepared before is
    /// written first.
    pub fn stage(&mut self, files: &mut Files, nanos: u64, parts: &[&[u8]]) -> Result<(), BackendError> {
        let size = (HEADER_BYTES + parts.iter().map(|part| part.len()).sum::<usize>()) as u64;
        let held = self.segments.back().map_or(0, |active| active.bytes) + self.staged.bytes.len() as u64;
        if self.segments.is_empty() || (held > 0 && held + size > self.segment_bytes) {
            self.flush(files)?;
            self.roll(files)?;
        }
        if self.staged.count == 0 {
            self.staged.first_nanos = nanos;
        }
        self.staged.last_nanos = nanos;
        encode(&mut self.staged.bytes, self.next + self.staged.count, nanos, parts);
        self.staged.count += 1;
        Ok(())
    }

    /// Writes what is prepared, with one call. After an error nothing of it is in the log.
    pub fn flush(&mut self, files: &mut Files) -> Result<(), BackendError> {
        if self.staged.count == 0 {
            return Ok(());
        }
        let mut staged = std::mem::take(&mut self.staged);
        let result = self.write(files, &staged);
        staged.bytes.clear();
        staged.count = 0;
        // A burst's buffer is not kept for ever.
        if staged.bytes.capacity() <= 1024 * 1024 {
            self.staged = staged;
        }
        result.map_err(|e| file_error("write to", &self.path(self.active_base()), &e))
    }

    fn write(&mut self, files: &mut Files, staged: &Staged) -> io::Result<()> {
        let (id, path) = (self.id, self.path(self.active_base()));
        let Some(active) = self.segments.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        let file = files.get((id, active.base), &path, false)?;
        if self.overhang {
            self.tools.disk.set_len(&file, active.bytes)?;
            self.overhang = false;
        }
        if let Err(error) = self.tools.disk.write_all_at(&file, &staged.bytes, active.bytes) {
            // Whole records of a failed write must not come back after a restart.
            self.overhang = self.tools.disk.set_len(&file, active.bytes).is_err();
            return Err(error);
        }
        active.grew(staged.bytes.len() as u64, self.next, staged.first_nanos, staged.last_nanos);
        self.next += staged.count;
        self.written.records += staged.count;
        self.written.bytes += staged.bytes.len() as u64;
        self.written.calls += 1;
        self.unsynced.insert(active.base);
        Ok(())
    }

    /// Begins a new segment, unless the active one is empty. Nothing may be staged.
    pub fn roll(&mut self, files: &mut Files) -> Result<(), BackendError> {
        if self.segments.back().is_some_and(|active| active.base == self.next) {
            return Ok(());
        }
        if self.overhang {
            self.cut_overhang(files)?;
        }
        let path = self.path(self.next);
        let file =
            files.get((self.id, self.next), &path, true).map_err(|e| file_error("create", &path, &e))?;
        // Of an attempt that failed half way, or of a log whose newest files were lost.
        self.tools.disk.set_len(&file, 0).map_err(|e| file_error("create", &path, &e))?;
        self.segments.push_back(Segment::new(self.next, 0));
        self.dir_unsynced = true;
        Ok(())
    }

    fn cut_overhang(&mut self, files: &mut Files) -> Result<(), BackendError> {
        let (id, path) = (self.id, self.path(self.active_base()));
        if let Some(active) = self.segments.back() {
            files
                .get((id, active.base), &path, false)
                .and_then(|file| self.tools.disk.set_len(&file, active.bytes))
                .map_err(|e| file_error("cut", &path, &e))?;
        }
        self.overhang = false;
        Ok(())
    }

    pub fn read(&mut self, files: &mut Files, from: u64, bytes_max: usize) -> Result<Read, BackendError> {
        if from >= self.next {
            return Ok(if from == self.next { Read::AtEnd } else { Read::Beyond });
        }
        let want = from.max(self.first());
        if want == self.next {
            return Ok(Read::Records { frames: Vec::new(), next: want, skipped: want - from });
        }
        let place = self.segments.partition_point(|segment| segment.base <= want).saturating_sub(1);
        let end = self.segments.get(place + 1).map_or(self.next, |following| following.base);
        let base = self.segments[place].base;
        let path = self.path(base);
        let read = files
            .get((self.id, base), &path, false)
            .and_then(|file| self.segments[place].read(&*self.tools.disk, &file, want, bytes_max))
            .map_err(|e| file_error("read", &path, &e))?;
        Ok(match read {
            SegmentRead::Again => Read::Again,
            SegmentRead::Nothing { hole } => {
                self.report(base, hole.unwrap_or(self.segments[place].bytes));
                Read::Records { frames: Vec::new(), next: end, skipped: end - from }
            }
            SegmentRead::Frames(frames) => {
                if let Some(hole) = frames.first().and_then(|frame| frame.hole) {
                    self.report(base, hole);
                }
                let first = frames.first().map_or(from, |frame| frame.sequence);
                let next = frames.last().map_or(from, |frame| frame.sequence + 1);
                Read::Records { frames, next, skipped: first - from }
            }
        })
    }

    /// Deletes the oldest segments past the bound on bytes and those whose records are all older
    /// than `cutoff_nanos`. The next number stays known: an empty segment bears it.
    pub fn retain(
        &mut self,
        files: &mut Files,
        bytes_max: u64,
        cutoff_nanos: u64,
    ) -> Result<(), BackendError> {
        while self.segments.len() > 1 && self.bytes() > bytes_max {
            self.delete_first(files)?;
        }
        while let Some(last_nanos) = self.newest_of_first(files)? {
            if last_nanos >= cutoff_nanos {
                break;
            }
            if self.segments.len() == 1 {
                self.roll(files)?;
            }
            self.delete_first(files)?;
        }
        Ok(())
    }

    pub fn delete_first(&mut self, files: &mut Files) -> Result<(), BackendError> {
        let Some(first) = self.segments.front() else { return Ok(()) };
        let (base, path) = (first.base, self.path(first.base));
        files.forget((self.id, base));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file_error("delete", &path, &error));
            }
            _ => {}
        }
        self.segments.pop_front();
        self.unsynced.remove(&base);
        add(&self.tools.counters.segments_deleted, 1);
        Ok(())
    }

    /// An upper bound of the age of the oldest segment's records; None when it holds none.
    fn newest_of_first(&mut self, files: &mut Files) -> Result<Option<u64>, BackendError> {
        let Some(first) = self.segments.front() else { return Ok(None) };
        if first.last_nanos.is_some() {
            return Ok(first.last_nanos);
        }
        let probe = if self.segments.get(1).is_some_and(|second| second.bytes > 0) { 1 } else { 0 };
        let path = self.path(self.segments[probe].base);
        let (id, disk) = (self.id, self.tools.disk.clone());
        let segment = &mut self.segments[probe];
        files
            .get((id, segment.base), &path, false)
            .and_then(|file| {
                if probe == 1 {
                    segment.first_nanos(&*disk, &file)
                } else {
                    segment.last_nanos(&*disk, &file)
                }
            })
            .map_err(|e| file_error("read", &path, &e))
    }

    /// Everything written so far is on the disk when this returns.
    pub fn sync(&mut self, files: &mut Files) -> Result<(), BackendError> {
        let with_dir = self.dir_unsynced;
        for path in self.take_unsynced() {
            let synced = self.sync_path(files, &path);
            // A file whose fsync failed is not trusted again; the folder is tried anew.
            self.dir_unsynced |= with_dir && synced.is_err();
            synced?;
        }
        Ok(())
    }

    fn sync_path(&self, files: &mut Files, path: &Path) -> Result<(), BackendError> {
        let began = Instant::now();
        let result = match base_of(path) {
            None => sync_dir(path),
            Some(base) => {
                files.get((self.id, base), path, false).and_then(|file| self.tools.disk.sync(&file))
            }
        };
        self.tools.counters.fsynced(began.elapsed(), result.is_ok());
        result.map_err(|e| file_error("fsync", path, &e))
    }

    /// Files (and perhaps the folder) with changes that no fsync covers; the caller sees to them.
    pub fn take_unsynced(&mut self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            std::mem::take(&mut self.unsynced).into_iter().map(|base| self.path(base)).collect();
        if std::mem::take(&mut self.dir_unsynced) {
            paths.push(self.dir.clone());
        }
        paths
    }

    fn report(&mut self, base: u64, at: u64) {
        if self.reported.len() >= REPORTED_MAX || !self.reported.insert((base, at)) {
            return;
        }
        add(&self.tools.counters.damaged_places, 1);
        tracing::warn!(
            file = %self.path(base).display(), byte = at,
            "a log file is damaged: its records from this byte to the next good one are skipped"
        );
    }

    fn active_base(&self) -> u64 {
        self.segments.back().map_or(self.next, |active| active.base)
    }

    fn path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:0NAME_DIGITS$}.log"))
    }
}

fn base_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    if digits.len() != NAME_DIGITS { None } else { digits.parse().ok() }
}

fn segment_files(dir: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(base) = base_of(&entry.path()) {
            found.push((base, entry.metadata()?.len()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
