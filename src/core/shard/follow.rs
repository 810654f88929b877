//! Followers read the ring: what is there at once, what comes when they wait.

use super::{Ended, Handle, ShardCore};
use crate::{
    core::{
        connection::Phase,
        follow::{Ends, Found, Selector},
        id::{ConnKey, ConnectionId, Ticket},
        io::{Answer, Effects, Fetch, FetchFrom, Fetched, Follow, Followed},
        reason::Fault,
        ring::{Head, Position, RecordKind, RecordRef},
        spec::has_tags,
        time::Now,
    },
    limits,
};
use bytes::Bytes;

/// What is said of a message beside its numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub reply: bool,
    pub possible_duplicate: bool,
}

impl ShardCore {
    /// Keeps a record for followers.
    pub(super) fn keep(
        &mut self,
        now: Now,
        key: ConnKey,
        kind: RecordKind,
        (epoch, seq): (u64, u64),
        Marks { reply, possible_duplicate }: Marks,
        payload: &[u8],
    ) {
        let head = Head { kind, key, epoch, seq, wall: now.wall, reply, possible_duplicate };
        let at = self.ring.append(&head, payload);
        self.followers.appended(key, at);
    }

    pub(super) fn fetch(&mut self, ticket: Ticket, fetch: Fetch, fx: &mut Effects) -> Option<Handle> {
        let selector = match &fetch.follow {
            Follow::Tags(tags) => Selector::Tags(tags.clone()),
            Follow::Topic(topic) => Selector::Topic(topic.clone()),
            Follow::Connection(id) => match self.find_or_ended(id) {
                Ok(key) => Selector::Connection(key),
                Err(fault) => {
                    self.answer(ticket, Err(fault), fx);
                    return None;
                }
            },
        };
        let (from, lost) = match fetch.from {
            FetchFrom::Now => (self.ring.end(), false),
            FetchFrom::Start => (self.ring.start(), false),
            FetchFrom::At { incarnation, position } if incarnation == self.incarnation => {
                (self.ring.seat(position), false)
            }
            FetchFrom::At { .. } => (self.ring.start(), true),
        };
        let mut fetched = self.read(&selector, from, fetch.bytes_max);
        fetched.overrun |= lost;
        if fetch.wait && fetched.is_nothing() {
            match self.followers.park(ticket, selector, self.ring.seat(fetched.next)) {
                Ok(()) => return Some(Handle::Fetch),
                Err(fault) => self.answer(ticket, Err(fault), fx),
            }
        } else {
            self.answer(ticket, Ok(Answer::Fetched(Box::new(fetched))), fx);
        }
        None
    }

    /// A living connection, or one that ended not long ago: its last records can still be read.
    fn find_or_ended(&self, id: &ConnectionId) -> Result<ConnKey, Fault> {
        self.find(id).or_else(|fault| {
            let ended = self.ended.iter().rev().find(|ended| ended.id == *id);
            ended.map(|ended| ended.key).ok_or(fault)
        })
    }

    fn id_of(&self, key: ConnKey) -> Option<ConnectionId> {
        let live = self.connections.get(key).map(|connection| connection.id.clone());
        live.or_else(|| self.remembered(key).map(|ended| ended.id.clone()))
    }

    fn remembered(&self, key: ConnKey) -> Option<&Ended> {
        self.ended.iter().rev().find(|ended| ended.key == key)
    }

    /// Not what came while its connection published nothing, as far as that is remembered.
    fn was_published(&self, head: &Head) -> bool {
        let message = matches!(head.kind, RecordKind::Text | RecordKind::Binary);
        let connection = self.connections.get(head.key).filter(|_| message);
        connection
            .is_none_or(|c| c.lane.is_some() || matches!(c.phase, Phase::Dead) || head.seq <= c.published_seq)
    }

    fn wants(&self, selector: &Selector, key: ConnKey) -> bool {
        match selector {
            Selector::Connection(wanted) => *wanted == key,
            Selector::Tags(wanted) => match self.connections.get(key) {
                Some(connection) => connection.has_tags(wanted),
                // What it left in the ring is still for those who followed it.
                None => self.remembered(key).is_some_and(|ended| has_tags(&ended.tags, wanted)),
            },
            // Also while it publishes nothing: what it published before is still to be read.
            Selector::Topic(wanted) => match self.connections.get(key) {
                Some(connection) => connection.published_topic.as_ref() == Some(wanted),
                None => self.remembered(key).is_some_and(|ended| ended.topic.as_ref() == Some(wanted)),
            },
            Selector::Lifecycle { .. } => false,
        }
    }

    fn read(&self, selector: &Selector, from: Position, bytes_max: usize) -> Fetched {
        let mut records = Vec::new();
        let mut take = |record: RecordRef<'_>| {
            if matches!(selector, Selector::Topic(_)) && !self.was_published(&record.head) {
                return;
            }
            if let Some(id) = self.id_of(record.head.key) {
                records.push(Followed {
                    id,
                    kind: record.head.kind,
                    epoch: record.head.epoch,
                    seq: record.head.seq,
                    wall: record.head.wall,
                    reply: record.head.reply,
                    possible_duplicate: record.head.possible_duplicate,
                    payload: Bytes::from(record.payload.to_vec()),
                    position: record.next.get(),
                });
            }
        };
        // Who follows an id reads also what an earlier connection of that id has left.
        let id = match selector {
            Selector::Connection(key) => self.id_of(*key),
            Selector::Tags(_) | Selector::Topic(_) | Selector::Lifecycle { .. } => None,
        };
        let earlier = |ended: &Ended| id.as_ref() == Some(&ended.id);
        let mut want = |key| {
            self.wants(selector, key)
                || (self.connections.get(key).is_none() && self.remembered(key).is_some_and(earlier))
        };
        let end = self.ring.read(from, &mut want, bytes_max, limits::FETCH_RECORDS_MAX, &mut take);
        let (mut numbering, mut gone) = (None, false);
        let mut more = end.more;
        if let Selector::Connection(key) = selector {
            let unread = |key| !self.followers.nothing_since(key, end.next);
            let left = self.ended.iter().any(|ended| earlier(ended) && unread(ended.key));
            more = more && (unread(*key) || left);
            match self.connections.get(*key) {
                Some(connection) => {
                    numbering = Some((connection.numbering.epoch(), connection.numbering.last_seq()))
                }
                None => gone = !more,
            }
        }
        Fetched {
            records,
            next: end.next.get(),
            more,
            overrun: end.overrun,
            gone,
            numbering,
            incarnation: self.incarnation,
        }
    }

    pub(super) fn answer_followers(&mut self, fx: &mut Effects) {
        if self.followers.is_empty() {
            return;
        }
        let mut followers = std::mem::take(&mut self.followers);
        let ends = Ends { messages: self.ring.end(), lifecycle: self.ring.start() };
        let mut due = Vec::new();
        let more = followers.due(
            ends,
            limits::FOLLOWERS_PER_TURN,
            &mut |selector, from| self.look_ahead(selector, from),
            &mut |ticket, selector, position| due.push((ticket, selector, position)),
        );
        self.followers = followers;
        self.followers_left = more;
        for (ticket, selector, position) in due {
            let fetched = self.read(&selector, position, limits::FETCH_BYTES_MAX);
            if fetched.is_nothing() {
                // Woken in vain: it waits on from where it is.
                let at = self.ring.seat(fetched.next);
                if let Err(fault) = self.followers.park(ticket, selector, at) {
                    self.answer(ticket, Err(fault), fx);
                }
                continue;
            }
            self.counters.followers_answered += 1;
            self.answer(ticket, Ok(Answer::Fetched(Box::new(fetched))), fx);
        }
    }

    /// Whether there is anything for a wide follower since its place; looks at a bounded number.
    fn look_ahead(&self, selector: &Selector, from: Position) -> Found {
        let mut found = false;
        let mut want = |key| self.wants(selector, key);
        let end = self.ring.read(from, &mut want, 1, limits::FETCH_RECORDS_MAX, &mut |_| found = true);
        if found || end.overrun { Found::At(from) } else { Found::NothingBefore(end.next) }
    }

    /// More is due than one turn serves.
    pub fn wants_turn(&self) -> bool {
        self.followers_left || !self.dirty.is_empty()
    }

    pub(super) fn watch(
        &mut self,
        ticket: Ticket,
        after: Option<u64>,
        wait: bool,
        fx: &mut Effects,
    ) -> Option<Handle> {
        let after = after.unwrap_or(self.watch.end());
        if wait && after >= self.watch.end() {
            if self.watchers.len() >= limits::FOLLOWERS_PER_SHARD_MAX {
                let fault =
                    Fault::full("too many watchers wait at this shard", std::time::Duration::from_secs(1));
                self.answer(ticket, Err(fault), fx);
                return None;
            }
            self.watchers.push_back((ticket, after));
            return Some(Handle::Watch);
        }
        let answer = self.watched(after);
        self.answer(ticket, Ok(answer), fx);
        None
    }

    fn watched(&self, after: u64) -> Answer {
        let (events, next) = self.watch.read(after, limits::WATCH_EVENTS_MAX);
        Answer::Watched { events, start: self.watch.start().max(after), next, incarnation: self.incarnation }
    }

    pub(super) fn answer_watchers(&mut self, fx: &mut Effects) {
        for _ in 0..self.watchers.len() {
            let Some((ticket, after)) = self.watchers.pop_front() else { return };
            if after < self.watch.end() {
                let answer = self.watched(after);
                self.answer(ticket, Ok(answer), fx);
            } else {
                self.watchers.push_back((ticket, after));
            }
        }
    }
}
