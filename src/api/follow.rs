//! Receive and Watch: followers that pull. A follower asks its shard, or the topic's log, for what
//! comes after its place and asks again when that was taken; nothing is pushed into a queue that
//! could grow.

mod room;
mod topic;

pub use room::{RoomLog, room};
pub use topic::topic;

use super::{
    convert,
    service::{Flow, Readiness, leaving},
};
use crate::{
    core::{
        follow::continuity::{Continuity, Numbers},
        id::ConnectionId,
        io::{Answer, Command, Context, Fetch, FetchFrom, Fetched, Follow, Followed},
        reason::{Fault, FaultKind, GapCause},
        ring::RecordKind,
        sequence::{End, Gap},
        watch,
    },
    limits,
    proto::{LifecycleEvent, ReceivedMessage, received_message::Body},
    shard::mailbox::Hub,
    wire::cursor::{Cursor, CursorKind, RingPlace},
};
use futures_core::Stream;
use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{self, Poll},
};
use tokio::{sync::mpsc, task::spawn_local};

/// Where a follower begins.
#[derive(Clone, Copy)]
pub enum From<'a> {
    Now,
    Start,
    After(&'a str),
}

pub type Sender<T> = mpsc::Sender<Result<T, Fault>>;

/// What a slow reader may leave between the follower and its stream.
pub const AHEAD: usize = 16;

struct Received<T>(mpsc::Receiver<Result<T, Fault>>);

impl<T> Stream for Received<T> {
    type Item = Result<T, Fault>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// Whom a follower asks, as whom, and for how long.
#[derive(Clone)]
pub struct Reader {
    pub hub: Hub,
    pub context: Context,
    pub readiness: Arc<Readiness>,
}

/// A follower that has begun.
pub struct Opened<T> {
    /// From where to go on if nothing comes; None: as it was asked for.
    pub cursor: Option<String>,
    pub flow: Flow<T>,
}

/// Runs a follower beside its stream, and ends it when nobody reads the stream any more. One that waits
/// for what will not come when the drain is over is told so, before its stream is cut.
pub fn run<T: Send + 'static>(
    readiness: Arc<Readiness>,
    follow: impl FnOnce(Sender<T>) -> Pin<Box<dyn Future<Output = Result<(), Fault>>>>,
) -> Flow<T> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let following = follow(sender.clone());
    spawn_local(async move {
        let ended = tokio::select! {
            biased;
            () = sender.closed() => return,
            ended = following => ended,
            () = readiness.over() => Err(leaving()),
        };
        if let Err(fault) = ended {
            // A reader that went away needs no error.
            let _ = sender.send(Err(fault)).await;
        }
    });
    Box::pin(Received(receiver))
}

pub async fn push<T>(sender: &Sender<T>, item: T) -> Result<(), Fault> {
    sender.send(Ok(item)).await.map_err(|_| Fault::new(FaultKind::Cancelled, "the reader went away"))
}

impl Reader {
    async fn fetch(&self, shard: u32, follow: Follow, from: FetchFrom, wait: bool) -> Result<Fetched, Fault> {
        let fetch = Fetch { follow, from, bytes_max: limits::FETCH_BYTES_MAX, wait };
        match self.hub.call(shard, self.context.clone(), Command::Fetch(Box::new(fetch))).await? {
            Answer::Fetched(fetched) => Ok(*fetched),
            _ => Err(Fault::new(FaultKind::Internal, "an answer of another kind")),
        }
    }

    async fn watched(&self, shard: u32, after: Option<u64>, wait: bool) -> Result<Watched, Fault> {
        match self.hub.call(shard, self.context.clone(), Command::Watch { after, wait }).await? {
            Answer::Watched { events, start, next, incarnation } => Ok((events, start, next, incarnation)),
            _ => Err(Fault::new(FaultKind::Internal, "an answer of another kind")),
        }
    }
}

/// Events, where they begin, what comes next, and of which run.
type Watched = (Vec<Arc<watch::LifecycleEvent>>, u64, u64, u64);

pub async fn connection(
    reader: Reader,
    id: ConnectionId,
    from: From<'_>,
) -> Result<Opened<ReceivedMessage>, Fault> {
    let shard = reader.hub.owner(&id);
    let mut resumed = None;
    let start = match from {
        From::Now => FetchFrom::Now,
        From::Start => FetchFrom::Start,
        From::After(cursor) => match Cursor::decode_for(cursor, CursorKind::Connection)? {
            Cursor::Connection { epoch, seq, hint } => {
                resumed = Some((epoch, seq));
                hint.map_or(FetchFrom::Start, |(incarnation, position)| FetchFrom::At {
                    incarnation,
                    position,
                })
            }
            _ => return Err(Fault::invalid("cursor", "is not of a connection")),
        },
    };
    let first = reader.fetch(shard, Follow::Connection(id.clone()), start, false).await?;
    let continuity = match (resumed, from, first.numbering) {
        (Some((epoch, seq)), ..) => {
            let continuity = Continuity::resume(epoch, seq);
            if first.numbering.is_some_and(|(epoch, last)| continuity.is_ahead_of(epoch, last)) {
                return Err(Fault::invalid("cursor", "is ahead of the connection: it is of another one"));
            }
            continuity
        }
        (None, From::Now, Some((epoch, last))) => Continuity::resume(epoch, last),
        (None, ..) => Continuity::from_start(),
    };
    let readiness = reader.readiness.clone();
    let follower = Follower { reader, shard, id, continuity };
    let cursor = matches!(from, From::Now).then(|| follower.cursor(first.incarnation, first.next));
    Ok(Opened { cursor, flow: run(readiness, move |sender| Box::pin(follower.follow(first, sender))) })
}

/// Follows one connection through its numbers.
struct Follower {
    reader: Reader,
    shard: u32,
    id: ConnectionId,
    continuity: Continuity,
}

impl Follower {
    async fn follow(mut self, first: Fetched, sender: Sender<ReceivedMessage>) -> Result<(), Fault> {
        let mut fetched = first;
        // What was read before anything could be missed is no overrun of a follower that begins now.
        loop {
            self.deliver(&fetched, &sender).await?;
            if fetched.gone {
                return self.reader.readiness.end_of_it();
            }
            let from = FetchFrom::At { incarnation: fetched.incarnation, position: fetched.next };
            let follow = Follow::Connection(self.id.clone());
            fetched = match self.reader.fetch(self.shard, follow, from, true).await {
                Ok(fetched) => fetched,
                // It is gone, and its last records were read.
                Err(fault) if fault.kind == FaultKind::NotFound => {
                    return self.reader.readiness.end_of_it();
                }
                Err(fault) => return Err(fault),
            };
        }
    }

    async fn deliver(&mut self, fetched: &Fetched, sender: &Sender<ReceivedMessage>) -> Result<(), Fault> {
        if fetched.overrun {
            self.continuity.overrun();
        }
        for record in &fetched.records {
            let step = self.continuity.record(numbers(record));
            if let Some(gap) = step.gap {
                self.push_gap(&gap, fetched.incarnation, record.position, sender).await?;
            }
            if step.deliver
                && let Some(mut message) = convert::followed(record)
            {
                message.cursor = self.cursor(fetched.incarnation, record.position);
                push(sender, message).await?;
            }
        }
        if !fetched.more
            && let Some((epoch, last)) = fetched.numbering
            && let Some(gap) = self.continuity.caught_up(epoch, last)
        {
            self.push_gap(&gap, fetched.incarnation, fetched.next, sender).await?;
        }
        Ok(())
    }

    async fn push_gap(
        &self,
        gap: &Gap,
        incarnation: u64,
        position: u64,
        sender: &Sender<ReceivedMessage>,
    ) -> Result<(), Fault> {
        let (epoch, seq) = self.continuity.last().unwrap_or_default();
        let message = ReceivedMessage {
            cursor: self.cursor(incarnation, position),
            id: self.id.to_string(),
            epoch,
            seq,
            body: Some(Body::Gap(convert::gap(gap))),
            ..Default::default()
        };
        push(sender, message).await
    }

    fn cursor(&self, incarnation: u64, position: u64) -> String {
        let (epoch, seq) = self.continuity.last().unwrap_or_default();
        Cursor::Connection { epoch, seq, hint: Some((incarnation, position)) }.encode()
    }
}

fn numbers(record: &Followed) -> Numbers {
    let found = match record.kind {
        RecordKind::Text | RecordKind::Binary => {
            Some(Numbers::Message { epoch: record.epoch, seq: record.seq })
        }
        RecordKind::Gap => Gap::decode(&record.payload).map(Numbers::Gap),
        RecordKind::End => End::decode(&record.payload).map(Numbers::End),
        RecordKind::Lifecycle => None,
    };
    found.unwrap_or(Numbers::Other)
}

/// All connections with some tags, or all that publish to a topic, through the rings of the shards.
pub async fn rings(reader: Reader, follow: Follow, from: From<'_>) -> Result<Opened<ReceivedMessage>, Fault> {
    let places = places(from, CursorKind::Filter)?;
    let mut starts = Vec::new();
    for shard in 0..reader.hub.shards() {
        let start = match (from, places.get(shard as usize)) {
            (From::Now, _) => FetchFrom::Now,
            (From::After(_), Some(&(incarnation, position))) => FetchFrom::At { incarnation, position },
            _ => FetchFrom::Start,
        };
        starts.push(reader.fetch(shard, follow.clone(), start, false).await?);
    }
    let places: Vec<_> = starts.iter().map(|first| (first.incarnation, first.next)).collect();
    let cursor = matches!(from, From::Now).then(|| Cursor::Filter { positions: places.clone() }.encode());
    let places = Rc::new(RefCell::new(places));
    let flow = run(reader.readiness.clone(), move |sender| {
        Box::pin(async move {
            let shards = starts.into_iter().enumerate().map(|(shard, first)| {
                let (follow, places) = (follow.clone(), places.clone());
                follow_ring(reader.clone(), shard as u32, follow, first, places, sender.clone())
            });
            first_of(shards.collect()).await
        })
    });
    Ok(Opened { cursor, flow })
}

fn places(from: From<'_>, kind: CursorKind) -> Result<Vec<RingPlace>, Fault> {
    match from {
        From::After(cursor) => match Cursor::decode_for(cursor, kind)? {
            Cursor::Filter { positions } | Cursor::Lifecycle { positions } => Ok(positions),
            _ => Err(Fault::invalid("cursor", "is of another source")),
        },
        _ => Ok(Vec::new()),
    }
}

async fn follow_ring(
    reader: Reader,
    shard: u32,
    follow: Follow,
    first: Fetched,
    places: Rc<RefCell<Vec<RingPlace>>>,
    sender: Sender<ReceivedMessage>,
) -> Result<(), Fault> {
    let topic = if let Follow::Topic(topic) = &follow { topic.to_string() } else { String::new() };
    let mut fetched = first;
    loop {
        let cursor_at = |position: u64| {
            let mut places = places.borrow_mut();
            places[shard as usize] = (fetched.incarnation, position);
            Cursor::Filter { positions: places.clone() }.encode()
        };
        if fetched.overrun {
            let position = fetched.records.first().map_or(fetched.next, |record| record.position);
            push(&sender, unnamed_gap(cursor_at(position), GapCause::NotRetained, None)).await?;
        }
        for record in &fetched.records {
            if let Some(mut message) = convert::followed(record) {
                message.cursor = cursor_at(record.position);
                message.topic = topic.clone();
                push(&sender, message).await?;
            }
        }
        let from = FetchFrom::At { incarnation: fetched.incarnation, position: fetched.next };
        fetched = reader.fetch(shard, follow.clone(), from, true).await?;
    }
}

/// Something is missing, of connections that cannot be named any more.
pub fn unnamed_gap(cursor: String, cause: GapCause, count: Option<u64>) -> ReceivedMessage {
    let gap = crate::proto::Gap { cause: cause.name().to_owned(), count, ..Default::default() };
    ReceivedMessage { cursor, body: Some(Body::Gap(gap)), ..Default::default() }
}

/// Runs all until the first ends.
async fn first_of<F: Future<Output = Result<(), Fault>>>(futures: Vec<F>) -> Result<(), Fault> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        for future in &mut futures {
            if let Poll::Ready(ended) = future.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

/// Lifecycle events of all shards.
pub async fn lifecycle(
    reader: Reader,
    from: From<'_>,
    wanted: impl Fn(&watch::LifecycleEvent) -> bool + Clone + 'static,
) -> Result<Opened<LifecycleEvent>, Fault> {
    let places = places(from, CursorKind::Lifecycle)?;
    let mut starts = Vec::new();
    for shard in 0..reader.hub.shards() {
        let (_, _, now, incarnation) = reader.watched(shard, None, false).await?;
        let position = match places.get(shard as usize) {
            Some(&(known, position)) if known == incarnation => position,
            Some(_) => 0,
            None => now,
        };
        starts.push((incarnation, position));
    }
    let cursor = matches!(from, From::Now).then(|| Cursor::Lifecycle { positions: starts.clone() }.encode());
    let places = Rc::new(RefCell::new(starts.clone()));
    let flow = run(reader.readiness.clone(), move |sender| {
        Box::pin(async move {
            let shards = starts.into_iter().enumerate().map(|(shard, place)| {
                let (reader, places) = (reader.clone(), places.clone());
                let (sender, wanted) = (sender.clone(), wanted.clone());
                async move {
                    let mut after = place.1;
                    loop {
                        let (events, _, next, _) = reader.watched(shard as u32, Some(after), true).await?;
                        for event in events.iter().filter(|event| wanted(event)) {
                            places.borrow_mut()[shard].1 = next;
                            let cursor = Cursor::Lifecycle { positions: places.borrow().clone() }.encode();
                            push(&sender, convert::lifecycle(event, cursor)).await?;
                        }
                        after = next;
                    }
                }
            });
            first_of(shards.collect()).await
        })
    });
    Ok(Opened { cursor, flow })
}
