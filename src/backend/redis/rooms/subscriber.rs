//! Makes the server's subscriptions what the interest says, and passes on what comes.

use super::{
    CHANNEL, NUMBER, Shared,
    interest::{Question, Tasks, Word},
    key, millis, scripts,
};
use crate::{
    backend::redis::{
        fault::Fault,
        pubsub::{Hears, Line, Session},
        stats::add,
        values,
    },
    core::{
        names::RoomName,
        rooms::{Message, Position},
    },
    limits::{REDIS_ROOM_CHECK_EVERY, REDIS_ROOM_EPOCH_KEPT, REDIS_ROOM_FRESH_KEPT, REDIS_ROOMS_PER_CALL},
    ports::BackendError,
    wire,
};
use bytes::Bytes;
use parking_lot::Mutex;
use redis::Value;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

pub const PART: &str = "rooms' channels";

pub struct Subscriber {
    shared: Arc<Shared>,
    ear: Arc<Ear>,
}

impl Subscriber {
    pub fn new(shared: Arc<Shared>) -> Subscriber {
        let ear = Arc::new(Ear { shared: shared.clone(), last: Mutex::new(None) });
        Subscriber { shared, ear }
    }

    async fn tend(&self, line: &mut Line) -> Result<(), Fault> {
        self.shared.tools.health.well(PART);
        let mut check = Instant::now() + REDIS_ROOM_CHECK_EVERY;
        loop {
            let tasks = self.shared.interest.next(REDIS_ROOMS_PER_CALL);
            if tasks.heads.is_empty() && tasks.forgotten.is_empty() {
                tokio::select! {
                    () = self.shared.interest.news.notified() => {}
                    () = sleep_until(check) => {
                        self.shared.interest.check_all();
                        check = Instant::now() + REDIS_ROOM_CHECK_EVERY;
                    }
                }
                continue;
            }
            self.work(line, tasks).await?;
        }
    }

    async fn work(&self, line: &mut Line, tasks: Tasks) -> Result<(), Fault> {
        for (room, seen) in &tasks.forgotten {
            self.shared.numbers.lock().saw(room, *seen);
        }
        let channels =
            |rooms: &[RoomName]| -> Vec<_> { rooms.iter().map(|room| key(CHANNEL, room)).collect() };
        // In this order: a room may be left and entered again at once.
        if !tasks.unsubscribe.is_empty() {
            line.unsubscribe(&channels(&tasks.unsubscribe)).await?;
        }
        if !tasks.subscribe.is_empty() {
            line.subscribe(&channels(&tasks.subscribe)).await?;
        }
        if !tasks.heads.is_empty() {
            // After the confirmation: what is behind these numbers will be heard.
            let heads = self.heads(line, &tasks.heads).await?;
            say(&self.shared, self.shared.interest.answered(&tasks.heads, &heads));
        }
        Ok(())
    }

    /// One for each question.
    async fn heads(&self, line: &mut Line, questions: &[Question]) -> Result<Vec<Position>, Fault> {
        let kept: Vec<_> = questions
            .iter()
            .enumerate()
            .filter_map(|(place, question)| Some((place, question, self.shared.history(&question.room)?)))
            .collect();
        let mut heads = vec![Position::default(); questions.len()];
        if kept.is_empty() {
            return Ok(heads);
        }
        let mut call = redis::cmd("EVAL");
        call.arg(scripts::HEADS).arg(kept.len());
        for (_, question, _) in &kept {
            call.arg(key(NUMBER, &question.room));
        }
        call.arg(millis(REDIS_ROOM_FRESH_KEPT));
        for (_, question, history) in &kept {
            let floor = question.seen.max(self.shared.numbers.lock().seen(&question.room));
            call.arg(floor.epoch).arg(floor.offset).arg(millis(history.age + REDIS_ROOM_EPOCH_KEPT));
        }
        let answer = line.call(&call).await?;
        let numbers = values::list(Some(&answer)).unwrap_or_default();
        if numbers.len() != 2 * kept.len() {
            return Err(Fault::answer("a script"));
        }
        for ((place, ..), pair) in kept.iter().zip(numbers.chunks(2)) {
            heads[*place] = position(pair).ok_or_else(|| Fault::answer("a script"))?;
        }
        Ok(heads)
    }
}

/// Epoch and offset.
pub fn position(pair: &[Value]) -> Option<Position> {
    Some(Position { epoch: values::number(pair.first())?, offset: values::number(pair.get(1))? })
}

impl Session for Subscriber {
    fn hears(&self) -> Arc<dyn Hears> {
        self.ear.clone()
    }

    async fn serve(&mut self, mut line: Line) -> Fault {
        match self.tend(&mut line).await {
            Ok(()) => Fault::cut(),
            Err(fault) => fault,
        }
    }

    fn lost(&mut self) {
        self.shared.interest.lost();
    }
}

/// What comes on the rooms' channels.
struct Ear {
    shared: Arc<Shared>,
    /// The last message of several rooms: it comes once on each of their channels.
    last: Mutex<Option<(Bytes, Arc<Message>)>>,
}

impl Ear {
    fn understand(&self, bytes: Bytes) -> Result<Arc<Message>, &'static str> {
        let mut last = self.last.lock();
        if let Some((known, message)) = &*last
            && *known == bytes
        {
            return Ok(message.clone());
        }
        let message = Arc::new(wire::rooms::decode(&bytes).map_err(wire::rooms::Malformed::name)?);
        *last = (message.places.len() > 1).then(|| (bytes, message.clone()));
        Ok(message)
    }
}

impl Hears for Ear {
    fn heard(&self, channel: &[u8], payload: Bytes) {
        let counters = &self.shared.counters;
        let Some(room) = channel.strip_prefix(CHANNEL.as_bytes()) else { return };
        let Ok(room) = std::str::from_utf8(room) else { return };
        let length = payload.len() as u64;
        let placed = self.understand(payload).and_then(|message| {
            let place = message.places.iter().find(|place| place.room.as_str() == room);
            Ok((place.ok_or("it is of other rooms")?.at, message))
        });
        match placed {
            Ok((at, message)) => {
                add(&counters.arrived, 1);
                add(&counters.arrived_bytes, length);
                let alone = message.from.is_some();
                let word = self.shared.interest.arrived(room, at, message, alone);
                say(&self.shared, word);
            }
            Err(why) => {
                add(&counters.malformed, 1);
                self.shared.complaints.say(channel, why);
            }
        }
    }
}

fn say(shared: &Shared, words: impl IntoIterator<Item = Word>) {
    let (counters, listener) = (&shared.counters, &shared.listener);
    for word in words {
        match word {
            Word::Subscribed(done, head) => done.complete(Ok(head)),
            Word::Failed(done) => {
                let why = shared.tools.well().err().unwrap_or_else(|| {
                    format!("Redis at {} did not subscribe the room in time", shared.tools.settings.address)
                });
                done.complete(Err(BackendError { message: why, transient: true }));
            }
            Word::Resumed(room, head) => {
                add(&counters.resumed, 1);
                listener.resumed(room, head);
            }
            Word::Corrected(room, head) => {
                add(&counters.corrected, 1);
                listener.resumed(room, head);
            }
            Word::Arrived(room, at, message) => listener.arrived(room, at, message),
        }
    }
}

/// Ends questions that nobody answers.
pub async fn expire(shared: Arc<Shared>) {
    loop {
        let (words, next) = shared.interest.expire(Instant::now());
        say(&shared, words);
        match next {
            Some(next) => sleep_until(next).await,
            None => shared.interest.asked.notified().await,
        }
    }
}
