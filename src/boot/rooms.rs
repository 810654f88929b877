//! Rooms beyond this instance: who hears what a bus or a relay carries.

use crate::{
    core::{
        io::{Answer, Command, Context},
        names::RoomName,
        rooms::{Message, Place, Position, Post, RoomAnswer, RoomCommand},
        time::Wall,
    },
    limits,
    ports::{RelayListener, RoomListener},
    shard::mailbox::Hub,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};
use tokio::sync::mpsc;

/// Hands what a bus carries to the homes of this instance. What a full shard does not take is found
/// missing by its home, and asked for.
pub struct ToHomes(pub Hub);

impl RoomListener for ToHomes {
    fn arrived(&self, room: RoomName, at: Position, message: Arc<Message>) {
        let home = room.home(self.0.shards());
        // Counted by the mailbox that refuses it.
        let _ = self.0.post(home, Command::Room(RoomCommand::Arrived { room, at, message }));
    }

    fn resumed(&self, room: RoomName, head: Position) {
        self.0.resumed(room, head);
    }
}

/// Hands what a relay carries to one task, which has the homes number it, in order.
pub struct ToNumber {
    heard: mpsc::Sender<(Vec<RoomName>, Post)>,
    lost: Arc<AtomicU64>,
}

impl RelayListener for ToNumber {
    fn heard(&self, rooms: Vec<RoomName>, post: Post) {
        if self.heard.try_send((rooms, post)).is_err() && self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(
                "messages of the other room system come faster than they are numbered: some are lost"
            );
        }
    }
}

impl ToNumber {
    /// The listener, and the task's part of it.
    pub fn new() -> (Self, mpsc::Receiver<(Vec<RoomName>, Post)>) {
        let (heard, queue) = mpsc::channel(limits::RELAY_QUEUE_MAX);
        (ToNumber { heard, lost: Arc::default() }, queue)
    }
}

/// Numbers what a relay heard, until it is gone.
pub async fn number(hub: Hub, mut heard: mpsc::Receiver<(Vec<RoomName>, Post)>) {
    while let Some((rooms, post)) = heard.recv().await {
        match &rooms[..] {
            [] => one(&hub, RoomName::everyone(), post).await,
            [room] => one(&hub, room.clone(), post).await,
            _ => several(&hub, rooms, post).await,
        }
    }
}

async fn one(hub: &Hub, room: RoomName, post: Post) {
    let home = room.home(hub.shards());
    let command = Command::Room(RoomCommand::Post { room, post });
    if let Err(fault) = hub.call(home, Context::default(), command).await {
        tracing::warn!(%fault, "a message of the other room system reaches nobody here");
    }
}

/// A number in each room, then the message with all of them.
async fn several(hub: &Hub, mut rooms: Vec<RoomName>, post: Post) {
    rooms.sort_unstable();
    rooms.dedup();
    let mut places = Vec::with_capacity(rooms.len());
    for room in rooms {
        let home = room.home(hub.shards());
        let command = Command::Room(RoomCommand::Reserve(room.clone()));
        if let Ok(Answer::Room(RoomAnswer::Placed(at))) = hub.call(home, Context::default(), command).await {
            places.push(Place { room, at });
        }
    }
    let message = Arc::new(Message {
        kind: post.kind,
        payload: post.payload,
        wall: wall_now(),
        places: places.into(),
        from: None,
    });
    for Place { room, at } in message.places.iter() {
        let (room, at) = (room.clone(), *at);
        let home = room.home(hub.shards());
        let command = Command::Room(RoomCommand::Fill { room, at, message: message.clone() });
        // A home that stops announces the number as lost.
        let _ = hub.call(home, Context::default(), command).await;
    }
}

fn wall_now() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
