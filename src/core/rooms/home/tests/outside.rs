//! Rooms that are numbered outside: what comes is checked, and what is missing is asked for.

use super::*;

#[test]
fn what_comes_in_order_is_handed_on_and_what_came_is_not_told_twice() {
    let mut bench = Bench::heard(7);
    for offset in [8, 9, 9, 3] {
        bench.arrive(at(offset));
    }
    assert_eq!(bench.told(), ["0: 8", "0: 9"]);
    assert_eq!(bench.homes.counters.old, 2);
    assert_eq!(bench.post("r", 1).unwrap_err().kind, FaultKind::Internal);
}

#[test]
fn a_hole_is_waited_for_then_asked_for() {
    let mut bench = Bench::heard(7);
    bench.arrive(at(9));
    bench.arrive(at(8));
    assert_eq!((bench.told(), bench.pass(SOON)), (vec!["0: 8".into(), "0: 9".into()], Vec::new()));
    bench.arrive(at(12));
    assert_eq!(bench.pass(SOON), ["since 9"]);
    // What comes meanwhile waits.
    bench.arrive(at(13));
    bench.answer(kept([10, 11, 12], 12));
    assert_eq!(bench.told(), ["0: 10", "0: 11", "0: 12", "0: 13"]);
}

#[test]
fn what_nobody_keeps_is_announced() {
    let mut bench = Bench::heard(7);
    bench.arrive(at(12));
    bench.pass(SOON);
    bench.answer(kept([9, 12], 12));
    assert_eq!(bench.told(), ["0: lost 7..9", "0: 9", "0: lost 9..12", "0: 12"]);
    bench.homes.resumed(bench.now, &name("r"), at(20), &mut bench.fx);
    assert_eq!(bench.told(), ["since 12"]);
    bench.answer(kept([14], 20));
    assert_eq!(bench.told(), ["0: lost 12..14", "0: 14", "0: lost 14..21"]);
    assert_eq!((bench.at("r"), bench.pass(SOON)), (Some(at(20)), Vec::new()));
}

#[test]
fn numbers_that_came_after_the_answer_are_asked_for_again() {
    let mut bench = Bench::heard(7);
    bench.arrive(at(9));
    assert_eq!(bench.pass(SOON), ["since 7"]);
    bench.arrive(at(12));
    bench.answer(kept([8, 9], 9));
    assert_eq!(bench.told(), ["0: 8", "0: 9"], "10 and 11 may be kept");
    assert_eq!(bench.pass(SOON), ["since 9"]);
    bench.answer(kept([10, 12], 12));
    assert_eq!(bench.told(), ["0: 10", "0: lost 10..12", "0: 12"]);
    // One that knows nothing at all does not stop the room.
    bench.arrive(at(14));
    bench.pass(SOON);
    bench.answer(Ok(Kept::default()));
    assert_eq!(bench.told(), ["0: lost 12..14", "0: 14"]);
}

#[test]
fn more_than_one_answer_holds_is_asked_for_page_by_page() {
    let mut bench = Bench::heard(0);
    let (page, head) = (limits::ROOM_HISTORY_LIMIT as u64, 2500);
    bench.homes.resumed(bench.now, &name("r"), at(head), &mut bench.fx);
    assert_eq!(bench.told(), ["since 0"]);
    bench.answer(kept(1..=page, head));
    assert_eq!(bench.told().len() as u64, page);
    assert_eq!(bench.pass(SOON), [format!("since {page}")]);
    bench.answer(kept(page + 1..=2 * page, head));
    bench.told();
    assert_eq!(bench.pass(SOON), [format!("since {}", 2 * page)]);
    bench.answer(kept(2 * page + 1..=head, head));
    assert_eq!(bench.told().len(), 500);
    assert_eq!((bench.homes.counters.gaps, bench.pass(SOON)), (0, Vec::new()));
}

#[test]
fn an_outside_that_cannot_answer_is_asked_until_it_can() {
    let mut bench = Bench::heard(7);
    // Also when nothing came that shows a hole.
    bench.homes.resumed(bench.now, &name("r"), at(9), &mut bench.fx);
    assert_eq!(bench.told(), ["since 7"]);
    for _ in 0..3 {
        bench.answer(Err("away".into()));
        assert_eq!(bench.pass(SOON), [""; 0]);
        assert_eq!(bench.pass(limits::ROOM_REFILL_PAUSE), ["since 7"]);
    }
    // Away once more, while it was asked: the answer is older than that.
    bench.homes.resumed(bench.now, &name("r"), at(10), &mut bench.fx);
    bench.answer(kept([8, 9], 9));
    assert_eq!(bench.told(), ["0: 8", "0: 9"]);
    assert_eq!(bench.pass(SOON), ["since 9"]);
    bench.answer(kept([10], 10));
    assert_eq!(bench.told(), ["0: 10"]);
    bench.homes.resumed(bench.now, &name("r"), at(10), &mut bench.fx);
    assert_eq!((bench.told(), bench.pass(limits::ROOM_REFILL_PAUSE)), (Vec::new(), Vec::new()));
}

#[test]
fn a_new_epoch_is_announced_and_an_old_one_is_over() {
    let mut bench = Bench::heard(7);
    let next = |offset| Position { epoch: EPOCH + 1, offset };
    bench.arrive(next(1));
    bench.arrive(at(8));
    bench.arrive(next(2));
    assert_eq!(bench.told(), ["0: new_epoch 7..1 anew", "0: 1", "0: 2"]);
    bench.arrive(Position { epoch: EPOCH + 2, offset: 3 });
    assert_eq!(bench.pass(SOON), ["since 2"]);
    bench.answer(Err("away".into()));
    bench.pass(limits::ROOM_REFILL_PAUSE);
    bench.answer(Ok(Kept { head: Position { epoch: EPOCH + 2, offset: 4 }, ..Kept::default() }));
    let after = ["0: new_epoch 2..3 anew", "0: 3", "0: lost 3..5"];
    assert_eq!(bench.told(), after);
}

#[test]
fn the_first_message_of_a_room_that_was_empty_is_no_new_epoch() {
    let mut bench = Bench::new(true, |_| {});
    bench.enter("r", 0, None);
    bench.homes.subscribed(bench.now, &name("r"), Ok(Position::default()), &mut bench.fx);
    bench.told();
    bench.arrive(at(1));
    assert_eq!(bench.told(), ["0: 1"]);
}

#[test]
fn no_more_is_held_ahead_than_may_whatever_the_outside_does() {
    let mut bench = Bench::heard(0);
    let max = limits::ROOM_AHEAD_MAX as u64;
    bench.arrive(at(2));
    assert_eq!(bench.pass(SOON), ["since 0"]);
    // It does not answer.
    for offset in 3..=max + 1 {
        bench.arrive(at(offset));
    }
    assert_eq!(bench.told(), [""; 0]);
    bench.arrive(at(max + 2));
    let told = bench.told();
    assert_eq!((told.len() as u64, told[0].as_str()), (max + 2, "0: lost 0..2"));
    bench.arrive(at(max + 3));
    bench.answer(kept([1, 2], 2));
    assert_eq!(bench.told(), [format!("0: {}", max + 3)]);

    let mut asked = Bench::new(true, |_| {});
    asked.enter("r", 0, None);
    for offset in 1..=2 * max {
        asked.arrive(at(offset));
    }
    let home = asked.homes.rooms.iter().next().unwrap().1;
    assert_eq!(home.ahead.len() as u64, max);
}

#[test]
fn who_comes_while_it_is_asked_waits_and_hears_all_that_follows() {
    let mut bench = Bench::new(true, |_| {});
    bench.enter("r", 0, None);
    bench.enter("r", 1, None);
    assert!(bench.follow(9, None));
    assert_eq!(bench.told(), ["subscribe r"]);
    bench.arrive(at(6));
    bench.arrive(at(8));
    bench.homes.subscribed(bench.now, &name("r"), Ok(at(7)), &mut bench.fx);
    assert_eq!(bench.told(), ["0: entered 7 -", "1: entered 7 -", "0: 8", "1: 8", "answer 9: true [8] 8"]);
    // A second answer is none.
    bench.homes.subscribed(bench.now, &name("r"), Ok(at(70)), &mut bench.fx);
    assert_eq!((bench.told(), bench.at("r")), (Vec::new(), Some(at(8))));
}

#[test]
fn a_room_that_cannot_be_heard_lets_nobody_in() {
    let mut bench = Bench::new(true, |_| {});
    bench.enter("r", 0, None);
    assert!(bench.follow(9, None));
    bench.arrive(at(6));
    bench.homes.subscribed(bench.now, &name("r"), Err("away".into()), &mut bench.fx);
    assert_eq!(bench.told(), ["subscribe r", "0: Unavailable", "answer 9: Unavailable"]);
    bench.enter("r", 0, None);
    bench.homes.subscribed(bench.now, &name("r"), Ok(at(9)), &mut bench.fx);
    assert_eq!(bench.told(), ["subscribe r", "0: entered 9 -"]);
}

#[test]
fn who_comes_back_is_told_from_here_or_from_outside() {
    let mut bench = Bench::heard(7);
    bench.arrive(at(8));
    bench.arrive(at(9));
    bench.told();
    bench.enter("r", 1, Some(at(8)));
    assert_eq!(bench.told(), ["1: entered 9 true [9] 9"]);
    bench.enter("r", 2, Some(at(5)));
    assert_eq!(bench.told(), ["since 5"]);
    bench.arrive(at(10));
    bench.told();
    // What it answers may be older or newer than what was handed on.
    bench.answer(kept([6, 7, 8, 9], 9));
    assert_eq!(bench.told(), ["2: entered 10 true [6 7 8 9 10] 10"]);
    bench.enter("r", 2, Some(at(5)));
    assert_eq!(bench.told(), ["since 5"]);
    bench.answer(kept([6, 7, 8, 9, 10, 11], 11));
    assert_eq!(bench.told(), ["2: entered 10 true [6 7 8 9 10] 10"]);
    for answer in [Err("away".into()), Ok(Kept::default())] {
        bench.enter("r", 2, Some(at(5)));
        bench.told();
        bench.answer(answer);
        assert_eq!(bench.told(), ["2: entered 10 false [8 9 10] 10"]);
    }
}

#[test]
fn a_follower_is_told_from_outside_what_is_not_here() {
    let mut bench = Bench::heard(7);
    assert!(bench.follow(1, Some(at(4))));
    assert_eq!(bench.told(), ["since 4"]);
    bench.answer(kept([5, 6, 7], 7));
    assert_eq!(bench.told(), ["answer 1: true [5 6] 7"], "no more than was asked for");
    assert!(bench.follow(2, Some(at(4))));
    bench.told();
    bench.homes.stop_following(bench.now, Ticket(2));
    bench.answer(kept([5], 7));
    assert_eq!(bench.told(), [""; 0], "it went away");
}

#[test]
fn a_room_without_members_is_let_go_and_nothing_late_is_kept_of_it() {
    let mut bench = Bench::heard(7);
    bench.arrive(at(8));
    bench.told();
    bench.homes.exit(bench.now, 0, &name("r"));
    assert_eq!(bench.pass(limits::ROOM_LINGER / 2), [""; 0]);
    assert_eq!(bench.pass(limits::ROOM_LINGER), ["unsubscribe r"]);
    assert!(bench.homes.is_empty());
    // Still being asked when everybody left.
    bench.enter("r", 0, None);
    bench.homes.exit(bench.now, 0, &name("r"));
    assert_eq!((bench.told(), bench.pass(limits::ROOM_LINGER * 3)), (vec!["subscribe r".into()], Vec::new()));
    bench.homes.subscribed(bench.now, &name("r"), Ok(at(9)), &mut bench.fx);
    bench.told();
    assert_eq!(bench.pass(limits::ROOM_LINGER * 2), ["unsubscribe r"]);
    assert!(bench.homes.is_empty());
    // What comes when nobody listens is not kept for those who come next.
    bench.enter("r", 0, None);
    bench.homes.subscribed(bench.now, &name("r"), Err("away".into()), &mut bench.fx);
    bench.arrive(at(11));
    bench.told();
    bench.enter("r", 0, Some(at(10)));
    bench.homes.subscribed(bench.now, &name("r"), Ok(at(15)), &mut bench.fx);
    assert_eq!(bench.told(), ["subscribe r", "since 10"]);
}
