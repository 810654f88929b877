//! Rooms that are numbered here.

use super::*;

#[test]
fn numbers_begin_at_one_and_every_epoch_is_a_new_one() {
    let mut bench = Bench::new(false, |_| {});
    assert_eq!(bench.post("r", 1), Ok(at(1)));
    assert_eq!(bench.post("r", 1), Ok(at(2)));
    let second = bench.post("s", 1).unwrap();
    assert!(second.epoch > EPOCH && second.offset == 1);
    // A room that is forgotten and comes again does not count on.
    bench.pass(limits::ROOM_HISTORY_AGE + limits::ROOM_LINGER);
    assert!(bench.homes.is_empty() && bench.homes.kept_bytes() == 0);
    let again = bench.post("r", 1).unwrap();
    assert!(again.epoch > second.epoch && again.offset == 1);
}

#[test]
fn a_reserved_number_holds_back_what_comes_after_it() {
    let mut bench = Bench::new(false, |_| {});
    bench.enter("r", 3, None);
    assert_eq!(bench.told(), ["3: entered 0 -"]);
    let reserve = |bench: &mut Bench| bench.homes.reserve(bench.now, &name("r"));
    assert_eq!((reserve(&mut bench), reserve(&mut bench)), (Ok(at(1)), Ok(at(2))));
    assert_eq!(bench.post("r", 1), Ok(at(3)));
    assert_eq!(bench.told(), [""; 0]);
    let fill = |bench: &mut Bench, offset| {
        let message = message("r", at(offset));
        bench.homes.fill(bench.now, &name("r"), at(offset), message, &mut bench.fx);
        bench.told()
    };
    for nonsense in [0, 3, 4, u64::MAX] {
        assert_eq!(fill(&mut bench, nonsense), [""; 0]);
    }
    assert_eq!(fill(&mut bench, 2), [""; 0]);
    // One that comes in hears what was numbered before and is not out yet.
    bench.enter("r", 4, Some(at(0)));
    assert_eq!(bench.told(), ["4: entered 0 true [] 0"]);
    let all = ["3: 1", "4: 1", "3: 2", "4: 2", "3: 3", "4: 3"];
    assert_eq!(fill(&mut bench, 1), all);
    assert_eq!(fill(&mut bench, 1), [""; 0], "filled twice");
}

#[test]
fn a_number_that_nobody_fills_is_announced_and_what_waited_goes_on() {
    let mut bench = Bench::new(false, |_| {});
    bench.enter("r", 0, None);
    bench.post("r", 1).unwrap();
    bench.told();
    bench.homes.reserve(bench.now, &name("r")).unwrap();
    bench.post("r", 1).unwrap();
    let almost = limits::ROOM_FILL_PATIENCE - Duration::from_millis(1);
    assert_eq!(bench.pass(almost), [""; 0]);
    assert_eq!(bench.pass(Duration::from_millis(1)), ["0: lost 1..3", "0: 3"]);
    let late = message("r", at(2));
    bench.homes.fill(bench.now, &name("r"), at(2), late, &mut bench.fx);
    assert_eq!(bench.told(), [""; 0]);
    bench.homes.history(bench.now, Ticket(1), &name("r"), Some(at(1)), 9, &mut bench.fx);
    assert_eq!(bench.told(), ["answer 1: false [3] 3"]);
}

#[test]
fn no_more_waits_for_a_reserved_number_than_may() {
    let mut bench = Bench::new(false, |_| {});
    bench.homes.reserve(bench.now, &name("r")).unwrap();
    for _ in 1..limits::ROOM_QUEUE_MAX {
        let post = Post { kind: Kind::Text, payload: Default::default() };
        bench.homes.post(bench.now, &name("r"), post, &mut bench.fx).unwrap();
    }
    let fault = bench.post("r", 1).unwrap_err();
    assert_eq!((fault.kind, fault.certainty), (FaultKind::Full, Some(Certainty::NotSent)));
    assert!(bench.homes.reserve(bench.now, &name("r")).is_err() && bench.post("s", 1).is_ok());
}

#[test]
fn the_least_used_histories_go_when_all_are_too_many() {
    let mut bench = Bench::new(false, |setup| setup.history_bytes_max = 3000);
    // Old, and keeps nothing: it must not be looked at again and again.
    bench.enter("idle", 0, None);
    bench.pass(Duration::from_secs(100));
    bench.post("first", 1000).unwrap();
    bench.pass(SOON);
    bench.post("second", 1000).unwrap();
    bench.pass(SOON);
    bench.post("first", 10).unwrap();
    bench.pass(SOON);
    bench.post("third", 1000).unwrap();
    assert_eq!(bench.homes.counters.forgotten, 1);
    for (room, expected) in [("first", "[1 2] 2"), ("second", "[] 1"), ("third", "[1] 1")] {
        bench.told();
        bench.homes.history(bench.now, Ticket(1), &name(room), None, 9, &mut bench.fx);
        assert_eq!(bench.told(), [format!("answer 1: true {expected}")]);
    }
    assert!(bench.homes.kept_bytes() <= 3000);
}

#[test]
fn what_ages_out_is_not_counted_any_more() {
    let age = Duration::from_millis(100);
    let rule = Rule { pattern: "*".into(), history: Some(History { age, ..History::default() }), slow: None };
    let rules = Rules { rules: vec![rule], ..Rules::default() };
    for look in 0..3 {
        let mut bench = Bench::new(false, |setup| setup.rules = Arc::new(rules.clone()));
        bench.enter("r", 0, None);
        bench.post("r", 100).unwrap();
        bench.now.mono += age;
        match look {
            0 => bench.enter("r", 1, Some(at(0))),
            1 => bench.homes.history(bench.now, Ticket(1), &name("r"), None, 9, &mut bench.fx),
            _ => drop(bench.follow(1, Some(at(0)))),
        }
        bench.homes.check();
        assert_eq!(bench.homes.kept_bytes(), 0);
    }
}

#[test]
fn followers_hear_the_next_message_and_leave_nothing_behind() {
    let mut bench = Bench::new(false, |_| {});
    assert!(bench.follow(1, None));
    bench.post("r", 1).unwrap();
    assert_eq!(bench.told(), ["answer 1: true [1] 1"]);
    bench.post("r", 1).unwrap();
    bench.post("r", 1).unwrap();
    assert!(!bench.follow(2, Some(at(0))));
    assert_eq!(bench.told(), ["answer 2: true [1 2] 3"]);
    assert!(!bench.follow(3, Some(at(77))));
    assert_eq!(bench.told(), ["answer 3: false [1 2] 3"]);
    assert!(bench.follow(4, Some(at(3))) && bench.follow(5, Some(at(3))));
    bench.homes.stop_following(bench.now, Ticket(4));
    // A number that never comes is not passed over in silence.
    bench.homes.reserve(bench.now, &name("r")).unwrap();
    bench.pass(limits::ROOM_FILL_PATIENCE);
    bench.post("r", 1).unwrap();
    assert_eq!(bench.told(), ["answer 5: false [5] 5"]);
    bench.pass(limits::ROOM_HISTORY_AGE + limits::ROOM_LINGER * 2);
    assert!(bench.homes.is_empty());
    assert!(bench.follow(6, None));
    bench.pass(limits::ROOM_LINGER * 2);
    bench.homes.stop_following(bench.now, Ticket(6));
    bench.pass(limits::ROOM_LINGER * 2);
    assert!(bench.homes.is_empty(), "a room that nobody needs");
}
