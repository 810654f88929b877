//! Against a real redis-server.

mod documents;
mod faults;
mod fetch;
mod publish;
mod server;

use super::{Redis, RedisConfig};
use crate::{
    core::{
        id::ConnectionId,
        publish::batch::{Batch, BatchId, Event, EventKind, PublishError},
    },
    ports::{BackendError, Bus, TopicChunk, TopicFrom},
};
pub use server::RedisServer;
use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn open(server: &RedisServer) -> Redis {
    Redis::open(RedisConfig::new(server.url())).expect("it opens")
}

/// Waits for the thing itself.
pub fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "waited for: {what}");
        std::thread::yield_now();
    }
}

/// Ready to work.
pub fn opened(server: &RedisServer) -> Redis {
    let redis = open(server);
    wait_for("a connection", || redis.health().is_ok());
    redis
}

/// Runs an adapter's future where there is no runtime of its own.
pub fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// (topic, connection, seq); the JSON says both.
pub fn batch(id: u64, events: &[(&str, &str, u64)]) -> Arc<Batch> {
    let mut bytes = Vec::new();
    let mut list = Vec::new();
    for &(topic, connection, seq) in events {
        let start = bytes.len();
        bytes.extend_from_slice(format!(r#"{{"id":"{connection}/1/{seq}"}}"#).as_bytes());
        list.push(Event {
            relaxed: false,
            topic: topic.into(),
            connection: ConnectionId::parse(connection).expect("an id"),
            kind: EventKind::Message,
            epoch: 1,
            first_seq: seq,
            last_seq: seq,
            messages: 1,
            range: start..bytes.len(),
        });
    }
    Arc::new(Batch { id: BatchId(id), bytes, events: list })
}

pub type Published = mpsc::Receiver<Result<(), PublishError>>;

pub fn hand_over(bus: &dyn Bus, batch: &Arc<Batch>) -> Published {
    let (sender, receiver) = mpsc::sync_channel(1);
    bus.publish(batch.clone(), Box::new(move |answer| drop(sender.send(answer))));
    receiver
}

pub fn publish(bus: &dyn Bus, batch: &Arc<Batch>) -> Result<(), PublishError> {
    hand_over(bus, batch).recv_timeout(PATIENCE).expect("an answer")
}

pub type Fetched = mpsc::Receiver<Result<TopicChunk, BackendError>>;

pub fn ask(bus: &dyn Bus, topic: &str, from: TopicFrom, bytes: usize) -> Fetched {
    let (sender, receiver) = mpsc::sync_channel(1);
    bus.fetch(topic, from, bytes, Box::new(move |answer| drop(sender.send(answer))));
    receiver
}

pub fn fetch(bus: &dyn Bus, topic: &str, from: TopicFrom) -> Result<TopicChunk, BackendError> {
    ask(bus, topic, from, 64 * 1024).recv_timeout(PATIENCE).expect("an answer")
}

/// The ids of a chunk's events.
pub fn ids(chunk: &TopicChunk) -> Vec<String> {
    chunk.events.iter().map(|event| id_of(&event.event)).collect()
}

pub fn id_of(event: &[u8]) -> String {
    let event: serde_json::Value = serde_json::from_slice(event).expect("JSON");
    event["id"].as_str().expect("an id").to_owned()
}
