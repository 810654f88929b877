//! The answer to a command, as an event.

use super::counters::ReplyOutcome;
use crate::{
    api::status,
    core::{
        id::ConnectionId,
        names::Topic,
        publish::batch::{Batch, BatchId, Event, EventKind, PublishError},
        reason::Fault,
        time::Wall,
    },
    limits,
    ports::Bus,
    wire::event::{SOURCE, rfc3339},
};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

pub const TYPE_REPLY: &str = "com.virtufin.websocketmanager.reply";
/// Batches of replies have numbers that no shard gives.
const BATCHES_FROM: u64 = 1 << 63;
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
    static BATCHES: AtomicU64 = AtomicU64::new(BATCHES_FROM);
    let Some(connection) =
        ConnectionId::parse(&address.connection).or_else(|_| ConnectionId::parse(NOBODY)).ok()
    else {
        return ReplyOutcome::Refused;
    };
    let range = 0..event.len();
    let event_of = Event {
        topic: address.topic.shared(),
        connection,
        // Like lifecycle events it has no number and is no message of a connection.
        kind: EventKind::Lifecycle,
        epoch: 0,
        first_seq: 0,
        last_seq: 0,
        messages: 0,
        relaxed: false,
        range,
    };
    let id = BatchId(BATCHES.fetch_add(1, Ordering::Relaxed));
    let batch = Arc::new(Batch { id, bytes: event, events: vec![event_of] });
    let until = Instant::now() + limits::COMMAND_REPLY_WAIT;
    let mut pause = limits::PUBLISH_RETRY_BASE;
    loop {
        let (done, answer) = oneshot::channel();
        // Whoever waited no longer may be gone.
        bus.publish(batch.clone(), Box::new(move |result| drop(done.send(result))));
        match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(Ok(()))) => return ReplyOutcome::Published,
            Ok(Ok(Err(PublishError::Refused(_)))) => return ReplyOutcome::Refused,
            // It may have arrived: its id is the same the next time.
            Ok(Ok(Err(PublishError::Retry))) if Instant::now() + pause < until => {
                sleep_until(Instant::now() + pause).await;
                pause = (pause * 2).min(limits::PUBLISH_RETRY_MAX);
            }
            Ok(_) | Err(_) => return ReplyOutcome::Lost,
        }
    }
}
