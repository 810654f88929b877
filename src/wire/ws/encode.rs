//! Messages to bytes: each in one final frame.

use super::{CONTROL_BYTES_MAX, bits, mask};

/// The most that is left for a reason beside the code of a close frame.
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    const fn bits(self) -> u8 {
        match self {
            Opcode::Text => bits::TEXT,
            Opcode::Binary => bits::BINARY,
            Opcode::Close => bits::CLOSE,
            Opcode::Ping => bits::PING,
            Opcode::Pong => bits::PONG,
        }
    }
}

/// What `encode` appends for a payload of that length.
#[inline]
pub fn frame_len(payload_len: usize, masked: bool) -> usize {
    let head = match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    head + if masked { 4 } else { 0 } + payload_len
}

/// Appends one final frame; a client must give a fresh mask, a server none. A text must be UTF-8
/// and a control payload at most 125 bytes: the caller knows what it sends.
#[inline]
pub fn encode(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    debug_assert!(!opcode.is_control() || payload.len() <= CONTROL_BYTES_MAX);
    out.reserve(frame_len(payload.len(), mask.is_some()));
    put_head(out, bits::FINAL | opcode.bits(), payload.len(), mask.is_some());
    match mask {
        None => out.extend_from_slice(payload),
        Some(mask) => {
            out.extend_from_slice(&mask);
            mask::extend(out, payload, mask);
        }
    }
}

/// Appends a close frame; the reason is cut, between characters, at what the frame can hold.
pub fn encode_close(out: &mut Vec<u8>, code: u16, reason: &str, mask: Option<[u8; 4]>) {
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    let mut payload = [0; CONTROL_BYTES_MAX];
    let len = 2 + reason.len();
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..len].copy_from_slice(reason);
    encode(out, Opcode::Close, &payload[..len], mask);
}

#[inline]
fn put_head(out: &mut Vec<u8>, first: u8, payload_len: usize, masked: bool) {
    let flag = if masked { 0x80 } else { 0 };
    match payload_len {
        0..=125 => out.extend_from_slice(&[first, flag | payload_len as u8]),
        126..=0xffff => {
            let [high, low] = (payload_len as u16).to_be_bytes();
            out.extend_from_slice(&[first, flag | 126, high, low]);
        }
        _ => {
            let mut head = [0; 10];
            head[0] = first;
            head[1] = flag | 127;
            head[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
            out.extend_from_slice(&head);
        }
    }
}
