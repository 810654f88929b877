//! Rooms between instances, to and from what is written.

use crate::{
    core::{
        correlation::Kind,
        names::RoomName,
        reason::Fault,
        rooms::{
            Kept, Message, Place, Position, Post,
            sequencer::{Move, Moved, Part},
        },
        time::Wall,
    },
    limits,
    proto::fleet::{
        KeptMessage, MovedRoom, RoomKept, RoomMessage, RoomMove, RoomPlace, RoomPlaces, RoomPost, RoomSince,
    },
};
use std::{sync::Arc, time::Duration};

/// The empty name is the room of everybody.
pub fn room(field: &'static str, name: &str) -> Result<RoomName, Fault> {
    if name.is_empty() { Ok(RoomName::everyone()) } else { RoomName::parse(field, name) }
}

pub fn rooms(names: &[String]) -> Result<Vec<RoomName>, Fault> {
    if names.is_empty() || names.len() > limits::ROOMS_PER_SEND_MAX {
        let most = limits::ROOMS_PER_SEND_MAX;
        return Err(Fault::invalid("rooms", format!("a message goes to 1 to {most} rooms")));
    }
    names.iter().map(|name| room("rooms", name)).collect()
}

pub fn names(rooms: &[RoomName]) -> Vec<String> {
    rooms.iter().map(|room| room.as_str().to_owned()).collect()
}

pub fn to_place(room: &RoomName, at: Position) -> RoomPlace {
    RoomPlace { room: room.as_str().to_owned(), epoch: at.epoch, offset: at.offset }
}

pub fn from_place(place: &RoomPlace) -> Result<Place, Fault> {
    let at = Position { epoch: place.epoch, offset: place.offset };
    Ok(Place { room: room("room", &place.room)?, at })
}

pub fn to_places(places: &[Place]) -> Vec<RoomPlace> {
    places.iter().map(|place| to_place(&place.room, place.at)).collect()
}

pub fn from_places(places: &[RoomPlace]) -> Result<Vec<Place>, Fault> {
    if places.len() > limits::ROOMS_PER_SEND_MAX {
        return Err(Fault::invalid("places", "are more than a message has rooms"));
    }
    places.iter().map(from_place).collect()
}

pub fn answered(places: Vec<Place>) -> RoomPlaces {
    RoomPlaces { places: to_places(&places) }
}

pub fn to_message(message: &Message) -> RoomMessage {
    RoomMessage {
        places: to_places(&message.places),
        binary: message.kind == Kind::Binary,
        payload: message.payload.clone(),
        wall_micros: message.wall.unix_nanos() / 1000,
        from: message.from.as_deref().unwrap_or_default().to_owned(),
        deliver: Vec::new(),
    }
}

pub fn from_message(message: RoomMessage) -> Result<Message, Fault> {
    Ok(Message {
        kind: kind(message.binary),
        places: from_places(&message.places)?.into(),
        payload: message.payload,
        wall: Wall::from_unix_nanos(message.wall_micros.saturating_mul(1000)),
        from: Some(message.from).filter(|from| !from.is_empty()).map(Arc::from),
    })
}

fn kind(binary: bool) -> Kind {
    if binary { Kind::Binary } else { Kind::Text }
}

pub fn to_post(rooms: &[RoomName], post: Post) -> RoomPost {
    RoomPost { rooms: names(rooms), binary: post.kind == Kind::Binary, payload: post.payload }
}

pub fn from_post(request: RoomPost) -> Result<(Vec<RoomName>, Post), Fault> {
    let rooms = rooms(&request.rooms)?;
    Ok((rooms, Post { kind: kind(request.binary), payload: request.payload }))
}

pub fn to_since(room: &RoomName, after: Option<Position>, limit: usize) -> RoomSince {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    RoomSince { room: room.as_str().to_owned(), after: after.map(|at| to_place(room, at)), limit }
}

/// Of a long answer only as much as fits into one: without its newest when it goes on from a
/// position, without its oldest otherwise.
pub fn to_kept(room: &RoomName, kept: Kept, onward: bool) -> RoomKept {
    let mut messages: Vec<RoomMessage> = kept.messages.iter().map(|message| to_message(message)).collect();
    let mut left = limits::REQUEST_BYTES_MAX;
    let mut fits = |message: &RoomMessage| {
        let bytes = prost::Message::encoded_len(message);
        let first = left == limits::REQUEST_BYTES_MAX;
        let room = bytes <= left;
        left = left.saturating_sub(bytes);
        first || room
    };
    let mut recovered = kept.recovered;
    if onward {
        let count = messages.iter().take_while(|message| fits(message)).count();
        messages.truncate(count);
    } else {
        let count = messages.iter().rev().take_while(|message| fits(message)).count();
        messages.drain(..messages.len() - count);
        recovered = true;
    }
    RoomKept { messages, recovered, head: Some(to_place(room, kept.head)) }
}

pub fn from_kept(kept: RoomKept) -> Result<Kept, Fault> {
    let head = from_place(&kept.head.unwrap_or_default())?.at;
    let messages: Result<_, Fault> =
        kept.messages.into_iter().map(|message| from_message(message).map(Arc::new)).collect();
    Ok(Kept { messages: messages?, recovered: kept.recovered, head })
}

/// In parts that one call can carry; of a history that is larger than one its newest goes.
pub fn to_parts(handed: &Move) -> Vec<RoomMove> {
    let (number, leaving) = (handed.number, handed.leaving);
    let part = || RoomMove { number, leaving, ..RoomMove::default() };
    let (mut parts, mut current, mut bytes) = (Vec::new(), part(), 0);
    for moved in &handed.rooms {
        let room = to_moved(moved);
        let size = prost::Message::encoded_len(&room);
        if bytes + size > limits::ROOM_MOVE_BYTES && !current.rooms.is_empty() {
            parts.push(std::mem::replace(&mut current, part()));
            bytes = 0;
        }
        bytes += size;
        current.rooms.push(room);
    }
    current.last = true;
    parts.push(current);
    for (number, part) in (0..).zip(&mut parts) {
        part.part = number;
    }
    parts
}

fn to_moved(moved: &Moved) -> MovedRoom {
    let mut left = limits::ROOM_MOVE_BYTES;
    let mut kept: Vec<KeptMessage> = moved
        .kept
        .iter()
        .rev()
        .map(|(_, age, message)| KeptMessage {
            message: Some(to_message(message)),
            age_millis: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        })
        .take_while(|message| {
            let bytes = prost::Message::encoded_len(message);
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        })
        .collect();
    kept.reverse();
    MovedRoom { head: Some(to_place(&moved.room, moved.head)), kept }
}

pub fn from_part(part: RoomMove) -> Result<Part, Fault> {
    let rooms: Result<_, Fault> = part.rooms.into_iter().map(from_moved).collect();
    let number = (part.number, part.part);
    Ok(Part { number, leaving: part.leaving, last: part.last, rooms: rooms? })
}

fn from_moved(moved: MovedRoom) -> Result<Moved, Fault> {
    let head = moved.head.unwrap_or_default();
    let Place { room, at } = from_place(&head)?;
    let mut kept = Vec::with_capacity(moved.kept.len());
    for entry in moved.kept {
        let message = Arc::new(from_message(entry.message.unwrap_or_default())?);
        if let Some(at) = message.at(&room) {
            kept.push((at, Duration::from_millis(entry.age_millis), message));
        }
    }
    Ok(Moved { room, head: at, kept })
}
