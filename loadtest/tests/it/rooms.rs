//! The readers against a server that breaks its word, the programs of the peers where they are
//! installed, and short runs against the real service where `WSM_BIN` names one.

use crate::ended;
use loadtest::{
    clock::{self, MILLI, SECOND},
    frames::{self, From},
    peers::{
        kind::{ALL, Kind},
        measure::{self, BYTES, Hall},
        server::{Place, Server},
    },
    pin,
    readers::{
        POLITE, Readers,
        stamp::{self, Stamp},
        target::Target,
    },
};
use serde_json::Value;
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread::JoinHandle,
    time::Duration,
};

/// For what comes at once.
const PATIENCE: u64 = 30 * SECOND;
const PROGRAM: &str = env!("CARGO_BIN_EXE_loadtest");
/// The readers' handshake always has the same key.
const ANSWER: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

// ------------------------------------------------------------------- readers

/// A server of one client that writes these bytes after the handshake, and ends.
fn server_that_says(bytes: Vec<u8>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let thread = std::thread::spawn(move || {
        let mut stream = client(&listener);
        read_request(&mut stream);
        stream.write_all(ANSWER).expect("open");
        stream.write_all(&bytes).expect("open");
    });
    (address, thread)
}

/// The next client; one that does not come, or says nothing, is not waited for for ever.
fn client(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("a listener");
    let give_up = clock::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("a socket");
                let patience = Some(Duration::from_nanos(PATIENCE));
                stream.set_read_timeout(patience).expect("a socket");
                stream.set_write_timeout(patience).expect("a socket");
                return stream;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && clock::now() < give_up => {
                clock::sleep(MILLI);
            }
            Err(error) => panic!("no client: {error}"),
        }
    }
}

fn read_request(stream: &mut TcpStream) {
    let (mut request, mut some) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut some).expect("open");
        assert!(count > 0, "a client that went before it had asked");
        request.extend_from_slice(&some[..count]);
    }
}

fn messages(numbers: &[u64]) -> Vec<u8> {
    let (mut bytes, mut payload) = (Vec::new(), stamp::payload(BYTES));
    for number in numbers {
        Stamp { stream: 0, number: *number, nanos: 0 }.write(&mut payload);
        frames::put(&mut bytes, From::Server, frames::TEXT, &payload);
    }
    bytes
}

fn heard(bytes: Vec<u8>) -> loadtest::readers::books::Tally {
    let (address, server) = server_that_says(bytes);
    let mut readers = Readers::new(1).expect("an epoll");
    readers.join(&Target::plain(address, "/"), 1, POLITE, 10 * SECOND).expect("it answers");
    let give_up = clock::now() + PATIENCE;
    while readers.tally.closed == 0 {
        assert!(clock::now() < give_up, "the server's end is not seen");
        readers.pass(SECOND / 10).expect("it reads");
    }
    server.join().expect("no panic");
    readers.tally
}

#[test]
fn what_is_lost_doubled_or_turned_round_is_seen() {
    let all: Vec<u64> = (0..5000).collect();
    let whole = heard(messages(&all));
    assert_eq!((whole.received, whole.missing, whole.again), (5000, 0, 0));
    let lossy: Vec<u64> = all.iter().copied().filter(|number| *number != 17 && *number != 4000).collect();
    let lossy = heard(messages(&lossy));
    assert_eq!((lossy.received, lossy.missing, lossy.again), (4998, 2, 0));
    let doubled = heard(messages(&[0, 1, 1, 2, 4, 3]));
    assert_eq!((doubled.received, doubled.missing, doubled.again), (4, 1, 2));
}

#[test]
fn a_server_that_throws_a_slow_reader_out_is_heard() {
    let mut bytes = messages(&[0]);
    frames::put(&mut bytes, From::Server, frames::CLOSE, &1013_u16.to_be_bytes());
    let tally = heard(bytes);
    assert_eq!((tally.received, tally.too_slow, tally.closed), (1, 1, 1));
}

#[test]
fn a_server_that_lets_nobody_in_is_told_as_it_put_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = std::thread::spawn(move || {
        let mut stream = client(&listener);
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\nfull").expect("open");
    });
    let mut readers = Readers::new(1).expect("an epoll");
    let refused = readers.join(&Target::plain(address, "/"), 1, POLITE, 10 * SECOND).expect_err("refused");
    assert!(refused.to_string().contains("503 Service Unavailable"), "{refused}");
    server.join().expect("no panic");
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("bound");
    let mut readers = Readers::new(1).expect("an epoll");
    let refused = readers.join(&Target::plain(address, "/"), 3, POLITE, 10 * SECOND).expect_err("refused");
    let text = refused.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("refused"), "{text}");
}

// --------------------------------------------------------------------- peers

fn service() -> Option<PathBuf> {
    std::env::var_os("WSM_BIN").map(PathBuf::from)
}

/// All of them serve, lose nothing, and cost something.
#[test]
fn each_server_that_is_installed_delivers_and_receives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for kind in ALL {
        let missing = kind.missing(&root);
        if !missing.is_empty() || (kind.is_ours() && service().is_none()) {
            assert!(std::env::var_os("WSM_REQUIRE_RIVALS").is_none(), "{}: {missing:?}", kind.name());
            eprintln!("SKIPPED: {}: {}", kind.name(), missing.join("; "));
            continue;
        }
        let place = Place {
            root: root.clone(),
            service: service().unwrap_or_default(),
            program: PROGRAM.into(),
            served_on: pin::allowed().to_vec(),
            beside: pin::allowed().to_vec(),
        };
        let server = Server::start(kind, &place).unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
        measured(
            kind,
            Hall::fill(server, 20, BYTES, 5).unwrap_or_else(|error| panic!("{}: {error}", kind.name())),
        );
    }
}

fn measured(kind: Kind, mut hall: Hall) {
    for at_once in [1, 64] {
        let closed =
            hall.closed(50 * MILLI, at_once).unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
        assert_eq!(closed.deliveries % (20 * at_once as u64), 0, "{}", kind.name());
        assert!(closed.deliveries > 0 && closed.cpu_nanos > 0, "{}: {closed:?}", kind.name());
    }
    let open =
        hall.open(100.0, 200 * MILLI, 20 * SECOND).unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
    assert!(open.whole && open.p99 >= open.p50 && open.p50 > 0, "{}: {open:?}", kind.name());
    if let Some(sink) = hall.server.sink.clone() {
        let received = measure::receiving(&hall.server, &sink, 4, 8, 50 * MILLI);
        let received = received.unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
        assert!(received > 0.0, "{}", kind.name());
    }
}

// ----------------------------------------------------------------- scenarios

fn run(arguments: &[&str]) -> Output {
    ended::output(Command::new(PROGRAM).args(arguments))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A short run of a scenario against the real service; its report, whose books balance.
fn reported(arguments: &[&str]) -> Option<Value> {
    if service().is_none() {
        eprintln!("SKIPPED: WSM_BIN names no service");
        return None;
    }
    let results = tempfile::tempdir().expect("a temporary folder");
    let folder = results.path().to_str().expect("UTF-8");
    let output = run(&[arguments, &["--quick", "--json", "--out", folder]].concat());
    // On a machine that is busy with other tests goals are missed; nothing else may be wrong.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let scenario = report["scenarios"][0].clone();
    for check in scenario["books"].as_array().expect("books") {
        assert_eq!(check["balance"], true, "{check}");
    }
    assert_eq!(scenario["failures"], Value::Array(Vec::new()), "{scenario}");
    Some(scenario)
}

#[test]
fn a_small_room_is_published_to_in_every_way() {
    let Some(report) =
        reported(&["fanout", "--connections", "20", "--rate", "200", "--seconds", "1", "--warmup", "0"])
    else {
        return;
    };
    assert_eq!(report["tables"][0]["rows"].as_array().map(Vec::len), Some(4));
    assert_eq!(report["operations"][0]["done"], 200 * 20, "{report}");
}

#[test]
fn small_rooms_hear_what_is_theirs() {
    let Some(report) =
        reported(&["many-rooms", "--connections", "50", "--rate", "100", "--seconds", "1", "--warmup", "0"])
    else {
        return;
    };
    assert_eq!(report["operations"][0]["done"], 100 * 10, "{report}");
}

#[test]
fn ticks_of_venues_come_to_their_readers() {
    let Some(report) =
        reported(&["market-feed", "--connections", "40", "--rate", "400", "--seconds", "1", "--warmup", "0"])
    else {
        return;
    };
    assert_eq!(report["operations"][0]["failed"], 0, "{report}");
    assert!(report["operations"][0]["done"].as_u64() > Some(0), "{report}");
}

#[test]
fn devices_answer_their_commands() {
    let Some(report) = reported(&["iot", "--connections", "50", "--rate", "20", "--seconds", "1"]) else {
        return;
    };
    assert_eq!(report["operations"][0]["done"], 20, "{report}");
}

#[test]
fn all_come_back_from_a_storm() {
    let Some(report) = reported(&["storm", "--connections", "100"]) else { return };
    assert_eq!(report["operations"][0]["done"], 300, "{report}");
}

// ----------------------------------------------------------------- bad input

#[test]
fn an_unknown_peer_is_refused_with_those_that_there_are() {
    let output = run(&["peers", "rabbit"]);
    assert_eq!(output.status.code(), Some(64));
    let text = said(&output);
    assert!(text.contains("'rabbit'") && text.contains("node-ws"), "{text}");
}

#[test]
fn too_few_files_are_named_with_the_way_out() {
    let script = format!("ulimit -n 200; exec {PROGRAM} fanout --connections 1000");
    let output = ended::output(Command::new("sh").args(["-c", &script]));
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    let text = said(&output);
    assert!(
        text.contains("RLIMIT_NOFILE") && text.contains("ulimit") && text.contains("--connections"),
        "{text}"
    );
}
