//! Walks the members of one object, or the items of one array, and skips over everything else.

use super::block::skip_nested;
use memchr::memchr2;
use std::ops::Range;

/// Text that cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The raw value of a top-level key of an object, strings with their quotes.
pub fn top_level<'a>(text: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let start = find_member(text, skip_space(text, 0), key).ok()??;
    text.get(value_at(text, start)?)
}

/// The raw item of a top-level array.
pub fn array_item(text: &[u8], index: usize) -> Option<&[u8]> {
    let start = find_item(text, skip_space(text, 0), index).ok()??;
    text.get(value_at(text, start)?)
}

/// Whether the text begins and ends as an object does.
pub fn is_object(text: &[u8]) -> bool {
    enclosed(text, b'{', b'}')
}

/// Whether the text begins and ends as an array does.
pub fn is_array(text: &[u8]) -> bool {
    enclosed(text, b'[', b']')
}

fn enclosed(text: &[u8], open: u8, close: u8) -> bool {
    let inner = text.trim_ascii();
    inner.len() >= 2 && inner.first() == Some(&open) && inner.last() == Some(&close)
}

/// Where the value of `key` begins, in the object that begins at `at`; `None` when the object
/// came to its end without it.
pub fn find_member(text: &[u8], at: usize, key: &str) -> Result<Option<usize>, Malformed> {
    let Some(mut at) = open(text, at, b'{', b'}')? else { return Ok(None) };
    loop {
        if text.get(at) != Some(&b'"') {
            return Err(Malformed);
        }
        let (end, escaped) = skip_string(text, at).ok_or(Malformed)?;
        let name = text.get(at + 1..end - 1).ok_or(Malformed)?;
        at = skip_space(text, end);
        if text.get(at) != Some(&b':') {
            return Err(Malformed);
        }
        at = skip_space(text, at + 1);
        if same_key(name, escaped, key) {
            return Ok(Some(at));
        }
        match next(text, at, b'}')? {
            Some(begin) => at = begin,
            None => return Ok(None),
        }
    }
}

/// Where the item `index` begins, in the array that begins at `at`.
pub fn find_item(text: &[u8], at: usize, index: usize) -> Result<Option<usize>, Malformed> {
    let Some(mut at) = open(text, at, b'[', b']')? else { return Ok(None) };
    for _ in 0..index {
        match next(text, at, b']')? {
            Some(begin) => at = begin,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// The bytes of the value that begins at `start`.
pub fn value_at(text: &[u8], start: usize) -> Option<Range<usize>> {
    skip_value(text, start).map(|end| start..end)
}

#[inline]
pub fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// Steps into a container: where its first entry begins, `None` when it is empty.
fn open(text: &[u8], at: usize, opening: u8, closing: u8) -> Result<Option<usize>, Malformed> {
    if text.get(at) != Some(&opening) {
        return Err(Malformed);
    }
    let first = skip_space(text, at + 1);
    match text.get(first) {
        Some(byte) if *byte == closing => Ok(None),
        Some(_) => Ok(Some(first)),
        None => Err(Malformed),
    }
}

/// From one value to where the next entry begins, `None` when the container ends here.
#[inline]
fn next(text: &[u8], at: usize, closing: u8) -> Result<Option<usize>, Malformed> {
    let end = skip_space(text, skip_value(text, at).ok_or(Malformed)?);
    match text.get(end) {
        Some(b',') => Ok(Some(skip_space(text, end + 1))),
        Some(byte) if *byte == closing => Ok(None),
        _ => Err(Malformed),
    }
}

#[inline]
fn skip_value(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => skip_string(text, at).map(|(end, _)| end),
        b'{' | b'[' => skip_nested(text, at),
        _ => skip_bare(text, at),
    }
}

/// A number or a literal: everything up to what cannot belong to one.
#[inline]
fn skip_bare(text: &[u8], at: usize) -> Option<usize> {
    let bare = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'-' | b'+' | b'.');
    let length = text.get(at..)?.iter().take_while(|byte| bare(byte)).count();
    (length > 0).then_some(at + length)
}

/// `at` stands on the opening quote; answers where the string ends, and whether it holds escapes.
#[inline]
fn skip_string(text: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut at = at + 1;
    let mut escaped = false;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some((at + 1, escaped));
        }
        escaped = true;
        at += 2;
    }
}

#[inline]
fn same_key(name: &[u8], escaped: bool, key: &str) -> bool {
    if !escaped {
        return name == key.as_bytes();
    }
    // `\u0061` is the longest spelling of a byte: what is longer still cannot be this key, and
    // need not be decoded.
    if name.len() < key.len() || name.len() > key.len() * 6 {
        return false;
    }
    decode_escapes(name).is_some_and(|decoded| decoded == key)
}

/// The inside of a string that holds escapes.
pub fn decode_escapes(inner: &[u8]) -> Option<String> {
    let mut quoted = Vec::with_capacity(inner.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(inner);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok()
}
