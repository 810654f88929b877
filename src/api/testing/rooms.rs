//! A service over shards that know rooms as far as a test needs, and ports that do as they are told.

use crate::{
    api::{
        counters::PeerCounters,
        peers::{Fleet, PeerKey},
        service::{Inner, Life, Readiness, RoomPorts, Service},
        validate::Defaults,
    },
    core::{
        correlation::Kind,
        id::ConnectionId,
        io::{Answer, Command},
        reason::Fault,
        rooms::{Kept, Message, Place, Position, Post, RoomAnswer, RoomCommand, RoomName},
        spec::{Direction, Info, Status},
        time::Wall,
    },
    ports::{BackendError, Directory, Done, RoomBus, RoomRelay},
    shard::{
        mailbox::{Hub, Mailbox},
        testing::{Answering, scripted},
    },
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

pub const KEY: PeerKey = Some([7; 32]);
pub const EPOCH: u64 = 1000;

#[derive(Default)]
pub struct Room {
    pub head: Position,
    pub messages: Vec<Arc<Message>>,
}

#[derive(Default)]
pub struct State {
    /// What homes keep.
    pub rooms: BTreeMap<RoomName, Room>,
    /// Each command, in few words.
    pub log: Vec<String>,
    /// Rooms that give no number.
    pub refusing: BTreeMap<RoomName, Fault>,
    /// Rooms whose home does not answer, and who waits for it.
    pub silent: Vec<RoomName>,
    pub held: Vec<Answering>,
    /// Connections with their rooms and user.
    pub connections: BTreeMap<ConnectionId, (Vec<RoomName>, Option<Arc<str>>)>,
    /// Shards that refuse what is for a user.
    pub refusing_users: BTreeMap<u32, Fault>,
    followers: Vec<(RoomName, Position, Answering)>,
}

impl State {
    /// One more message in a room, as if somebody had sent it.
    pub fn add(&mut self, room: &str, text: &str) -> Position {
        self.post(&name(room), Post { kind: Kind::Text, payload: text.to_owned().into() })
    }

    fn post(&mut self, room: &RoomName, post: Post) -> Position {
        let at = self.next(room);
        let message = Message {
            kind: post.kind,
            payload: post.payload,
            wall: Wall::from_unix_millis(at.offset),
            places: vec![Place { room: room.clone(), at }].into(),
            from: None,
        };
        self.put(room, Arc::new(message));
        at
    }

    /// What was sent before is forgotten, with another epoch when one is given.
    pub fn forget(&mut self, room: &str, epoch: Option<u64>) {
        let room = self.rooms.entry(name(room)).or_default();
        room.messages.clear();
        if let Some(epoch) = epoch {
            room.head = Position { epoch, offset: 0 };
        }
    }

    fn next(&mut self, room: &RoomName) -> Position {
        let room = self.rooms.entry(room.clone()).or_default();
        room.head.epoch = room.head.epoch.max(EPOCH);
        room.head.offset += 1;
        room.head
    }

    fn put(&mut self, room: &RoomName, message: Arc<Message>) {
        self.rooms.entry(room.clone()).or_default().messages.push(message);
        for (followed, after, answer) in std::mem::take(&mut self.followers) {
            self.follow(followed, after, answer);
        }
    }

    pub fn kept(&self, name: &RoomName, after: Option<Position>, limit: usize) -> Kept {
        let Some(room) = self.rooms.get(name) else { return Kept { recovered: true, ..Kept::default() } };
        let at = |message: &Arc<Message>| message.at(name).unwrap_or_default();
        let newer: Vec<_> =
            room.messages.iter().filter(|it| after.is_none_or(|after| at(it) > after)).cloned().collect();
        let first = newer.first().map_or(room.head.offset + 1, |first| at(first).offset);
        let recovered = after.is_none_or(|after| after.epoch == room.head.epoch && after.offset + 1 >= first);
        let skip = if after.is_none() { newer.len().saturating_sub(limit) } else { 0 };
        Kept { messages: newer.into_iter().skip(skip).take(limit).collect(), recovered, head: room.head }
    }

    fn follow(&mut self, room: RoomName, after: Position, answer: Answering) {
        let kept = self.kept(&room, Some(after), 100);
        if kept.messages.is_empty() {
            self.followers.push((room, after, answer));
        } else {
            answer(Ok(Answer::Room(RoomAnswer::Kept(Box::new(kept)))));
        }
    }

    fn command(&mut self, shard: u32, shards: u32, command: Command, answer: Answering) {
        let of = |id: &ConnectionId| id.shard(shards) == shard;
        let outcome = match command {
            Command::Room(RoomCommand::Follow { room, after, .. }) => {
                let after = after.expect("the position is always known");
                return self.follow(room, after, answer);
            }
            Command::Room(command) => {
                if let Some(room) = room_of(&command) {
                    assert_eq!(room.home(shards), shard, "asked of the home");
                }
                if room_of(&command).is_some_and(|room| self.silent.contains(room)) {
                    self.log.push(format!("held {command:?}").chars().take(12).collect());
                    return self.held.push(answer);
                }
                self.room_command(shard, of, command)
            }
            Command::Get(id) if of(&id) && self.connections.contains_key(&id) => {
                Ok(Answer::Info(Box::new(self.info(&id))))
            }
            Command::Get(id) => Err(Fault::not_found(id.as_str())),
            other => panic!("{other:?}"),
        };
        answer(outcome);
    }

    fn room_command(
        &mut self,
        shard: u32,
        of: impl Fn(&ConnectionId) -> bool,
        command: RoomCommand,
    ) -> Result<Answer, Fault> {
        let refused = room_of(&command).and_then(|room| self.refusing.get(room)).cloned();
        let answer = match command {
            RoomCommand::Post { room, post } => {
                self.log.push(format!("post {room} {:?} {}", post.kind, text(&post.payload)));
                refused.map_or(Ok(()), Err)?;
                RoomAnswer::Placed(self.post(&room, post))
            }
            RoomCommand::Reserve(room) => {
                self.log.push(format!("reserve {room}"));
                refused.map_or(Ok(()), Err)?;
                RoomAnswer::Placed(self.next(&room))
            }
            RoomCommand::Fill { room, at, message } => {
                assert_eq!(message.at(&room), Some(at));
                let places: Vec<_> = message.places.iter().map(|place| place.room.to_string()).collect();
                self.log.push(format!("fill {room} {} {}", places.join("+"), text(&message.payload)));
                self.put(&room, message);
                return Ok(Answer::Done);
            }
            RoomCommand::History { room, after, limit } => {
                RoomAnswer::Kept(Box::new(self.kept(&room, after, limit)))
            }
            RoomCommand::List { prefix, after, limit } => {
                RoomAnswer::Rooms(self.list(of, &prefix, after, limit))
            }
            RoomCommand::Members { room, after, limit } => {
                let is_member = |id: &&ConnectionId| {
                    of(id)
                        && self.connections[*id].0.contains(&room)
                        && after.as_ref().is_none_or(|it| *id > it)
                };
                let infos: Vec<_> =
                    self.connections.keys().filter(is_member).take(limit).map(|id| self.info(id)).collect();
                return Ok(Answer::Listed { total: infos.len() as u64, infos });
            }
            RoomCommand::Join { id, room, .. } => {
                let known = self.connections.get_mut(&id).filter(|_| of(&id));
                known.ok_or_else(|| Fault::not_found(id.as_str()))?.0.push(room);
                RoomAnswer::Joined { head: Position { epoch: EPOCH, offset: 4 }, recovered: None }
            }
            RoomCommand::Leave { id, room } => {
                let known = self.connections.get_mut(&id).filter(|_| of(&id));
                known.ok_or_else(|| Fault::not_found(id.as_str()))?.0.retain(|joined| *joined != room);
                return Ok(Answer::Done);
            }
            RoomCommand::PostToUser { user, post } => {
                self.refusing_users.get(&shard).cloned().map_or(Ok(()), Err)?;
                self.log.push(format!("user {user} {:?} {}", post.kind, text(&post.payload)));
                RoomAnswer::Count(self.of_user(of, &user).len() as u64)
            }
            RoomCommand::KickUser { user, code, reason } => {
                self.refusing_users.get(&shard).cloned().map_or(Ok(()), Err)?;
                self.log.push(format!("kick {user} {code} {reason}"));
                let gone = self.of_user(of, &user);
                gone.iter().for_each(|id| drop(self.connections.remove(id)));
                RoomAnswer::Count(gone.len() as u64)
            }
            other => panic!("{other:?}"),
        };
        Ok(Answer::Room(answer))
    }

    fn list(
        &self,
        of: impl Fn(&ConnectionId) -> bool,
        prefix: &str,
        after: Option<RoomName>,
        limit: usize,
    ) -> Vec<(RoomName, u64)> {
        let mut counts: BTreeMap<RoomName, u64> = BTreeMap::new();
        for (id, (rooms, _)) in self.connections.iter().filter(|(id, _)| of(id)) {
            *counts.entry(RoomName::everyone()).or_default() += u64::from(!id.as_str().is_empty());
            rooms.iter().for_each(|room| *counts.entry(room.clone()).or_default() += 1);
        }
        let wanted = |(room, _): &(RoomName, u64)| {
            room.as_str().starts_with(prefix) && after.as_ref().is_none_or(|after| room > after)
        };
        counts.into_iter().filter(wanted).take(limit).collect()
    }

    fn of_user(&self, of: impl Fn(&ConnectionId) -> bool, user: &str) -> Vec<ConnectionId> {
        let theirs = |(id, (_, whose)): &(&ConnectionId, &(Vec<RoomName>, Option<Arc<str>>))| {
            of(id) && whose.as_deref() == Some(user)
        };
        self.connections.iter().filter(theirs).map(|(id, _)| id.clone()).collect()
    }

    fn info(&self, id: &ConnectionId) -> Info {
        let (rooms, user) = &self.connections[id];
        Info {
            id: id.clone(),
            url: "/ws".into(),
            status: Status::Connected,
            direction: Direction::In,
            topic: None,
            content_type: "",
            tags: Vec::new(),
            auto_reconnect: false,
            created: Wall::default(),
            connected: None,
            last_error: String::new(),
            epoch: 1,
            seq: 0,
            subprotocol: None,
            attempt: 0,
            sends_in_flight: 0,
            counters: Default::default(),
            rooms: rooms.iter().map(RoomName::shared).collect(),
            user: user.clone(),
        }
    }
}

fn room_of(command: &RoomCommand) -> Option<&RoomName> {
    match command {
        RoomCommand::Post { room, .. }
        | RoomCommand::Reserve(room)
        | RoomCommand::Fill { room, .. }
        | RoomCommand::History { room, .. } => Some(room),
        _ => None,
    }
}

pub fn name(text: &str) -> RoomName {
    if text.is_empty() { RoomName::everyone() } else { RoomName::parse("room", text).unwrap() }
}

fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

/// One instance: a service, and what its shards know.
pub struct House {
    pub service: Service,
    pub state: Arc<Mutex<State>>,
}

/// What a house is built with.
#[derive(Default)]
pub struct Plan {
    pub ports: RoomPorts,
    pub check: Option<Arc<dyn crate::api::service::Check>>,
    pub fleet: Option<Arc<dyn Directory>>,
}

impl House {
    /// Inside `on_a_shard`.
    pub fn start() -> Self {
        Self::of(Plan::default())
    }

    pub fn of(plan: Plan) -> Self {
        let shards = 3;
        let state = Arc::new(Mutex::new(State::default()));
        let mailboxes: Vec<_> = (0..shards).map(|_| Mailbox::new(1024)).collect();
        for (shard, mailbox) in mailboxes.iter().enumerate() {
            let state = state.clone();
            let script = move |command, answer| state.lock().command(shard as u32, shards, command, answer);
            tokio::task::spawn_local(scripted(mailbox.clone(), script));
        }
        let readiness = Arc::new(Readiness::default());
        readiness.set(Life::Ready);
        let instance = plan.fleet.as_ref().map_or("house".to_owned(), |fleet| fleet.me().to_string());
        let fleet = plan.fleet.map(|directory| Fleet {
            directory,
            key: KEY,
            tls: None,
            adoption: None,
            counters: Arc::<PeerCounters>::default(),
            rooms: None,
        });
        let service = Service::new(Inner {
            hub: Hub::new(mailboxes, 1),
            defaults: Defaults::default(),
            instance,
            bus: None,
            readiness,
            fleet,
            rooms: plan.ports,
            check: plan.check,
            observer: Default::default(),
        });
        House { service, state }
    }

    /// A connection of this user in these rooms.
    pub fn connect(&self, id: &str, rooms: &[&str], user: Option<&str>) {
        let rooms = rooms.iter().map(|room| name(room)).collect();
        let id = ConnectionId::parse(id).unwrap();
        self.state.lock().connections.insert(id, (rooms, user.map(Into::into)));
    }

    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().log)
    }

    /// Waits until a command like this was seen.
    pub async fn sees(&self, what: &str) {
        while !self.state.lock().log.iter().any(|line| line.starts_with(what)) {
            tokio::task::yield_now().await;
        }
    }
}

/// What stands outside: numbers from a state of its own, refuses, or never answers.
#[derive(Default)]
pub struct Outside {
    pub state: Mutex<State>,
    pub fault: Mutex<Option<Fault>>,
    pub stopped: Mutex<bool>,
}

impl Outside {
    fn take(&self, what: &str, rooms: &[RoomName], post: &Post) {
        let rooms: Vec<_> = rooms.iter().map(ToString::to_string).collect();
        let line = format!("{what} {} {:?} {}", rooms.join("+"), post.kind, text(&post.payload));
        self.state.lock().log.push(line);
    }
}

impl RoomBus for Outside {
    fn publish(&self, rooms: Arc<[RoomName]>, post: Post, done: Done<Result<Vec<Place>, Fault>>) {
        self.take("bus", &rooms, &post);
        if *self.stopped.lock() {
            return;
        }
        if let Some(fault) = self.fault.lock().clone() {
            return done.complete(Err(fault));
        }
        let mut state = self.state.lock();
        // In no order that anybody may rely on.
        let place = |room: &RoomName| Place { room: room.clone(), at: state.next(room) };
        done.complete(Ok(rooms.iter().rev().map(place).collect()));
    }

    fn subscribe(&self, _: &RoomName, _: Done<Result<Position, BackendError>>) {}

    fn unsubscribe(&self, _: &RoomName) {}

    fn since(
        &self,
        room: &RoomName,
        after: Option<Position>,
        limit: usize,
        done: Done<Result<Kept, BackendError>>,
    ) {
        if *self.stopped.lock() {
            let message = "the outside is away".to_owned();
            return done.complete(Err(BackendError { message, transient: true }));
        }
        let kept = self.state.lock().kept(room, after, limit);
        done.complete(Ok(kept));
    }
}

impl RoomRelay for Outside {
    fn publish(&self, rooms: Arc<[RoomName]>, post: Post, done: Done<Result<(), Fault>>) {
        self.take("relay", &rooms, &post);
        done.complete(self.fault.lock().clone().map_or(Ok(()), Err));
    }
}
