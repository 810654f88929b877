//! Which events go to the sidecar when, as a pure machine: batches in, bulk requests out, answers
//! back in.
//!
//! A lane (the events of one connection in one topic) never has events in two requests. Where the
//! component's bulk keeps no order, a request holds one event of a lane at most. Events of a failed
//! request stay together and are sent again before their lanes go on; a request that keeps failing
//! is halved until what it fails for stands alone.
//!
//! Failures are told apart by what they prove. When the sidecar is away nothing is concluded about
//! events: after a while without a success every batch is given back (`PublishError::Retry`), to
//! spill or to wait at its owner, and it goes on where it was when it comes again. An event is only
//! refused when the sidecar says that it will never take it, or when it failed alone, again and
//! again, while others got through.

mod books;
mod groups;
mod io;
mod lanes;

pub use books::Ticket;
pub use io::{Entry, Outcome, Request, Rules, Tally};

use self::{
    books::Books,
    groups::{Group, Groups},
    lanes::{Item, Lanes, Room},
};
use crate::{
    core::{
        publish::batch::{Batch, PublishError},
        time::Time,
    },
    limits,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

#[derive(Debug)]
pub struct Scheduler {
    rules: Rules,
    books: Books,
    lanes: Lanes,
    waiting: Groups,
    under_way: BTreeMap<u64, Group>,
    numbers: u64,
    finished: VecDeque<(Ticket, Result<(), PublishError>)>,
    /// Requests taken so far: proof of life.
    successes: u64,
    /// Failures since the last success.
    strikes: u32,
    resume_at: Time,
    /// The last success, or when work came after a rest.
    alive_at: Time,
    /// Everything was given back and nothing has got through since.
    away: bool,
    /// An event failed alone: something else must be seen to get through.
    canary_wanted: bool,
    /// No new request until all are answered; then everything is given back.
    draining: bool,
    tally: Tally,
}

impl Scheduler {
    pub fn new(rules: Rules) -> Self {
        Scheduler {
            rules,
            books: Books::default(),
            lanes: Lanes::default(),
            waiting: Groups::default(),
            under_way: BTreeMap::new(),
            numbers: 0,
            finished: VecDeque::new(),
            successes: 0,
            strikes: 0,
            resume_at: Time::ZERO,
            alive_at: Time::ZERO,
            away: false,
            canary_wanted: false,
            draining: false,
            tally: Tally::default(),
        }
    }

    /// From the next request on.
    pub fn set_ordered_bulk(&mut self, ordered: bool) {
        self.rules.ordered_bulk = ordered;
    }

    pub fn ordered_bulk(&self) -> bool {
        self.rules.ordered_bulk
    }

    pub fn in_flight(&self) -> usize {
        self.under_way.len()
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Takes a batch, after those before it.
    pub fn offer(&mut self, now: Time, batch: Arc<Batch>) -> Ticket {
        if self.books.is_empty() {
            self.alive_at = now;
        }
        let (ticket, slot) = self.books.enter(batch.clone());
        for (index, event) in batch.events.iter().enumerate() {
            let index = index as u32;
            if !self.books.is_settled(slot, index) {
                let bytes = event.range.len() + event.connection.as_str().len() + ENTRY_BYTES;
                self.lanes.push(event, slot, index, u32::try_from(bytes).unwrap_or(u32::MAX));
            }
        }
        self.finished.extend(self.books.finish(slot));
        ticket
    }

    /// The next request to send now. Every one must be answered.
    pub fn next(&mut self, now: Time) -> Option<Request> {
        let most = self.most();
        if self.draining || self.under_way.len() >= most || (self.is_troubled() && now < self.resume_at) {
            return None;
        }
        if let Some(canary) = self.canary() {
            return self.send(canary);
        }
        let group = match self.waiting.due(now) {
            Some(group) => group,
            None => {
                let per_lane = if self.rules.ordered_bulk { LANE_EVENTS } else { 1 };
                let events = if self.is_troubled() { PROBE_EVENTS } else { usize::MAX };
                let events = self.rules.request_events.min(events).max(1);
                let room = Room { events, bytes: self.rules.request_bytes, per_lane };
                let items = self.lanes.take(room, most - self.under_way.len())?;
                let ordered = self.rules.ordered_bulk;
                Group::new(self.lanes.name(items.first()?), items, ordered, self.successes)
            }
        };
        self.send(group)
    }

    fn canary(&mut self) -> Option<Group> {
        let others = self.lanes.has_ready() && !self.is_troubled();
        if !self.canary_wanted || !self.under_way.is_empty() || others {
            return None;
        }
        let topic = self.rules.canary.clone()?;
        self.canary_wanted = false;
        Some(Group::new(topic, Vec::new(), false, self.successes))
    }

    fn send(&mut self, group: Group) -> Option<Request> {
        let entry = |item: &Item| {
            let batch = self.books.batch(item.slot)?.clone();
            Some(Entry { batch, index: item.index })
        };
        let entries = group.items.iter().map(entry).collect::<Option<Vec<Entry>>>()?;
        self.numbers += 1;
        self.tally.retries += u64::from(group.failures > 0);
        let topic = group.topic.clone();
        self.under_way.insert(self.numbers, group);
        Some(Request { number: self.numbers, topic, entries })
    }

    /// The answer for a request; a second one is ignored.
    pub fn answer(&mut self, now: Time, number: u64, outcome: Outcome) {
        let Some(group) = self.under_way.remove(&number) else { return };
        match outcome {
            // The canary's topic may be forbidden: it says nothing then, and never will.
            Outcome::Never | Outcome::TopicRefused if group.items.is_empty() => self.rules.canary = None,
            Outcome::Taken | Outcome::Partly(_) if group.items.is_empty() => self.prove(now),
            _ if group.items.is_empty() => self.strike(now, self.away),
            Outcome::Taken => self.taken(now, group, &[]),
            Outcome::Partly(positions) => self.taken(now, group, &positions),
            Outcome::Away => {
                self.strike(now, self.away);
                // Too slow as it is, while others get through.
                let slow = group.failures > 0 && self.successes > group.seen && group.items.len() > 1;
                if slow { self.halve(now, group) } else { self.wait(now, group) }
            }
            Outcome::Failed => self.failed(now, group),
            Outcome::Never if group.items.len() > 1 => self.halve(now, group),
            // No proof that others get through: the broker was not asked.
            Outcome::Never | Outcome::TopicRefused => self.refuse(now, group),
        }
        if self.draining && self.under_way.is_empty() {
            self.give_back();
        }
    }

    /// When `next` may have something though nothing happens.
    pub fn wake_at(&self) -> Option<Time> {
        if self.draining || self.under_way.len() >= self.most() {
            return None;
        }
        if !self.is_troubled() {
            return self.waiting.first_due();
        }
        let first = self.waiting.first_due();
        let canary = self.canary_wanted && self.rules.canary.is_some() && self.under_way.is_empty();
        let first = if canary || self.lanes.has_ready() { Some(Time::ZERO) } else { first };
        first.map(|due| due.max(self.resume_at))
    }

    /// Batches whose answer is known, each once.
    pub fn finished(&mut self) -> Option<(Ticket, Result<(), PublishError>)> {
        self.finished.pop_front()
    }

    fn most(&self) -> usize {
        if self.is_troubled() { 1 } else { self.rules.in_flight }
    }

    fn is_troubled(&self) -> bool {
        self.away || self.strikes >= STRIKES
    }

    fn taken(&mut self, now: Time, mut group: Group, missing: &[usize]) {
        let mut left = Vec::new();
        for (position, item) in group.items.iter().enumerate() {
            if missing.contains(&position) { left.push(*item) } else { self.settle(item, group.dead) }
        }
        if left.is_empty() {
            self.prove(now);
            self.follow(group.then);
            return;
        }
        if left.len() < group.items.len() {
            self.prove(now);
        }
        group.items = left;
        self.failed(now, group);
    }

    /// What waited for a part of its lane that is settled now.
    fn follow(&mut self, then: Option<Box<Group>>) {
        if let Some(group) = then {
            self.waiting.push(*group);
        }
    }

    fn failed(&mut self, now: Time, mut group: Group) {
        // Something else got through since it failed last: the trouble is its own.
        let own = self.successes > group.seen && group.failures > 0;
        group.seen = self.successes;
        let alone = group.items.len() == 1;
        if !own {
            self.strike(now, false);
        }
        self.canary_wanted |= alone || self.is_troubled();
        if alone && own {
            group.tries += 1;
            let tries = if group.dead { DEAD_LETTER_TRIES } else { ALONE_TRIES };
            if group.tries >= tries {
                return self.refuse(now, group);
            }
        }
        if !alone && group.failures > 0 {
            return self.halve(now, group);
        }
        self.wait(now, group);
    }

    fn wait(&mut self, now: Time, mut group: Group) {
        group.due = now + backoff(group.failures);
        group.failures = group.failures.saturating_add(1);
        self.waiting.push(group);
    }

    fn halve(&mut self, now: Time, group: Group) {
        let (mut first, second) = group.halves();
        first.due = now;
        if let Some(mut second) = second {
            second.due = now;
            // The last one in goes first: depth first, so that proof of life comes soon.
            self.waiting.push(second);
        }
        self.waiting.push(first);
    }

    /// This event will never be taken; it goes to the dead-letter topic, if there is one.
    fn refuse(&mut self, now: Time, group: Group) {
        if let (false, Some(topic)) = (group.dead, &self.rules.dead_letter)
            && *topic != group.topic
        {
            for dead in group.dead_letters(topic, now, self.successes) {
                self.waiting.push(dead);
            }
            return;
        }
        for item in &group.items {
            self.settle_refused(item);
        }
        self.follow(group.then);
    }

    fn settle(&mut self, item: &Item, dead: bool) {
        if dead {
            self.tally.dead_lettered += 1;
            return self.settle_refused(item);
        }
        self.tally.acknowledged += u64::from(self.books.settle(item.slot, item.index, false));
        self.settled(item);
    }

    fn settle_refused(&mut self, item: &Item) {
        self.tally.refused += u64::from(self.books.settle(item.slot, item.index, true));
        self.settled(item);
    }

    fn settled(&mut self, item: &Item) {
        self.lanes.settle(item);
        self.finished.extend(self.books.finish(item.slot));
    }

    fn prove(&mut self, now: Time) {
        self.successes += 1;
        self.canary_wanted = false;
        self.strikes = 0;
        self.alive_at = now;
        self.away = false;
        self.draining = false;
    }

    fn strike(&mut self, now: Time, at_once: bool) {
        self.resume_at = now + backoff(self.strikes);
        self.strikes = self.strikes.saturating_add(1);
        if at_once || now.since(self.alive_at) >= limits::DAPR_AWAY_AFTER {
            self.draining = true;
        }
    }

    /// All batches at once: were some kept, lanes could overtake themselves.
    fn give_back(&mut self) {
        self.draining = false;
        self.away = true;
        self.strikes = STRIKES;
        self.canary_wanted = false;
        self.lanes = Lanes::default();
        self.waiting = Groups::default();
        let batches = self.books.give_back();
        self.tally.given_back += batches.len() as u64;
        self.finished.extend(batches);
    }
}

fn backoff(failures: u32) -> Duration {
    let doubled = limits::PUBLISH_RETRY_BASE.saturating_mul(1 << failures.min(16));
    doubled.min(limits::PUBLISH_RETRY_MAX)
}

/// What an event costs in a request besides itself and its connection's id.
const ENTRY_BYTES: usize = 96;
/// Of one lane in one request of an ordered bulk: others want to go too.
const LANE_EVENTS: usize = 256;
/// So many failures in a row are no accident: from then on one request at a time feels the way.
const STRIKES: u32 = 3;
/// And with this little at once: a sidecar that is only slow gets through with it.
const PROBE_EVENTS: usize = 64;
/// An event that failed alone so often, while others got through, will never be taken. With the
/// backoff this is about ten seconds: longer than a broker needs to elect a leader.
const ALONE_TRIES: u32 = 10;
/// The event is refused already; its copy is worth fewer tries.
const DEAD_LETTER_TRIES: u32 = 3;

#[cfg(test)]
mod tests;
