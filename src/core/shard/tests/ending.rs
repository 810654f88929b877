//! Clocks, bad peers, Disconnect, drain.

use super::*;

fn opened(settings: Settings) -> (Bench, SocketKey) {
    let mut bench = Bench::new();
    let socket = bench.open(connect_to("a", settings));
    (bench, socket)
}

#[test]
fn pings_go_out_and_a_missing_pong_ends_the_socket() {
    let pinging = Settings { ping_interval: millis(10_000), pong_timeout: millis(25_000), ..settings() };
    let (mut bench, socket) = opened(pinging);
    bench.pass(millis(10_010));
    assert_eq!(bench.write(socket, 99), ["ping"]);
    bench.step(|core, now, fx| core.event(now, socket, ws::Event::Pong(b""), fx));
    bench.pass(millis(34_900));
    assert_eq!(bench.status("a"), Some(Status::Connected));
    bench.pass(millis(200));
    assert_eq!((bench.status("a"), bench.finished.len()), (Some(Status::Reconnecting), 1));
    assert_eq!(bench.core.counters().closes[CloseCause::PongTimeout.index()], 1);
}

#[test]
fn a_peer_without_data_is_idle_and_any_message_counts() {
    let (mut bench, socket) = opened(Settings { idle_data: millis(5000), ..settings() });
    bench.pass(millis(4900));
    bench.says(socket, "tick");
    bench.pass(millis(4900));
    assert_eq!(bench.status("a"), Some(Status::Connected));
    bench.pass(millis(200));
    assert_eq!(bench.core.counters().closes[CloseCause::IdleTimeout.index()], 1);
}

#[test]
fn the_clocks_of_a_peer_stand_still_while_we_do_not_read() {
    let mut bench = Bench::new();
    bench.core = {
        let mut setup = bench.core.setup.clone();
        setup.publish.queue_bytes = 1000;
        ShardCore::new(bench.now, setup)
    };
    let idle = Settings { idle_data: millis(5000), ..settings() };
    let pausing = publish::Spec { overflow: publish::Overflow::Pause, ..publish::Spec::new("t") };
    let socket = bench.open(Connect { publish: Some(pausing), ..connect_to("a", idle) });
    bench.says(socket, &"x".repeat(2000));
    assert_eq!(bench.paused, [(socket, true)]);
    bench.pass(millis(4900));
    bench.published("t");
    assert_eq!(bench.paused, [(socket, true), (socket, false)]);
    bench.pass(millis(4800));
    assert_eq!(bench.status("a"), Some(Status::Connected), "its silence begins when we listen again");
    bench.pass(millis(300));
    assert_eq!(bench.core.counters().closes[CloseCause::IdleTimeout.index()], 1);
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let (mut bench, socket) = opened(settings());
    let ticket = bench.raw("a", "0123456789");
    bench.core.stalled(bench.now, socket);
    bench.pass(millis(9000));
    bench.write(socket, 3);
    bench.pass(millis(9900));
    assert!(bench.is_open(ticket), "it took something meanwhile");
    bench.pass(millis(200));
    assert_eq!(bench.fault(ticket).certainty, Some(Certainty::MaybeSent));
    assert_eq!(bench.core.counters().closes[CloseCause::WriteStalled.index()], 1);
}

#[test]
fn two_clocks_that_run_out_together_end_the_socket_once() {
    let (mut bench, socket) = opened(Settings { idle_data: limits::WRITE_STALL, ..settings() });
    bench.raw("a", "0123456789");
    bench.core.stalled(bench.now, socket);
    bench.set_time(bench.now.mono + millis(11_000));
    bench.step(|core, now, fx| core.handle_timeout(now, fx));
    assert_eq!(bench.core.counters().closes.iter().sum::<u64>(), 1);
    assert_eq!(bench.core.gauges().timers, 1, "the next dial");
}

#[test]
fn one_pong_waits_at_most_and_a_flood_ends_the_socket() {
    let (mut bench, socket) = opened(settings());
    for text in ["1", "2", "3"] {
        bench.step(|core, now, fx| core.event(now, socket, ws::Event::Ping(text.as_bytes()), fx));
    }
    assert_eq!(bench.write(socket, 99), ["pong 3"]);
    for _ in 0..limits::CONTROL_BURST {
        bench.step(|core, now, fx| core.event(now, socket, ws::Event::Ping(b""), fx));
    }
    assert_eq!(bench.core.counters().closes[CloseCause::Flood.index()], 1);
    assert_eq!(bench.finished.len(), 1);
}

#[test]
fn a_violation_is_told_to_the_peer_and_to_the_callers() {
    let (mut bench, socket) = opened(settings());
    let ticket = bench.send("a", r#"{"id":1}"#, None);
    bench.write(socket, 99);
    let violation = ws::Violation { code: 1002, kind: ws::ViolationKind::Protocol, what: "reserved bits" };
    bench.step(|core, now, fx| core.violated(now, socket, violation, fx));
    assert_eq!(bench.fault(ticket).kind, FaultKind::PeerProtocol);
    let (_, last) = &mut bench.finished[0];
    let mut closed = None;
    let bounds = ws::Bounds { message_bytes_max: 99, fragments_max: 1 };
    let decoded = Decoder::new(Role::Server).feed(&bounds, last, &mut |event| {
        if let ws::Event::Close { code, .. } = event {
            closed = code;
        }
    });
    assert_eq!((decoded, closed), (Ok(()), Some(1002)));
    assert_eq!(bench.status("a"), Some(Status::Reconnecting));
}

#[test]
fn disconnect_ends_a_connection_in_every_phase() {
    for phase in 0..6 {
        let mut bench = Bench::new();
        let once = Settings { auto_reconnect: phase != 5, ..settings() };
        let ticket = bench.command(Command::Connect(Box::new(connect_to("a", once))));
        if phase >= 1 {
            bench.dialled();
        }
        if phase >= 2 {
            bench.store(None);
            assert!(bench.answer(ticket).is_ok());
        }
        if phase >= 3 {
            let socket = bench.core.connections.iter().next().map(|(key, c)| c.socket(key)).unwrap();
            bench.lose(socket);
        }
        if phase == 4 {
            bench.pass(millis(1100));
        }
        let disconnect = bench.disconnect("a");
        assert_eq!(bench.status("a"), None, "{phase}");
        if phase < 2 {
            assert_eq!(bench.fault(ticket).kind, FaultKind::Unavailable, "{phase}");
        }
        assert!(bench.is_open(disconnect));
        while !bench.forgets.is_empty() {
            bench.store_forgets();
        }
        assert!(matches!(bench.answer(disconnect), Ok(Answer::Done)));
        let dropped = bench.aborted.len() - usize::from(phase >= 3) + bench.finished.len();
        assert_eq!(dropped, usize::from([0, 1, 2, 4].contains(&phase)), "{phase}: its socket or dial ends");
        assert_eq!(bench.core.gauges().timers, 0, "{phase}");
        let again = bench.disconnect("a");
        assert_eq!(bench.fault(again).kind, FaultKind::NotFound);
    }
}

#[test]
fn a_peer_that_closes_ends_the_connection_in_order() {
    let once = Settings { auto_reconnect: false, ..settings() };
    let (mut bench, socket) = opened(once);
    bench.step(|core, now, fx| {
        core.event(now, socket, ws::Event::Close { code: Some(1001), reason: "bye" }, fx);
    });
    assert_eq!(bench.status("a"), Some(Status::Disconnected));
    assert_eq!(bench.store_forgets(), id("a"));
    let again = bench.command(Command::Connect(Box::new(connect_to("a", settings()))));
    assert!(bench.is_open(again), "a dead connection makes room");
    assert_eq!(bench.dials.len(), 1);
}

#[test]
fn a_drain_keeps_what_comes_back_and_is_answered_when_all_left() {
    let mut bench = Bench::new();
    let spec = publish::Spec::new("t");
    let kept = bench.open(Connect { publish: Some(spec), ..connect_to("kept", settings()) });
    bench.open(connect_to("once", Settings { auto_reconnect: false, ..settings() }));
    bench.says(kept, "last");
    let refuse = bench.command(Command::Refuse);
    assert!(bench.answer(refuse).is_ok());
    let refused = bench.command(Command::Connect(Box::new(connect_to("new", settings()))));
    assert_eq!(bench.fault(refused).kind, FaultKind::Unavailable);
    let refused = bench.send("kept", r#"{"id":1}"#, None);
    assert_eq!(bench.fault(refused).kind, FaultKind::Unavailable);
    let first = bench.command(Command::Stop);
    let stop = bench.command(Command::Stop);
    assert_eq!(bench.fault(first).kind, FaultKind::Unavailable, "each Stop is answered");
    assert_eq!((bench.finished.len(), bench.core.connections_len()), (2, 0));
    let record = bench.store(None);
    assert_eq!((record.id, record.clean, record.last_seq), (id("kept"), true, Some(1)));
    assert!(bench.is_open(stop));
    assert_eq!(bench.store_forgets(), id("once"));
    let end = Body::End { epoch: WALL_MILLIS, last_seq: 1 };
    assert_eq!(bench.published("t"), [text("last"), end]);
    assert!(matches!(bench.answer(stop), Ok(Answer::Done)));
}

#[test]
fn a_socket_lost_during_a_drain_keeps_its_document() {
    let (mut bench, socket) = opened(settings());
    bench.command(Command::Refuse);
    bench.lose(socket);
    bench.command(Command::Stop);
    assert!(bench.forgets.is_empty());
    assert!(bench.store(None).clean);
}

#[test]
fn what_is_abandoned_is_counted() {
    let mut bench = Bench::new();
    let spec = publish::Spec::new("t");
    let socket = bench.open(Connect { publish: Some(spec), ..connect_to("a", settings()) });
    bench.says(socket, "one");
    bench.says(socket, "two");
    let ticket = bench.command(Command::Abandon);
    assert!(matches!(bench.answer(ticket), Ok(Answer::Abandoned { sockets: 1, events: 2 })));
    let counters = bench.core.publisher().counters();
    assert_eq!(counters.dropped_by(DropReason::DrainForced), 2);
}
