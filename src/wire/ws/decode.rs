//! Bytes to events.

use std::mem;

use super::{
    Bounds, Event, Role, Violation, bits,
    head::{self, HEAD_BYTES_MAX, Head},
    mask,
    partial::{Kind, Partial, Place, deliver},
};
use crate::wire::close;

/// The receiving half of one connection.
///
/// ```text
///            head whole                 payload whole
///   Head ───────────────▶ Payload ───────────────────▶ Head
///     └──────── violation, or a close frame ─────────▶ Ended
/// ```
#[derive(Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    phase: Phase,
    role: Role,
}

impl Decoder {
    pub fn new(role: Role) -> Self {
        Decoder { partial: None, phase: Phase::BORDER, role }
    }

    /// Consumes all of `input`, the bytes of one socket read, and calls `on` for each event in wire
    /// order; a server's input is unmasked in place. What is unfinished at its end is kept inside.
    /// After a close event or a violation nothing more is decoded: further bytes are ignored.
    pub fn feed(
        &mut self,
        bounds: &Bounds,
        input: &mut [u8],
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Violation> {
        let outcome = self.decode(bounds, input, on);
        if outcome.is_err() {
            self.end();
        } else if self.partial.as_ref().is_some_and(|partial| partial.is_idle()) {
            self.partial = None;
        }
        outcome
    }

    /// A frame or a fragmented message has begun and not ended: the peer owes bytes.
    pub fn is_mid_message(&self) -> bool {
        self.partial.is_some() || matches!(self.phase, Phase::Payload(_)) || self.head_bytes() > 0
    }

    /// What arrived and waits here for the rest of its frame or message.
    pub fn buffered_bytes(&self) -> usize {
        self.head_bytes() + self.partial.as_ref().map_or(0, |partial| partial.bytes())
    }

    /// A close frame came, or a violation: nothing more will be decoded.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    fn decode(
        &mut self,
        bounds: &Bounds,
        input: &mut [u8],
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Violation> {
        let mut rest = input;
        loop {
            let frame = match self.phase {
                Phase::Head { len: 0, .. } => {
                    let Some(head) = head::parse(rest, self.role, self.in_message())? else {
                        self.phase = Phase::head_begun(rest);
                        return Ok(());
                    };
                    rest = &mut mem::take(&mut rest)[head.size..];
                    self.admit(&head, bounds)?
                }
                Phase::Head { .. } => {
                    let Some(head) = self.complete_head(&mut rest)? else { return Ok(()) };
                    self.admit(&head, bounds)?
                }
                Phase::Payload(frame) => {
                    self.phase = Phase::BORDER;
                    frame
                }
                Phase::Ended => return Ok(()),
            };
            let arrived = frame.missing.min(rest.len());
            let (piece, after) = mem::take(&mut rest).split_at_mut(arrived);
            rest = after;
            if self.role == Role::Server {
                mask::apply(piece, frame.mask);
            }
            if arrived < frame.missing {
                return self.keep(frame, piece);
            }
            if frame.first & bits::CONTROL != 0 {
                self.finish_control(frame.first, piece, on)?;
            } else if frame.first & bits::FINAL != 0 && !self.in_message() {
                deliver(kind_of_whole(frame.first), piece, on)?;
            } else {
                self.partial.get_or_insert_default().finish(frame.first, piece, on)?;
            }
        }
    }

    /// Judges a frame by its head, before a byte of its payload is kept.
    #[inline(always)]
    fn admit(&mut self, head: &Head, bounds: &Bounds) -> Result<Frame, Violation> {
        if head.first & bits::CONTROL == 0 {
            let whole = head.first & bits::FINAL != 0 && head.first & bits::OPCODE != 0;
            let held = if whole { 0 } else { self.admit_fragment(bounds)? };
            let room = bounds.message_bytes_max.saturating_sub(held);
            if head.payload > room as u64 {
                return Err(Violation::too_big("a message is longer than the bound"));
            }
        }
        // Not more than a bound that is a usize, so nothing is cut off.
        Ok(Frame { missing: head.payload as usize, mask: head.mask, first: head.first })
    }

    /// Counts it; what the message holds before it.
    fn admit_fragment(&mut self, bounds: &Bounds) -> Result<usize, Violation> {
        let partial = self.partial.get_or_insert_default();
        partial.count_fragment(bounds.fragments_max)?;
        Ok(partial.message_bytes())
    }

    /// Completes a head that a read had cut in two; a byte at a time, for it is short and rare.
    #[cold]
    fn complete_head(&mut self, rest: &mut &mut [u8]) -> Result<Option<Head>, Violation> {
        let mid_message = self.in_message();
        let Phase::Head { bytes, len } = &mut self.phase else { return Ok(None) };
        loop {
            let begun = &bytes[..usize::from(*len)];
            if let Some(head) = head::parse(begun, self.role, mid_message)? {
                self.phase = Phase::BORDER;
                return Ok(Some(head));
            }
            let Some((byte, after)) = mem::take(rest).split_first_mut() else { return Ok(None) };
            bytes[usize::from(*len)] = *byte;
            *len += 1;
            *rest = after;
        }
    }

    /// Keeps the first piece of a frame's payload until the rest arrives.
    fn keep(&mut self, frame: Frame, piece: &[u8]) -> Result<(), Violation> {
        let missing = frame.missing - piece.len();
        // Nothing to keep, and if the next read brings the whole payload, nothing to copy.
        if !piece.is_empty() {
            let partial = self.partial.get_or_insert_default();
            if frame.first & bits::CONTROL != 0 {
                partial.store_control(piece);
            } else {
                partial.store(piece, Place { first: frame.first, missing })?;
            }
        }
        let mask = mask::advance(frame.mask, piece.len());
        self.phase = Phase::Payload(Frame { missing, mask, ..frame });
        Ok(())
    }

    fn finish_control(
        &mut self,
        first: u8,
        piece: &[u8],
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Violation> {
        let joined;
        let payload = match &mut self.partial {
            Some(partial) => {
                joined = partial.take_control(piece);
                joined.as_slice()
            }
            None => piece,
        };
        match first & bits::OPCODE {
            bits::PING => on(Event::Ping(payload)),
            bits::PONG => on(Event::Pong(payload)),
            _ => {
                on(close_event(payload)?);
                self.end();
            }
        }
        Ok(())
    }

    #[inline]
    fn in_message(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.in_message())
    }

    fn head_bytes(&self) -> usize {
        if let Phase::Head { len, .. } = self.phase { usize::from(len) } else { 0 }
    }

    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.partial = None;
    }
}

#[cfg(test)]
impl Decoder {
    pub(super) fn is_heap_free(&self) -> bool {
        self.partial.is_none()
    }

    pub(super) fn reserved_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.reserved_bytes())
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Between frames, or inside a head of which `len` bytes arrived.
    Head {
        bytes: [u8; HEAD_BYTES_MAX],
        len: u8,
    },
    Payload(Frame),
    Ended,
}

impl Phase {
    const BORDER: Phase = Phase::Head { bytes: [0; HEAD_BYTES_MAX], len: 0 };

    /// `bytes` is less than a head, so it fits.
    fn head_begun(begun: &[u8]) -> Self {
        let mut bytes = [0; HEAD_BYTES_MAX];
        bytes[..begun.len()].copy_from_slice(begun);
        Phase::Head { bytes, len: begun.len() as u8 }
    }
}

/// A frame whose payload is awaited.
#[derive(Clone, Copy, Debug)]
struct Frame {
    missing: usize,
    /// Turned to the next byte.
    mask: [u8; 4],
    first: u8,
}

#[inline(always)]
fn kind_of_whole(first: u8) -> Kind {
    if first & bits::OPCODE == bits::TEXT { Kind::Text } else { Kind::Binary }
}

fn close_event(payload: &[u8]) -> Result<Event<'_>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(Event::Close { code: None, reason: "" }),
            _ => Err(Violation::protocol("half a close code")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !close::may_receive(code) {
        return Err(Violation::protocol("a close code that may not be sent"));
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Ok(Event::Close { code: Some(code), reason }),
        Err(_) => Err(Violation::utf8("a close reason is not UTF-8")),
    }
}
