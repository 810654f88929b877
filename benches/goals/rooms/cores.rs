//! Two shards that share rooms, in memory, beside two that know nothing of one another. A writer
//! that only counts takes what sockets would.

use crate::common::{
    median, message, os,
    rooms::{admission, spec},
    runs, scaled,
    shard::setup,
    table::Row,
};
use crossbeam::queue::SegQueue;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use websocket_manager::{
    core::{
        correlation::Kind,
        id::{ConnectionId, Ticket},
        io::{Answer, Command, Context, Effect, Effects},
        names::RoomName,
        rooms::{Between, Post, RoomAnswer, RoomCommand, RoomEffect, here::Wrote},
        shard::ShardCore,
        time::{Now, Time, Wall},
    },
    wire::ws,
};

const BYTES: usize = 128;
const MEMBERS: usize = 1000;
/// Each member is in as many rooms as there are homes.
const ROOMS: usize = 2;

/// What shards say to one another; one queue for each.
type Lines = Arc<[SegQueue<Between>]>;

pub fn run() -> Vec<Row> {
    [1, 8].map(compared).into()
}

fn compared(posts: usize) -> Row {
    let (mut apart, mut together) = (Vec::new(), Vec::new());
    for _ in 0..runs() {
        apart.push(on_two_threads(posts, |_| (0, 1, lines(1))));
        let shared = lines(2);
        together.push(on_two_threads(posts, |thread| (thread, 2, shared.clone())));
    }
    let (apart, together) = (median(apart), median(together));
    let goal = format!("rooms of 2 shards, in memory, {posts} to each room a turn");
    let mut row = Row::at_least(&goal, 0.9, together, apart, "");
    row.measured = format!("{:.2}x ({:.0} M deliveries a CPU-second)", together / apart, together / 1e6);
    row.floor = format!("{:.0} M, each alone", apart / 1e6);
    row
}

fn lines(shards: usize) -> Lines {
    (0..shards).map(|_| SegQueue::new()).collect()
}

/// Deliveries a CPU-second of both.
fn on_two_threads(posts: usize, of: impl Fn(u32) -> (u32, u32, Lines)) -> f64 {
    let steps = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..2)
        .map(|thread| {
            let ((shard, shards, lines), steps) = (of(thread), steps.clone());
            thread::spawn(move || {
                os::pin(thread as usize);
                Shard::new(shard, shards, lines).work(posts, &steps)
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
}

struct Shard {
    number: u32,
    core: ShardCore,
    fx: Effects,
    lines: Lines,
    began: Instant,
    /// Of the rooms, those whose home is here.
    own: Vec<RoomName>,
    /// Those that are in.
    members: usize,
}

impl Shard {
    fn new(number: u32, shards: u32, lines: Lines) -> Self {
        let core = ShardCore::new(at(Instant::now()), setup(number, shards));
        let own = rooms(number, shards);
        Shard { number, core, fx: Effects::new(), lines, began: Instant::now(), own, members: 0 }
    }

    fn work(mut self, posts: usize, steps: &AtomicUsize) -> f64 {
        let (shards, spec) = (self.lines.len() as u32, spec(Duration::ZERO));
        let rooms: Vec<_> = (0..shards).flat_map(|home| rooms(home, shards)).collect();
        let mut random = 7;
        for nth in 0..MEMBERS {
            let next = || websocket_manager::core::random::next(&mut random);
            let id = ConnectionId::mint_accepted("AAAAAAAA", self.number, shards, next);
            let admit = RoomCommand::Admit(Box::new(admission(id, spec.clone(), &rooms)));
            self.command(nth as u64, admit);
        }
        // Both have all their members before anything is posted.
        while self.members < MEMBERS {
            self.turn();
        }
        // Members of the other shard may still need the homes of this one.
        steps.fetch_add(1, Ordering::AcqRel);
        while steps.load(Ordering::Acquire) < 2 {
            self.turn();
        }
        self.measure(posts, steps)
    }

    fn measure(&mut self, posts: usize, steps: &AtomicUsize) -> f64 {
        let payload = bytes::Bytes::from(message("m", BYTES));
        let (rounds, clock) = (scaled(2_000), os::CpuClock::of_this_thread());
        let (mut delivered, mut spent) = (0, 0);
        for round in 0..rounds {
            let before = clock.nanos();
            for room in self.own.clone() {
                for _ in 0..posts {
                    let post = Post { kind: Kind::Text, payload: payload.clone() };
                    self.command(0, RoomCommand::Post { room: room.clone(), post });
                }
            }
            delivered += self.turn();
            spent += clock.nanos() - before;
            self.in_step(steps, round + 2);
        }
        delivered as f64 / (spent as f64 / 1e9)
    }

    /// Waits for the other one: batches are of the same size then, whoever is held up.
    fn in_step(&mut self, steps: &AtomicUsize, step: usize) {
        steps.fetch_add(1, Ordering::AcqRel);
        while steps.load(Ordering::Acquire) < 2 * step {
            thread::yield_now();
        }
    }

    fn command(&mut self, ticket: u64, command: RoomCommand) {
        let now = at(self.began);
        self.core.command(now, Ticket(ticket), &Context::default(), Command::Room(command), &mut self.fx);
        self.settle(now);
    }

    /// What the others said, then one write for each member; how many messages that delivered.
    fn turn(&mut self) -> u64 {
        let now = at(self.began);
        let lines = self.lines.clone();
        while let Some(word) = lines[self.number as usize].pop() {
            self.core.told(now, word, &mut self.fx);
            self.settle(now);
        }
        self.core.end_turn(now, &mut self.fx);
        self.settle(now);
        let mut bytes_out = 0;
        self.core.flush_rooms(now, MEMBERS * ROOMS, &mut |_, bytes| {
            bytes_out += bytes.len();
            Wrote::Taken(bytes.len())
        });
        (bytes_out / (ws::frame_len(BYTES, false))) as u64
    }

    fn settle(&mut self, now: Now) {
        while !self.fx.is_empty() {
            for effect in std::mem::take(&mut self.fx) {
                match effect {
                    Effect::Room(RoomEffect::Tell { shard, word }) => self.lines[shard as usize].push(word),
                    Effect::Answer {
                        outcome: Ok(Answer::Room(RoomAnswer::Admitted { socket, .. })), ..
                    } => {
                        assert!(self.core.attached(now, socket, &mut self.fx));
                        self.members += 1;
                    }
                    Effect::Answer { outcome, .. } => drop(outcome.expect("it is done")),
                    _ => {}
                }
            }
        }
    }
}

/// Those of one home: each has as many.
fn rooms(home: u32, shards: u32) -> Vec<RoomName> {
    let names = (0..).map(|nth| RoomName::parse("room", &format!("room-{nth}")).expect("valid"));
    names.filter(|room| room.home(shards) == home).take(ROOMS / shards as usize).collect()
}

fn at(began: Instant) -> Now {
    let nanos = began.elapsed().as_nanos() as u64 + 1;
    Now { mono: Time::from_nanos(nanos), wall: Wall::from_unix_nanos(1_700_000_000_000_000_000 + nanos) }
}
