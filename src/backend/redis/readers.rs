//! Readers of topics: those to be looked at, and those parked at the end of a topic.

use super::{
    fetch::{Hint, Looked, Looker},
    link::{Link, Tools},
    stats::{add, set},
    tail,
};
use crate::{
    limits::{PARKED_MAX, PARKED_PER_TOPIC_MAX, REDIS_HINTS_MAX, REDIS_READS_IN_FLIGHT},
    ports::{BackendError, Done, TopicChunk, TopicFrom},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

/// How often forgotten readers are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Topics with news that wait to be served: each has only one place.
const NEWS_MAX: usize = 64;

pub struct Fetch {
    pub topic: Arc<str>,
    pub from: TopicFrom,
    pub bytes_max: usize,
    pub done: Done<Result<TopicChunk, BackendError>>,
    pub until: Instant,
}

/// Readers at one place: what one reads serves all.
struct Group {
    fetches: Vec<Fetch>,
    topic: Arc<str>,
    from: TopicFrom,
    bytes_max: usize,
    until: Instant,
    /// They were parked before.
    woken: bool,
}

#[derive(Default)]
struct Parked {
    fetches: Vec<Fetch>,
    /// The end, as the last read saw it.
    end: Option<Hint>,
}

struct Readers {
    tools: Arc<Tools>,
    link: Link,
    pending: VecDeque<Group>,
    looking: JoinSet<(Group, Looked)>,
    parked: BTreeMap<Arc<str>, Parked>,
    total: usize,
    hints: BTreeMap<Arc<str>, Hint>,
    watched: watch::Sender<tail::Watched>,
}

pub async fn run(tools: Arc<Tools>, mut inbox: mpsc::Receiver<Fetch>) {
    let link = Link::start(&tools, "reading", Duration::ZERO);
    let (watched, watching) = watch::channel(tail::Watched::default());
    let (teller, mut news) = mpsc::channel(NEWS_MAX);
    tokio::spawn(tail::run(tools.clone(), link.clone(), watching, teller));
    let mut readers = Readers {
        tools,
        link,
        pending: VecDeque::new(),
        looking: JoinSet::new(),
        parked: BTreeMap::new(),
        total: 0,
        hints: BTreeMap::new(),
        watched,
    };
    let mut house = interval(HOUSEKEEPING);
    house.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let room = readers.pending.is_empty();
        tokio::select! {
            Some(looked) = readers.looking.join_next() => {
                // A read that panicked answers nobody: its completions are dropped, which says so.
                if let Ok((group, looked)) = looked {
                    readers.looked(group, looked);
                }
            }
            Some(topics) = news.recv() => topics.iter().for_each(|topic| readers.wake(topic)),
            fetch = inbox.recv(), if room => match fetch {
                Some(fetch) => readers.arrived(fetch),
                None => return,
            },
            _ = house.tick() => readers.sweep(),
        }
        readers.start();
    }
}

impl Readers {
    fn arrived(&mut self, fetch: Fetch) {
        let (topic, from, bytes_max, until) = (fetch.topic.clone(), fetch.from, fetch.bytes_max, fetch.until);
        self.pending.push_back(Group { fetches: vec![fetch], topic, from, bytes_max, until, woken: false });
    }

    fn start(&mut self) {
        while self.looking.len() < REDIS_READS_IN_FLIGHT
            && let Some(mut group) = self.pending.pop_front()
        {
            group.fetches.retain(|fetch| fetch.done.wanted());
            if group.fetches.is_empty() {
                continue;
            }
            let looker = Looker {
                tools: self.tools.clone(),
                link: self.link.clone(),
                topic: group.topic.clone(),
                from: group.from,
                bytes_max: group.bytes_max,
                until: group.until,
                hint: self.hints.get(&group.topic).cloned(),
            };
            self.looking.spawn(async move { (group, looker.look().await) });
        }
    }

    fn looked(&mut self, group: Group, looked: Looked) {
        match looked {
            // They were parked already: a server that is away for a moment is no answer to them.
            Looked::Failed(error) if error.transient && group.woken => {
                let TopicFrom::Offset(offset) = group.from else { return };
                // Everything is news behind this, so they are looked at again as soon as it can be.
                let again = Hint { id: "0-0".into(), offset };
                for fetch in group.fetches {
                    self.park(fetch, &again);
                }
                self.tell_tail();
            }
            Looked::Failed(error) => {
                group.fetches.into_iter().for_each(|fetch| fetch.done.complete(Err(error.clone())));
            }
            Looked::Chunk(chunk, hint) => {
                if let Some(hint) = hint {
                    self.remember(&group.topic, hint);
                }
                add(&self.tools.counters.fetched_events, (chunk.events.len() * group.fetches.len()) as u64);
                group.fetches.into_iter().for_each(|fetch| fetch.done.complete(Ok(chunk.clone())));
            }
            Looked::Park(end) => {
                if end.id != "0-0" {
                    self.remember(&group.topic, end.clone());
                }
                for fetch in group.fetches {
                    self.park(fetch, &end);
                }
                self.tell_tail();
            }
        }
    }

    fn remember(&mut self, topic: &Arc<str>, hint: Hint) {
        if self.hints.len() >= REDIS_HINTS_MAX {
            self.hints.clear();
        }
        self.hints.insert(topic.clone(), hint);
    }

    fn park(&mut self, mut fetch: Fetch, end: &Hint) {
        if self.is_crowded(&fetch.topic) {
            self.sweep();
        }
        if self.is_crowded(&fetch.topic) {
            let message = format!("too many readers wait at topic '{}': try again later", fetch.topic);
            return fetch.done.complete(Err(BackendError { message, transient: true }));
        }
        fetch.from = TopicFrom::Offset(end.offset);
        self.total += 1;
        let parked = self.parked.entry(fetch.topic.clone()).or_default();
        parked.fetches.push(fetch);
        // The oldest end: who waits there must hear of all that came behind it.
        if parked.end.as_ref().is_none_or(|known| end.offset < known.offset) {
            parked.end = Some(end.clone());
        }
    }

    fn is_crowded(&self, topic: &str) -> bool {
        let here = self.parked.get(topic).map_or(0, |parked| parked.fetches.len());
        self.total >= PARKED_MAX || here >= PARKED_PER_TOPIC_MAX
    }

    /// Looks again for those parked at a topic.
    fn wake(&mut self, topic: &str) {
        let Some((topic, parked)) = self.parked.remove_entry(topic) else { return };
        self.total -= parked.fetches.len();
        let until = Instant::now() + self.tools.settings.command_timeout;
        let mut groups: Vec<Group> = Vec::new();
        for fetch in parked.fetches {
            let same = |group: &&mut Group| group.from == fetch.from && group.bytes_max == fetch.bytes_max;
            if let Some(group) = groups.iter_mut().find(same) {
                group.fetches.push(fetch);
                continue;
            }
            let (from, bytes_max) = (fetch.from, fetch.bytes_max);
            groups.push(Group {
                fetches: vec![fetch],
                topic: topic.clone(),
                from,
                bytes_max,
                until,
                woken: true,
            });
        }
        self.pending.extend(groups);
        self.tell_tail();
    }

    /// Forgets parked readers that nobody waits for.
    fn sweep(&mut self) {
        let before = self.parked.len();
        self.parked.retain(|_, parked| {
            parked.fetches.retain(|fetch| fetch.done.wanted());
            !parked.fetches.is_empty()
        });
        self.total = self.parked.values().map(|parked| parked.fetches.len()).sum();
        set(&self.tools.counters.parked_readers, self.total as u64);
        if self.parked.len() != before {
            self.tell_tail();
        }
    }

    fn tell_tail(&self) {
        set(&self.tools.counters.parked_readers, self.total as u64);
        let ends = self
            .parked
            .iter()
            .filter_map(|(topic, parked)| Some((topic.clone(), parked.end.as_ref()?.id.clone())));
        let ends: tail::Watched = ends.collect();
        self.watched.send_if_modified(|known| {
            let modified = *known != ends;
            if modified {
                *known = ends;
            }
            modified
        });
    }
}
