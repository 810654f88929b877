use super::*;

const E: u64 = 1_000;

fn message(epoch: u64, seq: u64) -> Numbers {
    Numbers::Message { epoch, seq }
}

fn hole(from: (u64, Option<u64>), to: Option<(u64, u64)>, cause: GapCause, count: Option<u64>) -> Gap {
    Gap { from, to, cause, count }
}

const DELIVER: Step = Step { gap: None, deliver: true };

#[test]
fn resuming_at_the_last_number_yields_no_gap_and_no_duplicate() {
    let mut follower = Continuity::resume(E, 5);
    for seq in 3..=5 {
        assert_eq!(follower.record(message(E, seq)), Step::SKIP);
    }
    assert_eq!(follower.record(message(E, 6)), DELIVER);
    assert_eq!(follower.caught_up(E, 6), None);
    assert_eq!(follower.last(), Some((E, 6)));
}

#[test]
fn what_is_no_longer_retained_starts_with_a_gap_and_goes_on() {
    let mut follower = Continuity::resume(E, 5);
    follower.overrun();
    let gap = hole((E, Some(5)), Some((E, 9)), GapCause::NotRetained, Some(3));
    assert_eq!(follower.record(message(E, 9)), Step { gap: Some(gap), deliver: true });
    assert_eq!(follower.record(message(E, 10)), DELIVER);
}

#[test]
fn an_overrun_without_a_loss_is_no_gap() {
    let mut follower = Continuity::resume(E, 5);
    follower.overrun();
    assert_eq!(follower.record(message(E, 6)), DELIVER);
    assert_eq!(follower.caught_up(E, 6), None);
}

#[test]
fn one_that_had_caught_up_was_too_slow() {
    let mut follower = Continuity::resume(E, 0);
    follower.record(message(E, 1));
    assert_eq!(follower.caught_up(E, 1), None);
    follower.overrun();
    let gap = hole((E, Some(1)), Some((E, 4)), GapCause::SlowFollower, Some(2));
    assert_eq!(follower.record(message(E, 4)), Step { gap: Some(gap), deliver: true });
}

#[test]
fn a_loss_at_the_tail_is_announced_without_waiting_for_the_next_message() {
    let mut follower = Continuity::resume(E, 5);
    follower.overrun();
    let gap = hole((E, Some(5)), Some((E, 9)), GapCause::NotRetained, Some(3));
    assert_eq!(follower.caught_up(E, 8), Some(gap));
    assert_eq!(follower.caught_up(E, 8), None);
    assert_eq!(follower.record(message(E, 9)), DELIVER);
}

#[test]
fn from_the_start_of_a_ring_that_has_lost_its_head() {
    let mut follower = Continuity::from_start();
    let gap = hole((E, Some(0)), Some((E, 4)), GapCause::NotRetained, Some(3));
    assert_eq!(follower.record(message(E, 4)), Step { gap: Some(gap), deliver: true });
    let mut follower = Continuity::from_start();
    assert_eq!(follower.record(message(E, 1)), DELIVER);
    let mut follower = Continuity::from_start();
    assert_eq!(follower.caught_up(E, 0), None);
    assert_eq!(follower.caught_up(E, 2).and_then(|gap| gap.count), Some(2));
}

#[test]
fn a_gap_record_covers_the_hole_it_names_and_no_other() {
    let dropped = hole((E, Some(7)), Some((E, 10)), GapCause::OverflowDropOldest, Some(2));
    let mut follower = Continuity::resume(E, 7);
    assert_eq!(follower.record(Numbers::Gap(dropped)), DELIVER);
    assert_eq!(follower.record(message(E, 10)), DELIVER);

    let mut follower = Continuity::resume(E, 5);
    let before = hole((E, Some(5)), Some((E, 8)), GapCause::NotRetained, Some(2));
    assert_eq!(follower.record(Numbers::Gap(dropped)), Step { gap: Some(before), deliver: true });
    let after = hole((E, Some(9)), Some((E, 12)), GapCause::NotRetained, Some(2));
    assert_eq!(follower.record(message(E, 12)), Step { gap: Some(after), deliver: true });
}

#[test]
fn a_gap_seen_before_is_not_given_again() {
    let dropped = Numbers::Gap(hole((E, Some(7)), Some((E, 10)), GapCause::Upstream, None));
    assert_eq!(Continuity::resume(E, 9).record(dropped), Step::SKIP);
    assert_eq!(Continuity::resume(E, 12).record(dropped), Step::SKIP);
    assert_eq!(Continuity::resume(E + 1, 0).record(dropped), Step::SKIP);
    // A reconnect names no number: whether it was seen cannot be told.
    let reconnect = Numbers::Gap(hole((E, Some(7)), Some((E, 8)), GapCause::Reconnect, None));
    assert_eq!(Continuity::resume(E, 7).record(reconnect), DELIVER);
    assert_eq!(Continuity::resume(E, 8).record(reconnect), Step::SKIP);
}

#[test]
fn numbers_start_again_in_each_epoch() {
    let crash = Numbers::Gap(hole((E, None), Some((E + 5, 1)), GapCause::Crash, None));
    let mut follower = Continuity::resume(E, 7);
    assert_eq!(follower.record(crash), DELIVER);
    assert_eq!(follower.record(message(E, 8)), Step::SKIP, "a lower epoch");
    assert_eq!(follower.record(message(E + 5, 1)), DELIVER);
    assert_eq!(follower.record(message(E + 5, 2)), DELIVER);

    let mut unannounced = Continuity::resume(E, 7);
    let gap = hole((E, Some(7)), Some((E + 5, 1)), GapCause::NewEpoch, None);
    assert_eq!(unannounced.record(message(E + 5, 1)), Step { gap: Some(gap), deliver: true });
}

#[test]
fn after_an_end_marker_nothing_is_in_doubt() {
    let end = Numbers::End(End { epoch: E, last_seq: 7 });
    let mut follower = Continuity::resume(E, 7);
    assert_eq!(follower.record(end), DELIVER);
    assert_eq!(follower.record(end), Step::SKIP);
    assert_eq!(follower.caught_up(E + 1, 0), None);
    assert_eq!(follower.record(message(E + 1, 1)), DELIVER);

    let mut overtaken = Continuity::resume(E, 7);
    overtaken.record(end);
    overtaken.overrun();
    let gap = hole((E, Some(7)), Some((E + 9, 1)), GapCause::NotRetained, None);
    let step = Step { gap: Some(gap), deliver: true };
    assert_eq!(overtaken.record(message(E + 9, 1)), step, "whole epochs may lie between");

    let mut late = Continuity::resume(E, 5);
    let gap = hole((E, Some(5)), Some((E, 8)), GapCause::NotRetained, Some(2));
    assert_eq!(late.record(end), Step { gap: Some(gap), deliver: true });
    let gap = hole((E, Some(7)), Some((E + 1, 3)), GapCause::NewEpoch, Some(2));
    assert_eq!(late.record(message(E + 1, 3)), Step { gap: Some(gap), deliver: true });
    assert_eq!(Continuity::resume(E, 8).record(end), Step::SKIP);
}

#[test]
fn a_last_gap_record_says_that_nothing_follows() {
    let last = Numbers::Gap(hole((E, None), None, GapCause::Crash, None));
    let mut follower = Continuity::resume(E, 5);
    assert_eq!(follower.record(last), DELIVER);
    assert_eq!(follower.record(last), Step::SKIP);
    assert_eq!(follower.record(message(E + 1, 1)), DELIVER, "its epoch's tail was announced already");
    assert_eq!(Continuity::resume(E + 1, 0).record(last), Step::SKIP);
}

#[test]
fn a_position_of_the_future_is_known_as_such() {
    assert!(Continuity::resume(E, 9).is_ahead_of(E, 8));
    assert!(Continuity::resume(E + 1, 0).is_ahead_of(E, 8));
    assert!(!Continuity::resume(E, 8).is_ahead_of(E, 8));
    assert!(!Continuity::from_start().is_ahead_of(E, 0));
    assert_eq!(Continuity::resume(E, 9).caught_up(E, 8), None);
}

#[test]
fn the_largest_numbers_do_no_harm() {
    let mut follower = Continuity::resume(u64::MAX, u64::MAX);
    assert_eq!(follower.record(message(u64::MAX, u64::MAX)), Step::SKIP);
    assert_eq!(follower.caught_up(u64::MAX, u64::MAX), None);
    let mut follower = Continuity::resume(0, 0);
    assert!(follower.record(message(u64::MAX, u64::MAX)).gap.is_some());
    assert_eq!(Continuity::resume(5, 5).record(message(5, 0)), Step::SKIP);
    assert_eq!(Continuity::resume(5, 5).record(Numbers::Other), Step::SKIP);
}
