//! Publishing by the real binary: with a real sidecar and the Redis behind it, or with Redis alone.
//! What an upstream said is compared with what stands in the topic's stream.

mod commands;
mod feed;
mod formats;
mod full;
mod names;
mod order;
mod outage;
mod poison;

use crate::harness::{Service, metrics::Metrics, redis::Redis, wait_for};
use serde_json::Value;
use websocket_manager::proto::ConnectRequest;

/// A Connect from its JSON.
pub fn request(value: Value) -> ConnectRequest {
    serde_json::from_value(value).expect("a request")
}

/// Once nothing that was said is on its way any more, what the service counted by then.
pub async fn settled(service: &Service, said: usize) -> Metrics {
    wait_for("everything to be published", async || {
        let metrics = service.metrics().await;
        let sum = |name| metrics.sum(name, &[]);
        let came = sum("wsm_publish_accepted_total") >= said as f64;
        let waits = sum("wsm_publish_pending_messages") + sum("wsm_publish_spilled_messages");
        (came && waits == 0.0).then_some(metrics)
    })
    .await
}

/// Connection, epoch and seq of the messages of a topic in envelopes, in its order.
pub async fn places(redis: &Redis, topic: &str, connection: &str) -> Vec<(u64, u64)> {
    let events = redis.events(topic).await;
    let own = events.iter().filter(|event| {
        event["subject"] == connection && event["type"] == "com.virtufin.websocketmanager.message"
    });
    let number = |event: &Value, key: &str| event["data"][key].as_u64().expect("a number");
    own.map(|event| (number(event, "epoch"), number(event, "seq"))).collect()
}
