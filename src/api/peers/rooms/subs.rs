//! Which rooms this instance wants, where each was asked for, and what came of it. A room is asked
//! for at its sequencer, and again when that changes or its stream breaks.

use super::{
    failed,
    flow::{Head, Item},
};
use crate::{
    core::{
        names::RoomName,
        rooms::{Message, Place, Position},
        time::Time,
    },
    limits,
    ports::{BackendError, Done},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Where messages of a room come from: a member's run, or (None) this instance.
pub type Source = Option<Arc<str>>;
type Answer = Done<Result<Position, BackendError>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be asked.
    Idle,
    Asked,
    Standing,
    /// It refused, or its stream broke: asked again soon.
    Lost,
}

struct Want {
    waiter: Option<(Answer, Time)>,
    /// Each instance numbers it alone: it is asked for at all of them.
    alone: bool,
    /// The last that was heard.
    last: Position,
    targets: Vec<(Source, Phase)>,
    ended: bool,
}

/// What is to be said, when no lock is held.
pub enum Said {
    Answered(Answer, Result<Position, BackendError>),
    Arrived(RoomName, Position, Arc<Message>),
    Resumed(RoomName, Position),
}

/// What a source is to be asked.
#[derive(Debug, Default)]
pub struct Asks {
    pub join: Vec<Place>,
    pub leave: Vec<RoomName>,
}

#[derive(Default)]
pub struct Subs {
    wants: BTreeMap<RoomName, Want>,
    /// To be looked at.
    dirty: BTreeSet<RoomName>,
    /// To be looked at with the next tick.
    lost: BTreeSet<RoomName>,
    waiting: BTreeSet<(Time, RoomName)>,
    /// Of no more interest, and the source is to be told.
    leaves: BTreeMap<Source, BTreeSet<RoomName>>,
    stopped: bool,
}

impl Subs {
    /// Gives the answer back when nothing is carried any more.
    pub fn subscribe(&mut self, room: &RoomName, alone: bool, until: Time, done: Answer) -> Option<Answer> {
        if self.stopped {
            return Some(done);
        }
        let want = self.wants.entry(room.clone()).or_insert_with(|| Want {
            waiter: None,
            alone,
            last: Position::default(),
            targets: Vec::new(),
            ended: false,
        });
        want.ended = false;
        for (_, phase) in &mut want.targets {
            *phase = Phase::Idle;
        }
        want.waiter = Some((done, until));
        self.waiting.insert((until, room.clone()));
        self.dirty.insert(room.clone());
        None
    }

    pub fn unsubscribe(&mut self, room: &RoomName) {
        if let Some(want) = self.wants.get_mut(room) {
            want.ended = true;
            want.waiter = None;
            self.dirty.insert(room.clone());
        }
    }

    /// Nothing is carried any more.
    pub fn stop(&mut self) {
        *self = Subs { stopped: true, ..Subs::default() };
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The members changed: every room is looked at.
    pub fn look_at_all(&mut self) {
        self.dirty.extend(self.wants.keys().cloned());
    }

    /// Rooms to be looked at now, some of them.
    pub fn take_dirty(&mut self) -> Vec<RoomName> {
        let mut taken = Vec::new();
        while taken.len() < limits::ROOM_DRIVES_PER_TURN
            && let Some(room) = self.dirty.pop_first()
        {
            taken.push(room);
        }
        taken
    }

    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Who waited for too long, and what was lost meanwhile is looked at again.
    pub fn tick(&mut self, now: Time) -> Vec<Said> {
        self.dirty.append(&mut self.lost);
        let mut said = Vec::new();
        while let Some((until, room)) = self.waiting.first().cloned()
            && until <= now
        {
            self.waiting.remove(&(until, room.clone()));
            let Some(want) = self.wants.get_mut(&room) else { continue };
            let Some((done, _)) = want.waiter.take_if(|(_, due)| *due <= now) else { continue };
            let why = format!("room '{room}' cannot be followed now: its sequencer does not answer");
            said.push(Said::Answered(done, Err(failed(why))));
            want.ended = true;
            self.dirty.insert(room);
        }
        said
    }

    /// What is to be asked so that these rooms come from these sources. None of the sources is one
    /// that cannot be asked.
    pub fn drive(
        &mut self,
        rooms: &[(RoomName, Vec<Source>)],
        mut can_ask: impl FnMut(&Source) -> bool,
    ) -> BTreeMap<Source, Asks> {
        let mut asks: BTreeMap<Source, Asks> = BTreeMap::new();
        for (room, sources) in rooms {
            let Some(want) = self.wants.get_mut(room) else { continue };
            let sources: &[Source] = if want.ended { &[] } else { sources };
            for (source, phase) in &want.targets {
                if !sources.contains(source) && *phase != Phase::Idle {
                    self.leaves.entry(source.clone()).or_default().insert(room.clone());
                }
            }
            want.targets.retain(|(source, _)| sources.contains(source));
            for source in sources {
                if !want.targets.iter().any(|(known, _)| known == source) {
                    want.targets.push((source.clone(), Phase::Idle));
                }
            }
            for (source, phase) in &mut want.targets {
                if matches!(phase, Phase::Idle | Phase::Lost) {
                    if !can_ask(source) {
                        *phase = Phase::Lost;
                        self.lost.insert(room.clone());
                        continue;
                    }
                    *phase = Phase::Asked;
                    if let Some(leaves) = self.leaves.get_mut(source) {
                        leaves.remove(room);
                    }
                    let place = Place { room: room.clone(), at: want.last };
                    asks.entry(source.clone()).or_default().join.push(place);
                }
            }
            if want.ended {
                self.wants.remove(room);
            }
        }
        for (source, leaves) in std::mem::take(&mut self.leaves) {
            if can_ask(&source) {
                asks.entry(source).or_default().leave.extend(leaves);
            }
        }
        asks
    }

    /// What could not be asked after all.
    pub fn unasked(&mut self, source: &Source, asks: Asks) {
        self.leaves.entry(source.clone()).or_default().extend(asks.leave);
        for place in asks.join {
            self.lose(source, &place.room);
        }
    }

    fn lose(&mut self, source: &Source, room: &RoomName) {
        let Some(want) = self.wants.get_mut(room) else { return };
        if let Some((_, phase)) = want.targets.iter_mut().find(|(known, _)| known == source) {
            *phase = Phase::Lost;
            self.lost.insert(room.clone());
        }
    }

    /// Nothing comes from there any more; what was asked for there is asked for again.
    pub fn broken(&mut self, source: &Source) -> Vec<Said> {
        let rooms: Vec<RoomName> = self
            .wants
            .iter()
            .filter(|(_, want)| want.targets.iter().any(|(known, _)| known == source))
            .map(|(room, _)| room.clone())
            .collect();
        self.leaves.remove(source);
        let mut said = Vec::new();
        for room in rooms {
            self.lose(source, &room);
            said.extend(self.stands(&room, Position::default(), false));
        }
        said
    }

    pub fn told(&mut self, source: &Source, item: Item) -> Vec<Said> {
        match item {
            Item::Heads(heads) => heads.into_iter().filter_map(|head| self.head(source, head)).collect(),
            Item::Message(message, rooms) => {
                rooms.into_iter().filter_map(|(room, at)| self.message(source, room, at, &message)).collect()
            }
            Item::Over(room) => {
                self.lose(source, &room);
                Vec::new()
            }
        }
    }

    fn head(&mut self, source: &Source, head: Head) -> Option<Said> {
        let want = self.wants.get_mut(&head.room)?;
        let (_, phase) = want.targets.iter_mut().find(|(known, _)| known == source)?;
        if *phase != Phase::Asked {
            return None;
        }
        match head.head {
            Ok(at) => {
                *phase = Phase::Standing;
                self.stands(&head.room, at, true)
            }
            Err(why) => {
                tracing::debug!(room = %head.room, %why, "a room is asked for again");
                self.lose(source, &head.room);
                self.stands(&head.room, Position::default(), false)
            }
        }
    }

    /// Whether it is as it should be: its sequencer sends, or everybody does who can be reached.
    fn stands(&mut self, room: &RoomName, head: Position, now: bool) -> Option<Said> {
        let want = self.wants.get_mut(room)?;
        if want.alone {
            let open = |(_, phase): &(Source, Phase)| matches!(phase, Phase::Idle | Phase::Asked);
            if want.targets.iter().any(open) {
                return None;
            }
        } else if !now {
            return None;
        }
        match want.waiter.take() {
            Some((done, until)) => {
                want.last = want.last.max(head);
                self.waiting.remove(&(until, room.clone()));
                Some(Said::Answered(done, Ok(head)))
            }
            None if want.alone => None,
            None => Some(Said::Resumed(room.clone(), head)),
        }
    }

    fn message(
        &mut self,
        source: &Source,
        room: RoomName,
        at: Position,
        message: &Arc<Message>,
    ) -> Option<Said> {
        let Some(want) = self.wants.get_mut(&room) else {
            self.leaves.entry(source.clone()).or_default().insert(room);
            return None;
        };
        // Before the answer it is not promised, and behind what was heard it comes from a sequencer
        // that was.
        if want.waiter.is_some() || want.ended || (!want.alone && at <= want.last) {
            return None;
        }
        if !want.alone {
            want.last = at;
        }
        Some(Said::Arrived(room, at, message.clone()))
    }
}
