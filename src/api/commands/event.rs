//! A delivered event, read as a command.
//!
//! Callers reach the topic in several ways, and each of them arrives here as one CloudEvent:
//! published as a CloudEvent (Dapr's `application/cloudevents+json`, or `rawPayload`); as plain JSON
//! that Dapr wrapped, with the type set by the publish metadata `cloudevent.type`; or as a CloudEvent
//! that Dapr took for plain JSON and wrapped once more, in which case the inner one counts.

use crate::{
    api::caller,
    core::{reason::Fault, time::Wall},
    limits,
    wire::event::parse_rfc3339,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// What Dapr calls an event that it has wrapped itself.
const WRAPPED: &str = "com.dapr.event.sent";

pub struct Event {
    pub id: String,
    pub source: String,
    pub kind: String,
    pub time: Time,
    /// As it came: not checked.
    pub reply_to: Option<String>,
    pub reply_id: Option<String>,
    pub traceparent: Option<String>,
    /// The request message; or why it cannot be one.
    pub data: Result<Map<String, Value>, Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    Absent,
    Unreadable,
    At(Wall),
}

/// Why there is nothing to answer to.
pub type Malformed = &'static str;

pub fn read(json: &[u8]) -> Result<Event, Malformed> {
    if json.len() > limits::REQUEST_BYTES_MAX {
        return Err("the event is larger than a request may be");
    }
    let Ok(Value::Object(outer)) = serde_json::from_slice(json) else {
        return Err("the event is not a JSON object");
    };
    let event = take(outer)?;
    match event.data {
        Ok(inner) if event.kind == WRAPPED && is_event(&inner) => {
            let inner = take(inner)?;
            let traceparent = inner.traceparent.or(event.traceparent);
            Ok(Event { traceparent, ..inner })
        }
        data => Ok(Event { data, ..event }),
    }
}

fn is_event(object: &Map<String, Value>) -> bool {
    ["specversion", "id", "type"].iter().all(|name| object.get(*name).is_some_and(Value::is_string))
}

fn take(mut event: Map<String, Value>) -> Result<Event, Malformed> {
    let data = data(&mut event);
    let mut text = |name: &str| match event.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let id = text("id").ok_or("the event has no id: by it a redelivery is told from a new command")?;
    let kind = text("type").ok_or("the event has no type: it names the method")?;
    let source = text("source").unwrap_or_default();
    if [&id, &source, &kind].iter().any(|text| text.len() > limits::COMMAND_NAME_BYTES_MAX) {
        return Err("the event's id, source or type is too long");
    }
    let (reply_to, reply_id) = (text("replyto"), text("replyid"));
    if reply_id.as_ref().is_some_and(|text| text.len() > limits::COMMAND_NAME_BYTES_MAX) {
        return Err("the event's replyid is too long");
    }
    let traceparent = text("traceparent").and_then(|text| caller::traceparent(&text));
    let time = match text("time") {
        None => Time::Absent,
        Some(text) => parse_rfc3339(&text).map_or(Time::Unreadable, Time::At),
    };
    Ok(Event { id, source, kind, time, reply_to, reply_id, traceparent, data })
}

/// An object, as it stands, as text or in base64; none at all is the empty request.
fn data(event: &mut Map<String, Value>) -> Result<Map<String, Value>, Fault> {
    let plain = event.remove("data").filter(|data| !data.is_null());
    let encoded = event.remove("data_base64").filter(|data| !data.is_null());
    let value = match (plain, encoded) {
        (None, None) => return Ok(Map::new()),
        (Some(_), Some(_)) => return Err(Fault::invalid("data", "give data or data_base64, not both")),
        (Some(Value::String(text)), None) => parse("data", text.as_bytes())?,
        (Some(value), None) => value,
        (None, Some(Value::String(text))) => {
            let bytes = STANDARD.decode(text).map_err(|_| Fault::invalid("data_base64", "is not base64"))?;
            parse("data_base64", &bytes)?
        }
        (None, Some(_)) => return Err(Fault::invalid("data_base64", "must be a string")),
    };
    match value {
        Value::Object(data) => Ok(data),
        _ => Err(Fault::invalid("data", "must be the request message, a JSON object")),
    }
}

fn parse(field: &'static str, bytes: &[u8]) -> Result<Value, Fault> {
    // The parser's own words name a place, never a value.
    serde_json::from_slice(bytes).map_err(|error| Fault::invalid(field, format!("is not JSON: {error}")))
}
