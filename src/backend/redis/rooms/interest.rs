//! Which rooms are to be heard, and how far the server has got with each.
//!
//! Callers write down what they want; one session at a time makes the server's subscriptions the
//! same. What comes for a room before its number is known waits here for it, so that a listener hears
//! first the number and then what is behind it.

use crate::{
    core::{
        names::RoomName,
        rooms::{Message, Position},
    },
    limits::{REDIS_ROOM_HELD_MAX, REDIS_ROOMS_MAX},
    ports::{BackendError, Done},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tokio::{sync::Notify, time::Instant};

pub type Subscribed = Done<Result<Position, BackendError>>;

/// To be told outside of the lock.
pub enum Word {
    Subscribed(Subscribed, Position),
    Failed(Subscribed),
    Resumed(RoomName, Position),
    /// The number at the server is another than what has come.
    Corrected(RoomName, Position),
    Arrived(RoomName, Position, Arc<Message>),
}

enum Phase {
    /// With the serial of the call.
    Asked(Subscribed, u64),
    /// The connection broke.
    Resuming,
    Standing,
    /// To be unsubscribed and forgotten.
    Unwanted,
}

struct Entry {
    phase: Phase,
    /// Names the question for the number; an answer to an older one does not count.
    serial: u64,
    /// The server was told, on the present connection.
    on_wire: bool,
    /// Stands in `tasks`.
    queued: bool,
    /// The highest number that came or was answered.
    seen: Position,
    held: Vec<(Position, Arc<Message>)>,
}

#[derive(Default)]
struct State {
    rooms: BTreeMap<RoomName, Entry>,
    /// Rooms to look after. Each at most once.
    tasks: VecDeque<RoomName>,
    /// Rooms whose number is to be compared, when there is nothing else to do.
    checks: VecDeque<RoomName>,
    /// When a question is over, in this order.
    deadlines: VecDeque<(Instant, RoomName, u64)>,
    serial: u64,
    closed: bool,
}

#[derive(Default)]
pub struct Interest {
    state: Mutex<State>,
    pub news: Notify,
    pub asked: Notify,
}

/// What a session does next.
#[derive(Default)]
pub struct Tasks {
    pub subscribe: Vec<RoomName>,
    pub unsubscribe: Vec<RoomName>,
    /// Not asked for any more, with the highest number that came.
    pub forgotten: Vec<(RoomName, Position)>,
    /// Whose numbers to ask for, with the highest that are known.
    pub heads: Vec<Question>,
}

pub struct Question {
    pub room: RoomName,
    pub seen: Position,
    serial: u64,
}

impl Interest {
    pub fn want(&self, room: &RoomName, until: Instant, done: Subscribed) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.closed {
            return;
        }
        if state.rooms.len() >= REDIS_ROOMS_MAX && !state.rooms.contains_key(room) {
            drop(guard);
            let message =
                format!("this instance subscribes {REDIS_ROOMS_MAX} rooms at Redis, which is all it may");
            return done.complete(Err(BackendError { message, transient: true }));
        }
        state.serial += 1;
        let serial = state.serial;
        let entry = state.rooms.entry(room.clone()).or_insert_with(Entry::new);
        // An older question's completion is dropped: who asks twice hears once.
        let older = std::mem::replace(&mut entry.phase, Phase::Asked(done, serial));
        entry.serial = serial;
        entry.held.clear();
        queue(&mut state.tasks, room, entry);
        state.deadlines.push_back((until, room.clone(), serial));
        self.news.notify_one();
        self.asked.notify_one();
        drop(guard);
        drop(older);
    }

    pub fn unwant(&self, room: &RoomName) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(entry) = state.rooms.get_mut(room) {
            let asked = entry.give_up();
            queue(&mut state.tasks, room, entry);
            self.news.notify_one();
            drop(guard);
            drop(asked);
        }
    }

    /// At most so many rooms; empty when there is nothing to do.
    pub fn next(&self, most: usize) -> Tasks {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut tasks = Tasks::default();
        for _ in 0..most {
            let Some(room) = state.tasks.pop_front() else { break };
            let Some(entry) = state.rooms.get_mut(&room) else { continue };
            entry.queued = false;
            if let Phase::Unwanted = entry.phase {
                if entry.on_wire {
                    tasks.unsubscribe.push(room.clone());
                }
                tasks.forgotten.push((room.clone(), entry.seen));
                state.rooms.remove(&room);
                continue;
            }
            if !entry.on_wire {
                entry.on_wire = true;
                tasks.subscribe.push(room.clone());
            }
            tasks.heads.push(Question { room, seen: entry.seen, serial: entry.serial });
        }
        if tasks.heads.is_empty() && tasks.forgotten.is_empty() {
            for _ in 0..most {
                let Some(room) = state.checks.pop_front() else { break };
                let Some(entry) = state.rooms.get(&room) else { continue };
                if let Phase::Standing = entry.phase {
                    tasks.heads.push(Question { room, seen: entry.seen, serial: entry.serial });
                }
            }
        }
        tasks
    }

    /// The answers, in the order of the questions.
    pub fn answered(&self, questions: &[Question], heads: &[Position]) -> Vec<Word> {
        let mut state = self.state.lock();
        let mut words = Vec::new();
        for (question, &head) in questions.iter().zip(heads) {
            let Some(entry) = state.rooms.get_mut(&question.room) else { continue };
            if entry.serial != question.serial {
                continue;
            }
            let room = || question.room.clone();
            match std::mem::replace(&mut entry.phase, Phase::Standing) {
                Phase::Asked(done, _) => words.push(Word::Subscribed(done, head)),
                Phase::Resuming => words.push(Word::Resumed(room(), head)),
                // What came before the answer came before the number was read.
                Phase::Standing if head > entry.seen => words.push(Word::Corrected(room(), head)),
                Phase::Standing => {}
                Phase::Unwanted => {
                    entry.phase = Phase::Unwanted;
                    continue;
                }
            }
            entry.seen = entry.seen.max(head);
            for (at, message) in std::mem::take(&mut entry.held) {
                if at > head {
                    entry.seen = entry.seen.max(at);
                    words.push(Word::Arrived(room(), at, message));
                }
            }
        }
        words
    }

    /// Something came; whether it is to be told now. None: nobody wants it, or it waits.
    pub fn arrived(
        &self,
        room: &str,
        at: Position,
        message: Arc<Message>,
        numbered_alone: bool,
    ) -> Option<Word> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let name = state.rooms.get_key_value(room)?.0.clone();
        let entry = state.rooms.get_mut(room)?;
        match entry.phase {
            Phase::Standing => {
                if !numbered_alone {
                    entry.seen = entry.seen.max(at);
                }
                Some(Word::Arrived(name, at, message))
            }
            Phase::Unwanted => None,
            Phase::Asked(..) | Phase::Resuming => {
                if entry.held.len() < REDIS_ROOM_HELD_MAX {
                    entry.held.push((at, message));
                    return None;
                }
                // Too much for waiting: the number is read again, and this is then before it.
                state.serial += 1;
                entry.serial = state.serial;
                entry.held.clear();
                queue(&mut state.tasks, &name, entry);
                self.news.notify_one();
                None
            }
        }
    }

    pub fn seen(&self, room: &RoomName) -> Position {
        self.state.lock().rooms.get(room).map(|entry| entry.seen).unwrap_or_default()
    }

    /// The connection broke: the server has forgotten everything.
    pub fn lost(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.rooms.retain(|_, entry| !matches!(entry.phase, Phase::Unwanted));
        state.tasks.clear();
        state.checks.clear();
        for (room, entry) in &mut state.rooms {
            entry.on_wire = false;
            entry.queued = false;
            entry.held.clear();
            if let Phase::Standing = entry.phase {
                entry.phase = Phase::Resuming;
            }
            queue(&mut state.tasks, room, entry);
        }
    }

    /// All rooms are compared once more, unless the last time is not over.
    pub fn check_all(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.checks.is_empty() {
            state.checks.extend(state.rooms.keys().cloned());
            self.news.notify_one();
        }
    }

    /// Questions that are over at this moment, and when the next one is.
    pub fn expire(&self, now: Instant) -> (Vec<Word>, Option<Instant>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut words = Vec::new();
        while let Some((until, ..)) = state.deadlines.front() {
            if *until > now {
                return (words, Some(*until));
            }
            let Some((_, room, serial)) = state.deadlines.pop_front() else { break };
            let Some(entry) = state.rooms.get_mut(&room) else { continue };
            if matches!(entry.phase, Phase::Asked(_, asked) if asked == serial)
                && let Some(done) = entry.give_up()
            {
                words.push(Word::Failed(done));
                queue(&mut state.tasks, &room, entry);
                self.news.notify_one();
            }
        }
        (words, None)
    }

    pub fn len(&self) -> usize {
        self.state.lock().rooms.len()
    }

    /// Drops everybody who waits.
    pub fn close(&self) {
        let mut guard = self.state.lock();
        let state = std::mem::replace(&mut *guard, State { closed: true, ..State::default() });
        drop(guard);
        drop(state);
    }
}

impl Entry {
    fn new() -> Entry {
        Entry {
            phase: Phase::Unwanted,
            serial: 0,
            on_wire: false,
            queued: false,
            seen: Position::default(),
            held: Vec::new(),
        }
    }

    /// Who asked and has no answer yet.
    fn give_up(&mut self) -> Option<Subscribed> {
        self.held.clear();
        match std::mem::replace(&mut self.phase, Phase::Unwanted) {
            Phase::Asked(done, _) => Some(done),
            _ => None,
        }
    }
}

fn queue(tasks: &mut VecDeque<RoomName>, room: &RoomName, entry: &mut Entry) {
    if !entry.queued {
        entry.queued = true;
        tasks.push_back(room.clone());
    }
}
