//! The upstream and the client for many sockets, with each other: what one sends the other counts, and
//! delays that were put in are found again.

use crate::quiet;
use loadtest::{
    clock::{self, MILLI, SECOND},
    payload,
    record::Recorder,
    schedule::Schedule,
    upstream::{Feed, Manner, Upstream},
    ws::{Crowd, Seen},
};
use std::path::Path;

const DELAY: u64 = 200 * MILLI;
const SOCKETS: usize = 10;

fn upstream(delay: u64) -> Upstream {
    Upstream::start(Path::new(env!("CARGO_BIN_EXE_loadtest")), &[], Manner { delay }).expect("it starts")
}

fn crowd(upstream: &Upstream, kind: &str, count: usize) -> Crowd {
    let mut crowd = Crowd::new(upstream.address).expect("a crowd");
    let paths = (0..count).map(|number| format!("/{kind}/{number}"));
    assert_eq!(crowd.open(paths, None, &mut |_, _, _| {}).expect("they are let in"), 0);
    assert_eq!(crowd.open_now(), count);
    crowd
}

#[test]
fn echoes_come_back_after_the_delay_that_was_asked_for() {
    quiet::sometime(echoes);
}

fn echoes() -> Result<(), String> {
    let mut upstream = upstream(DELAY);
    let mut crowd = crowd(&upstream, "echo", SOCKETS);
    let schedule = Schedule::new(clock::now() + 10 * MILLI, 200.0, SECOND);
    let recorder = Recorder::new(schedule.start(), &["echo"]);
    let (mut next, mut come, give_up) = (0, 0, clock::now() + 20 * SECOND);
    while come < schedule.total() && clock::now() < give_up {
        while next < schedule.total() && schedule.due(next) <= clock::now() {
            let socket = next as usize % SOCKETS;
            assert!(crowd.put(socket, payload::text(next, schedule.due(next), 100).as_bytes()));
            crowd.flush(socket);
            next += 1;
        }
        let until = if next < schedule.total() { schedule.due(next) } else { give_up };
        let mut take = |_, seen: Seen, at| {
            let Seen::Text(payload) = seen else { panic!("{seen:?}") };
            recorder.done(0, payload::time(payload).expect("its time"), at);
            come += 1;
        };
        crowd.poll(until, &mut take).expect("it polls");
    }
    let echo = &recorder.end(clock::now())[0];
    assert_eq!(echo.done(), schedule.total());
    assert!(echo.histogram.min() >= DELAY * 99 / 100, "none is faster than it can be");
    let counts = upstream.counts().expect("it answers");
    assert_eq!((counts.sockets, counts.received, counts.echoed), (SOCKETS as u64, 200, 200));
    quiet::near("p50", echo.at(0.5), DELAY, 0.05)
}

#[test]
fn a_feed_is_dealt_out_evenly_and_its_stall_is_seen() {
    quiet::sometime(feeds);
}

fn feeds() -> Result<(), String> {
    let mut upstream = upstream(0);
    let mut crowd = crowd(&upstream, "feed", SOCKETS);
    let start = clock::now() + 50 * MILLI;
    upstream.feed(&Feed { start, rate: 200.0, nanos: 2 * SECOND, burst: 1, bytes: 128 }).expect("it hears");
    let (mut each, mut late, mut stalled) = ([0; SOCKETS], Vec::new(), false);
    let give_up = clock::now() + 20 * SECOND;
    while late.len() < 400 && clock::now() < give_up {
        crowd
            .poll(give_up, &mut |socket, seen, at| {
                let Seen::Text(payload) = seen else { panic!("{seen:?}") };
                assert_eq!(payload.len(), 128);
                each[socket] += 1;
                late.push(at - payload::time(payload).expect("its time"));
            })
            .expect("it polls");
        if !stalled && late.len() >= 40 {
            upstream.stall(SECOND).expect("it hears");
            stalled = true;
        }
    }
    assert_eq!(each, [40; SOCKETS]);
    let half = late.iter().filter(|it| **it >= SECOND / 2).count();
    let counts = upstream.counts().expect("it answers");
    assert_eq!((counts.fed, counts.unsent), (400, 0));
    quiet::near("due in the first half of the stall", half as u64, 100, 0.1)
}

#[test]
fn ends_are_told_and_counted() {
    let mut upstream = upstream(0);
    let mut crowd = crowd(&upstream, "quiet", SOCKETS);
    crowd.cut(3);
    assert_eq!(crowd.open_now(), SOCKETS - 1);
    upstream.cut().expect("it hears");
    let (mut ended, give_up) = (Vec::new(), clock::now() + 10 * SECOND);
    while ended.len() < SOCKETS - 1 && clock::now() < give_up {
        let mut take = |socket, seen: Seen, _| {
            assert!(matches!(seen, Seen::Closed(1006)), "{seen:?}");
            ended.push(socket);
        };
        crowd.poll(give_up, &mut take).expect("it polls");
    }
    ended.sort_unstable();
    assert_eq!(ended, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!((crowd.open_now(), upstream.counts().expect("it answers").sockets), (0, 0));
}
