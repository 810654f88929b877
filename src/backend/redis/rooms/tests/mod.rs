//! Against a real redis-server.

mod broken;
mod histories;
mod numbering;
mod subscribing;

use super::RedisRooms;
use crate::{
    backend::redis::{
        RedisConfig,
        tests::{PATIENCE, RedisServer, wait_for},
    },
    core::{
        correlation::Kind,
        names::RoomName,
        reason::Fault,
        rooms::{History, Kept, Message, Place, Position, Post, Rule, Rules},
    },
    ports::{RoomBus, RoomListener},
};
use parking_lot::Mutex;
use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

pub fn room(name: &str) -> RoomName {
    RoomName::parse("room", name).expect("a name")
}

pub fn at(epoch: u64, offset: u64) -> Position {
    Position { epoch, offset }
}

#[derive(Clone, Debug)]
pub enum Heard {
    Subscribed(Position),
    Arrived(RoomName, Position, Arc<Message>),
    Resumed(RoomName, Position),
}

#[derive(Default)]
pub struct Log(Mutex<Vec<Heard>>);

impl Log {
    pub fn all(&self) -> Vec<Heard> {
        self.0.lock().clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub fn arrived(&self, of: &RoomName) -> Vec<(Position, Arc<Message>)> {
        let mut all = self.all();
        all.retain(|heard| matches!(heard, Heard::Arrived(room, ..) if room == of));
        let arrived = all.into_iter().filter_map(|heard| match heard {
            Heard::Arrived(_, at, message) => Some((at, message)),
            _ => None,
        });
        arrived.collect()
    }

    pub fn resumed(&self, of: &RoomName) -> Vec<Position> {
        let heads = self.all().into_iter().filter_map(|heard| match heard {
            Heard::Resumed(room, head) if room == *of => Some(head),
            _ => None,
        });
        heads.collect()
    }
}

impl RoomListener for Log {
    fn arrived(&self, room: RoomName, at: Position, message: Arc<Message>) {
        self.0.lock().push(Heard::Arrived(room, at, message));
    }

    fn resumed(&self, room: RoomName, head: Position) {
        self.0.lock().push(Heard::Resumed(room, head));
    }
}

/// Rooms that begin with `none` keep nothing, with `few` three messages.
fn rules() -> Rules {
    let rule = |pattern: &str, history| Rule { pattern: pattern.into(), history: Some(history), slow: None };
    let few = History { messages: 3, age: Duration::from_secs(9), ..History::default() };
    Rules { rules: vec![rule("none*", History::NONE), rule("few*", few)], ..Rules::default() }
}

pub struct Instance {
    pub rooms: Arc<RedisRooms>,
    pub log: Arc<Log>,
}

impl Instance {
    pub fn open(server: &RedisServer, name: &str) -> Instance {
        let mut config = RedisConfig::new(server.url());
        config.command_timeout = Duration::from_secs(1);
        let log = Arc::new(Log::default());
        let rooms = RedisRooms::open(config, name.into(), Arc::new(rules()), log.clone()).expect("it opens");
        wait_for("connections", || rooms.health().is_ok() && rooms.stats().connects >= 3);
        Instance { rooms, log }
    }

    /// Not answered yet.
    pub fn posting(&self, rooms: &[&str], payload: &str) -> mpsc::Receiver<Result<Vec<Place>, Fault>> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let rooms = rooms.iter().map(|name| room(name)).collect();
        let post = Post { kind: Kind::Text, payload: payload.to_owned().into() };
        self.rooms.publish(rooms, post, Box::new(move |answer| drop(sender.send(answer))));
        receiver
    }

    pub fn post(&self, rooms: &[&str], payload: &str) -> Result<Vec<Place>, Fault> {
        self.posting(rooms, payload).recv_timeout(PATIENCE).expect("an answer")
    }

    /// To one room.
    pub fn placed(&self, name: &str, payload: &str) -> Position {
        self.post(&[name], payload).expect("placed")[0].at
    }

    pub fn subscribe(&self, name: &str) -> Position {
        let (sender, receiver) = mpsc::sync_channel(1);
        let log = self.log.clone();
        self.rooms.subscribe(
            &room(name),
            Box::new(move |answer: Result<Position, _>| {
                if let Ok(head) = &answer {
                    log.0.lock().push(Heard::Subscribed(*head));
                }
                drop(sender.send(answer));
            }),
        );
        receiver.recv_timeout(PATIENCE).expect("an answer").expect("subscribed")
    }

    pub fn since(&self, name: &str, after: Option<Position>, limit: usize) -> Kept {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.rooms.since(&room(name), after, limit, Box::new(move |answer| drop(sender.send(answer))));
        receiver.recv_timeout(PATIENCE).expect("an answer").expect("kept")
    }

    pub fn arrived(&self, name: &str) -> Vec<(Position, Arc<Message>)> {
        self.log.arrived(&room(name))
    }
}

/// Offsets and payloads.
pub fn shown<'a>(messages: impl IntoIterator<Item = &'a Arc<Message>>, name: &str) -> Vec<(u64, String)> {
    let show = |message: &Arc<Message>| {
        let at = message.at(&room(name)).expect("it is of this room");
        (at.offset, String::from_utf8(message.payload.to_vec()).expect("text"))
    };
    messages.into_iter().map(show).collect()
}
