//! One file of a log, with a sparse index of where its records stand.

use super::{
    disk::Disk,
    frame::{Frame, Scanner, Step},
};
use std::{fs::File, io};

/// One index entry a this many bytes: a read looks at most at so much before what it wants.
const INDEX_EVERY: u64 = 64 * 1024;
/// What one read may walk over without finding its place. The walk leaves index entries behind, so
/// that the next read goes on from there.
const WALK_BYTES: u64 = 1024 * 1024;
/// Exact places near which reads are likely: ends of earlier reads, beginnings of writes.
const HINTS: usize = 8;

#[derive(Debug)]
pub struct Segment {
    pub base: u64,
    /// Bytes that hold records; the file may be longer after a failed write.
    pub bytes: u64,
    pub first_nanos: Option<u64>,
    pub last_nanos: Option<u64>,
    index: Vec<(u64, u64)>,
    hints: Vec<(u64, u64)>,
    hint_next: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum SegmentRead {
    /// The place is further on; ask again.
    Again,
    Frames(Vec<Frame>),
    /// No record numbered `from` or higher; damaged from `hole` on.
    Nothing {
        hole: Option<u64>,
    },
}

pub struct Recovered {
    pub segment: Segment,
    /// The number of the next record.
    pub next: u64,
    /// Where damage stands between good records.
    pub holes: Vec<u64>,
    /// Bytes cut from the end.
    pub torn: u64,
}

impl Segment {
    pub fn new(base: u64, bytes: u64) -> Self {
        Segment {
            base,
            bytes,
            first_nanos: None,
            last_nanos: None,
            index: vec![(base, 0)],
            hints: Vec::new(),
            hint_next: 0,
        }
    }

    /// Reads all of a file that was being written when the process ended, and cuts what is torn.
    pub fn recover(disk: &dyn Disk, file: &File, base: u64) -> io::Result<Recovered> {
        let file_bytes = file.metadata()?.len();
        let mut segment = Segment::new(base, file_bytes);
        let (mut next, mut good, mut holes) = (base, 0, Vec::new());
        let mut scanner = Scanner::new(disk, file, 0, file_bytes, base);
        while let Step::Frame(frame) = scanner.step()? {
            holes.extend(frame.hole);
            segment.note(&frame);
            segment.last_nanos = Some(frame.nanos);
            next = frame.sequence.saturating_add(1);
            good = frame.at + frame.size;
        }
        if good < file_bytes {
            disk.set_len(file, good)?;
        }
        segment.bytes = good;
        Ok(Recovered { segment, next, holes, torn: file_bytes - good })
    }

    /// Records from number `from` on: at least one, and about `bytes_max`. Ends before a hole.
    pub fn read(
        &mut self,
        disk: &dyn Disk,
        file: &File,
        from: u64,
        bytes_max: usize,
    ) -> io::Result<SegmentRead> {
        let (lowest, start) = self.floor(from);
        let mut frames: Vec<Frame> = Vec::new();
        let mut taken = 0;
        let mut scanner =
            Scanner::new(disk, file, start, self.bytes, lowest).reading(bytes_max.saturating_add(4096));
        loop {
            let frame = match scanner.step()? {
                Step::Frame(frame) => frame,
                Step::End { hole } if frames.is_empty() => return Ok(SegmentRead::Nothing { hole }),
                Step::End { .. } => break,
            };
            let expected = frames.last().map_or(frame.sequence, |last| last.sequence + 1);
            if frame.sequence != expected || (frame.hole.is_some() && !frames.is_empty()) {
                break;
            }
            self.note(&frame);
            let end = frame.at + frame.size;
            if frame.sequence < from {
                if end - start >= WALK_BYTES && frame.sequence + 1 < from {
                    self.push_index(frame.sequence + 1, end);
                    return Ok(SegmentRead::Again);
                }
                continue;
            }
            taken += frame.body.len();
            frames.push(frame);
            if taken >= bytes_max {
                break;
            }
        }
        if let Some(last) = frames.last() {
            self.hint(last.sequence + 1, last.at + last.size);
        }
        Ok(SegmentRead::Frames(frames))
    }

    /// When the first record was taken; read from the file once.
    pub fn first_nanos(&mut self, disk: &dyn Disk, file: &File) -> io::Result<Option<u64>> {
        if self.first_nanos.is_none() {
            let mut scanner = Scanner::new(disk, file, 0, self.bytes, self.base).reading(0);
            if let Step::Frame(frame) = scanner.step()? {
                self.first_nanos = Some(frame.nanos);
            }
        }
        Ok(self.first_nanos)
    }

    /// When the last record was taken; reads the whole file when nothing tells.
    pub fn last_nanos(&mut self, disk: &dyn Disk, file: &File) -> io::Result<Option<u64>> {
        if self.last_nanos.is_none() {
            let mut scanner = Scanner::new(disk, file, 0, self.bytes, self.base);
            while let Step::Frame(frame) = scanner.step()? {
                self.note(&frame);
                self.last_nanos = Some(frame.nanos);
            }
        }
        Ok(self.last_nanos)
    }

    /// Takes in what was just written at the end.
    pub fn grew(&mut self, bytes: u64, first_sequence: u64, first_nanos: u64, last_nanos: u64) {
        self.push_index_spaced(first_sequence, self.bytes);
        self.hint(first_sequence, self.bytes);
        self.first_nanos.get_or_insert(first_nanos);
        self.last_nanos = Some(last_nanos);
        self.bytes += bytes;
    }

    fn note(&mut self, frame: &Frame) {
        if frame.at == 0 {
            self.first_nanos = Some(frame.nanos);
        }
        self.push_index_spaced(frame.sequence, frame.at);
    }

    fn push_index_spaced(&mut self, sequence: u64, at: u64) {
        if self.index.last().is_none_or(|&(_, last)| at >= last + INDEX_EVERY) {
            self.index.push((sequence, at));
        }
    }

    fn push_index(&mut self, sequence: u64, at: u64) {
        if self.index.last().is_none_or(|&(_, last)| at > last) {
            self.index.push((sequence, at));
        }
    }

    fn hint(&mut self, sequence: u64, at: u64) {
        if self.hints.contains(&(sequence, at)) {
            return;
        }
        if self.hints.len() < HINTS {
            self.hints.push((sequence, at));
        } else {
            self.hints[self.hint_next] = (sequence, at);
            self.hint_next = (self.hint_next + 1) % HINTS;
        }
    }

    /// The nearest known place at or before the record numbered `from`.
    fn floor(&self, from: u64) -> (u64, u64) {
        let after = self.index.partition_point(|&(sequence, _)| sequence <= from);
        let indexed = if after == 0 { (self.base, 0) } else { self.index[after - 1] };
        let hinted = self.hints.iter().filter(|(sequence, _)| *sequence <= from).max_by_key(|(_, at)| *at);
        hinted.copied().filter(|&(_, at)| at > indexed.1).unwrap_or(indexed)
    }
}
