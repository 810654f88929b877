//! The opaque cursor of `Receive`: where a follower was, as URL-safe text of bounded size.

use crate::{
    core::{reason::Fault, varint},
    limits::{CURSOR_CHARS_MAX, CURSOR_POSITIONS_MAX},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

#[cfg(test)]
mod tests;

const FIELD: &str = "cursor";
/// Another layout gets another number; an old cursor is then refused, never misread.
const VERSION: u8 = 1;
/// Version, kind, checksum.
const BYTES_MIN: usize = 3;
const SAME_INCARNATION: u8 = 0;
const NEW_INCARNATION: u8 = 1;

/// A place in the ring of one shard: which process's life it belongs to, and where in it.
pub type RingPlace = (u64, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    Topic {
        offset: u64,
    },
    /// The last message seen, and where to look for the next one if the owner is still the same.
    Connection {
        epoch: u64,
        seq: u64,
        hint: Option<RingPlace>,
    },
    /// One place a shard, in the order of instances and shards.
    Filter {
        positions: Vec<RingPlace>,
    },
    Lifecycle {
        positions: Vec<RingPlace>,
    },
    /// The last message seen, of this room.
    Room {
        room: Box<str>,
        epoch: u64,
        offset: u64,
    },
    /// One cursor an instance, for what is followed at all of them.
    Fleet {
        of: CursorKind,
        /// Some were left out for want of room.
        cut: bool,
        members: Vec<MemberPlace>,
    },
}

/// Which run of an instance, by the hash of its name, and its own cursor's bytes.
pub type MemberPlace = (u64, Vec<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CursorKind {
    Topic = 1,
    Connection = 2,
    Filter = 3,
    Lifecycle = 4,
    Room = 5,
    Fleet = 6,
}

impl CursorKind {
    pub const ALL: [CursorKind; 6] = [
        CursorKind::Topic,
        CursorKind::Connection,
        CursorKind::Filter,
        CursorKind::Lifecycle,
        CursorKind::Room,
        CursorKind::Fleet,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            CursorKind::Topic => "topic",
            CursorKind::Connection => "connection",
            CursorKind::Filter => "filter",
            CursorKind::Lifecycle => "lifecycle",
            CursorKind::Room => "room",
            CursorKind::Fleet => "fleet",
        }
    }
}

impl Cursor {
    pub fn kind(&self) -> CursorKind {
        match self {
            Cursor::Topic { .. } => CursorKind::Topic,
            Cursor::Connection { .. } => CursorKind::Connection,
            Cursor::Filter { .. } => CursorKind::Filter,
            Cursor::Lifecycle { .. } => CursorKind::Lifecycle,
            Cursor::Room { .. } => CursorKind::Room,
            Cursor::Fleet { .. } => CursorKind::Fleet,
        }
    }

    /// At most `CURSOR_CHARS_MAX` characters. Places beyond `CURSOR_POSITIONS_MAX` are left out:
    /// those shards are then resumed as if their rings had gone on, with a gap record.
    pub fn encode(&self) -> String {
        let mut bytes = vec![VERSION, self.kind() as u8];
        match self {
            Cursor::Topic { offset } => varint::put(&mut bytes, *offset),
            Cursor::Room { room, epoch, offset } => {
                varint::put(&mut bytes, *epoch);
                varint::put(&mut bytes, *offset);
                varint::put(&mut bytes, room.len() as u64);
                bytes.extend_from_slice(room.as_bytes());
            }
            Cursor::Connection { epoch, seq, hint } => {
                varint::put(&mut bytes, *epoch);
                varint::put(&mut bytes, *seq);
                put_places(&mut bytes, hint.as_slice());
            }
            Cursor::Fleet { of, cut, members } => put_members(&mut bytes, *of, *cut, members),
            Cursor::Filter { positions } | Cursor::Lifecycle { positions } => {
                put_places(&mut bytes, &positions[..positions.len().min(CURSOR_POSITIONS_MAX)]);
            }
        }
        bytes.push(checksum(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Refuses a cursor that another kind of source gave out.
    pub fn decode_for(text: &str, source: CursorKind) -> Result<Self, Fault> {
        let cursor = Cursor::decode(text)?;
        if cursor.kind() == source {
            return Ok(cursor);
        }
        let (given, asked) = (cursor.kind().name(), source.name());
        Err(Fault::invalid(FIELD, format!("belongs to a {given}, and the request follows a {asked}")))
    }

    pub fn decode(text: &str) -> Result<Self, Fault> {
        if text.len() > CURSOR_CHARS_MAX {
            return Err(Fault::invalid(FIELD, "is longer than any cursor of this service"));
        }
        let damaged = || Fault::invalid(FIELD, "is damaged or cut short; give it back as it was received");
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| Fault::invalid(FIELD, "is not a cursor of this service"))?;
        if bytes.len() < BYTES_MIN {
            return Err(damaged());
        }
        let (body, sum) = bytes.split_at(bytes.len() - 1);
        if sum != [checksum(body)] {
            return Err(damaged());
        }
        if body[0] != VERSION {
            return Err(Fault::invalid(
                FIELD,
                "was made by another version of this service; begin without it",
            ));
        }
        let mut rest = &body[2..];
        let cursor = take_cursor(body[1], &mut rest).filter(|_| rest.is_empty());
        cursor.ok_or_else(damaged)
    }
}

fn take_cursor(kind: u8, rest: &mut &[u8]) -> Option<Cursor> {
    let kind = CursorKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
    Some(match kind {
        CursorKind::Topic => Cursor::Topic { offset: varint::take(rest)? },
        CursorKind::Room => {
            let (epoch, offset) = (varint::take(rest)?, varint::take(rest)?);
            let length = usize::try_from(varint::take(rest)?).ok()?;
            let (room, after) = rest.split_at_checked(length)?;
            *rest = after;
            Cursor::Room { room: std::str::from_utf8(room).ok()?.into(), epoch, offset }
        }
        CursorKind::Connection => Cursor::Connection {
            epoch: varint::take(rest)?,
            seq: varint::take(rest)?,
            hint: match take_places(rest)?.as_slice() {
                [] => None,
                [place] => Some(*place),
                _ => return None,
            },
        },
        CursorKind::Filter => Cursor::Filter { positions: take_places(rest)? },
        CursorKind::Lifecycle => Cursor::Lifecycle { positions: take_places(rest)? },
        CursorKind::Fleet => take_members(rest)?,
    })
}

/// An incarnation is random, so it is written whole, but only where it changes: the shards of one
/// instance stand side by side.
fn put_places(bytes: &mut Vec<u8>, places: &[RingPlace]) {
    varint::put(bytes, places.len() as u64);
    let mut previous = None;
    for &(incarnation, position) in places {
        if previous.replace(incarnation) == Some(incarnation) {
            bytes.push(SAME_INCARNATION);
        } else {
            bytes.push(NEW_INCARNATION);
            bytes.extend_from_slice(&incarnation.to_le_bytes());
        }
        varint::put(bytes, position);
    }
}

fn take_places(rest: &mut &[u8]) -> Option<Vec<RingPlace>> {
    let count = usize::try_from(varint::take(rest)?).ok().filter(|count| *count <= CURSOR_POSITIONS_MAX)?;
    let mut places: Vec<RingPlace> = Vec::with_capacity(count);
    for _ in 0..count {
        let (&mark, after) = rest.split_first()?;
        *rest = after;
        let incarnation = match mark {
            SAME_INCARNATION => places.last()?.0,
            NEW_INCARNATION => {
                let (bytes, after) = rest.split_first_chunk()?;
                *rest = after;
                u64::from_le_bytes(*bytes)
            }
            _ => return None,
        };
        places.push((incarnation, varint::take(rest)?));
    }
    Some(places)
}

/// As many as fit.
fn put_members(bytes: &mut Vec<u8>, of: CursorKind, cut: bool, members: &[MemberPlace]) {
    // The checksum comes after; base64 makes four characters of three bytes.
    let room = CURSOR_CHARS_MAX / 4 * 3 - 1;
    bytes.push(of as u8);
    let mark = bytes.len();
    bytes.push(u8::from(cut));
    for (name, cursor) in members {
        let mut place = name.to_le_bytes().to_vec();
        varint::put(&mut place, cursor.len() as u64);
        place.extend_from_slice(cursor);
        if bytes.len() + place.len() > room {
            bytes[mark] = 1;
        } else {
            bytes.append(&mut place);
        }
    }
}

fn take_members(rest: &mut &[u8]) -> Option<Cursor> {
    let (&[of, cut], after) = rest.split_first_chunk()?;
    *rest = after;
    let of = CursorKind::ALL.into_iter().find(|known| *known as u8 == of)?;
    let cut = match cut {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut members = Vec::new();
    while let Some((name, after)) = rest.split_first_chunk() {
        *rest = after;
        let length = usize::try_from(varint::take(rest)?).ok()?;
        let (cursor, after) = rest.split_at_checked(length)?;
        *rest = after;
        members.push((u64::from_le_bytes(*name), cursor.to_vec()));
    }
    Some(Cursor::Fleet { of, cut, members })
}

/// CRC-8: finds each single damaged byte. It guards against accidents; what a forged cursor may do
/// is bounded where it is used.
fn checksum(bytes: &[u8]) -> u8 {
    const POLYNOMIAL: u8 = 0x07;
    let shift = |crc: u8| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ POLYNOMIAL };
    bytes.iter().fold(0xff, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| shift(crc)))
}
