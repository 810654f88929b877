//! An event of a bound topic, read for the rooms that its data names.

#[cfg(test)]
mod tests;

use super::{
    Post, RoomName,
    intake::Binding,
    typed::{quoted, wrap},
};
use crate::{
    core::{
        correlation::Kind,
        json::{self, Pointer, Scalar},
    },
    wire::event::{SOURCE, TYPE_END, TYPE_GAP},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::borrow::Cow;

/// What Dapr calls an event that it has wrapped itself.
const WRAPPED: &str = "com.dapr.event.sent";

/// The data of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    bytes: Bytes,
    /// The bytes are one JSON value.
    json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Data(Data),
    /// A gap record or an end marker of our own: for followers of the topic, not for rooms.
    Record,
    /// Why it is no event with data.
    Malformed(&'static str),
}

/// Why an event has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Nothing stands at this pointer, or no string or number.
    NoValue(String),
    /// The values make no room's name.
    NoName(String),
}

impl std::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoRoom::NoValue(pointer) => write!(f, "the event's data has no text or number at {pointer}"),
            NoRoom::NoName(why) => write!(f, "the event's data makes no room name: {why}"),
        }
    }
}

/// Structured JSON. Data is what stands in `data`, or in `data_base64`; text that is JSON counts as
/// that JSON, since publishers that know only text send it so.
pub fn read(event: &Bytes) -> Read {
    // Once and whole: what follows finds its way through sound JSON.
    if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(event).is_err() {
        return Read::Malformed("the event is not a JSON object");
    }
    let kind = text(event, "type").unwrap_or_default();
    if text(event, "source").as_deref() == Some(SOURCE) && matches!(&*kind, TYPE_GAP | TYPE_END) {
        return Read::Record;
    }
    let inner = json::top_level(event, "data").filter(|data| *data != b"null");
    let encoded = json::top_level(event, "data_base64").filter(|data| *data != b"null");
    match (inner, encoded) {
        (Some(inner), None) if kind == WRAPPED && is_event(inner) => read(&event.slice_ref(inner)),
        (Some(inner), None) => match Scalar::parse(inner) {
            Some(Scalar::Str(text)) => Read::Data(Data::of(Bytes::from(text.into_owned()))),
            _ => Read::Data(Data { bytes: event.slice_ref(inner), json: true }),
        },
        (None, Some(encoded)) => {
            let decoded = match Scalar::parse(encoded) {
                Some(Scalar::Str(text)) => STANDARD.decode(text.as_bytes()).ok(),
                _ => None,
            };
            match decoded {
                Some(bytes) => Read::Data(Data::of(bytes.into())),
                None => Read::Malformed("the event's data_base64 is not base64"),
            }
        }
        (Some(_), Some(_)) => Read::Malformed("the event has both data and data_base64"),
        (None, None) => Read::Malformed("the event has no data"),
    }
}

fn text<'a>(object: &'a [u8], key: &str) -> Option<Cow<'a, str>> {
    match Scalar::parse(json::top_level(object, key)?)? {
        Scalar::Str(text) => Some(text),
        _ => None,
    }
}

fn is_event(object: &[u8]) -> bool {
    json::is_object(object) && ["specversion", "id", "type"].iter().all(|key| text(object, key).is_some())
}

impl Data {
    fn of(bytes: Bytes) -> Self {
        let json = serde_json::from_slice::<serde_json::Value>(&bytes).is_ok();
        Data { bytes, json }
    }

    pub fn room(&self, binding: &Binding) -> Result<RoomName, NoRoom> {
        let filled = binding.room.fill(|place| self.value(place));
        let name = filled.map_err(|place| NoRoom::NoValue(place.to_owned()))?;
        RoomName::parse("room", &name).map_err(|fault| NoRoom::NoName(fault.message.into_owned()))
    }

    /// A number stands as it is written; an empty text is none.
    fn value(&self, pointer: &str) -> Option<Cow<'_, str>> {
        let raw = json::pointer(&self.bytes, &Pointer::parse(pointer).ok()?).filter(|_| self.json)?;
        match Scalar::parse(raw)? {
            Scalar::Str(text) => Some(text).filter(|text| !text.is_empty()),
            Scalar::Int(_) | Scalar::Number(_) => std::str::from_utf8(raw).ok().map(Cow::Borrowed),
            Scalar::Bool(_) | Scalar::Null => None,
        }
    }

    /// What the room gets: the data as it is, or under the binding's MESSAGE_ID, where text that is
    /// not JSON becomes a JSON string. None: bytes that are no text can be wrapped in nothing.
    pub fn post(&self, binding: &Binding) -> Option<Post> {
        let is_text = std::str::from_utf8(&self.bytes).is_ok();
        let Some(id) = &binding.message_id else {
            let kind = if is_text { Kind::Text } else { Kind::Binary };
            return Some(Post { kind, payload: self.bytes.clone() });
        };
        let payload = match (self.json, is_text) {
            (true, _) => wrap(id, &self.bytes),
            (false, true) => wrap(id, &quoted(&self.bytes)),
            (false, false) => return None,
        };
        Some(Post { kind: Kind::Text, payload: payload.into() })
    }
}
