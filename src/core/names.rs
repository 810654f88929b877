//! Names and values that callers choose: topics, rooms, tags, close codes.
//! Each check takes the name of the request field, which the fault then carries.

use crate::{
    core::{reason::Fault, redact::is_deceptive},
    limits::{
        ROOM_NAME_BYTES_MAX, TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX, TAGS_MAX, TOPIC_BYTES_MAX,
        USER_BYTES_MAX,
    },
};
use std::{fmt, sync::Arc};

/// A close frame has 125 bytes, two of which are the code.
const CLOSE_REASON_BYTES_MAX: usize = 123;
const CLOSE_NORMAL: u32 = 1000;

/// The name of a topic on the bus.
///
/// UTF-8 of 1 to `TOPIC_BYTES_MAX` bytes. Refused is what another program on the message's way could
/// read as something else than a name: whitespace, control and invisible characters; `?` and `#`
/// (URLs), `%` (a second decoding), `\` (paths), `*`, `+` and `>` (wildcards of brokers); a `/` at
/// either end, `//`, and the segments `.` and `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

const TOPIC_REFUSED: &[char] = &['?', '#', '%', '\\', '*', '+', '>'];

impl Topic {
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Fault> {
        let refuse = |message: String| Err(Fault::invalid(field, message));
        if text.is_empty() || text.len() > TOPIC_BYTES_MAX {
            return refuse(format!("a topic has 1 to {TOPIC_BYTES_MAX} bytes"));
        }
        if text.contains(|c: char| c.is_whitespace() || is_deceptive(c)) {
            return refuse("a topic must not hold whitespace, control or invisible characters".to_owned());
        }
        if text.contains(TOPIC_REFUSED) {
            return refuse("a topic must not hold any of ? # % \\ * + >".to_owned());
        }
        if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return refuse("a topic must not have empty segments, '.' or '..' between its '/'".to_owned());
        }
        Ok(Topic(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

/// The name of a room: 1 to 256 bytes of UTF-8 without control characters and commas.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

impl RoomName {
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Fault> {
        if text.is_empty() || text.len() > ROOM_NAME_BYTES_MAX {
            return Err(Fault::invalid(field, format!("a room name has 1 to {ROOM_NAME_BYTES_MAX} bytes")));
        }
        if text.contains(|c: char| c.is_control() || c == ',') {
            return Err(Fault::invalid(field, "a room name must not hold control characters or commas"));
        }
        Ok(RoomName(text.into()))
    }

    /// The reserved room that broadcasts are numbered in: every accepted connection is a member.
    pub fn everyone() -> Self {
        RoomName("".into())
    }

    pub fn is_everyone(&self) -> bool {
        self.0.is_empty()
    }

    /// The shard that is the room's home, among `shards`.
    pub fn home(&self, shards: u32) -> u32 {
        crate::core::id::shard_of(&self.0, shards)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

macro_rules! shown_as_text {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )+};
}

shown_as_text!(Topic, RoomName);

/// All tags of a new connection. Callers hand over maps: a sorted order makes the first fault the
/// same each time.
pub fn validate_tags<'a>(
    field: &'static str,
    tags: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), Fault> {
    let mut count = 0;
    for (key, value) in tags {
        count += 1;
        validate_tag_count(field, count)?;
        validate_tag_key(field, key)?;
        validate_tag_value(field, value)?;
    }
    Ok(())
}

/// To be asked with the number of tags that there would be after a merge.
pub fn validate_tag_count(field: &'static str, count: usize) -> Result<(), Fault> {
    if count > TAGS_MAX {
        return Err(Fault::invalid(field, format!("a connection has at most {TAGS_MAX} tags")));
    }
    Ok(())
}

pub fn validate_tag_key(field: &'static str, key: &str) -> Result<(), Fault> {
    if key.is_empty() || longer_than(key, TAG_KEY_CHARS_MAX) {
        return Err(Fault::invalid(field, format!("a tag's key has 1 to {TAG_KEY_CHARS_MAX} characters")));
    }
    if key.contains(char::is_control) {
        return Err(Fault::invalid(field, "a tag's key must not hold control characters"));
    }
    Ok(())
}

pub fn validate_tag_value(field: &'static str, value: &str) -> Result<(), Fault> {
    if longer_than(value, TAG_VALUE_CHARS_MAX) {
        return Err(Fault::invalid(
            field,
            format!("a tag's value has at most {TAG_VALUE_CHARS_MAX} characters"),
        ));
    }
    Ok(())
}

/// What a caller may put into a close frame. A code of 0 is an unset one and means 1000; the others
/// below 3000 are the protocol's own, to be sent only when they are true.
pub fn validate_close(
    code_field: &'static str,
    code: u32,
    reason_field: &'static str,
    reason: &str,
) -> Result<u16, Fault> {
    let code = match code {
        0 | CLOSE_NORMAL => CLOSE_NORMAL,
        3000..=4999 => code,
        _ => return Err(Fault::invalid(code_field, "a close code is 1000 or between 3000 and 4999")),
    };
    if reason.len() > CLOSE_REASON_BYTES_MAX {
        return Err(Fault::invalid(
            reason_field,
            format!("a close reason has at most {CLOSE_REASON_BYTES_MAX} bytes"),
        ));
    }
    Ok(code as u16)
}

/// Whom a connection belongs to, in the words of whoever let it in.
pub fn validate_user(field: &'static str, user: &str) -> Result<(), Fault> {
    if user.is_empty() || user.len() > USER_BYTES_MAX {
        return Err(Fault::invalid(field, format!("a user's name has 1 to {USER_BYTES_MAX} bytes")));
    }
    if user.contains(char::is_control) {
        return Err(Fault::invalid(field, "a user's name must not hold control characters"));
    }
    Ok(())
}

/// Counts no further than it must.
fn longer_than(text: &str, chars: usize) -> bool {
    text.len() > chars && text.chars().nth(chars).is_some()
}

#[cfg(test)]
mod tests;
