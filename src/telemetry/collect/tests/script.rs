//! A core under random work: messages, Sends, lost sockets, and a bus that fails, refuses and stalls.

use super::connect;
use crate::{
    core::{
        correlation::Kind,
        id::{ConnectionId, Ticket},
        io::{Command, Context, DialFailed, Effect, Effects, Opened, Send, SocketKey},
        publish::{
            self, Bounds, Overflow,
            batch::{Batch, PublishError},
        },
        reason::{CloseCause, Fault, FaultKind},
        shard::{Setup, ShardCore},
        time::{Now, Time, Wall},
    },
    wire::ws::Event,
};
use std::{collections::VecDeque, sync::Arc, time::Duration};

pub struct Script {
    pub core: ShardCore,
    random: u64,
    now: Now,
    sockets: Vec<SocketKey>,
    bus: VecDeque<Arc<Batch>>,
    log: VecDeque<Vec<u8>>,
    ticket: u64,
}

pub fn setup(seed: u64) -> Setup {
    Setup {
        shard: 0,
        shards: 1,
        instance: "one".into(),
        connections_max: 100,
        outbox_bytes_max: 10_000,
        ring_bytes: 1 << 16,
        dials_per_second: 1000,
        publish: Bounds { batch_count: 4, queue_bytes: 3000, in_flight: 2, ..Bounds::default() },
        lifecycle_topic: "lifecycle".into(),
        rooms: Default::default(),
        seed,
    }
}

const OVERFLOWS: [Overflow; 4] =
    [Overflow::Spill, Overflow::DropOldest, Overflow::DropNewest, Overflow::KeepLatest { key: None }];
/// One more than there are overflows: the last one has no topic.
const CONNECTIONS: u64 = 5;

impl Script {
    pub fn new(seed: u64) -> Self {
        let now = Now { mono: Time::from_millis(1), wall: Wall::from_unix_millis(1_700_000_000_000) };
        let (bus, log) = (VecDeque::new(), VecDeque::new());
        let core = ShardCore::new(now, setup(seed));
        let mut script = Script { core, random: seed, now, sockets: Vec::new(), bus, log, ticket: 0 };
        (0..CONNECTIONS).for_each(|number| script.connect(number));
        script
    }

    pub fn step(&mut self) {
        let after = Duration::from_millis(self.below(20));
        self.now = Now { mono: self.now.mono + after, wall: self.now.wall };
        match self.below(16) {
            0 => {
                let number = self.below(CONNECTIONS);
                self.connect(number);
            }
            1 => self.lose(),
            2..=4 => self.send(),
            5..=7 => self.answer_bus(),
            8 => {
                let now = self.now;
                self.input(|core, fx| core.handle_timeout(now, fx));
            }
            _ => self.message(),
        }
        let now = self.now;
        self.input(|core, fx| core.end_turn(now, fx));
        self.write();
        self.core.check();
    }

    fn below(&mut self, bound: u64) -> u64 {
        crate::core::random::next(&mut self.random) % bound
    }

    fn next_ticket(&mut self) -> Ticket {
        self.ticket += 1;
        Ticket(self.ticket)
    }

    fn connect(&mut self, number: u64) {
        let mut connect = connect(&format!("c{number}"), "ws://peer.example/");
        connect.publish = OVERFLOWS
            .get(number as usize)
            .map(|overflow| publish::Spec { overflow: overflow.clone(), ..publish::Spec::new("topic") });
        self.command(Command::Connect(Box::new(connect)));
    }

    fn send(&mut self) {
        let id = ConnectionId::parse(&format!("c{}", self.below(CONNECTIONS))).unwrap();
        let timeout = Duration::from_millis(1 + self.below(200));
        let payload = "question".into();
        self.command(Command::Send(Send { id, payload, kind: Kind::Text, timeout, rule: None }));
    }

    fn command(&mut self, command: Command) {
        let (now, ticket) = (self.now, self.next_ticket());
        self.input(|core, fx| core.command(now, ticket, &Context::default(), command, fx));
    }

    fn message(&mut self) {
        if self.sockets.is_empty() {
            return;
        }
        let (now, place) = (self.now, self.below(self.sockets.len() as u64) as usize);
        let (socket, text) = (self.sockets[place], "m".repeat(self.below(300) as usize));
        self.input(|core, fx| core.event(now, socket, Event::Text(&text), fx));
    }

    fn lose(&mut self) {
        if self.sockets.is_empty() {
            return;
        }
        let (now, place) = (self.now, self.below(self.sockets.len() as u64) as usize);
        let socket = self.sockets.swap_remove(place);
        self.input(|core, fx| core.ended(now, socket, CloseCause::PeerVanished, "", fx));
    }

    fn answer_bus(&mut self) {
        let Some(batch) = self.bus.pop_front() else { return };
        let result = match self.below(6) {
            0 => Err(PublishError::Retry),
            1 => Err(PublishError::Refused(vec![0])),
            _ => Ok(()),
        };
        let now = self.now;
        self.input(|core, _| core.published(now, batch.id, result));
    }

    fn write(&mut self) {
        let mut dirty = Vec::new();
        self.core.take_dirty(&mut dirty);
        for socket in dirty {
            let Some(outbox) = self.core.outbox(socket) else { continue };
            let mut filled = Vec::new();
            outbox.fill(&mut filled, 1 << 16, || Some([0; 4]));
            let now = self.now;
            self.input(|core, fx| core.wrote(now, socket, &filled, filled.len(), fx));
        }
    }

    fn input<R>(&mut self, input: impl FnOnce(&mut ShardCore, &mut Effects) -> R) {
        let mut fx = Effects::new();
        input(&mut self.core, &mut fx);
        for effect in fx {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Room(effect) => panic!("{effect:?}: this script has no rooms"),
            Effect::Dial { socket, .. } if self.below(5) == 0 => {
                let fault = Fault::new(FaultKind::DialFailed, "nobody there");
                let failed = DialFailed { cause: CloseCause::DialFailed, fault };
                self.input(|core, fx| core.dial_failed(now, socket, failed, fx));
            }
            Effect::Dial { socket, .. } => {
                self.sockets.push(socket);
                self.input(|core, fx| core.opened(now, socket, Opened { subprotocol: None }, fx));
            }
            Effect::Finish { socket, .. } | Effect::Abort(socket) => {
                self.sockets.retain(|known| *known != socket)
            }
            Effect::Persist { ticket, .. } | Effect::Forget { ticket, .. } => {
                self.input(|core, fx| core.stored(now, ticket, None, fx));
            }
            Effect::Publish(batch) => self.bus.push_back(batch),
            Effect::Spill { id, record } => {
                let room = self.log.len() < 3;
                if room {
                    self.log.push_back(record);
                }
                self.input(|core, _| core.spilled(now, id, Ok(room)));
            }
            Effect::PeekSpill => {
                let head = self.log.front().cloned();
                self.input(|core, _| core.peeked(now, Ok(head.as_deref())));
            }
            Effect::PopSpill => {
                self.log.pop_front();
                self.input(|core, _| core.popped(now, Ok(())));
            }
            Effect::Answer { .. } | Effect::SendEnded { .. } => {}
            Effect::PauseReads(_) | Effect::ResumeReads(_) | Effect::ReadOut(_) => {}
        }
    }
}
