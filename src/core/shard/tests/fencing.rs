//! Without a lease, and after another owner.

use super::*;

fn publishing(name: &str) -> Connect {
    Connect { publish: Some(publish::Spec::new("t")), ..connect_to(name, settings()) }
}

fn superseded(bench: &mut Bench, name: &str, epoch: u64) {
    let ticket = bench.command(Command::Superseded { id: id(name), epoch });
    assert!(matches!(bench.answer(ticket), Ok(Answer::Done)));
}

#[test]
fn a_fence_drops_everything_at_once_and_writes_nothing() {
    let mut bench = Bench::new();
    let socket = bench.open(publishing("a"));
    let written = bench.send("a", r#"{"id":1}"#, None);
    bench.write(socket, usize::MAX);
    let (unwritten, raw) = (bench.send("a", r#"{"id":2}"#, None), bench.raw("a", "x"));
    bench.command(Command::Connect(Box::new(connect_to("b", settings()))));
    let waiting = bench.command(Command::Connect(Box::new(connect_to("b", settings()))));
    let storing = bench.command(Command::Connect(Box::new(connect_to("c", settings()))));
    bench.dials.pop_front();
    bench.dialled();
    let stores = bench.persists.len();
    let fence = bench.command(Command::Fence);
    assert!(bench.answer(fence).is_ok());
    let outcome = |fault: Fault| (fault.kind, fault.certainty);
    assert_eq!(outcome(bench.fault(written)), (FaultKind::MaybeSent, Some(Certainty::MaybeSent)));
    for ticket in [unwritten, raw] {
        assert_eq!(outcome(bench.fault(ticket)), (FaultKind::NotSent, Some(Certainty::NotSent)));
    }
    for ticket in [waiting, storing] {
        assert_eq!(bench.fault(ticket).kind, FaultKind::Unavailable);
    }
    assert_eq!((bench.aborted.len(), bench.finished.len()), (3, 0), "no last words");
    assert_eq!((bench.persists.len(), bench.forgets.len()), (stores, 0), "the documents are not ours");
    assert_eq!((bench.core.connections_len(), bench.core.sends_in_flight()), (0, 0));
    assert_eq!(bench.core.counters().closes[CloseCause::LeaseLost.index()], 2);
    let refused = bench.command(Command::Connect(Box::new(connect_to("d", settings()))));
    assert_eq!(bench.fault(refused).kind, FaultKind::Unavailable);
    bench.store(None);
    bench.command(Command::Unfence);
    bench.open(connect_to("d", settings()));
}

#[test]
fn followers_of_a_fenced_connection_are_told() {
    let mut bench = Bench::new();
    let socket = bench.open(publishing("a"));
    let fetch = |bench: &mut Bench, from, wait| {
        let follow = Follow::Connection(id("a"));
        bench.command(Command::Fetch(Box::new(Fetch { follow, from, bytes_max: 1 << 20, wait })))
    };
    let now = fetch(&mut bench, FetchFrom::Now, false);
    let now = fetched(bench.answer(now));
    let from = FetchFrom::At { incarnation: now.incarnation, position: now.next };
    let parked = fetch(&mut bench, from, true);
    bench.command(Command::Fence);
    let told = fetched(bench.answer(parked));
    let kinds: Vec<_> = told.records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [crate::core::ring::RecordKind::Gap]);
    let again = fetch(&mut bench, FetchFrom::Start, false);
    assert!(fetched(bench.answer(again)).gone);
    assert!(!bench.core.is_current(socket));
}

#[test]
fn nothing_goes_to_the_bus_while_fenced_and_the_rest_after_it() {
    let mut bench = Bench::new();
    let socket = bench.open(publishing("a"));
    bench.says(socket, "one");
    bench.command(Command::Fence);
    assert_eq!(bench.published("t"), []);
    assert!(bench.lifecycles().contains(&(LifecycleState::Disconnected, None)));
    bench.command(Command::Unfence);
    assert_eq!(bench.published("t"), [text("one")], "nobody else has it");
}

#[test]
fn what_another_owner_has_gone_past_is_not_published_but_counted() {
    let mut bench = Bench::new();
    let sockets = [bench.open(publishing("a")), bench.open(publishing("b"))];
    bench.says(sockets[0], "one");
    bench.says(sockets[1], "two");
    bench.command(Command::Fence);
    superseded(&mut bench, "a", WALL_MILLIS + 1);
    superseded(&mut bench, "b", WALL_MILLIS);
    bench.command(Command::Unfence);
    assert_eq!(bench.published("t"), [text("two")], "the epoch of b is not lower");
    let counters = bench.core.publisher().counters();
    assert_eq!((counters.accepted, counters.delivered), (2, 1));
    assert_eq!(counters.dropped_by(DropReason::Superseded), 1);
}

#[test]
fn a_live_connection_of_a_lower_epoch_is_dropped_and_a_higher_one_stays() {
    let mut bench = Bench::new();
    bench.open(publishing("a"));
    superseded(&mut bench, "a", WALL_MILLIS);
    assert_eq!(bench.status("a"), Some(Status::Connected), "an old message");
    superseded(&mut bench, "a", WALL_MILLIS + 7);
    assert_eq!((bench.status("a"), bench.forgets.len()), (None, 0));
    assert_eq!(bench.aborted.len(), 1);
    let ticket = bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    bench.dialled();
    bench.store(None);
    let Ok(Answer::Connected { epoch, .. }) = bench.answer(ticket) else { panic!("not connected") };
    assert_eq!(epoch, WALL_MILLIS + 8, "above the other owner");
}

#[test]
fn a_claimed_epoch_is_used_as_it_is() {
    for (claimed, epoch) in [(40, 40), (5, 10), (WALL_MILLIS * 2, WALL_MILLIS * 2)] {
        let mut bench = Bench::new();
        let restore = Restore {
            id: id("a"),
            spec: spec_of(settings(), "a"),
            tags: Vec::new(),
            publish: Some(publish::Spec::new("t")),
            created: Wall::default(),
            epoch: 9,
            last_seq: None,
            clean: false,
            claimed: Some(claimed),
        };
        let ticket = bench.command(Command::Restore(Box::new(restore)));
        assert!(bench.answer(ticket).is_ok());
        assert_eq!(bench.store(None).epoch, epoch);
        let gap = Gap { from: (9, None), to: Some((epoch, 1)), cause: GapCause::Crash, count: None };
        assert_eq!(bench.published("t"), [Body::Gap(gap)]);
    }
}
