//! Sending: each message is one call, in the order of the callers.

use super::{CHANNEL, NUMBER, STREAM, Shared, key, millis, scripts, subscriber::position};
use crate::{
    backend::redis::{
        documents::script_sha,
        link::Live,
        sending::{Loaded, Sender, Unsent},
        stats::add,
        values,
    },
    core::{
        names::RoomName,
        reason::Fault,
        rooms::{History, Message, Place, Position, Post},
        time::Wall,
    },
    limits::{REDIS_ROOM_EPOCH_KEPT, ROOMS_PER_SEND_MAX},
    ports::Done,
    wire,
};
use redis::{Cmd, Value};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::{sync::mpsc, time::Instant};

pub struct Job {
    /// By name, each once.
    pub rooms: Vec<RoomName>,
    pub post: Post,
    pub done: Done<Result<Vec<Place>, Fault>>,
    pub until: Instant,
    pub loaded: Loaded,
}

/// The rooms as a message has them.
pub fn checked(rooms: &[RoomName]) -> Result<Vec<RoomName>, Fault> {
    let mut rooms = rooms.to_vec();
    rooms.sort();
    rooms.dedup();
    match rooms.len() {
        0 => Err(Fault::invalid("rooms", "give at least one room")),
        count if count > ROOMS_PER_SEND_MAX => {
            Err(Fault::invalid("rooms", format!("one message goes to at most {ROOMS_PER_SEND_MAX} rooms")))
        }
        _ => Ok(rooms),
    }
}

/// One room of a message, and what is known of it.
struct Addressed {
    room: RoomName,
    /// None: it is numbered here alone.
    history: Option<History>,
    /// The highest number that was seen, or the number itself.
    at: Position,
}

pub async fn run(shared: Arc<Shared>, mut inbox: mpsc::Receiver<Job>) {
    let mut sender = Sender::start(&shared.tools, "sending to rooms");
    let mut script = Script::default();
    while let Some(job) = inbox.recv().await {
        let since = Instant::now();
        let Some(place) = sender.place().await else { return };
        let Job { rooms, post, done, until, loaded } = job;
        let live = match script.ready(&mut sender, until).await {
            Ok(live) => live,
            Err(unsent) => {
                done.complete(answered(&shared, Vec::new(), Err(unsent)));
                continue;
            }
        };
        let call = Call { from: shared.instance.clone(), addressed: address(&shared, rooms), post };
        let command = call.plain().unwrap_or_else(|| call.script(&script.sha));
        let mut calling = live.clone();
        let answer = async move { calling.call(&command).await };
        let (counting, rooms, unknown) = (shared.clone(), call.places(), script.unknown.clone());
        let finish = move |answer: Result<Value, Unsent>| {
            drop(loaded);
            counting.tools.times.publish.record(since.elapsed());
            if answer.as_ref().is_err_and(|unsent| unsent.no_script) {
                unknown.store(true, Relaxed);
            }
            done.complete(answered(&counting, rooms, answer));
        };
        sender.send(live, until, place, Box::pin(answer), finish).await;
    }
}

/// What the server knows of the script. It is loaded before anything is sent on a connection: messages
/// that were refused for want of it and sent again would overtake one another.
struct Script {
    sha: String,
    load: Cmd,
    generation: u64,
    /// The server has forgotten it.
    unknown: Arc<AtomicBool>,
}

impl Default for Script {
    fn default() -> Self {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(scripts::PUBLISH);
        Script { sha: script_sha(scripts::PUBLISH), load, generation: 0, unknown: Arc::default() }
    }
}

impl Script {
    async fn ready(&mut self, sender: &mut Sender, until: Instant) -> Result<Live, Unsent> {
        let mut live = sender.live(until)?;
        if self.unknown.swap(false, Relaxed) || live.generation != self.generation {
            self.generation = 0;
            sender.prepare(&mut live, &self.load, until).await?;
            self.generation = live.generation;
        }
        Ok(live)
    }
}

fn address(shared: &Shared, rooms: Vec<RoomName>) -> Vec<Addressed> {
    let address = |room: RoomName| {
        let history = shared.history(&room);
        let at = match history {
            Some(_) => shared.floor(&room),
            None => shared.numbers.lock().next(&room, Wall::unix_millis(now())),
        };
        Addressed { room, history, at }
    };
    rooms.into_iter().map(address).collect()
}

fn now() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

struct Call {
    from: Arc<str>,
    addressed: Vec<Addressed>,
    post: Post,
}

impl Call {
    /// One room that keeps nothing needs no script.
    fn plain(&self) -> Option<Cmd> {
        let [Addressed { room, history: None, at }] = &self.addressed[..] else { return None };
        let message = Message {
            kind: self.post.kind,
            payload: self.post.payload.clone(),
            wall: now(),
            places: Arc::new([Place { room: room.clone(), at: *at }]),
            from: Some(self.from.clone()),
        };
        let mut command = redis::cmd("PUBLISH");
        command.arg(key(CHANNEL, room)).arg(wire::rooms::encode(&message));
        Some(command)
    }

    fn script(&self, sha: &str) -> Cmd {
        let kept = self.addressed.iter().filter(|addressed| addressed.history.is_some());
        let mut command = redis::cmd("EVALSHA");
        command.arg(sha).arg(2 * kept.clone().count());
        for Addressed { room, .. } in kept {
            command.arg(key(NUMBER, room)).arg(key(STREAM, room));
        }
        command.arg(&wire::rooms::head(self.post.kind)[..]);
        command.arg(wire::rooms::sender(Some(&self.from))).arg(&self.post.payload[..]);
        for Addressed { room, history, at } in &self.addressed {
            let rule = history.unwrap_or(History::NONE);
            // Less than a millisecond would be none.
            let age = rule.age.max(Duration::from_millis(1));
            command.arg(room.as_str()).arg(at.epoch).arg(at.offset).arg(rule.messages).arg(rule.bytes);
            command.arg(millis(age)).arg(millis(age + REDIS_ROOM_EPOCH_KEPT));
        }
        command
    }

    /// The numbers of those that are numbered here; the server says the others.
    fn places(&self) -> Vec<(Place, bool)> {
        let place = |it: &Addressed| (Place { room: it.room.clone(), at: it.at }, it.history.is_some());
        self.addressed.iter().map(place).collect()
    }
}

fn answered(
    shared: &Shared,
    places: Vec<(Place, bool)>,
    answer: Result<Value, Unsent>,
) -> Result<Vec<Place>, Fault> {
    let counters = &shared.counters;
    match answer.and_then(|answer| numbered(shared, places, &answer)) {
        Ok(places) => {
            add(&counters.sent, 1);
            Ok(places)
        }
        Err(unsent) => Err(unsent.fault(&shared.tools, &counters.not_sent, &counters.maybe_sent)),
    }
}

fn numbered(shared: &Shared, places: Vec<(Place, bool)>, answer: &Value) -> Result<Vec<Place>, Unsent> {
    let unknown = || Unsent::perhaps("an unexpected answer to a script: is this a Redis server?");
    // A PUBLISH answers how many got it.
    if let Value::Int(_) = answer {
        return Ok(places.into_iter().map(|(place, _)| place).collect());
    }
    let numbers = values::list(Some(answer)).ok_or_else(unknown)?;
    if let Some("foreign") = values::text(numbers.first()) {
        let key = String::from_utf8_lossy(values::bytes(numbers.get(1)).unwrap_or_default()).into_owned();
        return Err(Unsent::surely(format!("the key '{key}' holds something else than a room: remove it")));
    }
    if numbers.len() != 2 * places.len() {
        return Err(unknown());
    }
    let mut placed = Vec::with_capacity(places.len());
    for ((mut place, kept), pair) in places.into_iter().zip(numbers.chunks(2)) {
        place.at = position(pair).ok_or_else(unknown)?;
        if kept {
            shared.numbers.lock().saw(&place.room, place.at);
        }
        placed.push(place);
    }
    Ok(placed)
}
