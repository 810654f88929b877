//! Connect, reconnect, restore.

use super::*;
use LifecycleState::*;

#[test]
fn a_connect_is_answered_when_its_document_stands() {
    let mut bench = Bench::new();
    let ticket = bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    assert_eq!(bench.status("a"), Some(Status::Connecting));
    bench.dialled();
    assert!(bench.is_open(ticket));
    let record = bench.store(None);
    assert_eq!((record.clean, record.last_seq, record.epoch), (false, None, WALL_MILLIS));
    let Ok(Answer::Connected { status, epoch, created, .. }) = bench.answer(ticket) else { panic!() };
    assert_eq!((status, epoch, created), (Status::Connected, WALL_MILLIS, true));
    assert_eq!(bench.lifecycles(), [(Connecting, None), (Connected, None)]);
}

#[test]
fn a_first_dial_that_fails_leaves_nothing_behind() {
    for tags_meanwhile in [false, true] {
        let mut bench = Bench::new();
        let ticket = bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
        if tags_meanwhile {
            let tags = vec![("k".into(), "v".into())];
            let tagged = bench.command(Command::SetTags { id: id("a"), tags });
            assert!(bench.answer(tagged).is_ok());
        }
        bench.dial_fails();
        assert_eq!(bench.fault(ticket).kind, FaultKind::DialFailed);
        assert_eq!(bench.status("a"), None);
        assert!(bench.persists.is_empty() && bench.core.gauges().timers == 0);
        assert_eq!(bench.lifecycles(), [(Connecting, None), (Error, None), (Disconnected, None)]);
    }
}

#[test]
fn a_dial_has_its_deadline() {
    let mut bench = Bench::new();
    let ticket = bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    bench.pass(millis(5100));
    assert_eq!(bench.fault(ticket).kind, FaultKind::DialFailed);
    let socket = bench.dials[0];
    assert_eq!(bench.aborted, [socket]);
    bench.dialled();
    assert_eq!(bench.aborted, [socket, socket], "what opens too late is dropped");
}

#[test]
fn a_document_that_cannot_be_written_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let ticket = bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    bench.dialled();
    bench.store(Some("disk full"));
    assert_eq!(bench.fault(ticket).kind, FaultKind::Unavailable);
    assert_eq!((bench.status("a"), bench.finished.len()), (None, 1));
    assert_eq!(bench.store_forgets(), id("a"), "the write may have arrived all the same");
}

#[test]
fn the_same_connect_again_joins_or_finds_and_another_is_refused() {
    let mut bench = Bench::new();
    let again = |bench: &mut Bench| bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    let (first, second) = (again(&mut bench), again(&mut bench));
    bench.dialled();
    let third = again(&mut bench);
    bench.store(None);
    let created = [first, second, third].map(|ticket| match bench.answer(ticket) {
        Ok(Answer::Connected { created, .. }) => created,
        other => panic!("{other:?}"),
    });
    assert_eq!(created, [true, false, false]);
    let found = again(&mut bench);
    assert!(matches!(bench.answer(found), Ok(Answer::Connected { created: false, .. })));
    let other = Connect { spec: spec_of(settings(), "other"), ..connect_to("a", settings()) };
    let other = bench.command(Command::Connect(Box::new(other)));
    assert_eq!(bench.fault(other).kind, FaultKind::IdInUse);
    assert!(bench.dials.is_empty());
}

#[test]
fn a_connect_that_all_its_callers_left_is_given_up() {
    let mut bench = Bench::new();
    let first = bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    let second = bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    bench.cancel(first);
    assert!(bench.aborted.is_empty(), "somebody still waits");
    bench.cancel(second);
    assert_eq!((bench.aborted.len(), bench.status("a")), (1, None));
    // Open, it stays: the caller can find it.
    let third = bench.command(Command::Connect(Box::new(connect_to("b", settings()))));
    bench.dials.pop_front();
    bench.dialled();
    bench.cancel(third);
    bench.store(None);
    assert_eq!(bench.status("b"), Some(Status::Connected));
    assert!(bench.answers.is_empty());
}

#[test]
fn the_shard_has_a_bound() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c", "d"] {
        bench.open(connect_to(name, settings()));
    }
    let ticket = bench.command(Command::Connect(Box::new(connect_to("e", settings()))));
    assert_eq!(bench.fault(ticket).kind, FaultKind::Full);
}

#[test]
fn a_lost_socket_is_dialled_again_with_full_jitter() {
    let mut delays = Vec::new();
    for seed in 0..40 {
        let mut bench = Bench::new();
        bench.core.entropy = seed;
        let socket = bench.open(connect_to("a", settings()));
        bench.lose(socket);
        assert_eq!(bench.status("a"), Some(Status::Reconnecting));
        let lost = bench.now.mono;
        while bench.dials.is_empty() {
            bench.pass(millis(10));
        }
        delays.push(bench.now.mono.since(lost).as_millis());
        bench.dial_fails();
        bench.pass(millis(2100));
        bench.dialled();
        assert_eq!(
            bench.lifecycles()[2..],
            [(Reconnecting, Some(1)), (Reconnecting, Some(2)), (Connected, Some(2))]
        );
    }
    assert!(delays.iter().all(|delay| *delay <= 1020), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay < 250) && delays.iter().any(|delay| *delay > 750), "{delays:?}");
}

#[test]
fn attempts_are_used_up() {
    let mut bench = Bench::new();
    let socket = bench.open(connect_to("a", Settings { reconnect_attempts_max: 2, ..settings() }));
    bench.lose(socket);
    for _ in 0..2 {
        bench.pass(millis(2100));
        bench.dial_fails();
    }
    assert_eq!(bench.status("a"), Some(Status::Disconnected));
    assert_eq!(bench.store_forgets(), id("a"));
    bench.pass(limits::DISCONNECTED_KEPT + millis(100));
    assert_eq!(bench.status("a"), None, "it is listed for a while only");
    assert_eq!(bench.core.gauges().timers, 0);
}

#[test]
fn dials_are_paced() {
    let mut bench = Bench::new();
    bench.core.dials = TokenBucket::new(1.0, 1, bench.now.mono);
    let none = Settings { reconnect_base: Duration::ZERO, ..settings() };
    let sockets: Vec<_> = ["a", "b", "c"].map(|name| bench.open(connect_to(name, none.clone()))).into();
    sockets.into_iter().for_each(|socket| bench.lose(socket));
    bench.pass(millis(100));
    assert_eq!(bench.dials.len(), 1);
    bench.pass(millis(2000));
    assert_eq!(bench.dials.len(), 3);
}

fn restore(epoch: u64, settings: Settings, clean: bool) -> Command {
    Command::Restore(Box::new(Restore {
        id: id("a"),
        spec: spec_of(settings, "a"),
        tags: Vec::new(),
        publish: Some(publish::Spec::new("t")),
        created: Wall::default(),
        epoch,
        last_seq: clean.then_some(9),
        clean,
        claimed: None,
    }))
}

#[test]
fn a_restored_connection_goes_on_in_a_higher_epoch() {
    let ahead = WALL_MILLIS + 5000;
    for (stored, clean, epoch) in [(5, false, WALL_MILLIS), (ahead, true, ahead + 1)] {
        let mut bench = Bench::new();
        let ticket = bench.command(restore(stored, settings(), clean));
        assert!(bench.answer(ticket).is_ok());
        bench.pass(millis(20));
        let socket = bench.dialled();
        bench.says(socket, "hello");
        let cause = if clean { GapCause::NewEpoch } else { GapCause::Crash };
        let from = (stored, clean.then_some(9));
        let gap = Gap { from, to: Some((epoch, 1)), cause, count: None };
        assert_eq!(bench.published("t"), [Body::Gap(gap), text("hello")], "and no gap for the dial");
        assert_eq!(bench.store(None).epoch, epoch);
        assert_eq!(bench.lifecycles(), [(Reconnecting, Some(1)), (Connected, Some(1))]);
    }
}

#[test]
fn one_that_nobody_dials_again_gets_its_last_word() {
    for clean in [false, true] {
        let mut bench = Bench::new();
        bench.command(restore(5, Settings { auto_reconnect: false, ..settings() }, clean));
        let gap = Gap { from: (5, None), to: None, cause: GapCause::Crash, count: None };
        let expected = if clean { vec![] } else { vec![Body::Gap(gap)] };
        assert_eq!(bench.published("t"), expected);
        assert_eq!((bench.status("a"), bench.store_forgets()), (None, id("a")));
        assert!(bench.dials.is_empty());
    }
}

#[test]
fn an_id_used_again_gets_a_higher_epoch_whatever_the_wall_clock_says() {
    let mut bench = Bench::new();
    bench.open(connect_to("a", settings()));
    bench.disconnect("a");
    bench.now.wall = Wall::from_unix_millis(WALL_MILLIS - 3_600_000);
    bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    bench.dialled();
    assert_eq!(bench.store(None).epoch, WALL_MILLIS + 1);
}
