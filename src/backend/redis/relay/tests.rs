//! Against a real redis-server.

use super::*;
use crate::{
    backend::redis::tests::{PATIENCE, RedisServer, wait_for},
    core::reason::FaultKind,
};
use parking_lot::Mutex;
use std::{sync::mpsc as std_mpsc, time::Duration};

const SEND: &str = "jararaca:websocket:send";
const BROADCAST: &str = "jararaca:websocket:broadcast";

#[derive(Default)]
struct Log(Mutex<Vec<(String, Vec<u8>)>>);

impl RelayListener for Log {
    fn heard(&self, rooms: Vec<RoomName>, post: Post) {
        assert_eq!(post.kind, Kind::Binary);
        let names: Vec<_> = rooms.iter().map(RoomName::as_str).collect();
        self.0.lock().push((names.join(" "), post.payload.to_vec()));
    }

    fn lost(&self) -> u64 {
        7
    }
}

struct Instance {
    relay: Arc<RedisRelay>,
    log: Arc<Log>,
}

impl Instance {
    fn open(server: &RedisServer, dedupe: bool) -> Instance {
        let mut config = RedisConfig::new(server.url());
        config.command_timeout = Duration::from_secs(1);
        let log = Arc::new(Log::default());
        let channels = Channels { send: SEND.into(), broadcast: BROADCAST.into() };
        let relay = RedisRelay::open(config, channels, dedupe, log.clone()).expect("it opens");
        wait_for("connections", || relay.health().is_ok() && relay.stats().connects >= 2);
        Instance { relay, log }
    }

    fn publish(&self, rooms: &[&str], payload: &[u8]) -> Result<(), Fault> {
        let (sender, answer) = std_mpsc::sync_channel(1);
        let rooms = rooms.iter().map(|name| RoomName::parse("room", name).expect("a name")).collect();
        let post = Post { kind: Kind::Text, payload: payload.to_vec().into() };
        self.relay.publish(rooms, post, Box::new(move |answer| drop(sender.send(answer))));
        answer.recv_timeout(PATIENCE).expect("an answer")
    }

    fn heard(&self) -> Vec<(String, Vec<u8>)> {
        self.log.0.lock().clone()
    }
}

fn publish_raw(server: &RedisServer, channel: &str, bytes: &[u8]) -> u64 {
    let client = redis::Client::open(server.url()).expect("a client");
    let mut connection = client.get_connection().expect("a connection");
    redis::cmd("PUBLISH").arg(channel).arg(bytes).query(&mut connection).expect("an answer")
}

#[test]
fn what_is_sent_comes_back_and_others_read_the_very_bytes() {
    let server = RedisServer::start(&[]);
    let (one, two) = (Instance::open(&server, true), Instance::open(&server, true));
    let client = redis::Client::open(server.url()).expect("a client");
    let mut connection = client.get_connection().expect("a connection");
    let mut raw = connection.as_pubsub();
    raw.subscribe(SEND).expect("subscribed");
    raw.subscribe(BROADCAST).expect("subscribed");

    let chat = "{\"MESSAGE_ID\":\"chat.message\",\"message\":{\"ts\":1,\"seq\":2,\
                \"pad\":\"h\u{e9}llo\\u0000\\n\\\"/\u{2028}<\"}}";
    one.publish(&["lobby"], chat.as_bytes()).expect("sent");
    one.publish(&["a", "b"], b"{").expect("sent");
    one.publish(&[], b"{\"ts\":1,\"seq\":2,\"pad\":\"x\"}").expect("sent");
    one.publish(&[], b"").expect("sent");
    let expected: [(&str, Vec<u8>); 4] = [
        (SEND, [b"lobby\0", chat.as_bytes()].concat()),
        (SEND, vec![0x61, 0x2c, 0x62, 0, 0x7b]),
        (BROADCAST, b"{\"ts\":1,\"seq\":2,\"pad\":\"x\"}".to_vec()),
        (BROADCAST, Vec::new()),
    ];
    for (channel, bytes) in expected {
        let message = raw.get_message().expect("a message");
        assert_eq!((message.get_channel_name(), message.get_payload_bytes()), (channel, &bytes[..]));
    }
    for instance in [&one, &two] {
        wait_for("all four", || instance.heard().len() == 4);
        let rooms: Vec<_> = instance.heard().into_iter().map(|(rooms, _)| rooms).collect();
        assert_eq!(rooms, ["lobby", "a b", "", ""]);
        assert_eq!(instance.heard()[0].1, chat.as_bytes());
    }
    let stats = one.relay.stats();
    assert_eq!((stats.sent, stats.receivers, stats.unheard, stats.heard), (4, 12, 0, 4));
}

#[test]
fn poison_is_counted_and_stops_nobody() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, true);
    for bytes in [&b""[..], b"no separator", b"\0x", b",\0x", b"\xff\0x", b"a\tb\0x"] {
        assert_eq!(publish_raw(&server, SEND, bytes), 1, "it still listens");
    }
    publish_raw(&server, SEND, b"a,b,a\0with\0more\0");
    publish_raw(&server, SEND, b"a,\xff,c\0part");
    publish_raw(&server, BROADCAST, b"\0\xff");
    wait_for("the good ones", || instance.heard().len() == 3);
    let expected: [(&str, &[u8]); 3] = [("a b", b"with\0more\0"), ("a c", b"part"), ("", b"\0\xff")];
    assert_eq!(instance.heard(), expected.map(|(rooms, payload)| (rooms.to_owned(), payload.to_vec())));
    let stats = instance.relay.stats();
    assert_eq!(stats.poison(), [2, 2, 1, 2, 0, 0]);
    assert_eq!(stats.connection_failures, 0);
}

#[test]
fn copies_for_each_room_are_a_choice() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, false);
    instance.publish(&["a", "b"], b"x").expect("sent");
    instance.publish(&[], b"y").expect("sent");
    wait_for("all three", || instance.heard().len() == 3);
    let rooms: Vec<_> = instance.heard().into_iter().map(|(rooms, _)| rooms).collect();
    assert_eq!(rooms, ["a", "b", ""]);
}

#[test]
fn what_would_stop_the_others_is_refused() {
    let server = RedisServer::start(&[]);
    let instance = Instance::open(&server, true);
    let fault = instance.publish(&["a"], b"x\0").expect_err("refused");
    assert_eq!((fault.kind, &*fault.field), (FaultKind::Invalid, "data"));
    assert_eq!(instance.relay.stats().sent, 0);
}

#[test]
fn a_broken_link_is_there_again_at_once() {
    let mut server = RedisServer::start(&[]);
    let instance = Instance::open(&server, true);
    let connects = instance.relay.stats().connects;
    server.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_for("a new link", || instance.relay.stats().connects > connects && instance.relay.health().is_ok());
    instance.publish(&["a"], b"x").expect("sent");
    wait_for("it", || instance.heard().len() == 1);

    server.kill();
    wait_for("the loss to be seen", || {
        instance.publish(&["a"], b"y").is_err_and(|fault| fault.kind == FaultKind::NotSent)
    });
    server.run();
    wait_for("health", || instance.relay.health().is_ok());
    wait_for("it", || instance.publish(&["a"], b"z").is_ok());
    wait_for("it", || instance.heard().last().is_some_and(|(_, payload)| payload == b"z"));
}
