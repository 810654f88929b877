//! How a record stands in a log file, and how a file is read back when parts of it are damaged.
//!
//! magic 4 | crc32 4 | body length 4 | sequence 8 | unix nanos 8 | body. All little endian; the
//! checksum covers all that follows it. The magic holds bytes that no UTF-8 text has, so that the
//! next record after a damaged place is found without being fooled by what a message says.

use super::{checksum::crc32, disk::Disk};
use crate::limits::RECORD_BYTES_MAX;
use bytes::Bytes;
use std::{fs::File, io};

const MAGIC: [u8; 4] = [0xFF, b'W', b'S', 0xFE];
pub const HEADER_BYTES: usize = 28;
const CRC_FROM: usize = 8;
/// Big enough to find the next record after damage in few reads.
const READ_BYTES: usize = 256 * 1024;

/// Appends one record to `out`.
pub fn encode(out: &mut Vec<u8>, sequence: u64, nanos: u64, parts: &[&[u8]]) {
    let start = out.len();
    let body: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(HEADER_BYTES + body);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(body as u32).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&nanos.to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    let crc = crc32(&out[start + CRC_FROM..]);
    out[start + 4..start + CRC_FROM].copy_from_slice(&crc.to_le_bytes());
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub sequence: u64,
    pub nanos: u64,
    pub body: Bytes,
    /// Where it begins in its file, and how long it is with its header.
    pub at: u64,
    pub size: u64,
    /// Damaged bytes stand before it, from here on.
    pub hole: Option<u64>,
}

pub enum Step {
    Frame(Frame),
    /// The end, or nothing but damage from `hole` to the end.
    End {
        hole: Option<u64>,
    },
}

enum Parsed {
    Frame { sequence: u64, nanos: u64, total: usize },
    More(usize),
    Bad,
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, &byte| (value << 8) | u32::from(byte))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, &byte| (value << 8) | u64::from(byte))
}

fn parse(bytes: &[u8]) -> Parsed {
    let seen = bytes.len().min(MAGIC.len());
    if bytes[..seen] != MAGIC[..seen] {
        return Parsed::Bad;
    }
    if bytes.len() < HEADER_BYTES {
        return Parsed::More(HEADER_BYTES);
    }
    let body = le32(bytes, CRC_FROM) as usize;
    if body > RECORD_BYTES_MAX {
        return Parsed::Bad;
    }
    let total = HEADER_BYTES + body;
    if bytes.len() < total {
        return Parsed::More(total);
    }
    if crc32(&bytes[CRC_FROM..total]) != le32(bytes, 4) {
        return Parsed::Bad;
    }
    Parsed::Frame { sequence: le64(bytes, 12), nanos: le64(bytes, 20), total }
}

/// Walks the records of one file from a known place on.
pub struct Scanner<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
    at: u64,
    end: u64,
    /// A record numbered lower than this is a leftover, not a record.
    lowest: u64,
    buffer: Bytes,
    buffer_at: u64,
    read_bytes: usize,
    hole: Option<u64>,
}

impl<'a> Scanner<'a> {
    pub fn new(disk: &'a dyn Disk, file: &'a File, at: u64, end: u64, lowest: u64) -> Self {
        Scanner {
            disk,
            file,
            at,
            end,
            lowest,
            buffer: Bytes::new(),
            buffer_at: at,
            read_bytes: READ_BYTES,
            hole: None,
        }
    }

    /// Reads this much at a time: what the caller means to take.
    pub fn reading(mut self, bytes: usize) -> Self {
        self.read_bytes = bytes.clamp(4096, READ_BYTES);
        self
    }

    pub fn step(&mut self) -> io::Result<Step> {
        while self.at < self.end {
            let left = self.end - self.at;
            let offset = usize::try_from(self.at - self.buffer_at).unwrap_or(usize::MAX);
            let held = self.buffer.len().saturating_sub(offset);
            if held == 0 {
                self.load(self.read_bytes)?;
                continue;
            }
            match parse(&self.buffer[offset..]) {
                Parsed::Frame { sequence, nanos, total } if sequence >= self.lowest => {
                    let body = self.buffer.slice(offset + HEADER_BYTES..offset + total);
                    let (at, size) = (self.at, total as u64);
                    self.at += size;
                    self.lowest = sequence.saturating_add(1);
                    return Ok(Step::Frame(Frame {
                        sequence,
                        nanos,
                        body,
                        at,
                        size,
                        hole: self.hole.take(),
                    }));
                }
                Parsed::More(total) if total as u64 <= left => self.load(total.max(self.read_bytes))?,
                _ => self.skip_to_magic(offset),
            }
        }
        Ok(Step::End { hole: self.hole.take() })
    }

    fn load(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = bytes.min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let mut buffer = vec![0; bytes];
        self.disk.read_exact_at(self.file, &mut buffer, self.at)?;
        self.buffer = Bytes::from(buffer);
        self.buffer_at = self.at;
        Ok(())
    }

    fn skip_to_magic(&mut self, offset: usize) {
        self.hole.get_or_insert(self.at);
        let held = &self.buffer[offset + 1..];
        // The last three bytes may be the beginning of one.
        let step = memchr::memmem::find(held, &MAGIC).unwrap_or(held.len().saturating_sub(MAGIC.len() - 1));
        self.at = (self.at + 1 + step as u64).min(self.end);
    }
}
