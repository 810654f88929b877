//! The answer to a command, as an event.

use super::counters::ReplyOutcome;
use crate::{
    api::{
        events::{self, Letter, Published},
        status,
    },
    core::{id::ConnectionId, names::Topic, reason::Fault, time::Wall},
    limits,
    ports::Bus,
    wire::event::{SOURCE, rfc3339},
};
use serde_json::{Value, json};
use std::sync::Arc;

pub const TYPE_REPLY: &str = "com.virtufin.websocketmanager.reply";
/// A batch is about a connection; one that is about none goes under this name.
const NOBODY: &str = "commands";

/// Where a reply goes and what it answers.
pub struct Address {
    pub topic: Topic,
    /// The command's `replyid`, or its own id.
    pub correlation: String,
    pub key: u128,
    pub connection: String,
    /// The method, as far as it is known.
    pub method: Option<&'static str>,
    pub traceparent: Option<String>,
}

/// `response` is proto3 JSON; a fault becomes the `google.rpc.Status` that REST gives.
pub fn render(address: &Address, answer: &Result<Vec<u8>, Fault>, now: Wall) -> Vec<u8> {
    let (code, data) = match answer {
        Ok(response) => (0, serde_json::from_slice(response).unwrap_or(Value::Null)),
        Err(fault) => (status::row(fault.kind).grpc as i32, status::to_json(fault)),
    };
    let mut event = json!({
        "specversion": "1.0",
        // Of the command's own: a reply that is published twice is one reply.
        "id": format!("reply-{:032x}", address.key),
        "source": SOURCE,
        "type": TYPE_REPLY,
        "time": rfc3339(now),
        "datacontenttype": "application/json",
        "replyid": address.correlation,
        "grpccode": code,
        "data": data,
    });
    let optional = [
        ("method", address.method),
        ("subject", Some(address.connection.as_str()).filter(|id| !id.is_empty())),
        ("traceparent", address.traceparent.as_deref()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            event[name] = value.into();
        }
    }
    event.to_string().into_bytes()
}

pub async fn publish(bus: &Arc<dyn Bus>, address: &Address, event: Vec<u8>) -> ReplyOutcome {
    let named = ConnectionId::parse(&address.connection).or_else(|_| ConnectionId::parse(NOBODY));
    let Ok(about) = named else { return ReplyOutcome::Refused };
    let letter = Letter { topic: address.topic.shared(), about, relaxed: false, event };
    match events::publish(bus, letter, limits::COMMAND_REPLY_WAIT).await {
        Published::Taken => ReplyOutcome::Published,
        Published::Refused => ReplyOutcome::Refused,
        Published::Lost => ReplyOutcome::Lost,
    }
}
