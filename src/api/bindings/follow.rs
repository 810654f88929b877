//! A bound topic by its log: read from where it was left, one event after the other.

use super::{Book, Lane};
use crate::{
    core::backoff,
    limits,
    ports::{BackendError, Bus, Completion, Directory, TopicChunk, TopicFrom},
};
use std::{future::Future, pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, interval, sleep},
};

/// In a fleet: whether this instance reads the topics that all share.
pub fn is_reader(directory: &dyn Directory) -> bool {
    let me = directory.me();
    directory.members().iter().all(|member| me <= member.incarnation)
}

/// Until `stop`; what was read by then is written down. `turn` says whether this instance is the one
/// that reads, and is asked again and again.
pub async fn follow(
    lane: Lane,
    bus: Arc<dyn Bus>,
    book: Arc<dyn Book>,
    turn: impl Fn() -> bool,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let mut reader = Reader { lane, bus, book, turn, next: None, saved: None, written: Instant::now() };
    tokio::select! {
        biased;
        () = &mut stop => {}
        () = reader.run() => {}
    }
    if reader.next.is_some() && (reader.turn)() {
        // A failure repeats what was read since, and was not to be avoided.
        let _ = reader.save().await;
    }
}

struct Reader<T> {
    lane: Lane,
    bus: Arc<dyn Bus>,
    book: Arc<dyn Book>,
    turn: T,
    /// The first event that was not carried. None: not reading.
    next: Option<u64>,
    /// What the book says.
    saved: Option<u64>,
    written: Instant,
}

/// Why reading ended for now.
enum Ended {
    /// Another instance reads.
    NotOurs,
    Failed(BackendError),
}

impl From<BackendError> for Ended {
    fn from(error: BackendError) -> Self {
        Ended::Failed(error)
    }
}

impl<T: Fn() -> bool> Reader<T> {
    async fn run(&mut self) {
        let mut failures = 0;
        loop {
            if !(self.turn)() {
                sleep(limits::BINDING_READER_INTERVAL).await;
                continue;
            }
            let begun = Instant::now();
            let Err(ended) = self.read().await;
            self.next = None;
            if begun.elapsed() > limits::BINDING_RETRY_MAX {
                failures = 0;
            }
            if let Ended::Failed(error) = ended {
                failures = u32::saturating_add(failures, 1);
                if failures.is_power_of_two() {
                    let topic = self.lane.topic.as_str();
                    tracing::warn!(topic, failures, %error, "a bound topic cannot be read; trying again");
                }
            }
            sleep(pause(failures)).await;
        }
    }

    async fn read(&mut self) -> Result<std::convert::Infallible, Ended> {
        let topic = self.lane.topic.clone();
        self.saved = self.book.load(topic.as_str()).await?;
        self.next = match self.saved {
            Some(next) => Some(next),
            None => Some(self.fetch(TopicFrom::Now).await?.next),
        };
        // At once: what comes next must not be passed over by a crash.
        self.save().await?;
        let mut from = TopicFrom::Offset(self.next.unwrap_or_default());
        loop {
            let chunk = match self.fetch(from).await {
                Err(Ended::Failed(error)) if !error.transient && from != TopicFrom::Start => {
                    // The log is another one than that of our number: all of it is new.
                    tracing::warn!(topic = topic.as_str(), %error, "a bound topic is read from its start");
                    from = TopicFrom::Start;
                    continue;
                }
                fetched => fetched?,
            };
            if chunk.skipped > 0 {
                self.lane.parts.counters.events_skipped.add_many(chunk.skipped);
                let (topic, skipped) = (topic.as_str(), chunk.skipped);
                tracing::warn!(topic, skipped, "events of a bound topic were gone before they were read");
            }
            for published in &chunk.events {
                if !(self.turn)() {
                    self.save().await?;
                    return Err(Ended::NotOurs);
                }
                self.lane.carry(&published.event).await;
                self.next = Some(published.offset + 1);
                self.save_when_due().await?;
            }
            self.next = Some(chunk.next);
            from = TopicFrom::Offset(chunk.next);
        }
    }

    /// Waits for news; looks meanwhile whether it is still ours to read, and keeps the book.
    async fn fetch(&mut self, from: TopicFrom) -> Result<TopicChunk, Ended> {
        let (sender, receiver) = oneshot::channel();
        self.bus.fetch(self.lane.topic.as_str(), from, limits::FETCH_BYTES_MAX, Box::new(Chunk(sender)));
        let mut receiver = pin!(receiver);
        let mut tick = interval(limits::BINDING_READER_INTERVAL);
        loop {
            tokio::select! {
                biased;
                answer = &mut receiver => return match answer {
                    Ok(answer) => Ok(answer?),
                    Err(_) => {
                        let message = "the bus has stopped".to_owned();
                        Err(BackendError { message, transient: true }.into())
                    }
                },
                _ = tick.tick() => {
                    self.save_when_due().await?;
                    if !(self.turn)() {
                        return Err(Ended::NotOurs);
                    }
                }
            }
        }
    }

    async fn save_when_due(&mut self) -> Result<(), Ended> {
        match self.written.elapsed() >= limits::BINDING_PLACE_EVERY {
            true => self.save().await,
            false => Ok(()),
        }
    }

    async fn save(&mut self) -> Result<(), Ended> {
        let Some(next) = self.next.filter(|next| self.saved != Some(*next)) else { return Ok(()) };
        self.written = Instant::now();
        match self.book.save(self.lane.topic.as_str(), next).await? {
            true => {
                self.saved = Some(next);
                Ok(())
            }
            false => Err(Ended::NotOurs),
        }
    }
}

fn pause(failures: u32) -> Duration {
    backoff::ceiling(failures, limits::BINDING_RETRY_BASE, limits::BINDING_RETRY_MAX)
}

/// A reader that went away is not waited for: the log keeps what it wanted.
struct Chunk(oneshot::Sender<Result<TopicChunk, BackendError>>);

impl Completion<Result<TopicChunk, BackendError>> for Chunk {
    fn complete(self: Box<Self>, answer: Result<TopicChunk, BackendError>) {
        let _ = self.0.send(answer);
    }

    fn wanted(&self) -> bool {
        !self.0.is_closed()
    }
}
