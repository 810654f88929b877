//! A room's messages as one wire format writes them: encoded once, back to back, so that whoever is
//! behind gets all that is missing in one write. Readers are numbers; the log knows none of them.

use super::{Format, Message, Position, RoomName};
use crate::wire::{
    members,
    ws::{self, Opcode},
};
use std::{collections::VecDeque, sync::Arc};

#[derive(Default)]
pub struct Log {
    bytes: Vec<u8>,
    /// Of `bytes`, what stands before the first frame: forgotten, and not moved away yet.
    forgotten: usize,
    /// Where `bytes` begins, counted from the log's first byte ever.
    base: u64,
    frames: VecDeque<Frame>,
    /// The number of the first of `frames`.
    first: u64,
    /// How many of `frames` stand in other rooms too.
    shared: usize,
}

/// One frame that the log still holds.
pub struct Frame {
    /// Where it ends.
    end: u64,
    pub at: Position,
    /// None: a word about the room, such as a gap.
    pub message: Option<Arc<Message>>,
}

impl Frame {
    /// The number before it; of a word about the room, the last number that it does not speak of.
    pub fn before(&self) -> Position {
        let offset = if self.message.is_some() { self.at.offset.saturating_sub(1) } else { self.at.offset };
        Position { offset, ..self.at }
    }

    /// It stands in other rooms too: a member of several must get it once.
    fn is_shared(&self) -> bool {
        self.message.as_ref().is_some_and(|message| message.places.len() > 1)
    }
}

impl Log {
    /// The number that the next frame will have.
    pub fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn held_bytes(&self) -> usize {
        self.bytes.len() - self.forgotten
    }

    pub fn append(&mut self, format: Format, room: &RoomName, at: Position, message: &Arc<Message>) {
        members::encode(&mut self.bytes, format, room, at, message);
        self.push(at, Some(message.clone()));
    }

    /// A text that is no message.
    pub fn append_note(&mut self, at: Position, text: &[u8]) {
        ws::encode(&mut self.bytes, Opcode::Text, text, None);
        self.push(at, None);
    }

    fn push(&mut self, at: Position, message: Option<Arc<Message>>) {
        let end = self.base + self.bytes.len() as u64;
        let frame = Frame { end, at, message };
        self.shared += usize::from(frame.is_shared());
        self.frames.push_back(frame);
    }

    pub fn frame(&self, number: u64) -> Option<&Frame> {
        self.frames.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Bytes from frame `from` up to the first that `stop` wants to look at, and its number. Frames of
    /// this room alone are never looked at; as long as there are no others, none is.
    pub fn slice(&self, from: u64, stop: impl Fn(&Frame) -> bool) -> (&[u8], u64) {
        if !self.has_shared() {
            return (&self.bytes[self.start_of(from)..], self.end());
        }
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let upto = self
            .frames
            .iter()
            .skip(skip)
            .position(|frame| frame.is_shared() && stop(frame))
            .map_or(self.end(), |after| from + after as u64);
        (&self.bytes[self.start_of(from)..self.start_of(upto)], upto)
    }

    /// Whether any frame that is held stands in several rooms: without one nobody need look.
    pub fn has_shared(&self) -> bool {
        self.shared > 0
    }

    /// The frame in which the byte `taken` bytes after the start of `from` lies, and how many bytes of
    /// it come before that.
    pub fn cut(&self, from: u64, taken: usize) -> (u64, usize) {
        let at = self.base + (self.start_of(from) + taken) as u64;
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let (mut low, mut high) = (skip.min(self.frames.len()), self.frames.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.frames[middle].end <= at {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let number = self.first + low as u64;
        let start = self.base + self.start_of(number) as u64;
        (number, usize::try_from(at - start).unwrap_or(0))
    }

    /// The bytes of one frame.
    pub fn bytes_of(&self, number: u64) -> &[u8] {
        &self.bytes[self.start_of(number)..self.start_of(number + 1)]
    }

    /// What a reader at this number has still to get.
    pub fn behind_bytes(&self, number: u64) -> usize {
        self.bytes.len() - self.start_of(number.max(self.first))
    }

    /// Nobody needs what comes before this frame.
    pub fn forget(&mut self, upto: u64) {
        while self.first < upto {
            let Some(frame) = self.frames.pop_front() else { return };
            self.first += 1;
            self.shared -= usize::from(frame.is_shared());
            self.forgotten = (frame.end - self.base) as usize;
        }
        if self.frames.is_empty() {
            self.base += self.bytes.len() as u64;
            self.forgotten = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT_WHILE_IDLE {
                self.bytes = Vec::new();
                self.frames = VecDeque::new();
            }
        } else if self.forgotten > self.bytes.len() / 2 {
            // Moved at most once for each byte that was forgotten.
            self.bytes.drain(..self.forgotten);
            self.base += self.forgotten as u64;
            self.forgotten = 0;
        }
    }

    /// Index in `bytes` where a frame begins.
    fn start_of(&self, number: u64) -> usize {
        match number.checked_sub(self.first) {
            None | Some(0) => self.forgotten,
            Some(after) => {
                let before = usize::try_from(after - 1).unwrap_or(usize::MAX);
                self.frames.get(before).map_or(self.bytes.len(), |frame| (frame.end - self.base) as usize)
            }
        }
    }

    /// All that is held.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.forgotten);
        self.bytes
    }

    pub fn check(&self) {
        assert!(self.forgotten <= self.bytes.len(), "forgotten bytes that are not there");
        let mut last = self.base + self.forgotten as u64;
        for frame in &self.frames {
            assert!(frame.end > last, "frames out of order");
            last = frame.end;
        }
        assert_eq!(last, self.base + self.bytes.len() as u64, "bytes that no frame has");
    }
}

/// What an idle room may keep for its next message.
const KEPT_WHILE_IDLE: usize = 4 * 1024;

#[cfg(test)]
mod tests;
