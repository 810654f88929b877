//! JSON by hand: only what events need, without an allocation.

use base64::{Engine, engine::general_purpose::STANDARD};

const BLOCK: usize = 8;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as the inside of a JSON string. Escapes only what must be escaped, in the
/// short forms where JSON has them. Most feeds are JSON: a quote or two in every block, so blocks
/// are copied whole, in one size, and not run by run.
pub fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + text.len() / 4 + 2 * BLOCK);
    let (blocks, tail) = text.as_chunks::<BLOCK>();
    for block in blocks {
        let word = u64::from_le_bytes(*block);
        let signs = zero_bytes(word ^ every(b'"')) | zero_bytes(word ^ every(b'\\'));
        // Below 0x20: none of the upper three bits.
        let controls = zero_bytes(word & every(0xe0));
        if signs | controls == 0 {
            out.extend_from_slice(block);
        } else if controls == 0 {
            push_signs(out, block);
        } else {
            push_bytes(out, block);
        }
    }
    push_bytes(out, tail);
}

/// A block whose only marks are quotes and backslashes: no branch depends on where they stand.
fn push_signs(out: &mut Vec<u8>, block: &[u8; BLOCK]) {
    const ROOM: usize = 2 * BLOCK;
    let mut room = [b'\\'; ROOM];
    let mut at = 0;
    for &byte in block {
        at += usize::from((byte == b'"') | (byte == b'\\'));
        // Always in the room; the mask says so to the compiler.
        room[at & (ROOM - 1)] = byte;
        at += 1;
    }
    let end = out.len() + at;
    out.extend_from_slice(&room);
    out.truncate(end);
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        if needs_escape(byte) { push_escape(out, byte) } else { out.push(byte) }
    }
}

pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

pub(super) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let room = base64::encoded_len(bytes.len(), true).unwrap_or(0);
    out.resize(start + room, 0);
    // The room is exact, so this cannot fail.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

const fn every(byte: u8) -> u64 {
    u64::from_le_bytes([byte; BLOCK])
}

/// The high bit of each byte that is zero; exact, for nothing is carried from byte to byte.
const fn zero_bytes(word: u64) -> u64 {
    let low = every(0x7f);
    !(((word & low) + low) | word | low)
}

const fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let long = [b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(&long);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests;
