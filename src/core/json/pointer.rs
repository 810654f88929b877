//! RFC 6901 pointers, parsed and bounded when a rule is made, followed on each message.

use super::scan::{Malformed, find_item, find_member, skip_space, value_at};
use crate::limits::{JSON_DEPTH_MAX, POINTER_BYTES_MAX};
use std::{fmt, ops::Range};

/// Where in a document a value stands.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    text: Box<str>,
    segments: Box<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Segment {
    pub key: Box<str>,
    /// What it names in an array, when it can name an item at all.
    pub index: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPointer {
    TooLong,
    NoSlash,
    Tilde,
    TooDeep,
}

impl fmt::Display for BadPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadPointer::TooLong => "must be at most 256 bytes",
            BadPointer::NoSlash => "must be a JSON pointer: empty, or beginning with '/'",
            BadPointer::Tilde => "may use '~' only as '~0' (for '~') or '~1' (for '/')",
            BadPointer::TooDeep => "must have at most 128 segments",
        })
    }
}

impl Pointer {
    pub fn parse(text: &str) -> Result<Self, BadPointer> {
        if text.len() > POINTER_BYTES_MAX {
            return Err(BadPointer::TooLong);
        }
        let segments: Box<[Segment]> = match text.strip_prefix('/') {
            None if text.is_empty() => Box::default(),
            None => return Err(BadPointer::NoSlash),
            Some(inner) => inner.split('/').map(Segment::parse).collect::<Result<_, _>>()?,
        };
        if segments.len() > JSON_DEPTH_MAX as usize {
            return Err(BadPointer::TooDeep);
        }
        Ok(Pointer { text: text.into(), segments })
    }

    /// The pointer to a top-level member.
    pub fn member(key: &str) -> Self {
        let text = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        Pointer { text: text.into(), segments: Box::new([Segment::named(key.to_owned())]) }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names the whole document.
    pub fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Segment {
    fn parse(raw: &str) -> Result<Self, BadPointer> {
        if !raw.contains('~') {
            return Ok(Segment::named(raw.to_owned()));
        }
        let mut key = String::with_capacity(raw.len());
        let mut chars = raw.chars();
        while let Some(char) = chars.next() {
            key.push(match (char, char == '~') {
                (_, false) => char,
                (_, true) => match chars.next() {
                    Some('0') => '~',
                    Some('1') => '/',
                    _ => return Err(BadPointer::Tilde),
                },
            });
        }
        Ok(Segment::named(key))
    }

    fn named(key: String) -> Self {
        let digits = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
        let index = if digits && (key == "0" || !key.starts_with('0')) { key.parse().ok() } else { None };
        Segment { key: key.into(), index }
    }

    /// Where the value it names begins, in the container that begins at `at`.
    pub(super) fn find(&self, text: &[u8], at: usize) -> Result<Option<usize>, Malformed> {
        match (text.get(at), self.index) {
            (Some(b'{'), _) => find_member(text, at, &self.key),
            (Some(b'['), Some(index)) => find_item(text, at, index),
            _ => Ok(None),
        }
    }
}

/// The raw value that `pointer` names.
pub fn pointer<'a>(text: &'a [u8], pointer: &Pointer) -> Option<&'a [u8]> {
    text.get(locate(text, pointer)?)
}

/// Where the value that `pointer` names stands. Every byte is looked at once: each step goes on
/// from where the value begins, and only the last value is followed to its end.
pub fn locate(text: &[u8], pointer: &Pointer) -> Option<Range<usize>> {
    let mut at = skip_space(text, 0);
    for segment in &pointer.segments {
        at = segment.find(text, at).ok()??;
    }
    value_at(text, at)
}
