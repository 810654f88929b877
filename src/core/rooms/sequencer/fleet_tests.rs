//! Three instances that come, crash, leave and stall, with views of one another that lag, and words
//! that take their time: no number is given twice, order is kept, and no loss is silent.

mod upset;
mod words;

use super::{
    tests::{now, post, room, rules_of},
    *,
};
use crate::core::random::Rng;
use crate::core::{correlation::Kind, time::Wall};
use std::collections::VecDeque;

const ROOMS: u64 = 8;
const STEP: u64 = 50;

/// What a receiver knows of one room.
#[derive(Default)]
struct Heard {
    /// Where it was asked for, and whether that stands.
    source: Option<(usize, Arc<str>)>,
    last: Position,
    /// The last number that it heard of, also by asking.
    known: Position,
    /// Nothing that can be had is missing up to here.
    whole: Position,
    got: BTreeSet<(Position, u64)>,
}

struct Node {
    me: Arc<str>,
    run: u32,
    sequencer: Sequencer,
    alive: bool,
    leaving: bool,
    stalled_until: u64,
    /// Until when its lease is valid, and what others know of its end.
    lease: u64,
    joined: u64,
    ended: Option<u64>,
    /// How late it sees what happens to others.
    lag: u64,
    heard: BTreeMap<RoomName, Heard>,
    /// On the way to others' receivers: (at, to, word).
    sent: VecDeque<(u64, usize, Out)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    /// Members come and leave in order.
    None,
    CrashesAndStalls,
}

/// Numbers that a run of an instance has reserved.
type Reserved = (usize, Arc<str>, Vec<Place>);

struct World {
    nodes: Vec<Node>,
    moves: Vec<(u64, usize, Arc<str>, Move)>,
    fills: Vec<(u64, Vec<Reserved>, u64)>,
    /// Who had a number, and whether its sender was told that it is out.
    numbers: BTreeMap<(RoomName, Position), u64>,
    accepted: Vec<(RoomName, Position, u64)>,
    refused: usize,
    millis: u64,
    next: u64,
    random: Rng,
    trouble: Trouble,
}

impl World {
    fn new(seed: u64, trouble: Trouble) -> Self {
        let mut world = World {
            nodes: Vec::new(),
            moves: Vec::new(),
            fills: Vec::new(),
            numbers: BTreeMap::new(),
            accepted: Vec::new(),
            refused: 0,
            millis: 0,
            next: 0,
            random: Rng(seed),
            trouble,
        };
        for number in 0..3 {
            let node = world.node(number, 1);
            world.nodes.push(node);
        }
        world
    }

    fn node(&mut self, number: usize, run: u32) -> Node {
        let instance = ["a", "b", "c"][number];
        let me: Arc<str> = format!("{instance}#{run}").into();
        let sequencer =
            Sequencer::new(me.clone(), instance.into(), rules_of(10_000), 64 << 20, now(self.millis));
        Node {
            me,
            run,
            sequencer,
            alive: true,
            leaving: false,
            stalled_until: 0,
            lease: self.millis + 8_000,
            joined: self.millis,
            ended: None,
            lag: self.random.below(4_000),
            heard: (0..ROOMS).map(|n| (name(n), Heard::default())).collect(),
            sent: VecDeque::new(),
        }
    }

    fn runs(&self, number: usize) -> bool {
        let node = &self.nodes[number];
        node.alive && node.stalled_until <= self.millis
    }

    /// Whom a member sees: itself it knows, who came before it at once, and the rest with a lag.
    fn members(&self, number: usize) -> Vec<Arc<str>> {
        let me = &self.nodes[number];
        let seen = |other: &&Node| {
            let came = other.joined <= me.joined || other.joined + me.lag <= self.millis;
            let ended = other.ended.is_some_and(|at| at + me.lag <= self.millis);
            came && !ended && other.me != me.me
        };
        self.nodes.iter().filter(seen).map(|node| node.me.clone()).collect()
    }

    fn find(&self, incarnation: &str) -> Option<usize> {
        self.nodes.iter().position(|node| *node.me == *incarnation)
    }

    fn step(&mut self) {
        self.millis += STEP;
        for number in 0..3 {
            self.live(number);
        }
        self.hand_over();
        self.deliver();
        self.fill();
        let number = self.random.below(3) as usize;
        if self.runs(number) {
            self.post(number);
        }
        if self.random.below(200) == 0 {
            self.upset();
        }
    }

    fn live(&mut self, number: usize) {
        let (me, at) = (self.nodes[number].me.clone(), now(self.millis));
        if !self.runs(number) {
            // Others hold it dead a lease and a margin after its last renewal.
            let node = &mut self.nodes[number];
            if node.ended.is_none() && self.millis > node.lease + 3_500 {
                node.ended = Some(self.millis);
            }
            if !node.alive && node.ended.is_some_and(|ended| ended + 15_000 < self.millis) {
                let run = node.run + 1;
                self.nodes[number] = self.node(number, run);
            }
            return;
        }
        let node = &mut self.nodes[number];
        if node.ended.is_some() && !node.leaving {
            // It finds its lease ended, and is another run.
            let (run, lag) = (node.run + 1, node.lag);
            node.me = format!("{}#{run}", node.me.split('#').next().unwrap()).into();
            (node.run, node.joined, node.ended, node.lag) = (run, self.millis, None, lag);
        }
        let me = if node.me == me { me } else { node.me.clone() };
        node.lease = self.millis + 8_000;
        let members = self.members(number);
        let mut out = Vec::new();
        let node = &mut self.nodes[number];
        let (_, moves) = node.sequencer.look(&me, members.iter(), at, &mut out);
        node.sequencer.tick(at, &mut out);
        self.send(number, out);
        self.queue(number, moves);
        for room in (0..ROOMS).map(name) {
            self.ask(number, &room);
        }
    }

    fn may_number(&self, number: usize) -> bool {
        self.runs(number) && self.millis < self.nodes[number].lease
    }

    fn post(&mut self, number: usize) {
        self.next += 1;
        let message = self.next;
        let mut rooms: Vec<RoomName> =
            (0..=self.random.below(2)).map(|_| name(self.random.below(ROOMS))).collect();
        rooms.sort();
        rooms.dedup();
        let mut groups: BTreeMap<Arc<str>, Vec<RoomName>> = BTreeMap::new();
        for room in rooms {
            let first = self.nodes[number].sequencer.choice().first(&room).clone();
            groups.entry(first).or_default().push(room);
        }
        let at = now(self.millis);
        let (single, mut reserved) = (groups.len() == 1, Vec::new());
        for (first, rooms) in groups {
            let there = self.find(&first).filter(|there| self.may_number(*there));
            let Some(there) = there else { return self.refused += 1 };
            let sequencer = &mut self.nodes[there].sequencer;
            if single {
                let mut out = Vec::new();
                match sequencer.post(&rooms, post(message.to_string()), at, &mut out) {
                    Ok(places) => self.accept(places, message),
                    Err(_) => self.refused += 1,
                }
                self.send(there, out);
            } else {
                match sequencer.reserve(&rooms, at) {
                    Ok(places) => reserved.push((there, first, places)),
                    Err(_) => return self.refused += 1,
                }
            }
        }
        if !single {
            let due = self.millis + self.random.below(1_300);
            self.fills.push((due, reserved, message));
        }
    }

    fn accept(&mut self, places: Vec<Place>, message: u64) {
        for place in places {
            let known = *self.numbers.entry((place.room.clone(), place.at)).or_insert(message);
            assert_eq!(known, message, "{place:?} twice");
            self.accepted.push((place.room, place.at, message));
        }
    }

    fn fill(&mut self) {
        let millis = self.millis;
        let (due, later) = std::mem::take(&mut self.fills).into_iter().partition(|(due, ..)| *due <= millis);
        self.fills = later;
        for (_, reserved, message) in due {
            let all: Vec<Place> = reserved.iter().flat_map(|(_, _, places)| places.clone()).collect();
            let written = Arc::new(Message {
                kind: Kind::Text,
                payload: message.to_string().into(),
                wall: Wall::default(),
                places: all.into(),
                from: None,
            });
            for (there, run, places) in reserved {
                if !self.runs(there) || self.nodes[there].me != run {
                    continue;
                }
                let mut out = Vec::new();
                let filled =
                    self.nodes[there].sequencer.fill(&places, Some(written.clone()), now(millis), &mut out);
                if filled.is_ok() {
                    self.accept(places, message);
                }
                self.send(there, out);
            }
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            self.let_leave();
        }
        // Nothing more happens; everything that is on its way arrives.
        let trouble = std::mem::replace(&mut self.random, Rng(7));
        for _ in 0..2_000 {
            self.millis += STEP;
            (0..3).for_each(|number| self.live(number));
            self.hand_over();
            self.deliver();
            self.fill();
            self.let_leave();
        }
        self.random = trouble;
    }

    fn judge(&mut self) {
        assert!(self.accepted.len() > 100, "{} of {}", self.accepted.len(), self.next);
        for number in 0..3 {
            if !self.runs(number) {
                continue;
            }
            for room in (0..ROOMS).map(name) {
                self.refill(number, &room);
            }
            let node = &self.nodes[number];
            for (room, at, message) in &self.accepted {
                let heard = &node.heard[room];
                assert!(heard.known >= *at, "{} never heard of {room} {at:?}", node.me);
                let fresh = node.run > 1;
                if self.trouble == Trouble::None && !fresh {
                    assert!(heard.got.contains(&(*at, *message)), "{} lacks {room} {at:?}", node.me);
                }
            }
        }
    }
}

fn name(number: u64) -> RoomName {
    room(&format!("room-{number}"))
}

fn id(message: &Message) -> u64 {
    std::str::from_utf8(&message.payload).unwrap().parse().unwrap()
}

fn run(trouble: Trouble) {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..25 {
        let mut world = World::new(seed, trouble);
        let script = std::panic::AssertUnwindSafe(|| {
            world.run(3_000);
            world.judge();
        });
        if let Err(panic) = std::panic::catch_unwind(script) {
            eprintln!("seed {seed} at {} ms", world.millis);
            std::panic::resume_unwind(panic);
        }
        accepted += world.accepted.len();
        refused += world.refused;
    }
    println!("{accepted} accepted, {refused} refused");
}

#[test]
fn an_orderly_coming_and_going_loses_nothing() {
    run(Trouble::None);
}

#[test]
fn crashes_and_stalls_give_no_number_twice_and_no_loss_is_silent() {
    run(Trouble::CrashesAndStalls);
}
