//! The sequencer of this instance with the queues of those who want its messages. Queues are filled
//! under the same lock as numbers are given, so that they go out in their order.

use super::{
    flow::{Ended, Flow, Head, Item},
    wire,
};
use crate::{
    api::peers::fault::not_sent,
    core::{
        names::RoomName,
        reason::{Certainty, Fault, FaultKind},
        rooms::{
            Kept, Message, Place, Position, Post, Rules,
            sequencer::{Move, Out, Refusal, Sequencer, Subscriber},
        },
        time::Now,
    },
    limits,
    ports::Member,
    proto::fleet::{RoomMove, RoomPlace},
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Both clocks, read.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;
/// Whether this instance may number: its lease is valid. Asked before each number.
pub type MayNumber = Arc<dyn Fn() -> bool + Send + Sync>;

pub struct Numbering {
    clock: Clock,
    may_number: MayNumber,
    /// Streams that were too slow, or found no room.
    dropped: AtomicU64,
    state: Mutex<State>,
}

struct State {
    core: Sequencer,
    flows: BTreeMap<Subscriber, Arc<Flow>>,
    next: Subscriber,
    out: Vec<Out>,
}

impl Numbering {
    pub fn new(
        me: Arc<str>,
        instance: Arc<str>,
        rules: Arc<Rules>,
        history_bytes_max: usize,
        clock: Clock,
        may_number: MayNumber,
    ) -> Self {
        let core = Sequencer::new(me, instance, rules, history_bytes_max, clock());
        let state = State { core, flows: BTreeMap::new(), next: 0, out: Vec::new() };
        Numbering { clock, may_number, dropped: AtomicU64::new(0), state: Mutex::new(state) }
    }

    pub fn now(&self) -> Now {
        (self.clock)()
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Sequencer, Now, &mut Vec<Out>) -> T) -> T {
        let now = self.now();
        let mut state = self.state.lock();
        let State { core, flows, out, .. } = &mut *state;
        let answer = act(core, now, out);
        for word in out.drain(..) {
            let (to, item) = match word {
                Out::Message { to, room, at, message } => (to, Item::Message(message, vec![(room, at)])),
                Out::Over { to, room } => (to, Item::Over(room)),
            };
            let flows_on = flows.get(&to).is_some_and(|flow| flow.push(item));
            if !flows_on && flows.remove(&to).is_some() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                core.gone(to);
            }
        }
        answer
    }

    fn numbered<T>(
        &self,
        act: impl FnOnce(&mut Sequencer, Now, &mut Vec<Out>) -> Result<T, Refusal>,
    ) -> Result<T, Fault> {
        if !(self.may_number)() {
            let fault = not_sent("this instance has no lease now, so it numbers no rooms");
            return Err(Fault { retry_after: Some(limits::ROOM_RETRY), ..fault });
        }
        self.with(act).map_err(refused)
    }

    pub fn post(&self, rooms: &[RoomName], post: Post) -> Result<Vec<Place>, Fault> {
        self.numbered(|core, now, out| core.post(rooms, post, now, out))
    }

    pub fn reserve(&self, rooms: &[RoomName]) -> Result<Vec<Place>, Fault> {
        self.numbered(|core, now, _| core.reserve(rooms, now))
    }

    /// A message that is on its way already is sent out whatever the lease is.
    pub fn fill(&self, places: &[Place], message: Option<Arc<Message>>) -> Result<(), Fault> {
        self.with(|core, now, out| core.fill(places, message, now, out)).map_err(refused)
    }

    pub fn since(&self, room: &RoomName, after: Option<Position>, limit: usize) -> Result<Kept, Fault> {
        self.with(|core, now, _| core.since(room, after, limit, now)).map_err(refused)
    }

    /// A new subscriber with its queue; None: there are too many.
    pub fn register(&self) -> Option<(Subscriber, Arc<Flow>)> {
        let mut state = self.state.lock();
        let State { core, flows, next, .. } = &mut *state;
        flows.retain(|subscriber, flow| {
            let over = flow.is_over();
            if over {
                core.gone(*subscriber);
            }
            !over
        });
        if flows.len() >= limits::ROOM_FLOWS_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *next += 1;
        let flow = Arc::<Flow>::default();
        flows.insert(*next, flow.clone());
        Some((*next, flow))
    }

    pub fn unregister(&self, subscriber: Subscriber) {
        let mut state = self.state.lock();
        if let Some(flow) = state.flows.remove(&subscriber) {
            flow.end(Ended::Closed);
        }
        state.core.gone(subscriber);
    }

    /// The answers go into the subscriber's queue, before the messages that they are about.
    pub fn interest(&self, subscriber: Subscriber, join: &[Place], leave: &[RoomName]) {
        let now = self.now();
        let mut state = self.state.lock();
        let State { core, flows, .. } = &mut *state;
        let Some(flow) = flows.get(&subscriber) else { return };
        for room in leave {
            core.unsubscribe(subscriber, room);
        }
        let heads: Vec<Head> = join
            .iter()
            .map(|Place { room, at }| {
                let head = core.subscribe(subscriber, room, *at, now);
                Head { room: room.clone(), head: head.map_err(|refusal| refused(refusal).message.into()) }
            })
            .collect();
        if !heads.is_empty() && !flow.push(Item::Heads(heads)) {
            flows.remove(&subscriber);
            core.gone(subscriber);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the members changed, and what is to be told to them.
    pub fn look(&self, me: &Arc<str>, members: &[Member]) -> (bool, Vec<Move>) {
        self.with(|core, now, out| core.look(me, members.iter().map(|member| &member.incarnation), now, out))
    }

    pub fn leave(&self) -> Vec<Move> {
        self.with(|core, now, out| core.leave(now, out))
    }

    pub fn adopt(&self, from: &Arc<str>, part: RoomMove) -> Result<Vec<Move>, Fault> {
        let part = wire::from_part(part)?;
        Ok(self.with(|core, now, out| core.adopt(from, part, now, out)))
    }

    pub fn tick(&self) {
        self.with(|core, now, out| core.tick(now, out));
    }

    /// Which instance each room is numbered at, as this one sees it; None: here.
    pub fn sequencers(&self, rooms: &[RoomName]) -> Vec<Option<Arc<str>>> {
        let state = self.state.lock();
        let choice = state.core.choice();
        rooms
            .iter()
            .map(|room| {
                let first = choice.first(room);
                (first != choice.me() && !state.core.is_alone(room)).then(|| first.clone())
            })
            .collect()
    }

    /// Who is to be asked for a room's messages: its sequencer, or everybody where each numbers
    /// alone. None stands for this instance.
    pub fn sources(&self, room: &RoomName) -> Vec<Option<Arc<str>>> {
        let state = self.state.lock();
        let choice = state.core.choice();
        if state.core.is_alone(room) {
            return [None].into_iter().chain(choice.others().cloned().map(Some)).collect();
        }
        let first = choice.first(room);
        vec![(first != choice.me()).then(|| first.clone())]
    }

    pub fn is_alone(&self, room: &RoomName) -> bool {
        self.state.lock().core.is_alone(room)
    }
}

fn refused(refusal: Refusal) -> Fault {
    let soon = |why: String, after| Fault { retry_after: Some(after), ..not_sent(why) };
    match refusal {
        Refusal::Elsewhere(first) => {
            soon(format!("the room is numbered by instance '{first}' now"), limits::ROOM_RETRY)
        }
        Refusal::Soon(left) => soon(
            format!("the room changes its sequencer; the new one begins within {} ms", left.as_millis()),
            left.min(limits::LEASE_MARGIN),
        ),
        Refusal::Full(why) => Fault::full(why, limits::ROOM_RETRY),
        Refusal::Late => Fault::new(FaultKind::MaybeSent, "the message came too late for one of its rooms")
            .with_certainty(Certainty::MaybeSent),
    }
}

/// What a member names in one message about interest.
pub fn wishes(join: &[RoomPlace], leave: &[String]) -> Result<(Vec<Place>, Vec<RoomName>), Fault> {
    if join.len() + leave.len() > limits::ROOM_INTERESTS_PER_MESSAGE {
        return Err(Fault::invalid("join", "names too many rooms at once"));
    }
    let join: Result<_, Fault> = join.iter().map(wire::from_place).collect();
    let leave: Result<_, Fault> = leave.iter().map(|name| wire::room("leave", name)).collect();
    Ok((join?, leave?))
}
