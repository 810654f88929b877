//! Rooms beyond this instance: what numbers and carries them, and who hears that here.

use super::{Failure, fleet::wall_now, open};
use crate::{
    api::{
        peers::{
            self,
            rooms::{PeerRooms, RoomsConfig},
        },
        service::RoomPorts,
    },
    backend::redis::{Channels, RedisRelay, RedisRooms},
    config::Config,
    core::{
        correlation::Kind,
        io::{Answer, Command, Context},
        names::RoomName,
        rooms::{Message, Place, Position, Post, RoomAnswer, RoomCommand},
        time::{Now, Time},
    },
    limits,
    ports::{RelayListener, RoomListener},
    shard::{
        gate::{Gate, boot_now},
        mailbox::Hub,
    },
};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::sync::mpsc;

/// What stands outside of this instance for rooms.
#[derive(Default)]
pub struct Outside {
    pub ports: RoomPorts,
    pub redis: Option<Arc<RedisRooms>>,
    pub relay: Option<Arc<RedisRelay>>,
    /// The members of the fleet number and carry rooms themselves.
    pub numbering: Option<Arc<PeerRooms>>,
    heard: Mutex<Option<Heard>>,
}

impl Outside {
    /// Another room system's channels go first; else Redis where there is one; else the members of a
    /// fleet do it themselves; else nothing, and the homes of this instance number its rooms.
    pub fn open(config: &Config, hub: &Hub, run: u64, fleet: Option<Members>) -> Result<Self, Failure> {
        if config.redis_url.is_none() {
            return fleet.map_or(Ok(Outside::default()), |fleet| fleet.number(config, hub));
        }
        if let Some(jararaca) = &config.jararaca {
            let channels = Channels { send: jararaca.send.clone(), broadcast: jararaca.broadcast.clone() };
            let (listener, heard) = ToNumber::new();
            let relay = RedisRelay::open(open::redis(config), channels, jararaca.dedupe, Arc::new(listener))
                .map_err(|error| error.message)?;
            return Ok(Outside {
                ports: RoomPorts { bus: None, relay: Some(relay.clone()) },
                relay: Some(relay),
                heard: Mutex::new(Some(heard)),
                ..Outside::default()
            });
        }
        let run = format!("{}-{run:016x}", config.instance_id);
        let listener = Arc::new(ToHomes(hub.clone()));
        let redis = RedisRooms::open(open::redis(config), run.into(), config.rooms.rules.clone(), listener)
            .map_err(|error| error.message)?;
        Ok(Outside {
            ports: RoomPorts { bus: Some(redis.clone()), relay: None },
            redis: Some(redis),
            ..Outside::default()
        })
    }

    /// On the main thread's runtime: has what a relay hears numbered.
    pub fn start(&self, hub: &Hub, instance: &str) {
        if let Some(heard) = self.heard.lock().take() {
            tokio::task::spawn_local(number(hub.clone(), instance.into(), heard));
        }
    }

    /// What does not work now.
    pub fn trouble(&self) -> Option<String> {
        let redis = self.redis.as_ref().and_then(|rooms| rooms.health().err());
        let relay = self.relay.as_ref().and_then(|relay| relay.health().err());
        redis.or(relay).map(|why| format!("rooms: {why}"))
    }

    /// What this instance numbers goes to others, with its histories, while they can still be called.
    pub async fn leave(&self) {
        if let Some(numbering) = &self.numbering {
            numbering.leave().await;
        }
    }

    pub fn close(&self) -> Result<(), Failure> {
        if let Some(redis) = &self.redis {
            redis.close().map_err(|error| error.message)?;
        }
        if let Some(relay) = &self.relay {
            relay.close().map_err(|error| error.message)?;
        }
        if let Some(numbering) = &self.numbering {
            numbering.stop();
        }
        Ok(())
    }
}

/// The other instances, for rooms that the fleet numbers itself.
pub struct Members {
    pub fleet: peers::Fleet,
    pub gate: Arc<Gate>,
}

impl Members {
    fn number(self, config: &Config, hub: &Hub) -> Result<Outside, Failure> {
        let gate = self.gate;
        let numbering = Arc::new(PeerRooms::start(RoomsConfig {
            fleet: self.fleet,
            instance: config.instance_id.as_str().into(),
            rules: config.rooms.rules.clone(),
            history_bytes_max: config.rooms.history_bytes_max,
            clock: Arc::new(|| Now { mono: Time::from_nanos(boot_now().0), wall: wall_now() }),
            may_number: Arc::new(move || gate.is_open()),
            listener: Arc::new(ToHomes(hub.clone())),
        })?);
        Ok(Outside {
            ports: RoomPorts { bus: Some(numbering.clone()), relay: None },
            numbering: Some(numbering),
            ..Outside::default()
        })
    }
}

/// Hands what a bus carries to the homes of this instance. What a full shard does not take is found
/// missing by its home, and asked for.
struct ToHomes(Hub);

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
struct ToNumber {
    heard: mpsc::Sender<(Vec<RoomName>, Post)>,
    lost: Arc<AtomicU64>,
}

impl RelayListener for ToNumber {
    fn heard(&self, rooms: Vec<RoomName>, mut post: Post) {
        // There everything is bytes; most of it is JSON, which clients that know numbers get as such.
        if std::str::from_utf8(&post.payload).is_ok() {
            post.kind = Kind::Text;
        }
        // No rooms: everybody's.
        let count = rooms.len().max(1) as u64;
        if self.heard.try_send((rooms, post)).is_err() && self.lost.fetch_add(count, Relaxed) == 0 {
            tracing::error!(
                "messages of the other room system come faster than they are numbered: some are lost"
            );
        }
    }

    fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl ToNumber {
    /// The listener, and the task's part of it.
    fn new() -> (Self, Heard) {
        let (heard, queue) = mpsc::channel(limits::RELAY_QUEUE_MAX);
        let lost = Arc::<AtomicU64>::default();
        (ToNumber { heard, lost: lost.clone() }, Heard { queue, lost })
    }
}

/// What a relay heard, on its way to the homes.
struct Heard {
    queue: mpsc::Receiver<(Vec<RoomName>, Post)>,
    lost: Arc<AtomicU64>,
}

/// Numbers what a relay heard, until it is gone.
async fn number(hub: Hub, instance: Arc<str>, heard: Heard) {
    let Heard { mut queue, lost } = heard;
    let homes = ToRelayed { hub, lost };
    while let Some((rooms, post)) = queue.recv().await {
        match &rooms[..] {
            [] => homes.one(RoomName::everyone(), post).await,
            [room] => homes.one(room.clone(), post).await,
            _ => homes.several(&instance, rooms, post).await,
        }
    }
}

/// The homes of rooms that another system carries.
struct ToRelayed {
    hub: Hub,
    lost: Arc<AtomicU64>,
}

impl ToRelayed {
    async fn one(&self, room: RoomName, post: Post) {
        self.tell(&room, RoomCommand::Post { room: room.clone(), post }).await;
    }

    /// A number in each room, then the message with all of them.
    async fn several(&self, instance: &Arc<str>, mut rooms: Vec<RoomName>, post: Post) {
        rooms.sort_unstable();
        rooms.dedup();
        let mut places = Vec::with_capacity(rooms.len());
        for room in rooms {
            let answer = self.tell(&room, RoomCommand::Reserve(room.clone())).await;
            if let Some(Answer::Room(RoomAnswer::Placed(at))) = answer {
                places.push(Place { room, at });
            }
        }
        let message = Arc::new(Message {
            kind: post.kind,
            payload: post.payload,
            wall: wall_now(),
            places: places.into(),
            from: Some(instance.clone()),
        });
        for Place { room, at } in message.places.iter() {
            // Of one that does not get there the home announces the number as lost.
            let fill = RoomCommand::Fill { room: room.clone(), at: *at, message: message.clone() };
            self.tell(room, fill).await;
        }
    }

    /// None: it reaches nobody, which is counted.
    async fn tell(&self, room: &RoomName, command: RoomCommand) -> Option<Answer> {
        let home = room.home(self.hub.shards());
        let answer = self.hub.call(home, Context::default(), Command::Room(command)).await;
        answer
            .inspect_err(|fault| {
                self.lost.fetch_add(1, Relaxed);
                tracing::warn!(%fault, "a message of the other room system reaches nobody in a room here");
            })
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::mailbox::Mailbox;
    use bytes::Bytes;

    fn post() -> Post {
        Post { kind: Kind::Binary, payload: Bytes::from_static(b"x") }
    }

    #[tokio::test]
    async fn what_does_not_come_to_its_rooms_is_counted() {
        let rooms: Vec<_> = ["a", "b"].iter().map(|name| RoomName::parse("room", name).unwrap()).collect();
        let (listener, heard) = ToNumber::new();
        for _ in 0..limits::RELAY_QUEUE_MAX {
            listener.heard(Vec::new(), post());
        }
        assert_eq!(listener.lost(), 0);
        listener.heard(rooms.clone(), post());
        listener.heard(Vec::new(), post());
        assert_eq!(listener.lost(), 3, "two rooms, and everybody");
        // No shard takes anything any more.
        let mailbox = Mailbox::new(8);
        mailbox.close();
        let homes = ToRelayed { hub: Hub::new(vec![mailbox], 7), lost: heard.lost };
        homes.one(rooms[0].clone(), post()).await;
        homes.several(&"here".into(), rooms, post()).await;
        assert_eq!(listener.lost(), 6);
    }
}
