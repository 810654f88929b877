use super::{PATIENCE, RedisServer, ask, batch, fetch, ids, opened, publish, wait_for};
use crate::ports::{Bus, Completion, TopicChunk, TopicFrom};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

fn fill(bus: &dyn Bus, topic: &str, from: u64, count: u64) {
    for first in (from..from + count).step_by(100) {
        let last = (first + 100).min(from + count);
        let events: Vec<_> = (first..last).map(|seq| (topic, "a", seq)).collect();
        assert_eq!(publish(bus, &batch(first, &events)), Ok(()));
    }
}

/// Reads to the end; checks that the offsets have no hole.
fn read_all(bus: &dyn Bus, topic: &str, mut from: u64, to: u64, bytes: usize) -> Vec<String> {
    let mut all = Vec::new();
    while from < to {
        let asked = ask(bus, topic, TopicFrom::Offset(from), bytes).recv_timeout(PATIENCE);
        let chunk = asked.expect("an answer").expect("a chunk");
        for (event, offset) in chunk.events.iter().zip(from + chunk.skipped..) {
            assert_eq!(event.offset, offset);
        }
        all.extend(ids(&chunk));
        from = chunk.next;
    }
    assert_eq!(from, to);
    all
}

#[test]
fn a_topic_is_read_from_its_start_from_now_and_from_anywhere() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let redis = opened(&server);
    let bus = redis.bus();
    let empty = TopicChunk { events: Vec::new(), next: 0, skipped: 0 };
    assert_eq!(fetch(&*bus, "t", TopicFrom::Now), Ok(empty));
    fill(&*bus, "t", 0, 1000);
    assert_eq!(fetch(&*bus, "t", TopicFrom::Now).expect("now").next, 1000);
    let start = fetch(&*bus, "t", TopicFrom::Start).expect("the start");
    assert_eq!((start.events[0].offset, start.skipped), (0, 0));
    assert!(start.events[0].unix_nanos > 1_600_000_000_000_000_000);
    let wanted: Vec<String> = (0..1000).map(|seq| format!("a/1/{seq}")).collect();
    assert_eq!(read_all(&*bus, "t", 0, 1000, 2000), wanted);
    // Each by search: another reader stands elsewhere.
    for offset in [999, 1, 500, 77, 998, 0, 340] {
        let chunk = ask(&*bus, "t", TopicFrom::Offset(offset), 1).recv_timeout(PATIENCE).expect("an answer");
        let chunk = chunk.expect("a chunk");
        assert_eq!(ids(&chunk), [format!("a/1/{offset}")]);
        assert_eq!((chunk.next, chunk.skipped), (offset + 1, 0));
    }
    let error = fetch(&*bus, "t", TopicFrom::Offset(1001)).expect_err("beyond");
    assert!(error.message.contains("topic 't' has 1000 events") && !error.transient, "{error}");
}

#[test]
fn readers_wait_at_the_end_of_their_topics() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let redis = opened(&server);
    let bus = redis.bus();
    fill(&*bus, "u", 0, 5);
    let waiting = [
        ask(&*bus, "t", TopicFrom::Offset(0), 1000),
        ask(&*bus, "t", TopicFrom::Start, 1000),
        ask(&*bus, "u", TopicFrom::Offset(5), 1000),
    ];
    wait_for("all three to be parked", || redis.stats().parked_readers == 3);
    fill(&*bus, "t", 0, 2);
    for one in &waiting[..2] {
        let chunk = one.recv_timeout(PATIENCE).expect("an answer").expect("a chunk");
        assert_eq!(chunk.events[0].offset, 0);
    }
    assert!(waiting[2].try_recv().is_err());
    fill(&*bus, "u", 5, 1);
    let chunk = waiting[2].recv_timeout(PATIENCE).expect("an answer").expect("a chunk");
    assert_eq!(ids(&chunk), ["a/1/5"]);
    wait_for("none to be parked", || redis.stats().parked_readers == 0);
}

struct Gone(Arc<AtomicBool>);

impl<T> Completion<T> for Gone {
    fn complete(self: Box<Self>, _: T) {}
    fn wanted(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_reader_that_went_away_is_forgotten() {
    let server = RedisServer::start(&[]);
    let redis = opened(&server);
    let here = Arc::new(AtomicBool::new(true));
    redis.bus().fetch("t", TopicFrom::Start, 1000, Box::new(Gone(here.clone())));
    wait_for("it to be parked", || redis.stats().parked_readers == 1);
    here.store(false, Ordering::SeqCst);
    wait_for("it to be forgotten", || redis.stats().parked_readers == 0);
}

#[test]
fn what_was_trimmed_is_told_exactly() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let redis = opened(&server);
    let bus = redis.bus();
    fill(&*bus, "t", 0, 300);
    server.call(&["XTRIM", "t", "MAXLEN", "=", "50"]);
    let chunk = fetch(&*bus, "t", TopicFrom::Offset(10)).expect("a chunk");
    assert_eq!((chunk.skipped, chunk.events[0].offset, chunk.next), (240, 250, 300));
    assert_eq!(ids(&chunk)[0], "a/1/250");
    assert_eq!(fetch(&*bus, "t", TopicFrom::Start).expect("the start").skipped, 0);
    server.call(&["XTRIM", "t", "MAXLEN", "=", "0"]);
    let chunk = fetch(&*bus, "t", TopicFrom::Offset(290)).expect("a chunk");
    assert_eq!((chunk.skipped, chunk.events.len(), chunk.next), (10, 0, 300));
    fill(&*bus, "t", 300, 1);
    let chunk = fetch(&*bus, "t", TopicFrom::Offset(300)).expect("a chunk");
    assert_eq!((ids(&chunk), chunk.next), (vec!["a/1/300".to_owned()], 301));
}

#[test]
fn entries_of_other_writers_have_their_offsets_too() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let redis = opened(&server);
    let bus = redis.bus();
    let theirs = |id: &str| server.call(&["XADD", "t", "*", "data", &format!(r#"{{"id":"{id}"}}"#)]);
    theirs("x0");
    theirs("x1");
    fill(&*bus, "t", 2, 2);
    theirs("x4");
    fill(&*bus, "t", 5, 1);
    theirs("x6");
    let wanted = ["x0", "x1", "a/1/2", "a/1/3", "x4", "a/1/5", "x6"];
    assert_eq!(read_all(&*bus, "t", 0, 7, 10_000), wanted);
    for offset in [6, 0, 4, 1, 5, 2, 3] {
        let chunk = ask(&*bus, "t", TopicFrom::Offset(offset), 1).recv_timeout(PATIENCE).expect("an answer");
        assert_eq!(ids(&chunk.expect("a chunk")), [wanted[offset as usize]]);
    }
    // Neither is an event.
    server.call(&["XADD", "t", "*", "data", "no JSON"]);
    server.call(&["XADD", "t", "*", "what", "ever"]);
    theirs("x9");
    let chunk = fetch(&*bus, "t", TopicFrom::Offset(7)).expect("a chunk");
    assert_eq!((ids(&chunk), chunk.skipped, chunk.next), (vec!["x9".to_owned()], 2, 10));
    assert_eq!(redis.stats().foreign_entries, 2);
}

#[test]
fn a_long_stream_of_only_others_is_read_by_counting() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let redis = opened(&server);
    let script = "for i = 0, 19999 do redis.call('XADD', 't', '*', 'data', '{\"id\":\"' .. i .. '\"}') end";
    server.call(&["EVAL", script, "0"]);
    for offset in [15_000, 3, 19_999] {
        let chunk = fetch(&*redis.bus(), "t", TopicFrom::Offset(offset)).expect("a chunk");
        assert_eq!((ids(&chunk)[0].clone(), chunk.skipped), (offset.to_string(), 0));
    }
}

#[test]
fn a_topic_that_began_again_is_read_from_its_new_count() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let redis = opened(&server);
    let bus = redis.bus();
    fill(&*bus, "t", 0, 300);
    assert_eq!(read_all(&*bus, "t", 0, 300, 1000).len(), 300);
    server.call(&["DEL", "t"]);
    fill(&*bus, "t", 0, 400);
    let wanted: Vec<String> = (300..400).map(|seq| format!("a/1/{seq}")).collect();
    assert_eq!(read_all(&*bus, "t", 300, 400, 1000), wanted);
}

#[test]
fn a_topic_that_is_no_stream_says_so_and_hinders_no_other() {
    let server = RedisServer::start(&[]);
    let redis = opened(&server);
    let bus = redis.bus();
    server.call(&["SET", "poison", "x"]);
    for from in [TopicFrom::Now, TopicFrom::Start, TopicFrom::Offset(3)] {
        let error = fetch(&*bus, "poison", from).expect_err("no stream");
        assert!(error.message.contains("topic 'poison' is a string in Redis"), "{error}");
    }
    // It becomes one while somebody waits there.
    let late = ask(&*bus, "late", TopicFrom::Start, 1000);
    let good = ask(&*bus, "good", TopicFrom::Start, 1000);
    wait_for("both to be parked", || redis.stats().parked_readers == 2);
    server.call(&["SET", "late", "x"]);
    assert!(late.recv_timeout(PATIENCE).expect("an answer").is_err());
    fill(&*bus, "good", 0, 1);
    assert!(good.recv_timeout(PATIENCE).expect("an answer").is_ok());
}
