//! JSON by hand: only what events need, without an allocation.

use base64::{Engine, engine::general_purpose::STANDARD};

const BLOCK: usize = 8;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as the inside of a JSON string. Escapes only what must be escaped, in the
/// short forms where JSON has them; everything between is copied in runs.
pub fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    // Most feeds are JSON: a quote or two in every block.
    out.reserve(text.len() + text.len() / 8);
    let mut copied = 0;
    let (blocks, tail) = text.as_chunks::<BLOCK>();
    let mut start = 0;
    for block in blocks {
        let mut marks = marked(*block);
        while marks != 0 {
            let at = start + (marks.trailing_zeros() / 8) as usize;
            out.extend_from_slice(&text[copied..at]);
            push_escape(out, text[at]);
            copied = at + 1;
            marks &= marks - 1;
        }
        start += BLOCK;
    }
    for (offset, &byte) in tail.iter().enumerate() {
        if needs_escape(byte) {
            out.extend_from_slice(&text[copied..start + offset]);
            push_escape(out, byte);
            copied = start + offset + 1;
        }
    }
    out.extend_from_slice(&text[copied..]);
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

/// The high bit of each byte that must be escaped: eight bytes in one go.
const fn marked(block: [u8; BLOCK]) -> u64 {
    let word = u64::from_le_bytes(block);
    let quote = zero_bytes(word ^ every(b'"'));
    let backslash = zero_bytes(word ^ every(b'\\'));
    // Below 0x20: none of the upper three bits.
    quote | backslash | zero_bytes(word & every(0xe0))
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
