//! The hot functions of the pure core, one after the other, for valgrind to count what each takes.
//!
//! `benches/instructions/count.py` builds this, runs it under callgrind and compares what it counts with
//! `counts.txt`. Each case has its steady state before it is counted, so that tables and buffers that
//! grow once are not charged to it. Clocks and randomness are numbers that go up.

mod frames;
mod messages;
mod rooms;
mod shard;
mod tables;

/// What is counted, how often it is done, and so what one of it takes.
pub struct Case {
    name: &'static str,
    rounds: u32,
    round: Box<dyn FnMut()>,
}

impl Case {
    pub fn new(name: &'static str, rounds: u32, round: impl FnMut() + 'static) -> Self {
        Case { name, rounds, round: Box::new(round) }
    }
}

/// Callgrind counts from here to its end, and nothing else.
#[inline(never)]
fn measured(rounds: u32, round: &mut dyn FnMut()) {
    for _ in 0..rounds {
        round();
    }
}

fn main() {
    let all = [frames::cases(), messages::cases(), rooms::cases(), shard::cases(), tables::cases()];
    for mut case in all.into_iter().flatten() {
        for _ in 0..case.rounds {
            (case.round)();
        }
        measured(case.rounds, &mut *case.round);
        println!("{} {}", case.name, case.rounds);
    }
}

/// A JSON message of this many bytes: nested objects, arrays and escapes, and its id at the end.
pub fn document(bytes: usize, id: &str) -> String {
    let item = r#"{"p":"6.1\"x","q":[1,2,{"a":"b"}],"s":"BTC"}"#;
    let tail = format!(r#"],"id":"{id}"}}"#);
    let mut text = String::from(r#"{"e":"t","data":["#);
    text.push_str(item);
    while text.len() + 1 + item.len() + tail.len() <= bytes {
        text.push(',');
        text.push_str(item);
    }
    while text.len() + tail.len() < bytes {
        text.push(' ');
    }
    text + &tail
}
