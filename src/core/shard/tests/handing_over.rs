//! From one instance to another, with the new socket made before the old one breaks.

use super::*;

const OLD: u64 = WALL_MILLIS - 500;

fn restore() -> Box<Restore> {
    Box::new(Restore {
        id: id("a"),
        spec: spec_of(settings(), "a"),
        tags: Vec::new(),
        publish: Some(publish::Spec::new("t")),
        created: Wall::default(),
        epoch: OLD,
        last_seq: None,
        clean: false,
        claimed: None,
    })
}

fn prepared(bench: &mut Bench) -> SocketKey {
    let ticket = bench.command(Command::Prepare(restore()));
    assert!(bench.is_open(ticket));
    let socket = bench.dialled();
    assert!(matches!(bench.answer(ticket), Ok(Answer::Done)));
    socket
}

fn commit(bench: &mut Bench) -> Outcome {
    let ticket = bench.command(Command::Commit { id: id("a"), epoch: WALL_MILLIS, last_seq: 9 });
    bench.answer(ticket)
}

fn marks(bench: &mut Bench) -> Vec<(u64, bool)> {
    let follow = Follow::Connection(id("a"));
    let fetch = Fetch { follow, from: FetchFrom::Start, bytes_max: 1 << 20, wait: false };
    let ticket = bench.command(Command::Fetch(Box::new(fetch)));
    let records = fetched(bench.answer(ticket)).records;
    let messages = records.iter().filter(|record| record.kind == crate::core::ring::RecordKind::Text);
    messages.map(|record| (record.seq, record.possible_duplicate)).collect()
}

#[test]
fn a_prepared_connection_is_nobodys_until_it_is_committed() {
    let mut bench = Bench::new();
    let socket = prepared(&mut bench);
    assert_eq!(bench.paused, [(socket, true)]);
    assert_eq!(bench.status("a"), None);
    let (send, raw) = (bench.send("a", r#"{"id":1}"#, None), bench.raw("a", "x"));
    let again = bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    for ticket in [send, raw, again] {
        let fault = bench.fault(ticket);
        assert_eq!((fault.kind, fault.certainty), (FaultKind::Unavailable, Some(Certainty::NotSent)));
    }
    let list = bench.command(Command::List(Box::new(List { limit: 9, ..List::default() })));
    assert!(matches!(bench.answer(list), Ok(Answer::Listed { total: 0, .. })));
    bench.pass(millis(20_000));
    assert!(bench.persists.is_empty() && bench.published("t").is_empty() && bench.lifecycles().is_empty());
    assert!(matches!(commit(&mut bench), Ok(Answer::Connected { epoch: WALL_MILLIS, .. })));
    assert_eq!(bench.paused.pop(), Some((socket, false)));
    assert_eq!((bench.store(None).epoch, bench.status("a")), (WALL_MILLIS, Some(Status::Connected)));
    bench.says(socket, "waited");
    bench.step(|core, _, _| core.read_out(socket));
    bench.says(socket, "fresh");
    let gap =
        Gap { from: (OLD, Some(9)), to: Some((WALL_MILLIS, 1)), cause: GapCause::NewEpoch, count: None };
    assert_eq!(bench.published("t"), [Body::Gap(gap), text("waited"), text("fresh")]);
    assert_eq!(marks(&mut bench), [(1, true), (2, false)]);
    assert_eq!(commit(&mut bench).unwrap_err().kind, FaultKind::NotFound, "only once");
}

#[test]
fn what_is_prepared_and_not_wanted_leaves_nothing() {
    let mut bench = Bench::new();
    let ticket = bench.command(Command::Prepare(restore()));
    bench.dial_fails();
    assert_eq!(bench.fault(ticket).kind, FaultKind::DialFailed);
    let socket = prepared(&mut bench);
    let abort = bench.command(Command::Abort(id("a")));
    assert!(bench.answer(abort).is_ok());
    assert_eq!(bench.aborted, [socket]);
    let socket = prepared(&mut bench);
    bench.pass(limits::PREPARED_KEPT + millis(100));
    assert_eq!(bench.aborted.pop(), Some(socket), "nobody said anything");
    let socket = prepared(&mut bench);
    bench.lose(socket);
    assert!(commit(&mut bench).is_err(), "the new socket broke");
    let ticket = bench.command(Command::Prepare(restore()));
    bench.cancel(ticket);
    bench.dials.clear();
    prepared(&mut bench);
    bench.command(Command::Fence);
    assert!(commit(&mut bench).is_err());
    assert!(bench.persists.is_empty() && bench.forgets.is_empty() && bench.lifecycles().is_empty());
    assert_eq!((bench.core.connections_len(), bench.core.gauges().timers), (0, 0));
}

#[test]
fn an_orphan_is_taken_up_though_it_is_prepared() {
    let mut bench = Bench::new();
    let first = prepared(&mut bench);
    let ticket = bench.command(Command::Restore(restore()));
    assert!(bench.answer(ticket).is_ok());
    assert_eq!(bench.aborted, [first]);
    bench.pass(millis(20));
    bench.dialled();
    assert_eq!(bench.status("a"), Some(Status::Connected));
}

fn publishing() -> (Bench, SocketKey) {
    let mut bench = Bench::new();
    let spec = publish::Spec::new("t");
    let socket = bench.open(Connect { publish: Some(spec), ..connect_to("a", settings()) });
    (bench, socket)
}

fn retire(bench: &mut Bench) -> Ticket {
    bench.command(Command::Retire(id("a")))
}

fn end(last_seq: u64) -> Body {
    Body::End { epoch: WALL_MILLIS, last_seq }
}

#[test]
fn one_that_goes_ends_its_sends_and_marks_its_end_last() {
    let (mut bench, socket) = publishing();
    bench.says(socket, "one");
    let send = bench.send("a", r#"{"id":1}"#, None);
    bench.write(socket, usize::MAX);
    let ticket = retire(&mut bench);
    let late = bench.send("a", r#"{"id":2}"#, None);
    assert_eq!(bench.fault(late).kind, FaultKind::Unavailable);
    bench.says(socket, r#"{"id":1,"ok":true}"#);
    assert!(bench.answer(send).is_ok(), "what was pending may end");
    assert_eq!(bench.paused, [(socket, true)]);
    bench.pass(millis(10));
    let batch = bench.batches.pop_back().expect("a batch");
    assert!(batch.events.iter().all(|event| event.kind != EventKind::End), "its end waits for the rest");
    assert!(bench.is_open(ticket), "the bus does not have it yet");
    bench.batches.push_back(batch);
    assert_eq!(bench.published("t"), [text("one"), end(1)]);
    let Ok(Answer::Retired { epoch, last_seq, record }) = bench.answer(ticket) else { panic!() };
    assert_eq!((epoch, last_seq, record.last_seq), (WALL_MILLIS, 1, Some(1)));
    assert!(bench.finished.is_empty(), "the socket is still there");
    let disconnect = bench.disconnect("a");
    assert_eq!(bench.fault(disconnect).kind, FaultKind::Unavailable);
    let release = bench.command(Command::Release(id("a")));
    assert!(bench.answer(release).is_ok());
    assert_eq!((bench.finished.len(), bench.persists.len(), bench.forgets.len()), (1, 0, 0));
    assert_eq!((bench.status("a"), bench.published("t").len()), (None, 2));
    assert_eq!(bench.core.counters().closes[CloseCause::HandOver.index()], 1);
}

#[test]
fn a_send_that_does_not_end_in_time_is_ended() {
    let (mut bench, socket) = publishing();
    let long = |text: &'static str| Send {
        id: id("a"),
        payload: Bytes::from_static(text.as_bytes()),
        kind: Kind::Text,
        timeout: millis(60_000),
        rule: None,
    };
    let written = bench.command(Command::Send(long(r#"{"id":1}"#)));
    bench.write(socket, usize::MAX);
    let (unwritten, raw) = (bench.command(Command::Send(long(r#"{"id":2}"#))), bench.raw("a", "raw"));
    let ticket = retire(&mut bench);
    bench.pass(limits::RETIRE_SENDS + millis(100));
    let outcome = |fault: Fault| (fault.kind, fault.certainty);
    assert_eq!(outcome(bench.fault(written)), (FaultKind::MaybeSent, Some(Certainty::MaybeSent)));
    for ticket in [unwritten, raw] {
        assert_eq!(outcome(bench.fault(ticket)), (FaultKind::NotSent, Some(Certainty::NotSent)));
    }
    assert_eq!(bench.published("t"), [end(0)]);
    assert!(matches!(bench.answer(ticket), Ok(Answer::Retired { .. })));
}

#[test]
fn one_that_stays_after_its_end_was_marked_goes_on_in_a_new_epoch() {
    let (mut bench, socket) = publishing();
    bench.says(socket, "one");
    let ticket = retire(&mut bench);
    bench.published("t");
    bench.published("t");
    assert!(matches!(bench.answer(ticket), Ok(Answer::Retired { .. })));
    let wall = WALL_MILLIS + 20;
    let resume = bench.command(Command::Resume(id("a")));
    assert!(matches!(bench.answer(resume), Ok(Answer::Connected { epoch, .. }) if epoch == wall));
    assert_eq!(bench.paused, [(socket, true), (socket, false)]);
    assert_eq!(bench.store(None).epoch, wall);
    bench.says(socket, "two");
    let to = Some((wall, 1));
    let gap = Gap { from: (WALL_MILLIS, Some(1)), to, cause: GapCause::NewEpoch, count: Some(0) };
    assert_eq!(bench.published("t"), [text("one"), end(1), Body::Gap(gap), text("two")]);
    bench.send("a", r#"{"id":1}"#, None);
    assert_eq!(bench.write(socket, usize::MAX).len(), 1);
}

#[test]
fn one_that_stays_before_that_goes_on_as_it_was() {
    let (mut bench, socket) = publishing();
    bench.says(socket, "one");
    let ticket = retire(&mut bench);
    assert!(bench.is_open(ticket));
    let resume = bench.command(Command::Resume(id("a")));
    assert!(matches!(bench.answer(resume), Ok(Answer::Connected { epoch: WALL_MILLIS, .. })));
    assert_eq!(bench.fault(ticket).kind, FaultKind::Unavailable);
    bench.says(socket, "two");
    assert_eq!(bench.published("t"), [text("one"), text("two")]);
    // A bus that takes nothing for too long: the same.
    bench.says(socket, "three");
    let ticket = retire(&mut bench);
    bench.pass(limits::RETIRE_PUBLISH + millis(100));
    assert_eq!(bench.fault(ticket).kind, FaultKind::Unavailable);
    assert_eq!(bench.paused.last(), Some(&(socket, false)));
    assert!(!bench.published("t").contains(&end(3)));
}

#[test]
fn one_that_breaks_on_its_way_is_dialled_again_unless_it_was_retired() {
    let (mut bench, socket) = publishing();
    bench.says(socket, "one");
    let ticket = retire(&mut bench);
    bench.lose(socket);
    assert_eq!(bench.fault(ticket).kind, FaultKind::NotOpen);
    bench.pass(millis(1100));
    let socket = bench.dialled();
    let ticket = retire(&mut bench);
    bench.published("t");
    bench.published("t");
    assert!(matches!(bench.answer(ticket), Ok(Answer::Retired { .. })));
    bench.lose(socket);
    bench.pass(millis(60_000));
    assert!(bench.dials.is_empty(), "it may be another's by now");
    bench.command(Command::Resume(id("a")));
    bench.pass(millis(20));
    bench.dialled();
    assert_eq!(bench.status("a"), Some(Status::Connected));
}
