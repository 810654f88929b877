//! Scripted inputs in virtual time. What the core asks for waits in lists until a test answers it.

mod accepting;
mod connecting;
mod ending;
mod fencing;
mod handing_over;
mod publishing;
mod reading;
mod sending;

use super::*;
use crate::{
    core::{
        correlation::{Kind, Rule},
        io::{Command, Context, DialFailed, Fetch, FetchFrom, Fetched, Follow, List, Opened, Send, Update},
        publish::{
            self,
            batch::{Batch, EventKind, PublishError},
        },
        reason::{Certainty, CloseCause, DropReason, GapCause},
        sequence::Gap,
        spec::{Connect, Record, Restore, Settings, Spec, Status, testing},
        time::Wall,
    },
    limits,
    wire::{
        event::{Body, parse_event},
        ws::{self, Decoder, Role},
    },
};
use bytes::Bytes;
use std::time::Duration;

const WALL_MILLIS: u64 = 1_700_000_000_000;

struct Bench {
    core: ShardCore,
    now: Now,
    next_ticket: u64,
    answers: BTreeMap<Ticket, Outcome>,
    handles: BTreeMap<Ticket, Handle>,
    dials: VecDeque<SocketKey>,
    /// Sockets that were dropped, with our last bytes where there was a farewell.
    finished: Vec<(SocketKey, Vec<u8>)>,
    aborted: Vec<SocketKey>,
    paused: Vec<(SocketKey, bool)>,
    persists: VecDeque<(StoreTicket, Record)>,
    forgets: VecDeque<(StoreTicket, ConnectionId)>,
    batches: VecDeque<Arc<Batch>>,
    words: VecDeque<crate::core::rooms::Between>,
    /// Each socket's peer: it may have half a frame.
    peers: BTreeMap<SocketKey, Decoder>,
    /// What the bus took, as topic and event.
    taken: Vec<(String, Body)>,
}

fn id(name: &str) -> ConnectionId {
    ConnectionId::parse(name).unwrap()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn settings() -> Settings {
    Settings {
        reconnect_max: millis(30_000),
        pong_timeout: millis(50_000),
        sends_in_flight_max: 100,
        message_bytes_max: 1 << 20,
        ..testing::settings()
    }
}

fn spec_of(settings: Settings, source: &'static str) -> Arc<Spec> {
    Arc::new(Spec {
        dial: testing::dial("ws://upstream.example/feed?token=s3cret"),
        settings: settings.into(),
        source: Bytes::from_static(source.as_bytes()),
        has_secrets: false,
    })
}

fn connect_to(name: &str, settings: Settings) -> Connect {
    Connect { id: id(name), chosen: true, spec: spec_of(settings, "a"), tags: Vec::new(), publish: None }
}

impl Bench {
    fn new() -> Self {
        let now = Now { mono: Time::from_millis(1000), wall: Wall::from_unix_millis(WALL_MILLIS) };
        let setup = Setup {
            shard: 0,
            shards: 1,
            instance: "bench".into(),
            connections_max: 4,
            outbox_bytes_max: 1000,
            ring_bytes: 256 * 1024,
            dials_per_second: 1000,
            publish: PublishBounds { spill: false, ..PublishBounds::default() },
            lifecycle_topic: "lifecycle".into(),
            rooms: Default::default(),
            seed: 7,
        };
        Bench {
            core: ShardCore::new(now, setup),
            now,
            next_ticket: 1,
            answers: BTreeMap::new(),
            handles: BTreeMap::new(),
            dials: VecDeque::new(),
            finished: Vec::new(),
            aborted: Vec::new(),
            paused: Vec::new(),
            persists: VecDeque::new(),
            forgets: VecDeque::new(),
            batches: VecDeque::new(),
            words: VecDeque::new(),
            peers: BTreeMap::new(),
            taken: Vec::new(),
        }
    }

    fn step<R>(&mut self, input: impl FnOnce(&mut ShardCore, Now, &mut Effects) -> R) -> R {
        let mut fx = Vec::new();
        let result = input(&mut self.core, self.now, &mut fx);
        self.core.end_turn(self.now, &mut fx);
        self.core.check();
        for effect in fx {
            self.perform(effect);
        }
        self.carry_words();
        result
    }

    /// This one shard is the home of all rooms.
    fn carry_words(&mut self) {
        while let Some(word) = self.words.pop_front() {
            let mut fx = Vec::new();
            self.core.told(self.now, word, &mut fx);
            self.core.check();
            for effect in fx {
                self.perform(effect);
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Room(crate::core::rooms::RoomEffect::Tell { word, .. }) => self.words.push_back(word),
            Effect::Room(effect) => panic!("{effect:?}: nothing outside numbers rooms"),
            Effect::Answer { ticket, outcome } | Effect::SendEnded { ticket, outcome, .. } => {
                self.handles.remove(&ticket);
                assert!(self.answers.insert(ticket, outcome).is_none(), "{ticket:?} is answered twice");
            }
            Effect::Dial { socket, .. } => self.dials.push_back(socket),
            Effect::Finish { socket, last } => self.finished.push((socket, last)),
            Effect::Abort(socket) => self.aborted.push(socket),
            Effect::PauseReads(socket) => self.paused.push((socket, true)),
            Effect::ResumeReads(socket) => self.paused.push((socket, false)),
            Effect::ReadOut(socket) => self.paused.push((socket, false)),
            Effect::Persist { ticket, record } => self.persists.push_back((ticket, *record)),
            Effect::Forget { ticket, id } => self.forgets.push_back((ticket, id)),
            Effect::Publish(batch) => self.batches.push_back(batch),
            Effect::Spill { .. } | Effect::PeekSpill | Effect::PopSpill => panic!("there is no spill log"),
        }
    }

    fn command(&mut self, command: Command) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let context = Context::default();
        let mut fx = Vec::new();
        let handle = self.core.command(self.now, ticket, &context, command, &mut fx);
        if let Some(handle) = handle {
            self.handles.insert(ticket, handle);
        }
        self.step(|_, _, all| all.append(&mut fx));
        ticket
    }

    fn cancel(&mut self, ticket: Ticket) {
        let handle = self.handles.remove(&ticket).expect("it can be taken back");
        self.step(|core, now, fx| core.cancel(now, ticket, handle, fx));
    }

    fn answer(&mut self, ticket: Ticket) -> Outcome {
        self.answers.remove(&ticket).expect("it is answered")
    }

    fn fault(&mut self, ticket: Ticket) -> Fault {
        self.answer(ticket).expect_err("it is refused")
    }

    fn is_open(&self, ticket: Ticket) -> bool {
        !self.answers.contains_key(&ticket)
    }

    /// Lets the clocks run, and everything that is due on the way happen in its time.
    fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        while let Some(next) = self.core.poll_timeout().filter(|next| *next <= end) {
            self.set_time(next.max(self.now.mono));
            self.step(|core, now, fx| core.handle_timeout(now, fx));
        }
        self.set_time(end);
        self.step(|_, _, _| {});
    }

    fn set_time(&mut self, to: Time) {
        let passed = to.since(self.now.mono).as_nanos() as u64;
        self.now.mono = to;
        self.now.wall = Wall::from_unix_nanos(self.now.wall.unix_nanos() + passed);
    }

    fn dialled(&mut self) -> SocketKey {
        let socket = self.dials.pop_front().expect("a dial");
        self.step(|core, now, fx| core.opened(now, socket, Opened { subprotocol: None }, fx));
        socket
    }

    fn dial_fails(&mut self) {
        let socket = self.dials.pop_front().expect("a dial");
        let fault = Fault::new(FaultKind::DialFailed, "refused");
        let failed = DialFailed { cause: CloseCause::DialFailed, fault };
        self.step(|core, now, fx| core.dial_failed(now, socket, failed, fx));
    }

    fn store(&mut self, failed: Option<&str>) -> Record {
        let (ticket, record) = self.persists.pop_front().expect("a document");
        self.step(|core, now, fx| core.stored(now, ticket, failed.map(str::to_owned), fx));
        record
    }

    fn store_forgets(&mut self) -> ConnectionId {
        let (ticket, id) = self.forgets.pop_front().expect("a delete");
        self.step(|core, now, fx| core.stored(now, ticket, None, fx));
        id
    }

    /// An open connection, stored and answered.
    fn open(&mut self, connect: Connect) -> SocketKey {
        let ticket = self.command(Command::Connect(Box::new(connect)));
        let socket = self.dialled();
        self.store(None);
        assert!(matches!(self.answer(ticket), Ok(Answer::Connected { created: true, .. })));
        socket
    }

    fn says(&mut self, socket: SocketKey, text: &str) {
        self.step(|core, now, fx| core.event(now, socket, ws::Event::Text(text), fx));
    }

    fn lose(&mut self, socket: SocketKey) {
        self.step(|core, now, fx| core.ended(now, socket, CloseCause::PeerVanished, "", fx));
    }

    /// Writes up to so many bytes of what waits; answers what the peer could decode of it.
    fn write(&mut self, socket: SocketKey, bytes_max: usize) -> Vec<String> {
        let mut filled = Vec::new();
        let Some(outbox) = self.core.outbox(socket) else { return Vec::new() };
        outbox.fill(&mut filled, usize::MAX, || Some([1, 2, 3, 4]));
        let taken = filled.len().min(bytes_max);
        self.step(|core, now, fx| core.wrote(now, socket, &filled, taken, fx));
        let mut texts = Vec::new();
        let bounds = ws::Bounds { message_bytes_max: 1 << 20, fragments_max: 4 };
        let decoder = self.peers.entry(socket).or_insert_with(|| Decoder::new(Role::Server));
        let fed = decoder.feed(&bounds, &mut filled[..taken], &mut |event| {
            texts.push(match event {
                ws::Event::Text(text) => text.to_owned(),
                ws::Event::Ping(_) => "ping".to_owned(),
                ws::Event::Pong(payload) => format!("pong {}", String::from_utf8_lossy(payload)),
                other => format!("{other:?}"),
            });
        });
        fed.unwrap();
        texts
    }

    fn send(&mut self, name: &str, text: &str, rule: Option<Rule>) -> Ticket {
        self.command(Command::Send(Send {
            id: id(name),
            payload: Bytes::copy_from_slice(text.as_bytes()),
            kind: Kind::Text,
            timeout: millis(2000),
            rule: rule.map(Box::new),
        }))
    }

    fn raw(&mut self, name: &str, text: &str) -> Ticket {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        self.command(Command::SendRaw { id: id(name), payload, kind: Kind::Text })
    }

    fn disconnect(&mut self, name: &str) -> Ticket {
        self.command(Command::Disconnect { id: id(name), code: 1000, reason: "bye".into() })
    }

    fn status(&mut self, name: &str) -> Option<Status> {
        let ticket = self.command(Command::Get(id(name)));
        match self.answer(ticket) {
            Ok(Answer::Info(info)) => Some(info.status),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => {
                assert_eq!(fault.kind, FaultKind::NotFound);
                None
            }
        }
    }

    /// The bus takes everything; what it has of a topic.
    fn published(&mut self, topic: &str) -> Vec<Body> {
        self.pass(millis(10));
        while let Some(batch) = self.batches.pop_front() {
            for event in batch.events.iter().filter(|event| event.kind != EventKind::Lifecycle) {
                for message in parse_event(&batch.bytes[event.range.clone()]) {
                    self.taken.push((event.topic.to_string(), message.body));
                }
            }
            let id = batch.id;
            self.step(|core, now, _| core.published(now, id, Ok(())));
        }
        self.taken.iter().filter(|(known, _)| known == topic).map(|(_, body)| body.clone()).collect()
    }

    fn lifecycles(&mut self) -> Vec<(LifecycleState, Option<u32>)> {
        let ticket = self.command(Command::Watch { after: Some(0), wait: false });
        match self.answer(ticket) {
            Ok(Answer::Watched { events, .. }) => events.iter().map(|e| (e.state, e.attempt)).collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn replied(outcome: Outcome) -> String {
    match outcome {
        Ok(Answer::Replied { payload, .. }) => String::from_utf8(payload.to_vec()).unwrap(),
        other => panic!("no reply: {other:?}"),
    }
}

fn fetched(outcome: Outcome) -> Fetched {
    match outcome {
        Ok(Answer::Fetched(fetched)) => *fetched,
        other => panic!("nothing fetched: {other:?}"),
    }
}

fn text(text: &str) -> Body {
    Body::Text(text.to_owned())
}
