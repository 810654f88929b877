//! The two channels of the earlier room system.
//!
//! On the channel of sends a message is its rooms, joined by commas, a NUL, and the payload; on the
//! channel of broadcasts it is the payload alone. Its own readers stop for seconds when a send has
//! no NUL, two of them, or a room that is not UTF-8: none of that is ever written here, and all of
//! it is survived when others write it.

use crate::{
    core::{names::RoomName, reason::Fault},
    limits::{MESSAGE_BYTES_MAX, RELAY_ROOMS_MAX},
};
use bytes::Bytes;

#[cfg(test)]
mod tests;

const NUL: u8 = 0;
const COMMA: u8 = b',';

/// Why a message, or one of its rooms, is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// A send without a NUL.
    NoSeparator,
    /// A room that is not UTF-8.
    NotUtf8,
    /// A room that no room can be called.
    BadRoom,
    /// A send to no room at all.
    NoRooms,
    TooManyRooms,
    TooLong,
}

impl Poison {
    pub const ALL: [Poison; 6] = [
        Poison::NoSeparator,
        Poison::NotUtf8,
        Poison::BadRoom,
        Poison::NoRooms,
        Poison::TooManyRooms,
        Poison::TooLong,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Poison::NoSeparator => "no_separator",
            Poison::NotUtf8 => "not_utf8",
            Poison::BadRoom => "bad_room",
            Poison::NoRooms => "no_rooms",
            Poison::TooManyRooms => "too_many_rooms",
            Poison::TooLong => "too_long",
        }
    }
}

/// A send, as far as it can be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Each once, in the order of the wire; at least one.
    pub rooms: Vec<RoomName>,
    pub payload: Bytes,
    /// What was wrong with rooms that are left out.
    pub left_out: Vec<Poison>,
}

/// What goes to the channel of sends. `rooms` and `data` are the request's fields.
pub fn encode_send(rooms: &[RoomName], payload: &[u8]) -> Result<Vec<u8>, Fault> {
    if rooms.is_empty() {
        return Err(Fault::invalid("rooms", "give at least one room"));
    }
    if payload.contains(&NUL) {
        let why = "must not hold a NUL while rooms are carried over the earlier system's channels, whose \
                   readers stop at it; encode the payload";
        return Err(Fault::invalid("data", why));
    }
    let mut bytes = Vec::with_capacity(payload.len() + rooms.len() * 32);
    for (place, room) in rooms.iter().enumerate() {
        let name = room.as_str().as_bytes();
        // The broadcasts' own room has no name there.
        if name.is_empty() || name.iter().any(|byte| matches!(*byte, NUL | COMMA)) {
            let why = "must not be empty nor hold a NUL or a comma while rooms are carried over the earlier \
                       system's channels";
            return Err(Fault::invalid("rooms", why));
        }
        if place > 0 {
            bytes.push(COMMA);
        }
        bytes.extend_from_slice(name);
    }
    bytes.push(NUL);
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// What came on the channel of sends. The first NUL counts; the payload may hold more of them.
pub fn decode_send(bytes: &Bytes) -> Result<Sent, Poison> {
    let end = memchr::memchr(NUL, bytes).ok_or(Poison::NoSeparator)?;
    let payload = decode_broadcast(&bytes.slice(end + 1..))?;
    let mut rooms: Vec<RoomName> = Vec::new();
    let mut left_out = Vec::new();
    for (place, name) in bytes[..end].split(|byte| *byte == COMMA).enumerate() {
        if place >= RELAY_ROOMS_MAX {
            return Err(Poison::TooManyRooms);
        }
        if name.is_empty() {
            continue;
        }
        let room = match std::str::from_utf8(name) {
            Ok(name) => RoomName::parse("", name).map_err(|_| Poison::BadRoom),
            Err(_) => Err(Poison::NotUtf8),
        };
        match room {
            Ok(room) if !rooms.contains(&room) => rooms.push(room),
            Ok(_) => {}
            Err(poison) => left_out.push(poison),
        }
    }
    match left_out.first() {
        _ if !rooms.is_empty() => Ok(Sent { rooms, payload, left_out }),
        Some(poison) => Err(*poison),
        None => Err(Poison::NoRooms),
    }
}

/// What came on the channel of broadcasts: anything, even nothing.
pub fn decode_broadcast(bytes: &Bytes) -> Result<Bytes, Poison> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Poison::TooLong);
    }
    Ok(bytes.clone())
}
