//! Members that come and go: what one costs must not depend on how many there are, and no other
//! socket may wait for them.

use super::row_in_millis;
use crate::common::{
    median, os,
    rooms::{Ours, Room, payload},
    runs, scaled,
    table::Row,
};
use std::{
    collections::VecDeque,
    sync::{atomic::Ordering, mpsc},
    task::Poll,
};
use websocket_manager::core::{
    id::ConnectionId,
    io::{Command, Context},
    names::RoomName,
    rooms::RoomCommand,
};

/// Commands under way at once: what waits behind one busy caller.
const IN_FLIGHT: usize = 64;
const ALL: usize = 5000;
const SOME: usize = 500;

/// As many joins and leaves in a room of 5,000 as in ten rooms of 500, one after another: whoever is
/// asked for was not asked for lately, so that both find the same caches.
pub fn run() -> Vec<Row> {
    os::allow_many_files();
    let (all, some) = (scaled(ALL), scaled(SOME));
    let mut ours = Ours::start(all);
    let ids = ours.ids.clone();
    let room = RoomName::parse("room", "bench-churn").expect("valid");
    let (mut small, mut large) = (Vec::new(), Vec::new());
    ours.shard.seen.times_turns.store(true, Ordering::Relaxed);
    for run in 0..=runs() {
        let tenths: Vec<u64> = ids.chunks(some).map(|some| come_and_go(&ours, some, &room)).collect();
        let together = come_and_go(&ours, &ids, &room);
        if run > 0 {
            small.push(tenths.iter().sum::<u64>() as f64 / all as f64 / 1e3);
            large.push(together as f64 / all as f64 / 1e3);
        } else {
            ours.shard.seen.longest_turn.store(0, Ordering::Relaxed);
        }
    }
    let churn = ours.shard.seen.longest_turn.swap(0, Ordering::Relaxed);
    for number in 0..runs() as u64 * 4 {
        let payload = payload(number, 128);
        ours.publish(std::slice::from_ref(&payload));
        ours.clients.await_all(128, &payload);
    }
    let written = ours.shard.seen.longest_turn.load(Ordering::Relaxed);
    let mut cost =
        Row::ratio(&format!("join and leave, a room of {all}"), 1.25, median(large), median(small), "us");
    cost.floor = format!("{}, a room of {some}", cost.floor);
    vec![
        cost,
        row_in_millis(&format!("... longest turn, CPU, while {all} join and leave"), 5.0, churn),
        row_in_millis(&format!("... longest turn, CPU, while {all} members are written to"), 5.0, written),
    ]
}

/// CPU nanoseconds of the shard's thread: all of these join the room, then all leave it.
fn come_and_go(ours: &Ours, ids: &[ConnectionId], room: &RoomName) -> u64 {
    let before = ours.shard.clock.nanos();
    let join = |id: &ConnectionId| RoomCommand::Join { id: id.clone(), room: room.clone(), after: None };
    drive(ours, ids.iter().map(join).collect());
    let leave = |id: &ConnectionId| RoomCommand::Leave { id: id.clone(), room: room.clone() };
    drive(ours, ids.iter().map(leave).collect());
    ours.shard.clock.nanos() - before
}

/// On the shard's own thread, as a caller's stream does it.
fn drive(ours: &Ours, mut commands: VecDeque<RoomCommand>) {
    let (done, ended) = mpsc::sync_channel(1);
    let hub = ours.hub.clone();
    ours.shard.run(move |_| async move {
        let mut calls = hub.calls(IN_FLIGHT);
        std::future::poll_fn(|cx| {
            while calls.has_room()
                && let Some(command) = commands.pop_front()
            {
                calls.start(0, Context::default(), Command::Room(command), 0).expect("room");
            }
            let mut answered = false;
            while let Poll::Ready((_, outcome)) = calls.poll_answer(cx) {
                outcome.expect("it joins, or leaves");
                answered = true;
            }
            if calls.in_flight() == 0 && commands.is_empty() {
                return Poll::Ready(());
            }
            if answered {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        let _ = done.send(());
    });
    ended.recv().expect("the shard runs");
}
