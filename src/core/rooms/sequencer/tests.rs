use super::*;
use crate::core::{correlation::Kind, rooms::rules, time::Wall};
use std::collections::BTreeMap;

pub const START: u64 = 1_700_000_000_000;

pub fn now(millis: u64) -> Now {
    Now { mono: Time::from_millis(millis), wall: Wall::from_unix_millis(START + millis) }
}

pub fn room(name: &str) -> RoomName {
    RoomName::parse("room", name).unwrap()
}

pub fn post(text: impl Into<String>) -> Post {
    Post { kind: Kind::Text, payload: text.into().into() }
}

pub fn rules_of(messages: usize) -> Arc<Rules> {
    let history = rules::History { messages, ..rules::History::default() };
    let none = rules::Rule { pattern: "none-*".into(), history: Some(rules::History::NONE), slow: None };
    Arc::new(Rules { history, rules: vec![none], ..Rules::default() })
}

pub fn sequencer(me: &str) -> Sequencer {
    alone(me, rules_of(100), 1 << 20)
}

/// It has looked, and found nobody.
pub fn alone(me: &str, rules: Arc<Rules>, bytes_max: usize) -> Sequencer {
    let instance = me.split('#').next().unwrap_or(me);
    let mut sequencer = Sequencer::new(me.into(), instance.into(), rules, bytes_max, now(0));
    sequencer.look(&me.into(), [].iter(), now(0), &mut Vec::new());
    sequencer
}

fn texts(out: &[Out]) -> Vec<String> {
    out.iter()
        .filter_map(|out| match out {
            Out::Message { at, message, .. } => {
                Some(format!("{}:{}", at.offset, String::from_utf8_lossy(&message.payload)))
            }
            Out::Over { .. } => None,
        })
        .collect()
}

/// A room that this one is first for among all.
fn room_of(sequencer: &Sequencer) -> RoomName {
    let mut rooms = (0..).map(|n| room(&format!("r{n}")));
    rooms.find(|room| sequencer.choice().first(room) == sequencer.choice().me()).unwrap()
}

#[test]
fn what_waits_for_a_reserved_number_goes_out_in_order_or_after_its_time() {
    let mut sequencer = sequencer("a#1");
    let (r, mut out) = (room("r"), Vec::new());
    let head = sequencer.subscribe(1, &r, Position::default(), now(0)).unwrap();
    assert_eq!(head, Position { epoch: START, offset: 0 });
    let first = sequencer.reserve(std::slice::from_ref(&r), now(1)).unwrap();
    let second = sequencer.reserve(std::slice::from_ref(&r), now(2)).unwrap();
    sequencer.post(std::slice::from_ref(&r), post("c"), now(3), &mut out).unwrap();
    assert!(out.is_empty());
    assert_eq!(sequencer.since(&r, None, 10, now(3)).unwrap().head.offset, 0, "nothing is out");
    let message = Message {
        kind: Kind::Text,
        payload: "b".into(),
        wall: Wall::default(),
        places: second.clone().into(),
        from: None,
    };
    sequencer.fill(&second, Some(Arc::new(message.clone())), now(4), &mut out).unwrap();
    assert!(out.is_empty());
    sequencer.tick(now(1001), &mut out);
    assert_eq!(texts(&out), ["2:b", "3:c"]);
    let late = sequencer.fill(&first, Some(Arc::new(message)), now(1002), &mut out);
    assert_eq!(late, Err(Refusal::Late));
    assert_eq!(sequencer.since(&r, None, 10, now(1002)).unwrap().head.offset, 3);
    // A number at the end that nobody uses was never given.
    let last = sequencer.reserve(std::slice::from_ref(&r), now(1003)).unwrap();
    sequencer.fill(&last, None, now(1003), &mut out).unwrap();
    out.clear();
    sequencer.post(std::slice::from_ref(&r), post("d"), now(1004), &mut out).unwrap();
    assert_eq!(texts(&out), ["4:d"]);
}

#[test]
fn a_room_goes_to_whoever_joins_with_its_numbers_and_its_history() {
    let (mut a, mut b) = (sequencer("a#1"), sequencer("b#1"));
    let names: [Arc<str>; 2] = ["a#1".into(), "b#1".into()];
    b.look(&names[1], names[..1].iter(), now(0), &mut Vec::new());
    let (r, mut out) = (room_of(&b), Vec::new());
    a.subscribe(7, &r, Position::default(), now(0)).unwrap();
    for n in 0..5 {
        a.post(std::slice::from_ref(&r), post(n.to_string()), now(n), &mut out).unwrap();
    }
    assert!(matches!(b.post(std::slice::from_ref(&r), post("x"), now(9), &mut out), Err(Refusal::Soon(_))));
    assert!(matches!(b.subscribe(1, &r, Position::default(), now(9)), Err(Refusal::Soon(_))));
    out.clear();
    let (changed, moves) = a.look(&names[0], names[1..].iter(), now(10), &mut out);
    assert!(changed && out == [Out::Over { to: 7, room: r.clone() }]);
    let [handed] = moves.as_slice() else { panic!("{moves:?}") };
    assert_eq!((&*handed.to, handed.leaving, handed.rooms.len()), ("b#1", false, 1));
    let refused = a.post(std::slice::from_ref(&r), post("x"), now(10), &mut out);
    assert_eq!(refused, Err(Refusal::Elsewhere("b#1".into())));
    let head = handed.rooms[0].head;
    let part = Part { number: (handed.number, 0), leaving: false, last: true, rooms: handed.rooms.clone() };
    b.adopt(&names[0], part.clone(), now(11), &mut out);
    let known = Position { epoch: head.epoch, offset: 2 };
    assert_eq!(b.subscribe(1, &r, known, now(11)).unwrap(), head);
    let kept = b.since(&r, Some(known), 10, now(11)).unwrap();
    assert!(kept.recovered && kept.messages.len() == 3);
    let places = b.post(std::slice::from_ref(&r), post("5"), now(12), &mut out).unwrap();
    assert_eq!(places[0].at, Position { epoch: head.epoch, offset: 6 });
    // A second time it changes nothing.
    b.adopt(&names[0], part, now(13), &mut out);
    assert_eq!(b.since(&r, None, 10, now(13)).unwrap().head.offset, 6);
}

#[test]
fn numbers_never_go_back_behind_what_anybody_saw() {
    let mut a = sequencer("a#1");
    let (r, mut out) = (room("r"), Vec::new());
    let ahead = Position { epoch: START + 5_000, offset: 3 };
    let head = a.subscribe(1, &r, ahead, now(0)).unwrap();
    assert_eq!(head, Position { epoch: START + 5_001, offset: 0 });
    a.post(std::slice::from_ref(&r), post("x"), now(0), &mut out).unwrap();
    let seen = Position { offset: 9, ..head };
    assert!(a.subscribe(2, &r, seen, now(0)).unwrap().epoch > head.epoch);
    let epoch = a.post(std::slice::from_ref(&r), post("x"), now(1), &mut out).unwrap()[0].at.epoch;
    // Nor when the room is forgotten and comes again, whatever the clock says.
    for subscriber in [1, 2] {
        a.unsubscribe(subscriber, &r);
    }
    a.tick(now(400_000), &mut out);
    assert_eq!((a.rooms(), a.kept_bytes()), (0, 0));
    assert!(a.post(&[r], post("x"), now(2), &mut out).unwrap()[0].at.epoch > epoch);
}

#[test]
fn after_a_lost_lease_nothing_is_known_and_whoever_listens_is_told() {
    let mut a = sequencer("a#1");
    let (r, mut out) = (room("r"), Vec::new());
    a.subscribe(1, &r, Position::default(), now(0)).unwrap();
    let before = a.post(std::slice::from_ref(&r), post("x"), now(1), &mut out).unwrap()[0].at;
    out.clear();
    a.look(&"a#2".into(), [].iter(), now(2), &mut out);
    assert_eq!(out, [Out::Over { to: 1, room: r.clone() }]);
    assert!(a.post(&[r], post("x"), now(0), &mut out).unwrap()[0].at.epoch > before.epoch);
}

#[test]
fn one_bound_for_all_histories_and_the_least_used_goes_first() {
    let mut a = alone("a#1", rules_of(100), 10_000);
    let mut out = Vec::new();
    let kept =
        |a: &mut Sequencer, name: &str| a.since(&room(name), None, 100, now(0)).unwrap().messages.len();
    for n in 0..20 {
        a.post(&[room("old")], post("x".repeat(100)), now(n), &mut out).unwrap();
    }
    for n in 0..20 {
        a.post(&[room("new")], post("x".repeat(100)), now(n), &mut out).unwrap();
    }
    assert!(a.kept_bytes() <= 10_000);
    assert_eq!(kept(&mut a, "new"), 20);
    let left = kept(&mut a, "old");
    assert!(left > 0 && left < 20, "{left}");
}

#[test]
fn a_room_without_history_is_numbered_by_each_instance_alone() {
    let (mut a, mut b) = (sequencer("a#1"), sequencer("b#1"));
    let names: [Arc<str>; 2] = ["a#1".into(), "b#1".into()];
    let (r, mut out) = (room("none-of-it"), Vec::new());
    let mut from = BTreeMap::new();
    for (sequencer, me, other) in [(&mut a, 0, 1), (&mut b, 1, 0)] {
        sequencer.look(&names[me], std::iter::once(&names[other]), now(0), &mut out);
        assert_eq!(sequencer.subscribe(1, &r, Position::default(), now(0)), Ok(Position::default()));
        sequencer.post(std::slice::from_ref(&r), post("x"), now(0), &mut out).unwrap();
    }
    for word in &out {
        let Out::Message { at, message, .. } = word else { panic!("{word:?}") };
        from.insert(message.from.clone().unwrap().to_string(), at.offset);
    }
    assert_eq!(from, BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)]));
}
