//! Messages that carry when they were due: whoever gets one can tell how long it took.

use std::io::Write;

const TIME: &[u8] = b"\"t\":";

/// Appends `{"id":...,"t":...,"pad":"..."}` of `bytes` in all, if the numbers leave room for that.
pub fn put(out: &mut Vec<u8>, id: u64, time: u64, bytes: usize) {
    let begin = out.len();
    // Writing to memory does not fail.
    let _ = write!(out, "{{\"id\":{id},\"t\":{time}");
    let room = bytes.saturating_sub(out.len() - begin + 1);
    const PAD: &[u8] = b",\"pad\":\"\"";
    if room >= PAD.len() {
        out.extend_from_slice(&PAD[..PAD.len() - 1]);
        out.resize(out.len() + room - PAD.len(), b'x');
        out.push(b'"');
    }
    out.push(b'}');
}

/// The same as a text.
#[must_use]
pub fn text(id: u64, time: u64, bytes: usize) -> String {
    let mut out = Vec::with_capacity(bytes.max(64));
    put(&mut out, id, time, bytes);
    // Digits and letters.
    String::from_utf8(out).unwrap_or_default()
}

/// When it was due.
#[must_use]
pub fn time(payload: &[u8]) -> Option<u64> {
    let at = payload.windows(TIME.len()).position(|window| window == TIME)? + TIME.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let mut number = None;
    for digit in digits {
        number = Some(number.unwrap_or(0u64).checked_mul(10)?.checked_add(u64::from(digit - b'0'))?);
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_and_its_time() {
        for bytes in [64, 128, 4096] {
            let text = text(7, 123_456_789_012, bytes);
            assert_eq!(text.len(), bytes);
            assert_eq!(time(text.as_bytes()), Some(123_456_789_012));
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
        assert_eq!(text(1, 2, 0), "{\"id\":1,\"t\":2}");
        assert_eq!(time(b"{\"a\":1}"), None);
    }
}
