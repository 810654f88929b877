//! Send and SendRaw: one outcome each.

use super::*;

fn opened() -> (Bench, SocketKey) {
    let mut bench = Bench::new();
    let socket = bench.open(connect_to("a", settings()));
    (bench, socket)
}

#[test]
fn a_reply_finds_its_send_and_takes_no_number() {
    let (mut bench, socket) = opened();
    let first = bench.send("a", r#"{"id":1}"#, None);
    let second = bench.send("a", r#"{"id":2}"#, None);
    assert_eq!(bench.write(socket, usize::MAX), [r#"{"id":1}"#, r#"{"id":2}"#]);
    bench.says(socket, r#"{"id":2,"r":"b"}"#);
    bench.says(socket, r#"{"tick":1}"#);
    bench.says(socket, r#"{"id":1,"r":"a"}"#);
    assert_eq!(replied(bench.answer(first)), r#"{"id":1,"r":"a"}"#);
    assert_eq!(replied(bench.answer(second)), r#"{"id":2,"r":"b"}"#);
    let counters = bench.core.counters();
    assert_eq!((counters.replies, counters.numbered, counters.messages_in), (2, 1, 3));
}

#[test]
fn the_outcome_says_whether_the_frame_may_have_left() {
    // How much of 14 bytes is written, and what is known of it.
    for (written, certainty) in
        [(0, Certainty::NotSent), (1, Certainty::MaybeSent), (14, Certainty::MaybeSent)]
    {
        for how in 0..4 {
            let (mut bench, socket) = opened();
            let ticket = bench.send("a", r#"{"id":1}"#, None);
            bench.write(socket, written);
            match how {
                0 => bench.pass(millis(2010)),
                1 => bench.lose(socket),
                2 => drop(bench.disconnect("a")),
                _ => drop(bench.command(Command::Stop)),
            }
            let fault = bench.fault(ticket);
            assert_eq!(fault.certainty, Some(certainty), "{written} {how}");
            let kind = match (how, certainty) {
                (0, _) => FaultKind::TimedOut,
                (1, Certainty::NotSent) => FaultKind::NotSent,
                (1, _) => FaultKind::MaybeSent,
                _ => FaultKind::Cancelled,
            };
            assert_eq!(fault.kind, kind, "{written} {how}");
            assert_eq!(bench.core.sends_in_flight(), 0);
            if how == 0 && written == 0 {
                assert!(bench.write(socket, 99).is_empty(), "what was not sent never is");
            }
        }
    }
}

#[test]
fn a_send_ends_within_its_deadline_and_fifty_milliseconds() {
    let (mut bench, _) = opened();
    let ticket = bench.send("a", r#"{"id":1}"#, None);
    bench.pass(millis(1990));
    assert!(bench.is_open(ticket));
    bench.pass(millis(60));
    assert_eq!(bench.fault(ticket).kind, FaultKind::TimedOut);
}

#[test]
fn a_caller_that_goes_away_leaves_nothing() {
    let (mut bench, socket) = opened();
    let unwritten = bench.send("a", r#"{"id":1}"#, None);
    let raw = bench.raw("a", "raw");
    bench.cancel(unwritten);
    bench.cancel(raw);
    assert!(bench.write(socket, 99).is_empty());
    let written = bench.send("a", r#"{"id":2}"#, None);
    let raw = bench.raw("a", "0123456789");
    bench.write(socket, 14 + 3);
    bench.cancel(written);
    bench.cancel(raw);
    bench.answers.clear();
    bench.write(socket, 99);
    bench.says(socket, r#"{"id":2}"#);
    assert!(bench.answers.is_empty(), "nobody is answered any more: {:?}", bench.answers);
    assert_eq!(bench.core.counters().replies_late, 1, "and the reply is an ordinary message");
}

#[test]
fn a_late_reply_answers_no_later_send() {
    let (mut bench, socket) = opened();
    let late = bench.send("a", r#"{"id":1}"#, None);
    bench.write(socket, 99);
    bench.pass(millis(2010));
    assert_eq!(bench.fault(late).kind, FaultKind::TimedOut);
    let same = bench.send("a", r#"{"id":1}"#, None);
    assert_eq!(bench.fault(same).kind, FaultKind::CorrelationInUse);
    bench.says(socket, r#"{"id":1,"r":"late"}"#);
    assert_eq!((bench.core.counters().replies_late, bench.core.counters().numbered), (1, 1));
}

#[test]
fn injected_numbers_rise_also_after_a_silence() {
    let (mut bench, socket) = opened();
    let rule = Rule::json("/id", "", crate::core::correlation::Inject::Integer).unwrap();
    for expected in [r#"{"id":1}"#, r#"{"id":2}"#] {
        let ticket = bench.send("a", "{}", Some(rule.clone()));
        assert_eq!(bench.write(socket, 99), [expected]);
        bench.says(socket, expected);
        assert_eq!(replied(bench.answer(ticket)), expected);
        // Nobody waits now: the correlator goes.
        bench.says(socket, r#"{"tick":1}"#);
    }
}

#[test]
fn after_a_fifo_timeout_nobody_is_paired_until_the_connection_was_silent() {
    let (mut bench, socket) = opened();
    let first = bench.send("a", "one", None);
    bench.pass(millis(500));
    let second = bench.send("a", "two", None);
    bench.write(socket, 99);
    bench.pass(millis(1510));
    assert_eq!(bench.fault(first).kind, FaultKind::TimedOut);
    let fault = bench.fault(second);
    assert_eq!((fault.kind, fault.certainty), (FaultKind::FifoResync, Some(Certainty::MaybeSent)));
    bench.pass(millis(900));
    bench.says(socket, "late one");
    bench.pass(millis(900));
    let third = bench.send("a", "three", None);
    assert_eq!(bench.fault(third).kind, FaultKind::FifoResync);
    bench.pass(millis(200));
    let fourth = bench.send("a", "four", None);
    bench.says(socket, "four");
    assert_eq!(replied(bench.answer(fourth)), "four");
    assert_eq!(bench.core.counters().numbered, 2, "what order alone paired is a message too");
}

#[test]
fn a_silence_of_paused_reads_is_none() {
    let (mut bench, socket) = opened();
    bench.send("a", "one", None);
    bench.write(socket, 99);
    bench.pass(millis(2010));
    bench.core.connections.get_mut(socket.conn).unwrap().reads_paused = true;
    bench.pass(millis(5000));
    let refused = bench.send("a", "two", None);
    assert_eq!(bench.fault(refused).kind, FaultKind::FifoResync);
}

#[test]
fn limits_refuse_and_change_nothing() {
    let mut bench = Bench::new();
    let limited = Settings { sends_per_second: 1.0, sends_burst: 2, sends_in_flight_max: 3, ..settings() };
    let socket = bench.open(connect_to("a", limited));
    let kept = [bench.send("a", r#"{"id":1}"#, None), bench.send("a", r#"{"id":2}"#, None)];
    let over = bench.send("a", r#"{"id":3}"#, None);
    let fault = bench.fault(over);
    assert_eq!(fault.kind, FaultKind::Full);
    assert!(fault.retry_after.is_some());
    bench.pass(millis(1000));
    let again = bench.send("a", r#"{"id":3}"#, None);
    assert!(bench.is_open(again), "the refused id is free");
    bench.pass(millis(900));
    let fourth = bench.send("a", r#"{"id":4}"#, None);
    assert_eq!(bench.fault(fourth).kind, FaultKind::Full, "in flight");
    let long = bench.raw("a", &"x".repeat(10_001));
    assert_eq!(bench.fault(long).kind, FaultKind::Invalid);
    assert_eq!(bench.write(socket, 999).len(), 3);
    assert!(kept.iter().all(|ticket| bench.is_open(*ticket)));
}

#[test]
fn the_outbox_has_a_bound_but_takes_one_message_always() {
    let (mut bench, _) = opened();
    let big = bench.raw("a", &"x".repeat(2000));
    assert!(bench.is_open(big));
    let more = bench.raw("a", "y");
    let fault = bench.fault(more);
    assert_eq!((fault.kind, fault.certainty), (FaultKind::Full, Some(Certainty::NotSent)));
}

#[test]
fn a_raw_send_is_answered_when_all_of_it_is_written() {
    let (mut bench, socket) = opened();
    let ticket = bench.raw("a", "0123456789");
    bench.write(socket, 15);
    assert!(bench.is_open(ticket));
    bench.write(socket, 1);
    assert!(matches!(bench.answer(ticket), Ok(Answer::Done)));
    let (begun, waits) = (bench.raw("a", "0123456789"), bench.raw("a", "0123456789"));
    bench.write(socket, 3);
    bench.lose(socket);
    assert_eq!(bench.fault(begun).certainty, Some(Certainty::MaybeSent));
    assert_eq!(bench.fault(waits).certainty, Some(Certainty::NotSent));
    let closed = bench.raw("a", "x");
    assert_eq!(bench.fault(closed).kind, FaultKind::NotOpen);
}

#[test]
fn nothing_of_the_old_socket_reaches_the_new_one() {
    let (mut bench, old) = opened();
    let ticket = bench.send("a", r#"{"id":1}"#, None);
    bench.lose(old);
    assert_eq!(bench.fault(ticket).kind, FaultKind::NotSent);
    bench.pass(millis(1100));
    let new = bench.dialled();
    assert!(bench.write(new, 99).is_empty());
    bench.says(old, "a ghost");
    assert_eq!(bench.core.counters().messages_in, 0);
    let ticket = bench.send("a", r#"{"id":1}"#, None);
    bench.says(new, r#"{"id":1}"#);
    assert_eq!(replied(bench.answer(ticket)), r#"{"id":1}"#);
}
