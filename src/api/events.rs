//! One event of our own on the bus: a reply, a request.

use crate::{
    core::{
        id::ConnectionId,
        publish::batch::{Batch, BatchId, Event, EventKind, PublishError},
    },
    limits,
    ports::Bus,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

/// Such batches have numbers that no shard gives.
const BATCHES_FROM: u64 = 1 << 63;

pub struct Letter {
    pub topic: Arc<str>,
    /// A batch is about a connection: those of one keep their order unless they are `relaxed`.
    pub about: ConnectionId,
    pub relaxed: bool,
    /// A CloudEvent, JSON. Its id makes one of what is published twice.
    pub event: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    Taken,
    /// The bus will never take it: too large, mostly.
    Refused,
    /// The bus did not take it in time; it may have arrived.
    Lost,
}

/// Again and again until the bus takes it, within `wait`.
pub async fn publish(bus: &Arc<dyn Bus>, letter: Letter, wait: Duration) -> Published {
    static BATCHES: AtomicU64 = AtomicU64::new(BATCHES_FROM);
    let Letter { topic, about, relaxed, event } = letter;
    let one = Event {
        topic,
        connection: about,
        // Like lifecycle events it has no number and is no message of a connection.
        kind: EventKind::Lifecycle,
        epoch: 0,
        first_seq: 0,
        last_seq: 0,
        messages: 0,
        relaxed,
        range: 0..event.len(),
    };
    let id = BatchId(BATCHES.fetch_add(1, Ordering::Relaxed));
    let batch = Arc::new(Batch { id, bytes: event, events: vec![one] });
    let until = Instant::now() + wait;
    let mut pause = limits::PUBLISH_RETRY_BASE;
    loop {
        let (done, answer) = oneshot::channel();
        // Whoever waited no longer may be gone.
        bus.publish(batch.clone(), Box::new(move |result| drop(done.send(result))));
        match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(Ok(()))) => return Published::Taken,
            Ok(Ok(Err(PublishError::Refused(_)))) => return Published::Refused,
            // It may have arrived: its id is the same the next time.
            Ok(Ok(Err(PublishError::Retry))) if Instant::now() + pause < until => {
                sleep_until(Instant::now() + pause).await;
                pause = (pause * 2).min(limits::PUBLISH_RETRY_MAX);
            }
            Ok(_) | Err(_) => return Published::Lost,
        }
    }
}
