//! The homes of rooms on one shard: here a room's messages get their numbers, or are checked to be
//! whole when something outside numbers them; here they are kept, and handed to each shard that has
//! members, one word a shard.
//!
//! What is numbered outside comes with holes when a bus loses something. The home waits a little,
//! asks what is kept outside, and only then announces numbers that nobody has.

mod members;
mod outside;
mod time;

use super::{
    Between, Entered, Kept, Message, Place, Position, Post, RoomAnswer, RoomEffect, RoomGap, RoomGapCause,
    RoomName, Rules, SeatKey, history::History as Ring,
};
use crate::{
    core::{
        id::{Place as Slot, Ticket},
        io::{Answer, Effect, Effects},
        reason::{Certainty, Fault, FaultKind},
        slab::Slab,
        time::{Now, Time},
    },
    limits,
};
use hashbrown::HashMap;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

pub(super) type HomeKey = Slot;

pub struct Homes {
    rooms: Slab<Box<Home>>,
    by_name: HashMap<RoomName, HomeKey>,
    /// When each room is to be looked at; at most one entry a room.
    due: BTreeSet<(Time, HomeKey)>,
    /// By last use, for the bound on all histories.
    used: BTreeSet<(Time, HomeKey)>,
    /// Questions to the outside.
    asked: BTreeMap<u64, Asked>,
    next_asked: u64,
    /// Higher than every epoch that a room here ever had.
    epoch_floor: u64,
    kept_bytes: usize,
    pub counters: HomeCounters,
    numbered_outside: bool,
    /// Says who numbers alone, when rooms are another system's.
    from: Option<Arc<str>>,
    kept_bytes_max: usize,
    rules: Arc<Rules>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HomeCounters {
    pub posted: u64,
    pub arrived: u64,
    /// Came again, or in an epoch that is over.
    pub old: u64,
    pub refills: u64,
    pub gaps: u64,
    /// Histories dropped before their time, for the bound on all.
    pub forgotten: u64,
}

enum Asked {
    /// A member that comes back.
    Resume {
        home: HomeKey,
        shard: u32,
        seat: SeatKey,
        after: Position,
    },
    /// A hole, or the time after the outside was away.
    Refill {
        home: HomeKey,
    },
    History {
        ticket: Ticket,
        limit: usize,
    },
}

struct Home {
    name: RoomName,
    /// The last number given or delivered.
    at: Position,
    ring: Ring,
    /// Shards with members or with members on their way.
    shards: Vec<u32>,
    followers: Vec<Follower>,
    /// Numbered and not delivered, behind a number whose message is still to come.
    queue: VecDeque<Queued>,
    outside: Outside,
    /// Came before what must come before them.
    ahead: BTreeMap<Position, Arc<Message>>,
    refilling: bool,
    /// What numbers the room has said to be at this number: what is missing up to it is asked for.
    target: Position,
    due: Option<Time>,
    used: Time,
}

struct Queued {
    at: Position,
    /// None: reserved; given up at that time.
    message: Result<Arc<Message>, Time>,
}

struct Follower {
    ticket: Ticket,
    after: Position,
    limit: usize,
}

/// How the home stands with what numbers its room.
enum Outside {
    /// Nothing is heard of it.
    Silent,
    /// It was asked; these wait.
    Asked(Vec<Waiting>),
    Heard,
}

enum Waiting {
    Enter { shard: u32, seat: SeatKey, after: Option<Position> },
    Follow(Follower, bool),
}

impl Homes {
    pub fn new(setup: &super::Setup) -> Self {
        Homes {
            rooms: Slab::default(),
            by_name: HashMap::new(),
            due: BTreeSet::new(),
            used: BTreeSet::new(),
            asked: BTreeMap::new(),
            next_asked: 0,
            epoch_floor: 0,
            kept_bytes: 0,
            counters: HomeCounters::default(),
            numbered_outside: setup.numbered_outside,
            from: setup.relayed.clone(),
            kept_bytes_max: setup.history_bytes_max,
            rules: setup.rules.clone(),
        }
    }

    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rooms.len() == 0
    }

    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Numbers a message, keeps it, and sends it to its members.
    pub fn post(
        &mut self,
        now: Now,
        name: &RoomName,
        post: Post,
        fx: &mut Effects,
    ) -> Result<Position, Fault> {
        let (key, at) = self.next(now, name)?;
        self.counters.posted += 1;
        let message = Arc::new(Message {
            kind: post.kind,
            payload: post.payload,
            wall: now.wall,
            places: [Place { room: name.clone(), at }].into(),
            from: self.from.clone(),
        });
        let Some(home) = self.rooms.get_mut(key) else { return Ok(at) };
        home.queue.push_back(Queued { at, message: Ok(message) });
        self.drain_queue(now, key, fx);
        Ok(at)
    }

    /// A number for a message that also goes to other rooms; what is posted meanwhile waits for it.
    pub fn reserve(&mut self, now: Now, name: &RoomName) -> Result<Position, Fault> {
        let (key, at) = self.next(now, name)?;
        self.counters.posted += 1;
        let until = now.mono + limits::ROOM_FILL_PATIENCE;
        if let Some(home) = self.rooms.get_mut(key) {
            home.queue.push_back(Queued { at, message: Err(until) });
        }
        self.look_at(key, until);
        Ok(at)
    }

    pub fn fill(&mut self, now: Now, name: &RoomName, at: Position, message: Arc<Message>, fx: &mut Effects) {
        let Some(&key) = self.by_name.get(name) else { return };
        let Some(home) = self.rooms.get_mut(key) else { return };
        // Numbers in the queue have no holes.
        let Some(first) = home.queue.front().map(|queued| queued.at.offset) else { return };
        let Some(place) = at.offset.checked_sub(first).and_then(|place| usize::try_from(place).ok()) else {
            return;
        };
        let queued = home.queue.get_mut(place);
        if let Some(queued) = queued.filter(|queued| queued.at == at && queued.message.is_err()) {
            queued.message = Ok(message);
            self.drain_queue(now, key, fx);
        }
    }

    fn next(&mut self, now: Now, name: &RoomName) -> Result<(HomeKey, Position), Fault> {
        if self.numbered_outside {
            return Err(Fault::new(FaultKind::Internal, "this room is numbered outside"));
        }
        let key = self.open(now, name)?;
        let Some(home) = self.rooms.get_mut(key) else {
            return Err(Fault::new(FaultKind::Internal, "a room led nowhere"));
        };
        if home.queue.len() >= limits::ROOM_QUEUE_MAX {
            let full = Fault::full(
                "the room waits for messages that were promised to it",
                Duration::from_millis(50),
            );
            return Err(full.with_certainty(Certainty::NotSent));
        }
        let last = home.queue.back().map_or(home.at, |queued| queued.at);
        Ok((key, Position { offset: last.offset + 1, ..last }))
    }

    /// The room, made when it is not there.
    fn open(&mut self, now: Now, name: &RoomName) -> Result<HomeKey, Fault> {
        if let Some(&key) = self.by_name.get(name) {
            self.touch(now, key);
            return Ok(key);
        }
        if self.rooms.len() >= limits::ROOMS_PER_SHARD_MAX {
            let message = format!("this shard knows its {} rooms", limits::ROOMS_PER_SHARD_MAX);
            return Err(Fault::full(message, Duration::from_secs(1)).with_certainty(Certainty::NotSent));
        }
        let epoch = if self.numbered_outside { 0 } else { self.epoch_floor.max(now.wall.unix_millis()) };
        if !self.numbered_outside {
            self.epoch_floor = self.epoch_floor.max(epoch.saturating_add(1));
        }
        let at = Position { epoch, offset: 0 };
        let mut ring = Ring::new(self.rules.history(name));
        ring.skip_to(at);
        let key = self.rooms.insert(Box::new(Home {
            name: name.clone(),
            at,
            ring,
            shards: Vec::new(),
            followers: Vec::new(),
            queue: VecDeque::new(),
            outside: if self.numbered_outside { Outside::Silent } else { Outside::Heard },
            ahead: BTreeMap::new(),
            refilling: false,
            target: Position::default(),
            due: None,
            used: now.mono,
        }));
        self.by_name.insert(name.clone(), key);
        self.used.insert((now.mono, key));
        self.look_at(key, now.mono + limits::ROOM_LINGER);
        Ok(key)
    }

    fn touch(&mut self, now: Now, key: HomeKey) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        if home.used != now.mono {
            self.used.remove(&(home.used, key));
            home.used = now.mono;
            self.used.insert((home.used, key));
        }
    }

    /// Looks at the room at this time, or sooner.
    fn look_at(&mut self, key: HomeKey, at: Time) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        if home.due.is_none_or(|due| at < due) {
            if let Some(due) = home.due {
                self.due.remove(&(due, key));
            }
            home.due = Some(at);
            self.due.insert((at, key));
        }
    }

    fn drain_queue(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        while let Some(home) = self.rooms.get_mut(key)
            && let Some(Queued { message: Ok(_), .. }) = home.queue.front()
        {
            if let Some(Queued { at, message: Ok(message) }) = home.queue.pop_front() {
                self.hand_on(now, key, at, message, fx);
            }
        }
    }

    /// The next message of the room is whole: kept, and on its way.
    fn hand_on(&mut self, now: Now, key: HomeKey, at: Position, message: Arc<Message>, fx: &mut Effects) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        let counted = message.is_counted(self.numbered_outside);
        if counted {
            home.at = at;
            Self::count_ring(home, &mut self.kept_bytes, |ring| ring.push(message.clone(), at, now.mono));
        }
        for &shard in &home.shards {
            let word = Between::Deliver { room: home.name.clone(), at, message: message.clone() };
            fx.push(Effect::Room(RoomEffect::Tell { shard, word }));
        }
        let followers = std::mem::take(&mut home.followers);
        if !followers.is_empty() {
            // They may not come again.
            self.look_at(key, now.mono + limits::ROOM_LINGER);
        }
        for Follower { ticket, after, .. } in followers {
            let next = after.epoch == at.epoch && after.offset.checked_add(1) == Some(at.offset);
            let recovered = next || after == Position::default() && at.offset == 1 || !counted;
            let kept = Kept { messages: vec![message.clone()], recovered, head: at };
            answer(ticket, Ok(RoomAnswer::Kept(Box::new(kept))), fx);
        }
        self.bound_histories();
    }

    /// Whatever is done to a history, the bytes of all stay counted.
    fn count_ring(home: &mut Home, kept_bytes: &mut usize, change: impl FnOnce(&mut Ring)) {
        let before = home.ring.bytes();
        change(&mut home.ring);
        *kept_bytes = *kept_bytes - before + home.ring.bytes();
    }

    fn expire_ring(&mut self, now: Now, key: HomeKey) {
        if let Some(home) = self.rooms.get_mut(key) {
            Self::count_ring(home, &mut self.kept_bytes, |ring| ring.expire(now.mono));
        }
    }

    /// Numbers up to this one will never come.
    fn skip_to(&mut self, key: HomeKey, at: Position) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        home.at = home.at.max(at);
        let at = home.at;
        Self::count_ring(home, &mut self.kept_bytes, |ring| ring.skip_to(at));
    }

    fn bound_histories(&mut self) {
        while self.kept_bytes > self.kept_bytes_max {
            let last = self.used.last().map_or(Time::ZERO, |(used, _)| *used);
            let Some((_, key)) = self.used.pop_first() else { return };
            let Some(home) = self.rooms.get_mut(key) else { continue };
            self.counters.forgotten += u64::from(!home.ring.is_empty());
            Self::count_ring(home, &mut self.kept_bytes, Ring::clear);
            // Last in the order of use until it is used again.
            home.used = last + Duration::from_nanos(1);
            self.used.insert((home.used, key));
        }
    }

    fn announce(&mut self, key: HomeKey, to: Position, cause: RoomGapCause, fx: &mut Effects) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        self.counters.gaps += 1;
        let gap = RoomGap { from: home.at, to, cause };
        for &shard in &home.shards {
            let word = Between::Gap { room: home.name.clone(), gap };
            fx.push(Effect::Room(RoomEffect::Tell { shard, word }));
        }
    }

    pub fn check(&self) {
        let mut kept = 0;
        for (key, home) in self.rooms.iter() {
            kept += home.ring.bytes();
            assert_eq!(self.by_name.get(&home.name), Some(&key), "a room is not found by its name");
            assert!(self.used.contains(&(home.used, key)), "a room without its place in the order of use");
            let mut last = home.at;
            for queued in &home.queue {
                assert_eq!(queued.at.offset, last.offset + 1, "{}: a number was left out", home.name);
                last = queued.at;
            }
            assert!(home.due.is_none_or(|due| self.due.contains(&(due, key))), "a look that is forgotten");
        }
        assert_eq!(kept, self.kept_bytes, "bytes of histories");
        assert_eq!(self.rooms.len(), self.by_name.len(), "a name without a room");
    }
}

fn answer(ticket: Ticket, outcome: Result<RoomAnswer, Fault>, fx: &mut Effects) {
    fx.push(Effect::Answer { ticket, outcome: outcome.map(Answer::Room) });
}

fn entered(shard: u32, room: &RoomName, seat: SeatKey, outcome: Result<Entered, Fault>, fx: &mut Effects) {
    let word = Between::Entered { room: room.clone(), seat, outcome };
    fx.push(Effect::Room(RoomEffect::Tell { shard, word }));
}

#[cfg(test)]
mod tests;
