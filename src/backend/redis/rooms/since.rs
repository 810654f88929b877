//! Reading what is kept.

use super::{NUMBER, STREAM, Shared, key, scripts};
use crate::{
    backend::redis::{fault::Fault, link::Link, stats::add, values},
    core::{
        names::RoomName,
        rooms::{Kept, Message, Position},
    },
    limits::REDIS_ROOM_READS_IN_FLIGHT,
    ports::{BackendError, Done},
    wire,
};
use bytes::Bytes;
use redis::Value;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};

pub struct Job {
    pub room: RoomName,
    pub after: Option<Position>,
    pub limit: usize,
    pub done: Done<Result<Kept, BackendError>>,
    pub until: Instant,
}

pub async fn run(shared: Arc<Shared>, mut inbox: mpsc::Receiver<Job>) {
    let link = Link::start(&shared.tools, "rooms' histories", Duration::ZERO);
    let places = Arc::new(Semaphore::new(REDIS_ROOM_READS_IN_FLIGHT));
    while let Some(job) = inbox.recv().await {
        if !job.done.wanted() {
            continue;
        }
        // Never closed. Each holder ends by its own deadline, so this does too.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (shared, link) = (shared.clone(), link.clone());
        tokio::spawn(async move {
            let Job { room, after, limit, done, until } = job;
            add(&shared.counters.reads, 1);
            let kept = read(&shared, link, &room, after, limit, until).await;
            drop(place);
            done.complete(kept.map_err(|fault| {
                add(&shared.counters.read_errors, 1);
                fault.error(&shared.tools.settings)
            }));
        });
    }
}

async fn read(
    shared: &Shared,
    mut link: Link,
    room: &RoomName,
    after: Option<Position>,
    limit: usize,
    until: Instant,
) -> Result<Kept, Fault> {
    let mut call = redis::cmd("EVAL");
    call.arg(scripts::SINCE).arg(2).arg(key(NUMBER, room)).arg(key(STREAM, room));
    call.arg(after.map(behind).unwrap_or_default()).arg(limit.max(1));
    let answer = loop {
        let generation = link.current().map(|live| live.generation);
        match link.command(&call, until).await {
            // Read after a break, which this connection may have seen as well and not told yet.
            Err(fault) if fault.of_connection && Instant::now() < until => {
                let another = async {
                    while link.current().map(|live| live.generation) == generation {
                        link.changed().await;
                    }
                };
                if timeout_at(until, another).await.is_err() {
                    return Err(fault);
                }
            }
            answer => break answer?,
        }
    };
    let unexpected = || Fault::answer("a script");
    let Value::Array(mut parts) = answer else { return Err(unexpected()) };
    let (Some(Value::Array(entries)), Some(head)) = (parts.pop(), parts.pop()) else {
        return Err(unexpected());
    };
    let mut messages: Vec<_> = entries.into_iter().filter_map(|entry| message(shared, room, entry)).collect();
    if after.is_none() {
        messages.reverse();
    }
    Ok(kept(after, values::text(Some(&head)).and_then(parsed).unwrap_or_default(), messages))
}

/// There is none behind the highest, which the server does not take.
fn behind(after: Position) -> String {
    let Position { epoch, offset } = after;
    match offset.checked_add(1) {
        Some(_) => format!("{epoch}-{offset}"),
        None => format!("{epoch}-{}", offset - 1),
    }
}

fn parsed(text: &str) -> Option<Position> {
    let (epoch, offset) = text.split_once('-')?;
    Some(Position { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? })
}

/// None, counted: somebody else wrote it. It is then missing, which the numbers show.
fn message(shared: &Shared, room: &RoomName, entry: Value) -> Option<(Position, Message)> {
    let entry = whole(room, entry);
    if entry.is_none() {
        add(&shared.counters.malformed, 1);
        shared.complaints.say(&key(STREAM, room), "an entry of a stream is no message of its room");
    }
    entry
}

fn whole(room: &RoomName, entry: Value) -> Option<(Position, Message)> {
    let Value::Array(mut entry) = entry else { return None };
    let (Some(Value::Array(mut fields)), Some(id)) = (entry.pop(), entry.pop()) else { return None };
    let at = parsed(values::text(Some(&id))?)?;
    let Some(Value::BulkString(bytes)) = fields.pop() else { return None };
    let message = wire::rooms::decode(&Bytes::from(bytes)).ok()?;
    (message.at(room) == Some(at)).then_some((at, message))
}

fn kept(after: Option<Position>, head: Position, messages: Vec<(Position, Message)>) -> Kept {
    let recovered = match (after, messages.first()) {
        (None, _) => true,
        (Some(after), Some((first, _))) => {
            first.epoch == after.epoch && Some(first.offset) == after.offset.checked_add(1)
        }
        (Some(after), None) => after == head,
    };
    Kept { recovered, head, messages: messages.into_iter().map(|(_, message)| Arc::new(message)).collect() }
}
