//! What members of rooms see on their wire: the payload as it is, or `wsm.rooms.v1`, JSON text with
//! numbers, gaps and answers. The requests of such clients are read here too.

use super::ws::{self, Opcode};
use crate::core::{
    correlation::Kind,
    rooms::{Format, Message, Place, Position, RoomGap, RoomName},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, value::RawValue};
use std::io::Write;

/// Appends one message as a frame of a server.
pub fn encode(out: &mut Vec<u8>, format: Format, room: &RoomName, at: Position, message: &Message) {
    match (format, message.kind) {
        (Format::Verbatim, Kind::Text) => ws::encode(out, Opcode::Text, &message.payload, None),
        (Format::Verbatim, Kind::Binary) | (Format::Binary, _) => {
            ws::encode(out, Opcode::Binary, &message.payload, None);
        }
        (Format::Numbered, _) => {
            ws::encode(out, Opcode::Text, &numbered(room, at, message), None);
        }
    }
}

/// One message as `wsm.rooms.v1` has it.
pub fn numbered(room: &RoomName, at: Position, message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.payload.len() + room.as_str().len() + 64);
    out.extend_from_slice(b"{\"room\":");
    string(&mut out, room.as_str());
    position(&mut out, at);
    if let Some(from) = &message.from {
        out.extend_from_slice(b",\"from\":");
        string(&mut out, from);
    }
    let others = message.places.iter().filter(|place| place.room != *room);
    for (nth, Place { room, at }) in others.enumerate() {
        out.extend_from_slice(if nth == 0 { b",\"also\":[{\"room\":" } else { b",{\"room\":" });
        string(&mut out, room.as_str());
        position(&mut out, *at);
        out.push(b'}');
    }
    if message.places.len() > 1 {
        out.push(b']');
    }
    data(&mut out, message.kind, &message.payload);
    out.push(b'}');
    out
}

/// A message to a user, which has no numbers.
pub fn to_user(user: &str, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + user.len() + 32);
    out.extend_from_slice(b"{\"user\":");
    string(&mut out, user);
    data(&mut out, kind, payload);
    out.push(b'}');
    out
}

/// An object or array stands as it is; any other text is a string; binary is base64.
fn data(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    let text = if kind == Kind::Text { std::str::from_utf8(payload).ok() } else { None };
    let Some(text) = text else {
        out.extend_from_slice(b",\"dataBase64\":\"");
        out.extend_from_slice(STANDARD.encode(payload).as_bytes());
        out.push(b'"');
        return;
    };
    out.extend_from_slice(b",\"data\":");
    let nested = matches!(text.trim_start().as_bytes().first(), Some(b'{' | b'['));
    if nested && serde_json::from_str::<&RawValue>(text).is_ok() {
        out.extend_from_slice(text.trim().as_bytes());
    } else {
        string(out, text);
    }
}

fn position(out: &mut Vec<u8>, at: Position) {
    // Writing to memory does not fail.
    let _ = write!(out, ",\"epoch\":{},\"offset\":{}", at.epoch, at.offset);
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// Numbers that will not come.
pub fn gap(room: &RoomName, gap: &RoomGap) -> Vec<u8> {
    let mut out = b"{\"gap\":{\"room\":".to_vec();
    string(&mut out, room.as_str());
    for (name, at) in [("from", gap.from), ("to", gap.to)] {
        let _ = write!(out, ",\"{name}\":{{\"epoch\":{},\"offset\":{}}}", at.epoch, at.offset);
    }
    let _ = write!(out, ",\"cause\":\"{}\"}}}}", gap.cause.name());
    out
}

/// Where a client is in a room from now on: after a resume, or after it joined.
pub fn entered(verb: Verb, room: &RoomName, head: Position, recovered: Option<bool>, tag: &Tag) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    match (verb, recovered) {
        (Verb::Resume, recovered) => {
            let _ = write!(out, "{{\"recovered\":{},\"room\":", recovered.unwrap_or(false));
        }
        (Verb::Join, _) => out.extend_from_slice(b"{\"joined\":"),
    }
    string(&mut out, room.as_str());
    position(&mut out, head);
    if let (Verb::Join, Some(recovered)) = (verb, recovered) {
        let _ = write!(out, ",\"recovered\":{recovered}");
    }
    end(out, tag)
}

pub fn left(room: &RoomName, tag: &Tag) -> Vec<u8> {
    let mut out = b"{\"left\":".to_vec();
    string(&mut out, room.as_str());
    end(out, tag)
}

pub fn pong(value: &str, tag: &Tag) -> Vec<u8> {
    end([b"{\"pong\":", value.as_bytes()].concat(), tag)
}

pub fn error(code: &str, message: &str, tag: &Tag) -> Vec<u8> {
    let mut out = b"{\"error\":{\"code\":".to_vec();
    string(&mut out, code);
    out.extend_from_slice(b",\"message\":");
    string(&mut out, message);
    out.push(b'}');
    end(out, tag)
}

fn end(mut out: Vec<u8>, tag: &Tag) -> Vec<u8> {
    if let Some(tag) = tag {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(tag.as_bytes());
    }
    out.push(b'}');
    out
}

/// A client's own mark on its request, JSON, given back with the answer.
pub type Tag = Option<Box<str>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Join,
    Resume,
}

/// What a client asks on its own socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Ping(Box<str>),
    Enter { verb: Verb, room: Box<str>, after: Option<Position> },
    Leave(Box<str>),
}

/// None: it is no request at all, but a message. What is wrong with it is told under its mark too.
pub fn request(text: &str) -> Option<(Result<Request, &'static str>, Tag)> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) else { return None };
    let tag = fields.get("id").map(|tag| tag.to_string().into());
    let asked = if let Some(value) = fields.get("ping") {
        Ok(Request::Ping(value.to_string().into()))
    } else if let Some(room) = fields.get("leave") {
        let name = room.as_str().ok_or("leave: must be the name of a room");
        name.map(|room| Request::Leave(room.into()))
    } else if let Some(room) = fields.get("join") {
        enter(Verb::Join, room, &fields, "join: must be the name of a room")
    } else {
        let wrong = "resume: must have room, epoch and offset";
        match fields.get("resume")? {
            Value::Object(of) => enter(Verb::Resume, of.get("room").unwrap_or(&Value::Null), of, wrong),
            _ => Err(wrong),
        }
    };
    Some((asked, tag))
}

fn enter(
    verb: Verb,
    room: &Value,
    of: &serde_json::Map<String, Value>,
    nameless: &'static str,
) -> Result<Request, &'static str> {
    let room = room.as_str().ok_or(nameless)?;
    let number = |key: &str| of.get(key).and_then(Value::as_u64);
    let after = match (number("epoch"), number("offset")) {
        (Some(epoch), Some(offset)) => Some(Position { epoch, offset }),
        (None, None) if verb == Verb::Join && !of.contains_key("epoch") && !of.contains_key("offset") => None,
        _ => return Err("epoch and offset: must both be numbers, as they came with a message"),
    };
    Ok(Request::Enter { verb, room: room.into(), after })
}

#[cfg(test)]
mod tests;
