//! A room's message between instances: compact, and the same on a channel and in a stream.
//!
//! | bytes | |
//! |---|---|
//! | 1 | version |
//! | 1 | kind: 0 text, 1 binary |
//! | 8 | wall clock, microseconds since 1970 |
//! | 1 | number of places |
//! | each place | length of the name (2), the name, epoch (8), offset (8); by name, each room once |
//! | 2, n | length of the name of the instance that numbered it alone (0: none), the name |
//! | rest | the payload as it is |
//!
//! Numbers are big-endian. What comes from outside may be anything: the decoder takes only what the
//! encoder could have written.

use crate::{
    core::{
        correlation::Kind,
        names::RoomName,
        rooms::{Message, Place, Position},
        time::Wall,
    },
    limits::{MESSAGE_BYTES_MAX, ROOM_SENDER_BYTES_MAX, ROOMS_PER_SEND_MAX},
};
use bytes::Bytes;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Another layout gets another number; who does not know it drops the message, never misreads it.
pub const VERSION: u8 = 1;
const TEXT: u8 = 0;
const BINARY: u8 = 1;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Another layout, perhaps of a newer version.
    Version,
    Kind,
    /// It ends too early.
    Short,
    /// None, too many, not in order, or one that is no room's name.
    Places,
    Sender,
    /// Text that is not UTF-8.
    Text,
    /// A longer payload than any message may have.
    Long,
}

impl Malformed {
    pub const fn name(self) -> &'static str {
        match self {
            Malformed::Version => "another version",
            Malformed::Kind => "a kind that is not known",
            Malformed::Short => "it ends too early",
            Malformed::Places => "places that cannot be",
            Malformed::Sender => "a sender that cannot be",
            Malformed::Text => "text that is not UTF-8",
            Malformed::Long => "a payload that is too long",
        }
    }
}

/// What comes before the wall clock.
pub const fn head(kind: Kind) -> [u8; 2] {
    let kind = match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    };
    [VERSION, kind]
}

/// What comes between the places and the payload. A name that is too long is cut: it only tells
/// instances apart.
pub fn sender(from: Option<&str>) -> Vec<u8> {
    let name = from.unwrap_or_default();
    let name = &name[..name.floor_char_boundary(ROOM_SENDER_BYTES_MAX)];
    let mut bytes = (name.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(name.as_bytes());
    bytes
}

pub fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + message.places.len() * 64 + message.payload.len());
    bytes.extend_from_slice(&head(message.kind));
    bytes.extend_from_slice(&(message.wall.unix_nanos() / 1000).to_be_bytes());
    bytes.push(message.places.len() as u8);
    for Place { room, at } in message.places.iter() {
        bytes.extend_from_slice(&(room.as_str().len() as u16).to_be_bytes());
        bytes.extend_from_slice(room.as_str().as_bytes());
        bytes.extend_from_slice(&at.epoch.to_be_bytes());
        bytes.extend_from_slice(&at.offset.to_be_bytes());
    }
    bytes.extend_from_slice(&sender(message.from.as_deref()));
    bytes.extend_from_slice(&message.payload);
    bytes
}

/// The payload is not copied.
pub fn decode(bytes: &Bytes) -> Result<Message, Malformed> {
    let mut reader = Reader { rest: bytes };
    if reader.byte()? != VERSION {
        return Err(Malformed::Version);
    }
    let kind = match reader.byte()? {
        TEXT => Kind::Text,
        BINARY => Kind::Binary,
        _ => return Err(Malformed::Kind),
    };
    let wall = Wall::from_unix_nanos(reader.long()?.checked_mul(1000).ok_or(Malformed::Short)?);
    let places = reader.places()?;
    let from = match reader.text(ROOM_SENDER_BYTES_MAX, Malformed::Sender)? {
        "" => None,
        name => Some(name.into()),
    };
    let payload = bytes.slice_ref(reader.rest);
    if payload.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed::Long);
    }
    if kind == Kind::Text && std::str::from_utf8(&payload).is_err() {
        return Err(Malformed::Text);
    }
    Ok(Message { kind, payload, wall, places, from })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed::Short)
    }

    fn long(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed::Short)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn text(&mut self, longest: usize, otherwise: Malformed) -> Result<&'a str, Malformed> {
        let length = self.take(2)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        if length > longest {
            return Err(otherwise);
        }
        std::str::from_utf8(self.take(length)?).map_err(|_| otherwise)
    }

    fn places(&mut self) -> Result<Arc<[Place]>, Malformed> {
        let count = usize::from(self.byte()?);
        if count == 0 || count > ROOMS_PER_SEND_MAX {
            return Err(Malformed::Places);
        }
        let mut places: Vec<Place> = Vec::with_capacity(count);
        for _ in 0..count {
            let room = match self.text(usize::MAX, Malformed::Places)? {
                "" => RoomName::everyone(),
                name => RoomName::parse("", name).map_err(|_| Malformed::Places)?,
            };
            if places.last().is_some_and(|last| last.room >= room) {
                return Err(Malformed::Places);
            }
            let at = Position { epoch: self.long()?, offset: self.long()? };
            places.push(Place { room, at });
        }
        Ok(places.into())
    }
}
