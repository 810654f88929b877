//! Events as a subscriber reads them: any of the three formats, gap records, end markers.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Epoch and seq.
pub type Place = (u64, u64);

pub enum Record {
    Message(Message),
    Gap(Gap),
    End { epoch: u64, last_seq: u64 },
}

pub struct Message {
    pub place: Place,
    pub bytes: Vec<u8>,
    pub possible_duplicate: bool,
}

/// Both ends are exclusive.
#[derive(Clone)]
pub struct Gap {
    /// No seq: from the last one that came.
    pub from: (u64, Option<u64>),
    /// None: nothing follows.
    pub to: Option<Place>,
    pub cause: String,
}

const OURS: &str = "com.virtufin.websocketmanager.";

/// What an event tells of which connection; nothing for events of other makes and lifecycles.
pub fn event(event: &Value) -> Result<Vec<(String, Record)>, String> {
    let Some(kind) = event["type"].as_str().and_then(|kind| kind.strip_prefix(OURS)) else {
        return Ok(Vec::new());
    };
    match kind {
        "message" => messages(event),
        "gap" => {
            let data = &event["data"];
            let to = match &data["to"] {
                Value::Null => None,
                to => Some((number(to, "epoch")?, number(to, "seq")?)),
            };
            let from = &data["from"];
            let from = (number(from, "epoch")?, from["seq"].as_u64());
            let gap = Gap { from, to, cause: text(data, "cause")? };
            Ok(vec![(text(data, "websocketId")?, Record::Gap(gap))])
        }
        "end" => {
            let data = &event["data"];
            let end = Record::End { epoch: number(data, "epoch")?, last_seq: number(data, "lastSeq")? };
            Ok(vec![(text(data, "websocketId")?, end)])
        }
        _ => Ok(Vec::new()),
    }
}

fn messages(event: &Value) -> Result<Vec<(String, Record)>, String> {
    if event.get("websocketid").is_some() {
        let place = (extension(event, "epoch")?, extension(event, "seq")?);
        let bytes = content(event, "data", "data_base64")?;
        let possible_duplicate = event["possibleduplicate"] == true;
        let message = Message { place, bytes, possible_duplicate };
        return Ok(vec![(text(event, "websocketid")?, Record::Message(message))]);
    }
    let data = &event["data"];
    let (id, epoch) = (text(data, "websocketId")?, number(data, "epoch")?);
    let alone = std::slice::from_ref(data);
    let elements = data["messages"].as_array().map_or(alone, Vec::as_slice);
    let message = |one: &Value| {
        let place = (epoch, number(one, "seq")?);
        let bytes = content(one, "payload", "payloadBase64")?;
        let possible_duplicate = one["possibleDuplicate"] == true;
        Ok((id.clone(), Record::Message(Message { place, bytes, possible_duplicate })))
    };
    elements.iter().map(message).collect()
}

fn content(of: &Value, plain: &str, base64: &str) -> Result<Vec<u8>, String> {
    match of.get(plain) {
        // A broker's sidecar may have parsed a JSON message; its text is the best that is left.
        Some(Value::String(text)) => Ok(text.clone().into_bytes()),
        Some(other) => Ok(other.to_string().into_bytes()),
        None => STANDARD.decode(text(of, base64)?).map_err(|error| format!("{base64}: {error}")),
    }
}

fn text(of: &Value, key: &str) -> Result<String, String> {
    of[key].as_str().map(str::to_owned).ok_or_else(|| format!("{key} is no text"))
}

fn number(of: &Value, key: &str) -> Result<u64, String> {
    of[key].as_u64().ok_or_else(|| format!("{key} is no number"))
}

/// Numbers in extensions are written as text.
fn extension(of: &Value, key: &str) -> Result<u64, String> {
    text(of, key)?.parse().map_err(|error| format!("{key}: {error}"))
}
