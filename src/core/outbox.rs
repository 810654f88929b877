//! What waits to be written on one socket. A frame stays a value until its first byte is handed to
//! the kernel: until then it can be taken back, and its Send is provably `not_sent`.

use crate::{
    core::id::Ticket,
    limits,
    wire::ws::{self, Opcode},
};
use bytes::Bytes;
use std::collections::VecDeque;

/// Whose frame it is, to tell its owner when it was begun and finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Send that waits for its reply.
    Send(Ticket),
    /// A SendRaw that waits for the write.
    Raw(Ticket),
    /// Nobody waits for it: a SendRaw whose caller went away, a message of a room.
    Orphan,
    /// Pings, pongs, the close frame.
    Control,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Some bytes were handed to the kernel.
    Begun,
    /// All were.
    Finished,
}

struct Frame {
    payload: Bytes,
    opcode: Opcode,
    origin: Origin,
}

#[derive(Default)]
pub struct Outbox {
    /// Not one byte of these was written.
    frames: VecDeque<Frame>,
    /// Payload bytes of `frames`.
    bytes: usize,
    /// The rest of a frame that the kernel took in part, as encoded, and whose it is.
    begun: Option<Box<Begun>>,
}

struct Begun {
    rest: Vec<u8>,
    at: usize,
    origin: Origin,
}

/// How much of a buffer filled by `fill` belongs to frames not begun before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    pub bytes: usize,
    pub frames: usize,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.begun.is_none()
    }

    pub fn queued_bytes(&self) -> usize {
        self.bytes + self.begun.as_ref().map_or(0, |begun| begun.rest.len() - begun.at)
    }

    /// Whether `more` payload bytes fit under `bytes_max`. A lone message always does: its own
    /// bound was checked before.
    pub fn has_room(&self, more: usize, bytes_max: usize) -> bool {
        self.is_empty() || self.queued_bytes() + more <= bytes_max
    }

    pub fn push(&mut self, opcode: Opcode, payload: Bytes, origin: Origin) {
        self.bytes += payload.len();
        self.frames.push_back(Frame { payload, opcode, origin });
    }

    /// Control frames overtake what waits: a pong behind a megabyte of data comes too late.
    pub fn push_control(&mut self, opcode: Opcode, payload: Bytes) {
        self.bytes += payload.len();
        let place = self.frames.iter().take_while(|frame| frame.origin == Origin::Control).count();
        self.frames.insert(place, Frame { payload, opcode, origin: Origin::Control });
    }

    /// The kernel took a frame of a room's log in part: this is the rest of it. Only when nothing else
    /// waits.
    pub fn begin(&mut self, rest: Vec<u8>) {
        debug_assert!(self.begun.is_none(), "two frames are begun");
        self.begun = Some(Box::new(Begun { rest, at: 0, origin: Origin::Control }));
    }

    /// Takes back a frame that was not begun. False when it was, or is not here.
    pub fn take_back(&mut self, origin: Origin) -> bool {
        let Some(place) = self.frames.iter().position(|frame| frame.origin == origin) else {
            return false;
        };
        if let Some(frame) = self.frames.remove(place) {
            self.bytes -= frame.payload.len();
        }
        true
    }

    /// Whose frames these are, in order.
    pub fn origins(&self) -> Vec<Origin> {
        let begun = self.begun.as_ref().map(|begun| begun.origin);
        begun.into_iter().chain(self.frames.iter().map(|frame| frame.origin)).collect()
    }

    /// Its owner wants to hear nothing more of it: taken back, or finished without a word.
    pub fn disown(&mut self, origin: Origin) {
        if !self.take_back(origin)
            && let Some(begun) = &mut self.begun
            && begun.origin == origin
        {
            begun.origin = Origin::Orphan;
        }
    }

    /// Puts what is next on the wire into `out`, about `bytes_max` of it and at least one frame.
    /// Nothing leaves the outbox before `wrote` says what the kernel took.
    pub fn fill(
        &self,
        out: &mut Vec<u8>,
        bytes_max: usize,
        mut mask: impl FnMut() -> Option<[u8; 4]>,
    ) -> Filled {
        let start = out.len();
        if let Some(begun) = &self.begun {
            out.extend_from_slice(&begun.rest[begun.at..]);
        }
        let mut frames = 0;
        for frame in &self.frames {
            let used = out.len() - start;
            if used > 0 && used + ws::frame_len(frame.payload.len(), true) > bytes_max {
                break;
            }
            ws::encode(out, frame.opcode, &frame.payload, mask());
            frames += 1;
        }
        Filled { bytes: out.len() - start, frames }
    }

    /// The kernel took the first `taken` bytes of `filled`, which `fill` made. `masked` as then.
    pub fn wrote(&mut self, filled: &[u8], taken: usize, masked: bool, mut on: impl FnMut(Origin, Progress)) {
        let mut at = 0;
        if let Some(begun) = &mut self.begun {
            let rest = begun.rest.len() - begun.at;
            if taken < rest {
                begun.at += taken;
                return;
            }
            at = rest;
            on(begun.origin, Progress::Finished);
            self.begun = None;
        }
        while at < taken {
            let Some(frame) = self.frames.pop_front() else { return };
            self.bytes -= frame.payload.len();
            let end = at + ws::frame_len(frame.payload.len(), masked);
            on(frame.origin, Progress::Begun);
            if end <= taken {
                on(frame.origin, Progress::Finished);
            } else {
                let rest = filled[taken..end].to_vec();
                self.begun = Some(Box::new(Begun { rest, at: 0, origin: frame.origin }));
            }
            at = end;
        }
        if self.frames.is_empty() && self.frames.capacity() > limits::OUTBOX_IDLE_FRAMES {
            self.frames = VecDeque::new();
        }
    }

    /// Forgets all, in order, telling whose frames never began; the one begun is told by its flag.
    pub fn clear(&mut self, mut on: impl FnMut(Origin, bool)) {
        if let Some(begun) = self.begun.take() {
            on(begun.origin, true);
        }
        for frame in std::mem::take(&mut self.frames) {
            on(frame.origin, false);
        }
        self.bytes = 0;
    }

    /// What is left of a frame that the kernel has in part: nothing else may stand before it.
    pub fn rest_of_begun(&self) -> Vec<u8> {
        self.begun.as_ref().map(|begun| begun.rest[begun.at..].to_vec()).unwrap_or_default()
    }

    /// One pong at most waits: a newer ping's answer serves for the older one too.
    pub fn push_pong(&mut self, payload: Bytes) {
        if let Some(waiting) = self
            .frames
            .iter_mut()
            .take_while(|frame| frame.origin == Origin::Control)
            .find(|frame| frame.opcode == Opcode::Pong)
        {
            self.bytes = self.bytes - waiting.payload.len() + payload.len();
            waiting.payload = payload;
        } else {
            self.push_control(Opcode::Pong, payload);
        }
    }

    pub fn check(&self) {
        assert_eq!(
            self.bytes,
            self.frames.iter().map(|frame| frame.payload.len()).sum::<usize>(),
            "outbox bytes"
        );
        assert!(
            self.begun.as_ref().is_none_or(|begun| begun.at < begun.rest.len()),
            "a finished frame stays begun"
        );
    }
}

#[cfg(test)]
mod tests;
