//! Readers of topics: those to be looked at, and those parked at the end of a topic.

use super::{
    disk::Files,
    log::Read,
    topic::{Topics, event_json},
};
use crate::{
    limits::{PARKED_MAX, PARKED_PER_TOPIC_MAX},
    ports::{BackendError, Done, TopicChunk, TopicEvent, TopicFrom},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// One answer; a single event may be longer.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;

pub struct Fetch {
    pub topic: Arc<str>,
    pub from: TopicFrom,
    pub bytes_max: usize,
    pub done: Done<Result<TopicChunk, BackendError>>,
    /// Held until somebody has looked at the fetch.
    pub place: Option<Place>,
}

/// A place among the fetches that wait to be looked at.
pub struct Place(Arc<AtomicUsize>);

impl Place {
    pub fn take(waiting: &Arc<AtomicUsize>, max: usize) -> Option<Place> {
        let taken = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(waiting.clone());
        (taken < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
pub struct Readers {
    pub pending: VecDeque<Fetch>,
    parked: BTreeMap<Arc<str>, Vec<Fetch>>,
    total: usize,
}

enum Looked {
    Answer(Result<TopicChunk, BackendError>),
    Park(u64),
    Again,
}

impl Readers {
    pub fn parked(&self) -> usize {
        self.total
    }

    /// Answers a fetch, parks it, or puts it back when its place is further on.
    pub fn serve(&mut self, topics: &mut Topics, files: &mut Files, mut fetch: Fetch) {
        if !fetch.done.wanted() {
            return;
        }
        match look(topics, files, &fetch) {
            Looked::Answer(answer) => fetch.done.complete(answer),
            Looked::Again => self.pending.push_back(fetch),
            Looked::Park(offset) => {
                fetch.from = TopicFrom::Offset(offset);
                self.park(fetch);
            }
        }
    }

    fn park(&mut self, mut fetch: Fetch) {
        let crowded = |readers: &Self| {
            readers.parked.get(&fetch.topic).is_some_and(|l| l.len() >= PARKED_PER_TOPIC_MAX)
        };
        if self.total >= PARKED_MAX || crowded(self) {
            self.sweep();
        }
        if self.total >= PARKED_MAX || crowded(self) {
            let message = format!("too many readers wait at topic '{}': try again later", fetch.topic);
            return fetch.done.complete(Err(BackendError { message, transient: true }));
        }
        fetch.place = None;
        self.total += 1;
        self.parked.entry(fetch.topic.clone()).or_default().push(fetch);
    }

    /// Serves those parked at a topic, in the order they came.
    pub fn wake(&mut self, topics: &mut Topics, files: &mut Files, topic: &str) {
        let Some(parked) = self.parked.remove(topic) else { return };
        self.total -= parked.len();
        // Most stand at the same place: what one reads serves the next.
        let mut last: Option<(TopicFrom, usize, TopicChunk)> = None;
        for fetch in parked {
            if !fetch.done.wanted() {
                continue;
            }
            let key = (fetch.from, fetch.bytes_max);
            if let Some((from, bytes_max, chunk)) = &last
                && (*from, *bytes_max) == key
            {
                fetch.done.complete(Ok(chunk.clone()));
                continue;
            }
            match look(topics, files, &fetch) {
                Looked::Answer(answer) => {
                    last = answer.as_ref().ok().map(|chunk| (key.0, key.1, chunk.clone()));
                    fetch.done.complete(answer);
                }
                Looked::Again => self.pending.push_back(fetch),
                Looked::Park(_) => self.park(fetch),
            }
        }
    }

    /// Forgets parked readers that nobody waits for.
    pub fn sweep(&mut self) {
        self.parked.retain(|_, parked| {
            parked.retain(|fetch| fetch.done.wanted());
            !parked.is_empty()
        });
        self.total = self.parked.values().map(Vec::len).sum();
    }
}

fn look(topics: &mut Topics, files: &mut Files, fetch: &Fetch) -> Looked {
    let Some(place) = topics.find(&fetch.topic) else {
        // The topic may come, and then begins at 0.
        return match fetch.from {
            TopicFrom::Now => Looked::Answer(Ok(position(0))),
            TopicFrom::Start => Looked::Park(0),
            TopicFrom::Offset(offset) => Looked::Park(offset),
        };
    };
    let log = &mut topics.list[place].log;
    let from = match fetch.from {
        TopicFrom::Now => return Looked::Answer(Ok(position(log.next()))),
        TopicFrom::Start => log.first(),
        TopicFrom::Offset(offset) => offset,
    };
    match log.read(files, from, fetch.bytes_max.clamp(1, CHUNK_BYTES_MAX)) {
        Err(error) => Looked::Answer(Err(error)),
        Ok(Read::AtEnd) => Looked::Park(from),
        Ok(Read::Again) => Looked::Again,
        Ok(Read::Beyond) => Looked::Answer(Err(BackendError {
            message: format!(
                "cursor {from} of topic '{}' is beyond its end {}: begin at the start or at now",
                fetch.topic,
                log.next()
            ),
            transient: false,
        })),
        Ok(Read::Records { frames, next, skipped }) => {
            let events = frames
                .iter()
                .map(|frame| TopicEvent {
                    offset: frame.sequence,
                    unix_nanos: frame.nanos,
                    event: event_json(&frame.body),
                })
                .collect();
            Looked::Answer(Ok(TopicChunk { events, next, skipped }))
        }
    }
}

fn position(next: u64) -> TopicChunk {
    TopicChunk { events: Vec::new(), next, skipped: 0 }
}
