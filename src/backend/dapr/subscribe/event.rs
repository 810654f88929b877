//! An event as the sidecar hands it over, put together again as one CloudEvent in JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use dapr::dapr::proto::runtime::v1::TopicEventRequest;
use prost_types::{Struct, value::Kind};
use serde_json::{Map, Value};

/// Lists and objects in extensions that are nested deeper than this are left out: JSON readers stop
/// at about as much.
const DEPTH_MAX: u32 = 64;

pub fn render(event: TopicEventRequest) -> Vec<u8> {
    let mut whole = match event.extensions {
        Some(extensions) => object(extensions, 0),
        None => Map::new(),
    };
    let attributes = [
        ("specversion", event.spec_version),
        ("id", event.id),
        ("source", event.source),
        ("type", event.r#type),
        ("topic", event.topic),
        ("pubsubname", event.pubsub_name),
    ];
    for (name, value) in attributes {
        if !value.is_empty() {
            whole.insert(name.into(), value.into());
        }
    }
    let content_type = event.data_content_type;
    if !event.data.is_empty() {
        let (name, data) = data(&content_type, event.data);
        whole.insert(name.into(), data);
    }
    if !content_type.is_empty() {
        whole.insert("datacontenttype".into(), content_type.into());
    }
    Value::Object(whole).to_string().into_bytes()
}

/// JSON as it is, other text as a string, the rest in base64.
fn data(content_type: &str, data: Vec<u8>) -> (&'static str, Value) {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = media == "application/json" || media.ends_with("+json");
    if json && let Ok(value) = serde_json::from_slice(&data) {
        return ("data", value);
    }
    match String::from_utf8(data) {
        Ok(text) => ("data", text.into()),
        Err(error) => ("data_base64", STANDARD.encode(error.as_bytes()).into()),
    }
}

fn object(fields: Struct, depth: u32) -> Map<String, Value> {
    fields.fields.into_iter().filter_map(|(name, value)| Some((name, plain(value, depth + 1)?))).collect()
}

fn plain(value: prost_types::Value, depth: u32) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    match value.kind? {
        Kind::NullValue(_) => None,
        Kind::NumberValue(number) => serde_json::Number::from_f64(number).map(Value::Number),
        Kind::StringValue(text) => Some(text.into()),
        Kind::BoolValue(flag) => Some(flag.into()),
        Kind::StructValue(fields) => Some(Value::Object(object(fields, depth))),
        Kind::ListValue(list) => {
            Some(list.values.into_iter().filter_map(|value| plain(value, depth + 1)).collect())
        }
    }
}
