//! The written form of a stored connection: a JSON document that others can read, with what is
//! needed to dial again in `request`, or in `sealed` when it holds secrets.

use crate::{
    core::{
        id::ConnectionId,
        publish::{self, Format, Gaps, Ordering, Overflow},
        spec::{Record, Tags},
        time::Wall,
    },
    ports::{BackendError, Seal},
    wire::event::rfc3339,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// What was asked for, as far as a document tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The whole request.
    Request(Bytes),
    /// A document of the earlier service, which kept no more than this.
    Plain { url: String, auto_reconnect: bool },
}

/// What a document says, before its request is checked like any other.
#[derive(Debug)]
pub struct Stored {
    pub id: ConnectionId,
    pub source: Source,
    pub tags: Tags,
    pub publish: Option<publish::Spec>,
    pub created: Wall,
    pub epoch: u64,
    pub last_seq: Option<u64>,
    pub clean: bool,
}

pub fn encode(record: &Record, instance: &str, seal: &dyn Seal) -> Result<Bytes, BackendError> {
    let mut document = json!({
        "id": record.id.as_str(),
        "url": record.spec.dial.target.redacted(),
        "status": record.status.name(),
        "topic": record.publish.as_ref().map(|spec| &*spec.topic),
        "autoReconnect": record.spec.settings.auto_reconnect,
        "createdAt": rfc3339(record.created),
        "instanceId": instance,
        "tags": record.tags.iter().map(|(key, value)| (key.to_string(), json!(value))).collect::<Map<_, _>>(),
        "epoch": record.epoch,
        "clean": record.clean,
        "lastSeq": record.last_seq,
    });
    if let Some(spec) = &record.publish {
        document["publish"] = publish_to_json(spec);
    }
    if record.spec.has_secrets {
        let sealed = seal.seal(record.id.as_str(), &record.spec.source)?;
        document["sealed"] = STANDARD.encode(sealed).into();
    } else {
        document["request"] = STANDARD.encode(&record.spec.source).into();
    }
    Ok(document.to_string().into())
}

/// The error says what is wrong with the document; it is left as it is. The earlier service wrote
/// its names with a capital first letter, no epoch, and no request.
pub fn decode(document: &[u8], seal: &dyn Seal) -> Result<Stored, BackendError> {
    let value: Value = serde_json::from_slice(document).map_err(|error| bad(format!("not JSON: {error}")))?;
    let text = |key: &str| field(&value, key).as_str();
    let id = ConnectionId::parse(text("id").unwrap_or_default()).map_err(|why| bad(format!("id {why}")))?;
    let bytes = |key: &str| {
        text(key).map(|text| STANDARD.decode(text).map_err(|_| bad(format!("{key} is not base64"))))
    };
    let source = match (bytes("sealed").transpose()?, bytes("request").transpose()?, text("url")) {
        (Some(sealed), ..) => Source::Request(seal.open(id.as_str(), &sealed)?.into()),
        (None, Some(request), _) => Source::Request(request.into()),
        (None, None, Some(url)) => Source::Plain {
            url: url.to_owned(),
            auto_reconnect: field(&value, "autoReconnect").as_bool().unwrap_or(false),
        },
        (None, None, None) => return Err(bad("neither request, sealed nor url".into())),
    };
    let mut tags: Tags = field(&value, "tags")
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
        .collect();
    tags.sort();
    let created = text("createdAt").and_then(crate::wire::event::parse_rfc3339).unwrap_or_default();
    Ok(Stored {
        id,
        source,
        tags,
        publish: publish_from_json(text("topic"), &value["publish"]),
        created,
        // Taken by a fleet's member who has not written its own document yet: what was seen last.
        epoch: value["previousEpoch"].as_u64().or(value["epoch"].as_u64()).unwrap_or(0),
        last_seq: value["lastSeq"].as_u64(),
        clean: value["clean"].as_bool().unwrap_or(false),
    })
}

fn field<'a>(document: &'a Value, key: &str) -> &'a Value {
    let mut capital = key.to_owned();
    if let Some(first) = capital.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    match &document[key] {
        Value::Null => &document[capital.as_str()],
        found => found,
    }
}

fn bad(message: String) -> BackendError {
    BackendError { message, transient: false }
}

fn publish_to_json(spec: &publish::Spec) -> Value {
    let (overflow, key) = match &spec.overflow {
        Overflow::Spill => ("spill", None),
        Overflow::Pause => ("pause", None),
        Overflow::DropOldest => ("drop_oldest", None),
        Overflow::DropNewest => ("drop_newest", None),
        Overflow::KeepLatest { key } => ("keep_latest", key.as_deref()),
    };
    json!({
        "format": match spec.format { Format::Envelope => "envelope", Format::Payload => "payload", Format::Frames => "frames" },
        "relaxed": spec.ordering == Ordering::Relaxed,
        "gapsToLifecycle": spec.gaps == Gaps::Lifecycle,
        "overflow": overflow,
        "overflowKey": key,
    })
}

fn publish_from_json(topic: Option<&str>, value: &Value) -> Option<publish::Spec> {
    let topic = topic.filter(|topic| !topic.is_empty())?;
    Some(publish::Spec {
        topic: topic.into(),
        format: match value["format"].as_str() {
            Some("payload") => Format::Payload,
            Some("frames") => Format::Frames,
            _ => Format::Envelope,
        },
        ordering: if value["relaxed"] == true { Ordering::Relaxed } else { Ordering::Ordered },
        gaps: if value["gapsToLifecycle"] == true { Gaps::Lifecycle } else { Gaps::InBand },
        overflow: match value["overflow"].as_str() {
            Some("pause") => Overflow::Pause,
            Some("drop_oldest") => Overflow::DropOldest,
            Some("drop_newest") => Overflow::DropNewest,
            Some("keep_latest") => {
                Overflow::KeepLatest { key: value["overflowKey"].as_str().map(str::to_owned) }
            }
            _ => Overflow::Spill,
        },
    })
}
