//! Puts an id into a message by splicing bytes: everything else stays as the caller wrote it.

use super::{
    pointer::{Pointer, locate},
    scan::{is_object, skip_space},
};

/// The text with `raw_value` as the member that `pointer` names, parents made where they are
/// absent. `None` when the text is no object, a parent is something else than an object, or the
/// member is there already.
pub fn insert_member(text: &[u8], pointer: &Pointer, raw_value: &[u8]) -> Option<Vec<u8>> {
    if !is_object(text) {
        return None;
    }
    let segments = pointer.segments();
    let mut parent = skip_space(text, 0);
    let mut known = 0;
    for segment in segments {
        if text.get(parent) != Some(&b'{') {
            return None;
        }
        match segment.find(text, parent).ok()? {
            Some(at) => parent = at,
            None => break,
        }
        known += 1;
    }
    let missing = segments.get(known..).filter(|missing| !missing.is_empty())?;
    let (at, rest) = (parent + 1, skip_space(text, parent + 1));

    let mut made = Vec::with_capacity(text.len() + raw_value.len() + pointer.as_str().len() * 2 + 16);
    made.extend_from_slice(&text[..at]);
    for (depth, segment) in missing.iter().enumerate() {
        if depth > 0 {
            made.push(b'{');
        }
        made.extend_from_slice(serde_json::to_string(&*segment.key).ok()?.as_bytes());
        made.push(b':');
    }
    made.extend_from_slice(raw_value);
    made.resize(made.len() + missing.len() - 1, b'}');
    if text.get(rest) != Some(&b'}') {
        made.push(b',');
    }
    made.extend_from_slice(&text[at..]);
    Some(made)
}

/// The text with another value where `pointer` leads; `None` when it leads nowhere.
pub fn replace_value(text: &[u8], pointer: &Pointer, raw_value: &[u8]) -> Option<Vec<u8>> {
    let range = locate(text, pointer)?;
    let mut made = Vec::with_capacity(text.len() + raw_value.len());
    made.extend_from_slice(&text[..range.start]);
    made.extend_from_slice(raw_value);
    made.extend_from_slice(&text[range.end..]);
    Some(made)
}
