//! The homes of rooms on one shard: here a room's messages get their numbers, or are checked to be
//! whole when something outside numbers them; here they are kept, and handed to each shard that has
//! members, one word a shard.
//!
//! What is numbered outside comes with holes when a bus loses something. The home waits a little,
//! asks what is kept outside, and only then announces numbers that nobody has.

use super::{
    Between, Entered, History, Kept, Message, Place, Position, Post, RoomAnswer, RoomEffect, RoomGap,
    RoomGapCause, RoomName, Rules, SeatKey, history::Ring,
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
    Resume { home: HomeKey, shard: u32, seat: SeatKey, after: Position },
    /// A hole, or the time after the outside was away.
    Refill { home: HomeKey },
    History { ticket: Ticket },
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
    pub fn post(&mut self, now: Now, name: &RoomName, post: Post, fx: &mut Effects) -> Result<Position, Fault> {
        let (key, at) = self.next(now, name)?;
        self.counters.posted += 1;
        let message = Arc::new(Message {
            kind: post.kind,
            payload: post.payload,
            wall: now.wall,
            places: [Place { room: name.clone(), at }].into(),
            from: None,
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
        if let Some(queued) = home.queue.iter_mut().find(|queued| queued.at == at && queued.message.is_err()) {
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
            let full = Fault::full("the room waits for messages that were promised to it", Duration::from_millis(50));
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
        let key = self.rooms.insert(Box::new(Home {
            name: name.clone(),
            at: Position { epoch, offset: 0 },
            ring: Ring::new(self.rules.history(name)),
            shards: Vec::new(),
            followers: Vec::new(),
            queue: VecDeque::new(),
            outside: if self.numbered_outside { Outside::Silent } else { Outside::Heard },
            ahead: BTreeMap::new(),
            refilling: false,
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
        if message.from.is_none() {
            home.at = at;
            let before = home.ring.bytes();
            home.ring.push(now.mono, at, message.clone());
            self.kept_bytes = self.kept_bytes - before + home.ring.bytes();
        }
        for &shard in &home.shards {
            let word = Between::Deliver { room: home.name.clone(), at, message: message.clone() };
            fx.push(Effect::Room(RoomEffect::Tell { shard, word }));
        }
        for follower in std::mem::take(&mut home.followers) {
            let kept = Kept { messages: vec![message.clone()], recovered: true, head: at };
            answer(follower.ticket, Ok(RoomAnswer::Kept(Box::new(kept))), fx);
        }
        self.bound_histories();
    }

    fn bound_histories(&mut self) {
        while self.kept_bytes > self.kept_bytes_max {
            let Some((used, key)) = self.used.pop_first() else { return };
            let Some(home) = self.rooms.get_mut(key) else { continue };
            self.kept_bytes -= home.ring.bytes();
            home.ring.clear();
            self.counters.forgotten += 1;
            // Last in the order of use until it is used again.
            home.used = used.max(home.used) + Duration::from_nanos(1);
            let used = home.used;
            self.used.insert((used, key));
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

    // ------------------------------------------------------------------ members

    pub fn enter(
        &mut self,
        now: Now,
        shard: u32,
        name: &RoomName,
        seat: SeatKey,
        after: Option<Position>,
        fx: &mut Effects,
    ) {
        let key = match self.open(now, name) {
            Ok(key) => key,
            Err(fault) => return entered(shard, name, seat, Err(fault), fx),
        };
        let Some(home) = self.rooms.get_mut(key) else { return };
        if !home.shards.contains(&shard) {
            home.shards.push(shard);
        }
        match &mut home.outside {
            Outside::Heard => self.admit(now, key, shard, seat, after, fx),
            Outside::Asked(waiting) => waiting.push(Waiting::Enter { shard, seat, after }),
            Outside::Silent => {
                home.outside = Outside::Asked(vec![Waiting::Enter { shard, seat, after }]);
                fx.push(Effect::Room(RoomEffect::Subscribe(name.clone())));
            }
        }
    }

    fn admit(
        &mut self,
        now: Now,
        key: HomeKey,
        shard: u32,
        seat: SeatKey,
        after: Option<Position>,
        fx: &mut Effects,
    ) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        let Some(after) = after else {
            let outcome = Entered { head: home.at, missed: None };
            return entered(shard, &home.name, seat, Ok(outcome), fx);
        };
        home.ring.expire(now.mono);
        let missed = home.ring.since(home.at, Some(after), usize::MAX);
        if missed.recovered || !self.numbered_outside {
            let outcome = Entered { head: home.at, missed: Some(missed) };
            return entered(shard, &home.name, seat, Ok(outcome), fx);
        }
        let name = home.name.clone();
        self.ask(Asked::Resume { home: key, shard, seat, after }, name, Some(after), fx);
    }

    pub fn exit(&mut self, now: Now, shard: u32, name: &RoomName) {
        let Some(&key) = self.by_name.get(name) else { return };
        if let Some(home) = self.rooms.get_mut(key) {
            home.shards.retain(|known| *known != shard);
        }
        self.look_at(key, now.mono + limits::ROOM_LINGER);
    }

    // ---------------------------------------------------------------- reading

    pub fn history(
        &mut self,
        now: Now,
        ticket: Ticket,
        name: &RoomName,
        after: Option<Position>,
        limit: usize,
        fx: &mut Effects,
    ) {
        let Some(home) = self.by_name.get(name).and_then(|key| self.rooms.get_mut(*key)) else {
            let kept = Kept { recovered: after.is_none(), ..Kept::default() };
            return answer(ticket, Ok(RoomAnswer::Kept(Box::new(kept))), fx);
        };
        home.ring.expire(now.mono);
        let kept = home.ring.since(home.at, after, limit);
        answer(ticket, Ok(RoomAnswer::Kept(Box::new(kept))), fx);
    }

    /// True: it waits.
    pub fn follow(
        &mut self,
        now: Now,
        ticket: Ticket,
        name: &RoomName,
        after: Option<Position>,
        limit: usize,
        fx: &mut Effects,
    ) -> bool {
        let key = match self.open(now, name) {
            Ok(key) => key,
            Err(fault) => {
                answer(ticket, Err(fault), fx);
                return false;
            }
        };
        let Some(home) = self.rooms.get_mut(key) else { return false };
        let from_now = after.is_none();
        let follower = Follower { ticket, after: after.unwrap_or(home.at), limit };
        match &mut home.outside {
            Outside::Heard => self.park(now, key, follower, from_now, fx),
            Outside::Asked(waiting) => {
                waiting.push(Waiting::Follow(follower, from_now));
                true
            }
            Outside::Silent => {
                home.outside = Outside::Asked(vec![Waiting::Follow(follower, from_now)]);
                fx.push(Effect::Room(RoomEffect::Subscribe(name.clone())));
                true
            }
        }
    }

    fn park(&mut self, now: Now, key: HomeKey, mut follower: Follower, from_now: bool, fx: &mut Effects) -> bool {
        let outside = self.numbered_outside;
        let Some(home) = self.rooms.get_mut(key) else { return false };
        if from_now {
            follower.after = home.at;
        }
        home.ring.expire(now.mono);
        let kept = home.ring.since(home.at, Some(follower.after), follower.limit);
        if !kept.recovered && outside {
            let (ticket, name, after) = (follower.ticket, home.name.clone(), follower.after);
            self.ask(Asked::History { ticket }, name, Some(after), fx);
            return true;
        }
        if !kept.messages.is_empty() || !kept.recovered {
            answer(follower.ticket, Ok(RoomAnswer::Kept(Box::new(kept))), fx);
            return false;
        }
        if home.followers.len() >= limits::ROOM_FOLLOWERS_MAX {
            let full = Fault::full("too many follow this room here", Duration::from_secs(1));
            answer(follower.ticket, Err(full), fx);
            return false;
        }
        home.followers.push(follower);
        true
    }

    pub fn stop_following(&mut self, ticket: Ticket) {
        for (_, home) in self.rooms.iter_mut() {
            home.followers.retain(|follower| follower.ticket != ticket);
            if let Outside::Asked(waiting) = &mut home.outside {
                waiting.retain(|waiting| !matches!(waiting, Waiting::Follow(follower, _) if follower.ticket == ticket));
            }
        }
    }

    // ------------------------------------------------------- numbered outside

    fn ask(&mut self, asked: Asked, room: RoomName, after: Option<Position>, fx: &mut Effects) {
        let ticket = self.next_asked;
        self.next_asked += 1;
        self.asked.insert(ticket, asked);
        fx.push(Effect::Room(RoomEffect::Since { ticket, room, after }));
    }

    /// The room is heard from now on; the last number before that.
    pub fn subscribed(&mut self, now: Now, name: &RoomName, head: Result<Position, String>, fx: &mut Effects) {
        let Some(&key) = self.by_name.get(name) else { return };
        let Some(home) = self.rooms.get_mut(key) else { return };
        let waiting = match std::mem::replace(&mut home.outside, Outside::Silent) {
            Outside::Asked(waiting) => waiting,
            other => {
                home.outside = other;
                return;
            }
        };
        match head {
            Ok(head) => {
                home.outside = Outside::Heard;
                home.at = home.at.max(head);
                for waiting in waiting {
                    match waiting {
                        Waiting::Enter { shard, seat, after } => self.admit(now, key, shard, seat, after, fx),
                        Waiting::Follow(follower, from_now) => {
                            self.park(now, key, follower, from_now, fx);
                        }
                    }
                }
                self.advance(now, key, fx);
            }
            Err(why) => {
                let fault = Fault::new(FaultKind::Unavailable, format!("the room cannot be heard now: {why}"))
                    .with_certainty(Certainty::NotSent);
                for waiting in waiting {
                    match waiting {
                        Waiting::Enter { shard, seat, .. } => entered(shard, name, seat, Err(fault.clone()), fx),
                        Waiting::Follow(follower, _) => answer(follower.ticket, Err(fault.clone()), fx),
                    }
                }
                self.look_at(key, now.mono + limits::ROOM_LINGER);
            }
        }
    }

    /// The next message from outside, or one that came too early, late, or twice.
    pub fn arrived(&mut self, now: Now, name: &RoomName, at: Position, message: Arc<Message>, fx: &mut Effects) {
        let Some(&key) = self.by_name.get(name) else { return };
        self.counters.arrived += 1;
        if message.from.is_some() {
            return self.hand_on(now, key, at, message, fx);
        }
        let Some(home) = self.rooms.get_mut(key) else { return };
        if at <= home.at {
            self.counters.old += 1;
            return;
        }
        home.ahead.insert(at, message);
        if home.ahead.len() > limits::ROOM_AHEAD_MAX {
            // Too much to hold: what is missing is announced, and it goes on.
            return self.settle(now, key, fx);
        }
        self.advance(now, key, fx);
    }

    /// What numbers the room was away, and its last number by now is this.
    pub fn resumed(&mut self, now: Now, name: &RoomName, head: Position, fx: &mut Effects) {
        let Some(&key) = self.by_name.get(name) else { return };
        let Some(home) = self.rooms.get(key) else { return };
        if head > home.at && matches!(home.outside, Outside::Heard) {
            self.refill(now, key, fx);
        }
    }

    /// Hands on what has no hole before it.
    fn advance(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        loop {
            let Some(home) = self.rooms.get_mut(key) else { return };
            if !matches!(home.outside, Outside::Heard) || home.refilling {
                return;
            }
            let Some(entry) = home.ahead.first_entry() else { return };
            let at = *entry.key();
            if at <= home.at {
                entry.remove();
                continue;
            }
            let follows = at.epoch == home.at.epoch && at.offset == home.at.offset + 1;
            let begins = at.epoch > home.at.epoch && at.offset == 1;
            if !follows && !begins {
                return self.look_at(key, now.mono + limits::ROOM_HOLE_PATIENCE);
            }
            let message = entry.remove();
            if begins && home.at.offset > 0 {
                self.announce(key, at, RoomGapCause::NewEpoch, fx);
            }
            self.hand_on(now, key, at, message, fx);
        }
    }

    fn refill(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        if std::mem::replace(&mut home.refilling, true) {
            return;
        }
        self.counters.refills += 1;
        let (name, after) = (home.name.clone(), home.at);
        self.touch(now, key);
        self.ask(Asked::Refill { home: key }, name, Some(after), fx);
    }

    /// What the outside keeps, or that it cannot be asked.
    pub fn since(&mut self, now: Now, ticket: u64, kept: Result<Kept, String>, fx: &mut Effects) {
        match self.asked.remove(&ticket) {
            None => {}
            Some(Asked::Refill { home }) => self.refilled(now, home, kept, fx),
            Some(Asked::History { ticket }) => {
                let outcome = kept.map(|kept| RoomAnswer::Kept(Box::new(kept))).map_err(|why| {
                    Fault::new(FaultKind::Unavailable, format!("the room's history cannot be read now: {why}"))
                });
                answer(ticket, outcome, fx);
            }
            Some(Asked::Resume { home, shard, seat, after }) => {
                let Some(home) = self.rooms.get(home) else { return };
                let mut kept = kept.unwrap_or_default();
                // What is not delivered yet comes by itself; what came meanwhile is missed too.
                let name = home.name.clone();
                kept.messages.retain(|message| message.at(&name).is_some_and(|at| at <= home.at && at > after));
                kept.head = home.at;
                let last = kept.messages.last().and_then(|message| message.at(&name)).unwrap_or(after);
                if last < home.at {
                    let late = home.ring.since(home.at, Some(last), usize::MAX);
                    kept.recovered &= late.recovered;
                    kept.messages.extend(late.messages);
                }
                let outcome = Entered { head: home.at, missed: Some(kept) };
                entered(shard, &name, seat, Ok(outcome), fx);
            }
        }
    }

    fn refilled(&mut self, now: Now, key: HomeKey, kept: Result<Kept, String>, fx: &mut Effects) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        home.refilling = false;
        let Ok(kept) = kept else {
            // Asked again after a while, as long as something is missing.
            return self.look_at(key, now.mono + limits::ROOM_REFILL_PAUSE);
        };
        let name = home.name.clone();
        for message in kept.messages {
            if let Some(at) = message.at(&name).filter(|at| *at > home.at) {
                home.ahead.insert(at, message);
            }
        }
        if kept.head > home.at && home.ahead.last_key_value().is_none_or(|(last, _)| *last < kept.head) {
            // Numbers were given that nobody keeps: they are announced with what follows, or now.
            self.settle(now, key, fx);
            let Some(home) = self.rooms.get_mut(key) else { return };
            if home.at < kept.head {
                let to = Position { offset: kept.head.offset + 1, ..kept.head };
                self.announce(key, to, RoomGapCause::Lost, fx);
                if let Some(home) = self.rooms.get_mut(key) {
                    home.at = kept.head;
                }
            }
            return;
        }
        self.settle(now, key, fx);
    }

    /// Hands on everything that came; what is missing before it is lost, and announced.
    fn settle(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        loop {
            self.advance(now, key, fx);
            let Some(home) = self.rooms.get_mut(key) else { return };
            let Some((&at, _)) = home.ahead.first_key_value() else { return };
            if home.refilling {
                return;
            }
            let Some(message) = home.ahead.remove(&at) else { return };
            let cause = if at.epoch > home.at.epoch { RoomGapCause::NewEpoch } else { RoomGapCause::Lost };
            self.announce(key, at, cause, fx);
            self.hand_on(now, key, at, message, fx);
        }
    }

    // ------------------------------------------------------------------ time

    pub fn expire(&mut self, now: Now, fx: &mut Effects) {
        while let Some(&(at, key)) = self.due.first()
            && at <= now.mono
        {
            self.due.pop_first();
            if let Some(home) = self.rooms.get_mut(key) {
                home.due = None;
            }
            self.look(now, key, fx);
        }
    }

    fn look(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        self.give_up_reserved(now, key, fx);
        let Some(home) = self.rooms.get_mut(key) else { return };
        if !home.ahead.is_empty() && !home.refilling {
            self.refill(now, key, fx);
            return;
        }
        let before = home.ring.bytes();
        home.ring.expire(now.mono);
        self.kept_bytes = self.kept_bytes - before + home.ring.bytes();
        let wanted = !home.shards.is_empty()
            || !home.followers.is_empty()
            || !home.queue.is_empty()
            || home.refilling
            || matches!(home.outside, Outside::Asked(_));
        if wanted {
            let next = home.ring.next_expiry().unwrap_or(Time::FAR);
            let reserved = home.queue.front().and_then(|queued| queued.message.as_ref().err().copied());
            let next = reserved.map_or(next, |until| until.min(next));
            if next < Time::FAR {
                self.look_at(key, next.max(now.mono + Duration::from_millis(1)));
            }
            return;
        }
        if self.numbered_outside && matches!(home.outside, Outside::Heard) {
            home.outside = Outside::Silent;
            fx.push(Effect::Room(RoomEffect::Unsubscribe(home.name.clone())));
            // What comes from now on is not heard: what is kept here would have a hole after it.
            self.kept_bytes -= home.ring.bytes();
            home.ring.clear();
        }
        match home.ring.next_expiry() {
            Some(next) => self.look_at(key, next.max(now.mono + Duration::from_millis(1))),
            None => self.collect(key),
        }
    }

    fn give_up_reserved(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        while let Some(home) = self.rooms.get_mut(key)
            && let Some(Queued { at, message: Err(until) }) = home.queue.front()
        {
            let (at, until) = (*at, *until);
            if until > now.mono {
                return self.look_at(key, until);
            }
            home.queue.pop_front();
            let to = Position { offset: at.offset + 1, ..at };
            self.announce(key, to, RoomGapCause::Lost, fx);
            if let Some(home) = self.rooms.get_mut(key) {
                home.at = at;
            }
            self.drain_queue(now, key, fx);
        }
    }

    /// Nobody is in the room and nothing is kept of it.
    fn collect(&mut self, key: HomeKey) {
        let Some(home) = self.rooms.remove(key) else { return };
        self.kept_bytes -= home.ring.bytes();
        self.by_name.remove(&home.name);
        self.used.remove(&(home.used, key));
        if let Some(due) = home.due {
            self.due.remove(&(due, key));
        }
        self.epoch_floor = self.epoch_floor.max(home.at.epoch.saturating_add(1));
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

    /// What rooms of this shard keep, for the room `name` alone.
    pub fn rule(&self, name: &RoomName) -> History {
        self.rules.history(name)
    }
}

fn answer(ticket: Ticket, outcome: Result<RoomAnswer, Fault>, fx: &mut Effects) {
    fx.push(Effect::Answer { ticket, outcome: outcome.map(Answer::Room) });
}

fn entered(shard: u32, room: &RoomName, seat: SeatKey, outcome: Result<Entered, Fault>, fx: &mut Effects) {
    let word = Between::Entered { room: room.clone(), seat, outcome };
    fx.push(Effect::Room(RoomEffect::Tell { shard, word }));
}
