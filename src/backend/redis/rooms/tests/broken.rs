use super::*;
use crate::{
    backend::redis::rooms::scripts,
    core::reason::{Certainty, FaultKind},
    wire,
};
use std::time::Instant;

/// What another instance would do, in the very moment in which all connections are cut: the server
/// accepts no new one between two commands of one client.
fn cut_and_post(server: &RedisServer, name: &str, payload: &str) {
    let client = redis::Client::open(server.url()).expect("a client");
    let mut connection = client.get_connection().expect("a connection");
    let mut both = redis::pipe();
    both.cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub");
    both.cmd("EVAL").arg(scripts::PUBLISH).arg(2);
    both.arg(format!("wsm:rooms:n:{name}")).arg(format!("wsm:rooms:s:{name}"));
    both.arg(&wire::rooms::head(Kind::Text)[..]).arg(wire::rooms::sender(None)).arg(payload);
    both.arg(name).arg(&[0, 0, 1000, 1 << 20, 300_000, 600_000]);
    let _: redis::Value = both.query(&mut connection).expect("both");
}

#[test]
fn what_was_sent_while_the_link_was_broken_is_found_though_nothing_follows() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    instance.subscribe("r");
    let first = instance.placed("r", "heard");
    wait_for("the first", || instance.arrived("r").len() == 1);
    cut_and_post(&server, "r", "missed");
    let cut = Instant::now();
    wait_for("the room again", || !instance.log.resumed(&room("r")).is_empty());
    assert!(cut.elapsed() < Duration::from_secs(1), "{:?}", cut.elapsed());
    assert_eq!(instance.log.resumed(&room("r")), [at(first.epoch, 2)]);
    assert_eq!(instance.arrived("r").len(), 1, "the channel has lost it");
    let kept = instance.since("r", Some(first), 10);
    assert_eq!(shown(&kept.messages, "r"), [(2, "missed".into())]);
    assert!(kept.recovered);
    instance.placed("r", "next");
    wait_for("the next", || instance.arrived("r").len() == 2);
}

#[test]
fn a_restart_of_the_server_keeps_numbers_and_histories() {
    let mut server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    instance.subscribe("r");
    let first = instance.placed("r", "1");
    wait_for("it", || instance.arrived("r").len() == 1);
    server.kill();
    wait_for("the loss to be seen", || instance.rooms.health().is_err());
    server.run();
    wait_for("the room again", || instance.log.resumed(&room("r")) == [first]);
    wait_for("a connection to send", || instance.post(&["r"], "2").is_ok());
    wait_for("it", || instance.arrived("r").len() == 2);
    assert_eq!(instance.arrived("r")[1].0, at(first.epoch, 2));
    let kept = instance.since("r", Some(at(first.epoch, 0)), 10);
    assert!(kept.recovered && kept.messages.len() == 2);
}

#[test]
fn a_server_that_came_back_empty_begins_a_new_epoch_for_who_listens() {
    let server = RedisServer::start(&[]);
    let (sender, reader) = (Instance::open(&server, "a"), Instance::open(&server, "b"));
    reader.subscribe("r");
    let first = sender.placed("r", "1");
    wait_for("it", || reader.arrived("r").len() == 1);
    server.call(&["FLUSHALL"]);
    server.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_for("the room again", || !reader.log.resumed(&room("r")).is_empty());
    let head = reader.log.resumed(&room("r"))[0];
    assert!(head.epoch > first.epoch && head.offset == 0, "{head:?}");
    assert_eq!(sender.placed("r", "2"), at(head.epoch, 1));
    wait_for("it", || reader.arrived("r").len() == 2);
    // An older state: the listener knows better than the server.
    server.call(&["SET", "wsm:rooms:n:r", &format!("{}-7", first.epoch)]);
    server.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_for("the room again", || reader.log.resumed(&room("r")).len() == 2);
    let newer = reader.log.resumed(&room("r"))[1];
    assert!(newer.epoch > head.epoch && newer.offset == 0, "{newer:?}");
}

#[test]
fn without_a_server_nothing_is_sent_and_that_is_said_at_once() {
    let mut server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    server.kill();
    wait_for("the loss to be seen", || {
        instance.post(&["r"], "x").is_err_and(|fault| fault.kind == FaultKind::NotSent)
    });
    let asked = Instant::now();
    let fault = instance.post(&["r", "none"], "x").expect_err("no server");
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    assert_eq!((fault.kind, fault.certainty), (FaultKind::NotSent, Some(Certainty::NotSent)));
    assert!(fault.message.contains(&format!("127.0.0.1:{}", server.port)), "{fault}");
    let (sender, answer) = mpsc::sync_channel::<Result<Position, _>>(1);
    instance.rooms.subscribe(&room("r"), Box::new(move |answer| drop(sender.send(answer))));
    let error = answer.recv_timeout(PATIENCE).expect("an answer").expect_err("no server");
    assert!(error.transient && error.message.contains("waiting for Redis"), "{error}");
    server.run();
    wait_for("health", || instance.rooms.health().is_ok());
    instance.subscribe("r");
    assert_eq!(instance.placed("r", "x").offset, 1);
}

#[test]
fn a_lost_answer_is_doubt() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, "a");
    instance.subscribe("r");
    let first = instance.placed("r", "1");
    server.signal("STOP");
    for name in ["r", "none"] {
        let fault = instance.post(&[name], "in doubt").expect_err("no answer");
        // The second one may find the connection given up.
        let expected =
            [(FaultKind::MaybeSent, Certainty::MaybeSent), (FaultKind::NotSent, Certainty::NotSent)];
        let found = (fault.kind, fault.certainty.expect("a certainty"));
        assert!(found == expected[0] || (name == "none" && found == expected[1]), "{fault:?}");
    }
    wait_for("the silence to be seen", || instance.rooms.health().is_err());
    server.signal("CONT");
    wait_for("a connection to send", || instance.post(&["r"], "after").is_ok());
    let kept = instance.since("r", Some(first), 100);
    assert!(kept.recovered);
    // Whatever was in doubt is there once or not at all.
    let doubtful = shown(&kept.messages, "r").iter().filter(|(_, payload)| payload == "in doubt").count();
    assert!(doubtful <= 1, "{kept:?}");
}
