use super::*;
use crate::backend::redis::values;
use redis::Value;

fn number(value: &Value) -> u64 {
    values::number(Some(value)).expect("a number")
}

#[test]
fn what_was_missed_is_read_and_whether_it_is_all() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    let epoch = instance.subscribe("r").epoch;
    assert_eq!(instance.since("r", Some(at(epoch, 0)), 10), {
        Kept { recovered: true, head: at(epoch, 0), ..Kept::default() }
    });
    for n in 1..=5 {
        instance.placed("r", &n.to_string());
    }
    let all = instance.since("r", Some(at(epoch, 0)), 10);
    assert!(all.recovered && all.head == at(epoch, 5) && all.messages.len() == 5);
    let some = instance.since("r", Some(at(epoch, 2)), 2);
    assert_eq!(shown(&some.messages, "r"), [(3, "3".into()), (4, "4".into())]);
    assert!(some.recovered && some.head == at(epoch, 5));
    let last = instance.since("r", None, 2);
    assert_eq!(shown(&last.messages, "r"), [(4, "4".into()), (5, "5".into())]);
    assert!(last.recovered);
    let none = instance.since("r", Some(at(epoch, 5)), 10);
    assert!(none.recovered && none.messages.is_empty());
    // Places that are not ours.
    for after in [at(epoch, 6), at(epoch + 1, 0), at(u64::MAX, u64::MAX)] {
        let kept = instance.since("r", Some(after), 10);
        assert!(!kept.recovered && kept.messages.is_empty(), "{after:?}");
    }
    let older = instance.since("r", Some(at(epoch - 1, 9)), 10);
    assert!(!older.recovered && older.messages.len() == 5);
    assert_eq!(instance.since("unknown", Some(at(1, 1)), 10), Kept::default());
}

#[test]
fn histories_are_bounded() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    let first = instance.placed("few", "1");
    // The server cuts whole nodes of a hundred.
    for n in 0..300 {
        instance.placed("few", &n.to_string());
    }
    assert!(number(&server.call(&["XLEN", "wsm:rooms:s:few"])) <= 103);
    let kept = instance.since("few", Some(first), 1000);
    assert!(!kept.recovered && kept.head.offset == 301);
    let life = |key: &str| number(&server.call(&["PTTL", key]));
    assert!((1..=9_000).contains(&life("wsm:rooms:s:few")));
    assert!((23 * 3_600_000..=24 * 3_600_000 + 9_000).contains(&life("wsm:rooms:n:few")));
    // A room to which nothing was sent costs little for long.
    instance.subscribe("fresh");
    assert!((1..=600_000).contains(&life("wsm:rooms:n:fresh")));

    let long = "x".repeat(100 * 1024);
    for _ in 0..40 {
        instance.placed("long", &long);
    }
    let used = number(&server.call(&["MEMORY", "USAGE", "wsm:rooms:s:long"]));
    assert!(used <= 3 * 1024 * 1024 / 2, "{used}");
    assert!(number(&server.call(&["XLEN", "wsm:rooms:s:long"])) >= 5);
}

#[test]
fn an_entry_of_somebody_else_is_a_hole_and_no_harm() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    let first = instance.placed("r", "1");
    let id = format!("{}-2", first.epoch);
    server.call(&["XADD", "wsm:rooms:s:r", &id, "m", "not ours"]);
    server.call(&["SET", "wsm:rooms:n:r", &id]);
    assert_eq!(instance.placed("r", "3").offset, 3);
    let kept = instance.since("r", Some(first), 10);
    assert_eq!(shown(&kept.messages, "r"), [(3, "3".into())]);
    assert!(!kept.recovered);
    assert_eq!(instance.rooms.stats().malformed, 1);
}
