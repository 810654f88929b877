use super::*;
use crate::core::reason::FaultKind;
use redis::Value;

#[test]
fn two_instances_number_one_room_without_a_hole_or_a_double() {
    const EACH: u64 = 300;
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let instances = [Instance::open(&server, "a"), Instance::open(&server, "b")];
    let head = instances.each_ref().map(|instance| instance.subscribe("r"));
    assert!(head[0] == head[1] && head[0].offset == 0 && head[0].epoch > 1_600_000_000_000, "{head:?}");
    let answers: Vec<_> = (0..EACH)
        .flat_map(|n| instances.each_ref().map(|instance| instance.posting(&["r"], &n.to_string())))
        .collect();
    let mut numbers: Vec<_> = answers
        .iter()
        .map(|answer| answer.recv_timeout(PATIENCE).expect("an answer").expect("placed")[0].at)
        .collect();
    // Each instance's own keep the order in which they were handed over.
    assert!(numbers.iter().step_by(2).is_sorted() && numbers.iter().skip(1).step_by(2).is_sorted());
    numbers.sort();
    let whole: Vec<_> = (1..=2 * EACH).map(|offset| at(head[0].epoch, offset)).collect();
    assert_eq!(numbers, whole);
    for instance in &instances {
        wait_for("all of them", || instance.arrived("r").len() == whole.len());
        let arrived: Vec<_> = instance.arrived("r").iter().map(|(at, _)| *at).collect();
        assert_eq!(arrived, whole);
        assert_eq!(instance.rooms.stats().sent, EACH);
    }
}

#[test]
fn one_message_to_several_rooms_is_one_step() {
    let server = RedisServer::start(&[]);
    let (sender, reader) = (Instance::open(&server, "sender"), Instance::open(&server, "reader"));
    for name in ["a", "none", "z"] {
        reader.subscribe(name);
    }
    sender.placed("z", "first");
    let places = sender.post(&["z", "a", "none", "z"], "to all").expect("placed");
    let names: Vec<_> = places.iter().map(|place| (place.room.as_str(), place.at.offset)).collect();
    assert_eq!(names, [("a", 1), ("none", 1), ("z", 2)]);
    wait_for("every channel", || reader.log.all().len() == 3 + 4);
    for (name, from) in [("a", None), ("none", Some("sender")), ("z", None)] {
        let (at, message) = reader.arrived(name).pop().expect("a message");
        assert_eq!((at, message.from.as_deref()), (message.at(&room(name)).expect("a place"), from));
        assert_eq!(&message.places[..], &places[..], "{name}");
        assert_eq!(&message.payload[..], b"to all");
    }
    // What is kept is what was carried.
    assert_eq!(
        shown(&sender.since("z", None, 10).messages, "z"),
        [(1, "first".into()), (2, "to all".into())]
    );
    assert_eq!(&sender.since("a", None, 10).messages[0].places[..], &places[..]);
    // Nothing of the room that keeps nothing.
    assert_eq!(server.call(&["EXISTS", "wsm:rooms:n:none", "wsm:rooms:s:none"]), Value::Int(0));
}

#[test]
fn a_room_that_keeps_nothing_is_numbered_by_its_sender() {
    let server = RedisServer::start(&[]);
    let (one, two) = (Instance::open(&server, "one"), Instance::open(&server, "two"));
    assert_eq!(one.subscribe("none"), Position::default());
    assert_eq!([one.placed("none", "a").offset, one.placed("none", "b").offset], [1, 2]);
    assert_eq!(two.placed("none", "c").offset, 1);
    wait_for("all", || one.arrived("none").len() == 3);
    let from: Vec<_> = one.arrived("none").iter().map(|(_, message)| message.from.clone()).collect();
    assert_eq!(from, [Some("one".into()), Some("one".into()), Some("two".into())]);
    assert_eq!(one.since("none", Some(at(1, 1)), 10), Kept::default());
    assert_eq!(server.call(&["DBSIZE"]), Value::Int(0));
}

#[test]
fn the_room_of_everybody_is_a_room() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    let (sender, answer) = mpsc::sync_channel(1);
    let post = Post { kind: Kind::Binary, payload: vec![0, 255].into() };
    let done = Box::new(move |answer| drop(sender.send(answer)));
    instance.rooms.publish(Arc::new([RoomName::everyone()]), post.clone(), done);
    let places = answer.recv_timeout(PATIENCE).expect("an answer").expect("placed");
    assert!(places[0].room.is_everyone() && places[0].at.offset == 1);
    let (sender, answer) = mpsc::sync_channel(1);
    let done = Box::new(move |answer| drop(sender.send(answer)));
    instance.rooms.since(&RoomName::everyone(), None, 1, done);
    let kept = answer.recv_timeout(PATIENCE).expect("an answer").expect("kept");
    assert_eq!((kept.messages[0].kind, &kept.messages[0].payload), (Kind::Binary, &post.payload));
}

#[test]
fn numbers_never_go_back_when_the_server_lost_them() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    let first = instance.placed("r", "1");
    assert_eq!(instance.placed("r", "2"), at(first.epoch, 2));
    server.call(&["FLUSHALL"]);
    let second = instance.placed("r", "3");
    assert!(second.epoch > first.epoch && second.offset == 1, "{first:?} {second:?}");
    assert_eq!(instance.placed("r", "4"), at(second.epoch, 2));
    // Put back to an older state.
    server.call(&["SET", "wsm:rooms:n:r", &format!("{}-1", second.epoch)]);
    let third = instance.placed("r", "5");
    assert!(third.epoch > second.epoch && third.offset == 1, "{third:?}");
    // An epoch from a clock that was ahead is not undercut.
    let ahead = third.epoch + 1_000_000_000;
    server.call(&["SET", "wsm:rooms:n:r", &format!("{ahead}-7")]);
    assert_eq!(instance.placed("r", "6"), at(ahead, 8));
    server.call(&["DEL", "wsm:rooms:n:r"]);
    let other = Instance::open(&server, "b");
    assert_eq!(other.placed("r", "7"), at(ahead + 1, 1), "the stream remembers");
}

#[test]
fn a_key_of_somebody_else_is_left_alone_and_named() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    for key in ["wsm:rooms:s:foreign", "wsm:rooms:n:foreign"] {
        server.call(&["HSET", key, "a", "b"]);
        let fault = instance.post(&["before", "foreign"], "x").expect_err("refused");
        assert_eq!(fault.kind, FaultKind::NotSent);
        assert!(fault.message.contains(key), "{fault}");
        assert_eq!(server.call(&["EXISTS", "wsm:rooms:n:before", "wsm:rooms:s:before"]), Value::Int(0));
        server.call(&["DEL", key]);
    }
    assert_eq!(instance.placed("foreign", "x").offset, 1);
    assert_eq!(instance.rooms.stats().not_sent, 2);
}

#[test]
fn a_server_without_room_takes_nothing() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    instance.subscribe("a");
    server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    let fault = instance.post(&["a", "b"], "x").expect_err("refused");
    assert!(fault.kind == FaultKind::NotSent && fault.message.contains("OOM"), "{fault}");
    // Who wants to listen may.
    assert_eq!(instance.subscribe("c"), Position::default());
    server.call(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(instance.placed("a", "x").offset, 1);
    wait_for("it", || instance.arrived("a").len() == 1);
}

#[test]
fn a_server_that_was_told_to_forget_its_scripts_is_told_again() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    let first = instance.placed("r", "1");
    server.call(&["SCRIPT", "FLUSH"]);
    assert_eq!(instance.post(&["r"], "2").map_err(|fault| fault.kind), Err(FaultKind::NotSent));
    assert_eq!(instance.placed("r", "2"), at(first.epoch, 2));
}

#[test]
fn wrong_lists_of_rooms_are_refused() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    let names: Vec<_> = (0..100).map(|n| format!("r{n}")).collect();
    let names: Vec<_> = names.iter().map(|name| &**name).collect();
    for names in [&[][..], &names] {
        let fault = instance.post(names, "x").expect_err("refused");
        assert_eq!((fault.kind, &*fault.field), (FaultKind::Invalid, "rooms"));
    }
}
