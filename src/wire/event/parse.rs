//! The way back: what a follower of a topic gets out of an event. Not a hot path.

use super::{CONTENT_BINARY, CONTENT_TEXT, SOURCE, TYPE_END, TYPE_GAP, TYPE_MESSAGE, parse_rfc3339};
use crate::core::{reason::GapCause, sequence::Gap, time::Wall};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Text(String),
    Binary(Vec<u8>),
    Gap(Gap),
    End {
        epoch: u64,
        last_seq: u64,
    },
    /// Not one of ours, or not as we write them: the whole event as it came.
    Foreign(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedMessage {
    /// The connection; empty for a foreign event without a subject.
    pub id: String,
    pub epoch: u64,
    /// For a gap record or end marker, the last seq before it.
    pub seq: u64,
    pub timestamp: Option<Wall>,
    pub content_type: String,
    pub reply: bool,
    pub possible_duplicate: bool,
    pub body: Body,
}

/// One message, or as many as a `frames` event holds. Never fails: what cannot be understood is
/// handed on as foreign.
pub fn parse_event(json: &[u8]) -> Vec<ParsedMessage> {
    let event = match serde_json::from_slice::<Value>(json) {
        Ok(Value::Object(event)) => event,
        _ => return vec![foreign(&Map::new(), json)],
    };
    read_own(&event).unwrap_or_else(|| vec![foreign(&event, json)])
}

fn read_own(event: &Map<String, Value>) -> Option<Vec<ParsedMessage>> {
    if text(event, "source")? != SOURCE {
        return None;
    }
    match text(event, "type")? {
        TYPE_MESSAGE => read_message(event),
        TYPE_GAP => read_gap(event).map(|gap| vec![gap]),
        TYPE_END => read_end(event).map(|end| vec![end]),
        _ => None,
    }
}

fn read_message(event: &Map<String, Value>) -> Option<Vec<ParsedMessage>> {
    if event.contains_key("websocketid") {
        return read_payload(event).map(|message| vec![message]);
    }
    let data = event.get("data")?.as_object()?;
    let (id, epoch) = (text(data, "websocketId")?, number(data, "epoch")?);
    match data.get("messages") {
        Some(messages) => {
            messages.as_array()?.iter().map(|one| read_content(id, epoch, one.as_object()?)).collect()
        }
        None => read_content(id, epoch, data).map(|message| vec![message]),
    }
}

/// An envelope's data, or an element of a `frames` event.
fn read_content(id: &str, epoch: u64, data: &Map<String, Value>) -> Option<ParsedMessage> {
    let body = match data.get("payload") {
        Some(payload) => Body::Text(payload.as_str()?.to_owned()),
        None => Body::Binary(STANDARD.decode(text(data, "payloadBase64")?).ok()?),
    };
    Some(ParsedMessage {
        id: id.to_owned(),
        epoch,
        seq: number(data, "seq")?,
        timestamp: time(data, "timestamp"),
        content_type: content_type(data, "contentType", &body),
        reply: flag(data, "reply"),
        possible_duplicate: flag(data, "possibleDuplicate"),
        body,
    })
}

fn read_payload(event: &Map<String, Value>) -> Option<ParsedMessage> {
    let body = match event.get("data") {
        Some(data) => Body::Text(data.as_str()?.to_owned()),
        None => Body::Binary(STANDARD.decode(text(event, "data_base64")?).ok()?),
    };
    Some(ParsedMessage {
        id: text(event, "websocketid")?.to_owned(),
        epoch: text(event, "epoch")?.parse().ok()?,
        seq: text(event, "seq")?.parse().ok()?,
        timestamp: time(event, "time"),
        content_type: content_type(event, "contenttype", &body),
        reply: flag(event, "reply"),
        possible_duplicate: flag(event, "possibleduplicate"),
        body,
    })
}

fn read_gap(event: &Map<String, Value>) -> Option<ParsedMessage> {
    let data = event.get("data")?.as_object()?;
    let from = data.get("from")?.as_object()?;
    let to = match data.get("to")? {
        Value::Null => None,
        to => Some((number(to.as_object()?, "epoch")?, number(to.as_object()?, "seq")?)),
    };
    let gap = Gap {
        from: (number(from, "epoch")?, optional(from, "seq")?),
        to,
        cause: GapCause::from_name(text(data, "cause")?)?,
        count: optional(data, "count")?,
    };
    let (epoch, seq) = gap.place();
    Some(record(event, text(data, "websocketId")?, epoch, seq, Body::Gap(gap)))
}

fn read_end(event: &Map<String, Value>) -> Option<ParsedMessage> {
    let data = event.get("data")?.as_object()?;
    let (epoch, last_seq) = (number(data, "epoch")?, number(data, "lastSeq")?);
    Some(record(event, text(data, "websocketId")?, epoch, last_seq, Body::End { epoch, last_seq }))
}

fn record(event: &Map<String, Value>, id: &str, epoch: u64, seq: u64, body: Body) -> ParsedMessage {
    ParsedMessage {
        id: id.to_owned(),
        epoch,
        seq,
        timestamp: time(event, "time"),
        content_type: String::new(),
        reply: false,
        possible_duplicate: false,
        body,
    }
}

fn foreign(event: &Map<String, Value>, json: &[u8]) -> ParsedMessage {
    let id = text(event, "subject").unwrap_or_default();
    let content = text(event, "datacontenttype").unwrap_or_default().to_owned();
    ParsedMessage { content_type: content, ..record(event, id, 0, 0, Body::Foreign(json.to_vec())) }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

fn number(object: &Map<String, Value>, key: &str) -> Option<u64> {
    object.get(key)?.as_u64()
}

/// None when it is missing or not a number; Some(None) for null.
fn optional(object: &Map<String, Value>, key: &str) -> Option<Option<u64>> {
    match object.get(key)? {
        Value::Null => Some(None),
        value => value.as_u64().map(Some),
    }
}

fn flag(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn time(object: &Map<String, Value>, key: &str) -> Option<Wall> {
    parse_rfc3339(text(object, key)?)
}

fn content_type(object: &Map<String, Value>, key: &str, body: &Body) -> String {
    let usual = if matches!(body, Body::Text(_)) { CONTENT_TEXT } else { CONTENT_BINARY };
    text(object, key).unwrap_or(usual).to_owned()
}

#[cfg(test)]
mod tests;
