//! One sequencer against a model that keeps everything, by random scripts.

use super::{
    tests::{alone, now, post, room, rules_of},
    *,
};
use crate::core::random::Rng;
use crate::core::{correlation::Kind, time::Wall};

const KEPT: usize = 6;
const ROOMS: u64 = 4;
const SUBSCRIBERS: u64 = 3;

#[derive(Clone, Debug, PartialEq)]
enum Number {
    Message(u64),
    Reserved(u64),
    Void,
}

#[derive(Default)]
struct Model {
    epoch: u64,
    numbers: Vec<Number>,
    /// Subscribers and what they have got.
    heard: BTreeMap<Subscriber, Vec<(u64, u64)>>,
    /// The offset at which each began.
    began: BTreeMap<Subscriber, u64>,
    /// Nothing up to here is kept any more.
    aged: usize,
}

impl Model {
    fn settled(&self) -> usize {
        let waits = |number: &Number| matches!(number, Number::Reserved(_));
        self.numbers.iter().position(waits).unwrap_or(self.numbers.len())
    }

    fn messages(&self, after: usize) -> Vec<(u64, u64)> {
        let numbered = self.numbers[..self.settled()].iter().enumerate().skip(after);
        numbered
            .filter_map(|(index, number)| match number {
                Number::Message(id) => Some((index as u64 + 1, *id)),
                _ => None,
            })
            .collect()
    }

    fn kept(&self) -> Vec<(u64, u64)> {
        let all = self.messages(self.aged);
        all[all.len().saturating_sub(KEPT)..].to_vec()
    }
}

struct World {
    sequencer: Sequencer,
    models: Vec<Model>,
    reserved: Vec<(u64, Vec<Place>)>,
    millis: u64,
    next: u64,
    random: Rng,
    out: Vec<Out>,
}

fn id(message: &Message) -> u64 {
    std::str::from_utf8(&message.payload).unwrap().parse().unwrap()
}

impl World {
    fn rooms(&mut self) -> Vec<u64> {
        let count = 1 + self.random.below(3);
        let mut rooms: Vec<u64> = (0..count).map(|_| self.random.below(ROOMS)).collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }

    fn given(&mut self, places: &[Place], number: &Number) {
        for place in places {
            let model = &mut self.models[index(&place.room)];
            if model.epoch != place.at.epoch {
                assert!(place.at.epoch > model.epoch && place.at.offset == 1, "{place:?} {}", model.epoch);
                assert!(model.numbers.is_empty());
                model.epoch = place.at.epoch;
            }
            model.numbers.push(number.clone());
            assert_eq!(place.at.offset, model.numbers.len() as u64);
        }
    }

    fn step(&mut self) {
        self.millis += self.random.below(30);
        let now = now(self.millis);
        self.next += 1;
        let message = self.next;
        match self.random.below(12) {
            0..=3 => {
                let rooms: Vec<_> = self.rooms().into_iter().map(name).collect();
                let places =
                    self.sequencer.post(&rooms, post(message.to_string()), now, &mut self.out).unwrap();
                self.given(&places, &Number::Message(message));
            }
            4 | 5 => {
                let rooms: Vec<_> = self.rooms().into_iter().map(name).collect();
                let places = self.sequencer.reserve(&rooms, now).unwrap();
                self.given(&places, &Number::Reserved(message));
                self.reserved.push((self.millis + 1000, places));
            }
            6 | 7 if !self.reserved.is_empty() => self.fill(now, message),
            8 => {
                let (subscriber, room) = (1 + self.random.below(SUBSCRIBERS), self.random.below(ROOMS));
                let head =
                    self.sequencer.subscribe(subscriber, &name(room), Position::default(), now).unwrap();
                let model = &mut self.models[room as usize];
                if model.epoch != head.epoch {
                    assert!(head.epoch > model.epoch && model.numbers.is_empty());
                    model.epoch = head.epoch;
                }
                assert_eq!(head.offset, model.settled() as u64);
                if model.began.insert(subscriber, head.offset).is_some() {
                    model.heard.remove(&subscriber);
                }
            }
            9 => {
                let (subscriber, room) = (1 + self.random.below(SUBSCRIBERS), self.random.below(ROOMS));
                self.sequencer.unsubscribe(subscriber, &name(room));
                self.models[room as usize].began.remove(&subscriber);
                self.models[room as usize].heard.remove(&subscriber);
            }
            10 if self.random.below(8) == 0 => self.age(),
            _ => self.tick(),
        }
        self.hear();
        self.compare();
    }

    fn fill(&mut self, now: Now, message: u64) {
        let which = self.random.below(self.reserved.len() as u64) as usize;
        let (_, places) = self.reserved.remove(which);
        let cancel = self.random.below(3) == 0;
        let filled = (!cancel).then(|| {
            Arc::new(Message {
                kind: Kind::Text,
                payload: message.to_string().into(),
                wall: Wall::default(),
                places: places.clone().into(),
                from: None,
            })
        });
        self.sequencer.fill(&places, filled, now, &mut self.out).unwrap();
        for place in &places {
            let numbers = &mut self.models[index(&place.room)].numbers;
            let number = &mut numbers[place.at.offset as usize - 1];
            assert!(matches!(number, Number::Reserved(_)));
            *number = if cancel { Number::Void } else { Number::Message(message) };
            // What is out stays given.
            let waits = |number: &Number| matches!(number, Number::Reserved(_));
            if cancel {
                let first = numbers.iter().position(waits).unwrap_or(numbers.len());
                let floor = first.min(place.at.offset as usize - 1);
                while numbers.len() > floor && numbers.last() == Some(&Number::Void) {
                    numbers.pop();
                }
            }
        }
    }

    fn tick(&mut self) {
        self.sequencer.tick(now(self.millis), &mut self.out);
        let millis = self.millis;
        let (over, waits): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.reserved).into_iter().partition(|(until, _)| *until <= millis);
        self.reserved = waits;
        for place in over.into_iter().flat_map(|(_, places)| places) {
            self.models[index(&place.room)].numbers[place.at.offset as usize - 1] = Number::Void;
        }
        for model in &mut self.models {
            let idle = model.began.is_empty() && model.settled() == model.numbers.len();
            if idle && model.kept().is_empty() {
                model.numbers.clear();
                model.aged = 0;
            }
        }
    }

    /// Everything that is kept grows too old.
    fn age(&mut self) {
        self.millis += 2000;
        self.tick();
        self.hear();
        self.millis += limits::ROOM_HISTORY_AGE.as_millis() as u64;
        for model in &mut self.models {
            model.aged = model.numbers.len();
        }
        self.tick();
    }

    fn hear(&mut self) {
        for word in std::mem::take(&mut self.out) {
            let Out::Message { to, room, at, message } = word else { panic!("{word:?}") };
            assert_eq!(message.at(&room), Some(at));
            let heard = self.models[index(&room)].heard.entry(to).or_default();
            heard.push((at.offset, id(&message)));
        }
    }

    fn compare(&mut self) {
        let now = now(self.millis);
        for number in 0..ROOMS {
            let model = &self.models[number as usize];
            for (subscriber, began) in &model.began {
                let heard = model.heard.get(subscriber).cloned().unwrap_or_default();
                assert_eq!(heard, model.messages(*began as usize), "subscriber {subscriber} of {number}");
            }
            let heard = model.heard.keys().all(|subscriber| model.began.contains_key(subscriber));
            assert!(heard, "nobody hears who does not want");
            let kept = self.sequencer.since(&name(number), None, 100, now).unwrap();
            let expected = model.kept();
            let shown = |kept: &Kept| -> Vec<(u64, u64)> {
                let offset = |message: &Message| message.at(&name(number)).unwrap().offset;
                kept.messages.iter().map(|message| (offset(message), id(message))).collect()
            };
            assert_eq!(
                shown(&kept),
                expected,
                "{:?} {:?} aged {} {}",
                kept.head,
                model.numbers,
                model.aged,
                self.millis
            );
            let after = self.random.below(model.settled() as u64 + 1);
            let at = Position { epoch: model.epoch, offset: after };
            let kept = self.sequencer.since(&name(number), Some(at), 100, now).unwrap();
            let later: Vec<_> = expected.into_iter().filter(|(offset, _)| *offset > after).collect();
            let whole = later.first().is_some_and(|(offset, _)| *offset == after + 1);
            if !model.numbers.is_empty() {
                assert_eq!(kept.recovered, whole || after == model.settled() as u64, "{number} {after}");
                assert_eq!(shown(&kept), later);
            }
        }
    }
}

fn name(number: u64) -> RoomName {
    room(&format!("room-{number}"))
}

fn index(room: &RoomName) -> usize {
    room.as_str().trim_start_matches("room-").parse().unwrap()
}

#[test]
fn a_sequencer_does_what_a_model_that_keeps_everything_says() {
    for seed in 0..100 {
        let sequencer = alone("a#1", rules_of(KEPT), 1 << 20);
        let mut world = World {
            sequencer,
            models: (0..ROOMS).map(|_| Model::default()).collect(),
            reserved: Vec::new(),
            millis: 0,
            next: 0,
            random: Rng(seed),
            out: Vec::new(),
        };
        let script = std::panic::AssertUnwindSafe(|| (0..300).for_each(|_| world.step()));
        if let Err(panic) = std::panic::catch_unwind(script) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
