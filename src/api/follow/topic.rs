//! Following a topic: its log is asked for what comes after an offset.

use super::{From, Opened, Sender, push, run, unnamed_gap};
use crate::{
    api::{convert, service::Readiness},
    core::reason::{Fault, FaultKind, GapCause},
    limits,
    ports::{BackendError, Bus, Completion, TopicChunk, TopicFrom},
    proto::ReceivedMessage,
    wire::{
        cursor::{Cursor, CursorKind},
        event,
    },
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Answers a fetch of the bus; a reader that went away is not waited for.
struct Chunk(oneshot::Sender<Result<TopicChunk, BackendError>>);

impl Completion<Result<TopicChunk, BackendError>> for Chunk {
    fn complete(self: Box<Self>, answer: Result<TopicChunk, BackendError>) {
        // Nobody waits any more: nothing is lost, the log keeps it.
        let _ = self.0.send(answer);
    }

    fn wanted(&self) -> bool {
        !self.0.is_closed()
    }
}

async fn fetch_topic(bus: &dyn Bus, topic: &str, from: TopicFrom) -> Result<TopicChunk, Fault> {
    let (sender, receiver) = oneshot::channel();
    bus.fetch(topic, from, limits::FETCH_BYTES_MAX, Box::new(Chunk(sender)));
    match receiver.await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) if error.transient => Err(Fault::new(FaultKind::Unavailable, error.message)),
        Ok(Err(error)) => Err(Fault::invalid("cursor", error.message)),
        Err(_) => Err(Fault::new(FaultKind::Unavailable, "the bus has stopped")),
    }
}

/// A cursor of a topic names an event and how many of its messages were delivered: a `frames`
/// event holds many.
const MESSAGE_BITS: u32 = 16;

pub async fn topic(
    readiness: Arc<Readiness>,
    bus: Arc<dyn Bus>,
    topic: String,
    from: From<'_>,
) -> Result<Opened<ReceivedMessage>, Fault> {
    let (start, skip) = match from {
        From::Now => (TopicFrom::Now, 0),
        From::Start => (TopicFrom::Start, 0),
        From::After(cursor) => match Cursor::decode_for(cursor, CursorKind::Topic)? {
            Cursor::Topic { offset } => {
                (TopicFrom::Offset(offset >> MESSAGE_BITS), offset as usize & ((1 << MESSAGE_BITS) - 1))
            }
            _ => return Err(Fault::invalid("cursor", "is not of a topic")),
        },
    };
    let start = match start {
        TopicFrom::Now => TopicFrom::Offset(fetch_topic(&*bus, &topic, TopicFrom::Now).await?.next),
        other => other,
    };
    let cursor = match (from, start) {
        (From::Now, TopicFrom::Offset(next)) => Some(Cursor::Topic { offset: next << MESSAGE_BITS }.encode()),
        _ => None,
    };
    let flow = run(readiness, move |sender| Box::pin(follow_topic(bus, topic, start, skip, sender)));
    Ok(Opened { cursor, flow })
}

async fn follow_topic(
    bus: Arc<dyn Bus>,
    topic: String,
    start: TopicFrom,
    skip: usize,
    sender: Sender<ReceivedMessage>,
) -> Result<(), Fault> {
    let (mut from, mut skip) = (start, skip);
    loop {
        let chunk = fetch_topic(&*bus, &topic, from).await?;
        if chunk.skipped > 0 {
            skip = 0;
            let offset = chunk.events.first().map_or(chunk.next, |event| event.offset);
            let cursor = Cursor::Topic { offset: offset << MESSAGE_BITS }.encode();
            let mut gap = unnamed_gap(cursor, GapCause::NotRetained, Some(chunk.skipped));
            gap.topic = topic.clone();
            push(&sender, gap).await?;
        }
        for published in &chunk.events {
            let messages = event::parse_event(&published.event);
            let count = messages.len();
            for (nth, message) in messages.into_iter().enumerate().skip(std::mem::take(&mut skip)) {
                let done = if nth + 1 == count {
                    (published.offset + 1) << MESSAGE_BITS
                } else {
                    (published.offset << MESSAGE_BITS) | (nth as u64 + 1)
                };
                let mut message = convert::parsed(message, &topic, published.offset);
                message.cursor = Cursor::Topic { offset: done }.encode();
                push(&sender, message).await?;
            }
        }
        from = TopicFrom::Offset(chunk.next);
    }
}
