//! What each message or Send touches besides: the ring, timers, and the way from an id to its shard.

use crate::{Case, document};
use std::{hint::black_box, time::Duration};
use websocket_manager::core::{
    id::{ConnKey, ConnectionId},
    ring::{Head, RecordKind, Ring},
    time::{Time, Wall},
    wheel::Wheel,
};

pub fn cases() -> Vec<Case> {
    vec![append(), shard_of(), fire(), cancel()]
}

/// Round and round: the oldest make room.
fn append() -> Case {
    let mut ring = Ring::new(1 << 18);
    let (payload, mut seq) = (document(256, "1"), 0);
    Case::new("keep a message of 256 B in the ring", 4000, move || {
        seq += 1;
        let head = Head {
            kind: RecordKind::Text,
            key: ConnKey { index: 7, generation: 1 },
            epoch: 1_700_000_000_000,
            seq,
            wall: Wall::from_unix_millis(1_700_000_000_000 + seq),
            reply: false,
            possible_duplicate: false,
        };
        black_box(ring.append(&head, black_box(payload.as_bytes())));
    })
}

fn shard_of() -> Case {
    let id = ConnectionId::parse("connection-of-22-chars").expect("valid");
    Case::new("the shard of an id of 22 characters", 1000, move || {
        black_box(black_box(&id).shard(8));
    })
}

/// Each Send's deadline is set, and now and then one passes.
fn fire() -> Case {
    let (mut wheel, mut now, mut fired) = (Wheel::new(Time::ZERO), Time::ZERO, 0);
    Case::new("set 100 timers of 1 to 100 ms and let them fire", 100, move || {
        for millis in 1..=100 {
            wheel.insert(now + Duration::from_millis(millis), millis);
        }
        for _ in 0..25 {
            now += Duration::from_millis(5);
            wheel.expire(now, &mut |millis: u64| fired += millis);
        }
        assert!(wheel.is_empty() && fired > 0);
    })
}

fn cancel() -> Case {
    let mut wheel = Wheel::new(Time::ZERO);
    for nth in 0..1000_u64 {
        wheel.insert(Time::from_millis(10_000 + nth), nth);
    }
    Case::new("set a timer of 10 s among 1000 and take it back", 1000, move || {
        let timer = wheel.insert(black_box(Time::from_millis(10_000)), 0);
        assert!(wheel.cancel(timer));
    })
}
