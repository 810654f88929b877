//! The head of a frame: flags and opcode, length, mask.

use super::{CONTROL_BYTES_MAX, Role, Violation, bits};

/// Two bytes, a length of eight, a mask of four.
pub(super) const HEAD_BYTES_MAX: usize = 14;

pub(super) const NOT_MINIMAL: &str = "the length is not in its shortest form";
pub(super) const CONTROL_TOO_LONG: &str = "a control frame is longer than 125 bytes";

#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub first: u8,
    pub mask: [u8; 4],
    pub payload: u64,
    /// Of the head itself.
    pub size: usize,
}

/// The head at the start of `bytes`; `None` while it is not whole. What is there is judged at
/// once, in wire order, so the verdict does not depend on how the bytes were cut.
#[inline(always)]
pub(super) fn parse(bytes: &[u8], role: Role, mid_message: bool) -> Result<Option<Head>, Violation> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    if mid_message || !matches!(first, WHOLE_TEXT | WHOLE_BINARY) {
        judge_first(first, mid_message)?;
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    let masked = second & 0x80 != 0;
    if masked != (role == Role::Server) {
        return Err(wrong_masking(role));
    }
    let short = second & 0x7f;
    if first & bits::CONTROL != 0 && usize::from(short) > CONTROL_BYTES_MAX {
        return Err(Violation::protocol(CONTROL_TOO_LONG));
    }
    let (payload, at) = match short {
        126 => {
            let Some(length) = bytes[2..].first_chunk::<2>() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*length)), 4)
        }
        127 => {
            let Some(length) = bytes[2..].first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*length), 10)
        }
        _ => (u64::from(short), 2),
    };
    if short > 125 {
        judge_length(short, payload)?;
    }
    if !masked {
        return Ok(Some(Head { first, mask: [0; 4], payload, size: at }));
    }
    let Some(mask) = bytes[at..].first_chunk::<4>() else { return Ok(None) };
    Ok(Some(Head { first, mask: *mask, payload, size: at + 4 }))
}

const WHOLE_TEXT: u8 = bits::FINAL | bits::TEXT;
const WHOLE_BINARY: u8 = bits::FINAL | bits::BINARY;

fn judge_first(first: u8, mid_message: bool) -> Result<(), Violation> {
    if first & bits::RESERVED != 0 {
        return Err(Violation::protocol("a reserved bit is set and no extension was agreed"));
    }
    match first & bits::OPCODE {
        bits::CONTINUATION if !mid_message => {
            Err(Violation::protocol("a continuation frame without a message to continue"))
        }
        bits::TEXT | bits::BINARY if mid_message => {
            Err(Violation::protocol("a new message inside a fragmented one"))
        }
        bits::CONTINUATION | bits::TEXT | bits::BINARY => Ok(()),
        bits::CLOSE | bits::PING | bits::PONG if first & bits::FINAL == 0 => {
            Err(Violation::protocol("a control frame is fragmented"))
        }
        bits::CLOSE | bits::PING | bits::PONG => Ok(()),
        _ => Err(Violation::protocol("a reserved opcode")),
    }
}

fn judge_length(short: u8, payload: u64) -> Result<(), Violation> {
    let shortest = if short == 126 { 126 } else { 65_536 };
    if payload < shortest {
        return Err(Violation::protocol(NOT_MINIMAL));
    }
    if payload >> 63 != 0 {
        return Err(Violation::protocol("the highest bit of the length is set"));
    }
    Ok(())
}

#[cold]
fn wrong_masking(role: Role) -> Violation {
    match role {
        Role::Client => Violation::protocol("a server's frame is masked"),
        Role::Server => Violation::protocol("a client's frame is not masked"),
    }
}
