//! A shard's retained log: the last messages of all its connections in one byte budget, for
//! followers. Appending costs about a copy; skipping a record costs the reading of its header.

use super::{
    id::ConnKey,
    reason::GapCause,
    sequence::{End, Gap},
    time::Wall,
};
use std::{borrow::Cow, collections::VecDeque};

#[cfg(test)]
mod tests;

/// Small enough that an idle shard keeps little, big enough that a chunk holds many messages.
const CHUNK_SHIFT: u32 = 16;
/// A message larger than this part of the budget would evict too much of everyone else's.
const LARGEST_PART: usize = 4;
/// With fewer the record being written could meet its own tail.
const CHUNKS_MIN: usize = 4;
const HEADER_BYTES: usize = 40;
/// In a chunk in which no record begins.
const NO_RECORD: u32 = u32::MAX;

/// A place in one ring's history. It only rises, over the ring's whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    pub const ZERO: Position = Position(0);

    /// For a cursor; `Ring::seat` is the way back.
    pub const fn get(self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    Text,
    Binary,
    /// The payload is an encoded `Gap`.
    Gap,
    /// The payload is an encoded `End`.
    End,
    Lifecycle,
}

impl RecordKind {
    const ALL: [RecordKind; 5] =
        [RecordKind::Text, RecordKind::Binary, RecordKind::Gap, RecordKind::End, RecordKind::Lifecycle];
}

/// Everything about a record but its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: RecordKind,
    pub key: ConnKey,
    pub epoch: u64,
    /// Of a message its own number; of any other record the last number before it.
    pub seq: u64,
    pub wall: Wall,
    pub reply: bool,
    pub possible_duplicate: bool,
}

#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    pub head: Head,
    /// Where to go on after this record.
    pub next: Position,
    pub payload: Payload<'a>,
}

impl RecordRef<'_> {
    pub fn gap(&self) -> Option<Gap> {
        (self.head.kind == RecordKind::Gap).then(|| Gap::decode(&self.payload.bytes())).flatten()
    }

    pub fn end(&self) -> Option<End> {
        (self.head.kind == RecordKind::End).then(|| End::decode(&self.payload.bytes())).flatten()
    }
}

/// A record's bytes, in one piece unless they cross from one chunk to the next.
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    ring: &'a Ring,
    at: u64,
    len: usize,
}

impl<'a> Payload<'a> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn pieces(self) -> impl Iterator<Item = &'a [u8]> {
        let end = self.at + self.len as u64;
        let mut at = self.at;
        std::iter::from_fn(move || {
            let piece = self.ring.piece(at, end)?;
            at += piece.len() as u64;
            Some(piece)
        })
    }

    /// Copies only what is not in one piece.
    pub fn bytes(self) -> Cow<'a, [u8]> {
        let first = self.pieces().next().unwrap_or_default();
        if first.len() == self.len { Cow::Borrowed(first) } else { Cow::Owned(self.to_vec()) }
    }

    pub fn to_vec(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len);
        self.append_to(&mut out);
        out
    }

    pub fn append_to(self, out: &mut Vec<u8>) {
        self.pieces().for_each(|piece| out.extend_from_slice(piece));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadEnd {
    /// Where the next read begins.
    pub next: Position,
    /// A bound was reached before the end of the log.
    pub more: bool,
    /// What was asked for first is no longer there; reading began at `start()`.
    pub overrun: bool,
}

struct Chunk {
    bytes: Box<[u8]>,
    /// Offset of the first record that begins here.
    first: u32,
}

pub struct Ring {
    /// The oldest first; the first one begins at `base`. Empty until the first append.
    chunks: VecDeque<Chunk>,
    base: u64,
    start: u64,
    end: u64,
    /// A chunk's size is two to this power: places are found by shifting, not by dividing.
    chunk_shift: u32,
    chunks_max: usize,
}

impl Ring {
    /// Takes no memory before the first append, and never more than the budget (at least 256 KiB).
    pub fn new(budget_bytes: usize) -> Self {
        Ring::with_chunks(CHUNK_SHIFT, budget_bytes >> CHUNK_SHIFT)
    }

    pub(super) fn with_chunks(chunk_shift: u32, chunks_max: usize) -> Self {
        let chunks_max = chunks_max.max(CHUNKS_MIN);
        Ring { chunks: VecDeque::new(), base: 0, start: 0, end: 0, chunk_shift, chunks_max }
    }

    /// The oldest record retained.
    pub fn start(&self) -> Position {
        Position(self.start)
    }

    /// Where the next record will be.
    pub fn end(&self) -> Position {
        Position(self.end)
    }

    /// What it holds of the machine's memory.
    pub fn allocated_bytes(&self) -> usize {
        self.chunks.len() << self.chunk_shift
    }

    pub fn payload_bytes_max(&self) -> usize {
        (self.chunks_max << self.chunk_shift) / LARGEST_PART - HEADER_BYTES
    }

    /// A message that is too large is stored as the gap that it leaves; any other record that is
    /// too large is not stored. Answers where the record begins.
    pub fn append(&mut self, head: &Head, payload: &[u8]) -> Position {
        if payload.len() <= self.payload_bytes_max() {
            return self.write(head, payload);
        }
        match head.kind {
            RecordKind::Text | RecordKind::Binary => {
                let mut hole = Vec::new();
                Gap::of_one(head.epoch, head.seq, GapCause::NotRetained).encode(&mut hole);
                self.write(&Head { kind: RecordKind::Gap, seq: head.seq.saturating_sub(1), ..*head }, &hole)
            }
            _ => self.end(),
        }
    }

    /// Hands out the records of wanted connections from `from` on, at least one if there is one,
    /// until about `bytes_max` are handed out or `records_max` were looked at, wanted or not.
    pub fn read(
        &self,
        from: Position,
        want: &mut impl FnMut(ConnKey) -> bool,
        bytes_max: usize,
        records_max: usize,
        out: &mut impl FnMut(RecordRef<'_>),
    ) -> ReadEnd {
        let overrun = self.header_place(from.0) < self.start;
        let mut at = from.0.max(self.start);
        let mut bytes = 0;
        let mut looked_at = 0;
        while let Some((record, head)) = self.record_at(at) {
            if looked_at >= records_max.max(1) {
                return ReadEnd { next: Position(at), more: true, overrun };
            }
            looked_at += 1;
            let next = record.next;
            if want(record.key) {
                if bytes > 0 && bytes + record.len > bytes_max {
                    return ReadEnd { next: Position(at), more: true, overrun };
                }
                let Some(head) = head_of(head, record.key) else { break };
                bytes += record.len + HEADER_BYTES;
                let payload = Payload { ring: self, at: record.payload_at, len: record.len };
                out(RecordRef { head, next: Position(next), payload });
            }
            at = next;
        }
        ReadEnd { next: self.end(), more: false, overrun }
    }

    /// The first record at or after a place that a client's cursor names, which may be forged: only
    /// a place where a record begins may be read from, else payload would be taken for a header.
    pub fn seat(&self, claimed: u64) -> Position {
        if claimed < self.start || claimed >= self.end {
            return Position(claimed.min(self.end));
        }
        let claimed = self.header_place(claimed);
        let mut at = self.first_record_from(self.locate(claimed).0);
        while self.header_place(at) < claimed
            && let Some((record, _)) = self.record_at(at)
        {
            at = record.next;
        }
        Position(at)
    }

    fn write(&mut self, head: &Head, payload: &[u8]) -> Position {
        let at = self.header_place(self.end);
        let len = payload.len() as u32;
        let end = at + (HEADER_BYTES + payload.len()) as u64;
        self.make_room(end);
        let (index, offset) = self.locate(at);
        let chunk = &mut self.chunks[index];
        if chunk.first == NO_RECORD {
            chunk.first = offset as u32;
        }
        chunk.bytes[offset..offset + HEADER_BYTES].copy_from_slice(&encode(head, len));
        let room = &mut chunk.bytes[offset + HEADER_BYTES..];
        let (mut now, mut later) = payload.split_at(payload.len().min(room.len()));
        room[..now.len()].copy_from_slice(now);
        for chunk in self.chunks.iter_mut().skip(index + 1) {
            (now, later) = later.split_at(later.len().min(chunk.bytes.len()));
            chunk.bytes[..now.len()].copy_from_slice(now);
        }
        self.end = end;
        Position(at)
    }

    /// Evicts and allocates until the chunks reach to `end`. A chunk that is evicted is used again.
    fn make_room(&mut self, end: u64) {
        while self.base + (self.allocated_bytes() as u64) < end {
            let spare = if self.chunks.len() < self.chunks_max { None } else { self.chunks.pop_front() };
            let bytes = match spare {
                None => vec![0; 1 << self.chunk_shift].into_boxed_slice(),
                Some(oldest) => {
                    self.base += 1 << self.chunk_shift;
                    oldest.bytes
                }
            };
            self.chunks.push_back(Chunk { bytes, first: NO_RECORD });
        }
        if self.start < self.base {
            self.start = self.first_record_from(0);
        }
    }

    /// The first record that begins in the chunk of this index or after it.
    fn first_record_from(&self, index: usize) -> u64 {
        let begins = |(at, chunk): (usize, &Chunk)| {
            (chunk.first != NO_RECORD)
                .then(|| self.base + ((at as u64) << self.chunk_shift) + u64::from(chunk.first))
        };
        self.chunks.iter().enumerate().skip(index).find_map(begins).unwrap_or(self.end)
    }

    /// A header is never divided: where the rest of a chunk is too short, it begins the next one.
    fn header_place(&self, at: u64) -> u64 {
        let chunk_bytes = 1 << self.chunk_shift;
        let rest = chunk_bytes - (at & (chunk_bytes - 1));
        if rest < HEADER_BYTES as u64 { at.saturating_add(rest) } else { at }
    }

    fn locate(&self, at: u64) -> (usize, usize) {
        let offset = (at - self.base) as usize;
        (offset >> self.chunk_shift, offset & ((1 << self.chunk_shift) - 1))
    }

    fn record_at(&self, at: u64) -> Option<(Skim, &[u8; HEADER_BYTES])> {
        let at = self.header_place(at);
        if at < self.base || at >= self.end {
            return None;
        }
        let (index, offset) = self.locate(at);
        let header = self.chunks.get(index)?.bytes.get(offset..)?.first_chunk()?;
        let record = Skim::of(header, at);
        (record.next <= self.end).then_some((record, header))
    }

    /// The bytes from `at` on, up to `end` or the end of the chunk.
    fn piece(&self, at: u64, end: u64) -> Option<&[u8]> {
        if at >= end {
            return None;
        }
        let (index, offset) = self.locate(at);
        let rest = self.chunks.get(index)?.bytes.get(offset..)?;
        Some(&rest[..rest.len().min((end - at) as usize)])
    }
}

/// What is needed of a header to pass over its record.
struct Skim {
    key: ConnKey,
    payload_at: u64,
    len: usize,
    next: u64,
}

impl Skim {
    fn of(header: &[u8; HEADER_BYTES], at: u64) -> Self {
        let len = word(header, 0);
        let payload_at = at + HEADER_BYTES as u64;
        Skim {
            key: ConnKey { index: word(header, 4), generation: word(header, 8) },
            payload_at,
            len: len as usize,
            next: payload_at + u64::from(len),
        }
    }
}

const REPLY: u8 = 1;
const POSSIBLE_DUPLICATE: u8 = 2;

/// Length, key, kind and flags, two bytes unused, epoch, seq, wall clock.
fn encode(head: &Head, len: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&len.to_le_bytes());
    header[4..8].copy_from_slice(&head.key.index.to_le_bytes());
    header[8..12].copy_from_slice(&head.key.generation.to_le_bytes());
    header[12] = head.kind as u8;
    header[13] = u8::from(head.reply) * REPLY + u8::from(head.possible_duplicate) * POSSIBLE_DUPLICATE;
    header[16..24].copy_from_slice(&head.epoch.to_le_bytes());
    header[24..32].copy_from_slice(&head.seq.to_le_bytes());
    header[32..40].copy_from_slice(&head.wall.unix_nanos().to_le_bytes());
    header
}

fn head_of(header: &[u8; HEADER_BYTES], key: ConnKey) -> Option<Head> {
    Some(Head {
        kind: *RecordKind::ALL.get(usize::from(header[12]))?,
        key,
        epoch: double(header, 16),
        seq: double(header, 24),
        wall: Wall::from_unix_nanos(double(header, 32)),
        reply: header[13] & REPLY != 0,
        possible_duplicate: header[13] & POSSIBLE_DUPLICATE != 0,
    })
}

fn word(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn double(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(word(header, at)) | u64::from(word(header, at + 4)) << 32
}
