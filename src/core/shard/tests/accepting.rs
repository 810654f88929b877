//! Connections that came to us, from their admission to their end.

use super::*;
use crate::core::{
    reason::DropReason,
    rooms::{Access, Admit, Entry, Format, Position, Post, RoomAnswer, RoomCommand, RoomName},
    spec::Direction,
};

fn name(text: &str) -> RoomName {
    RoomName::parse("room", text).unwrap()
}

fn admission(id_text: &str, rooms: &[&str]) -> Admit {
    Admit {
        id: id(id_text),
        given: true,
        spec: spec_of(Settings { auto_reconnect: false, ..settings() }, ""),
        tags: Vec::new(),
        user: None,
        subprotocol: None,
        format: Format::Verbatim,
        rooms: rooms.iter().map(|room| Entry { room: name(room), after: None }).collect(),
        may_join: Access::Only(["open/*".into()].into()),
        feeds: Vec::new(),
        publish: None,
        protocol: false,
        valid_for: None,
    }
}

impl Bench {
    fn room(&mut self, command: RoomCommand) -> Outcome {
        let ticket = self.command(Command::Room(command));
        self.answer(ticket)
    }

    fn admit(&mut self, admit: Admit) -> SocketKey {
        match self.room(RoomCommand::Admit(Box::new(admit))) {
            Ok(Answer::Room(RoomAnswer::Admitted { socket, epoch })) => {
                assert!(epoch > 0);
                socket
            }
            other => panic!("{other:?}"),
        }
    }

    fn attach(&mut self, socket: SocketKey) -> bool {
        self.step(|core, now, fx| core.attached(now, socket, fx))
    }

    fn accept(&mut self, admit: Admit) -> SocketKey {
        let socket = self.admit(admit);
        assert!(self.attach(socket));
        socket
    }

    /// What its client reads: frames of a server.
    fn reads(&mut self, socket: SocketKey) -> Vec<String> {
        let mut bytes = Vec::new();
        if let Some(outbox) = self.core.outbox(socket) {
            outbox.fill(&mut bytes, usize::MAX, || None);
            let (filled, taken) = (bytes.clone(), bytes.len());
            self.step(|core, now, fx| core.wrote(now, socket, &filled, taken, fx));
        }
        let now = self.now;
        let mut write = |_: SocketKey, more: &[u8]| {
            bytes.extend_from_slice(more);
            crate::core::rooms::here::Wrote::Taken(more.len())
        };
        self.core.flush_seats(now, socket, &mut write);
        texts(bytes)
    }

    fn post(&mut self, room: &str, text: &'static str) -> Position {
        let post = Post { kind: Kind::Text, payload: Bytes::from_static(text.as_bytes()) };
        match self.room(RoomCommand::Post { room: name(room), post }) {
            Ok(Answer::Room(RoomAnswer::Placed(at))) => at,
            other => panic!("{other:?}"),
        }
    }

    /// The code of the last close frame that this socket was sent.
    fn closed(&self, socket: SocketKey) -> Option<u16> {
        let (_, last) = self.finished.iter().rev().find(|(finished, _)| *finished == socket)?;
        assert_eq!(last[0], 0x88, "not masked, and nothing before it");
        Some(u16::from_be_bytes([last[2], last[3]]))
    }
}

fn texts(mut bytes: Vec<u8>) -> Vec<String> {
    let mut texts = Vec::new();
    let bounds = ws::Bounds { message_bytes_max: 1 << 20, fragments_max: 4 };
    let fed = Decoder::new(Role::Client).feed(&bounds, &mut bytes, &mut |event| {
        let ws::Event::Text(text) = event else { panic!("{event:?}") };
        texts.push(text.to_owned());
    });
    fed.unwrap();
    texts
}

#[test]
fn what_is_sent_between_the_admission_and_the_socket_is_not_lost() {
    let mut bench = Bench::new();
    let socket = bench.admit(admission("a", &["r"]));
    bench.post("r", "early");
    assert_eq!(bench.status("a"), None, "nobody finds it yet");
    assert!(bench.attach(socket) && !bench.attach(socket));
    bench.post("r", "late");
    assert_eq!(bench.reads(socket), ["early", "late"]);
    assert_eq!(bench.status("a"), Some(Status::Connected));
    assert!(bench.persists.is_empty(), "nothing of it is stored");
    let list = |direction| {
        Command::List(Box::new(crate::core::io::List { direction, limit: 9, ..Default::default() }))
    };
    for (direction, count) in [(None, 1), (Some(Direction::In), 1), (Some(Direction::Out), 0)] {
        let ticket = bench.command(list(direction));
        let Ok(Answer::Listed { infos, .. }) = bench.answer(ticket) else { panic!("no list") };
        assert_eq!(infos.len(), count);
        assert!(
            infos.iter().all(|info| info.rooms == [Arc::<str>::from("r")] && info.direction == Direction::In)
        );
    }
}

#[test]
fn a_socket_that_comes_too_late_or_whose_caller_left_is_not_wanted() {
    let mut bench = Bench::new();
    let socket = bench.admit(admission("a", &["r"]));
    bench.pass(crate::limits::ADMIT_DEADLINE);
    assert!(!bench.attach(socket));
    assert_eq!(bench.core.connections_len(), 0);
    assert!(bench.core.rooms_here().is_empty(), "it left its rooms");
    let stale = SocketKey { nth: 2, ..bench.admit(admission("a", &[])) };
    assert!(!bench.attach(stale));
}

#[test]
fn it_answers_sends_and_its_frames_are_not_masked() {
    let mut bench = Bench::new();
    let socket = bench.accept(admission("a", &[]));
    assert!(!bench.core.masks(socket));
    let send = bench.send("a", "{\"id\":1}", None);
    let raw = bench.raw("a", "plain");
    assert_eq!(bench.reads(socket), ["{\"id\":1}", "plain"]);
    assert!(bench.answer(raw).is_ok() && bench.is_open(send));
    bench.says(socket, "{\"id\":1,\"ok\":true}");
    let outcome = bench.answer(send);
    assert_eq!(replied(outcome), "{\"id\":1,\"ok\":true}");
    let send = bench.send("a", "{\"id\":2}", None);
    bench.lose(socket);
    assert_eq!(bench.fault(send).kind, FaultKind::NotSent);
    assert_eq!(bench.status("a"), None, "nobody dials it again");
    assert!(bench.dials.is_empty() && bench.forgets.is_empty());
}

#[test]
fn what_it_says_goes_to_its_rooms_its_topic_or_nowhere() {
    let mut bench = Bench::new();
    let books = |bench: &Bench| {
        let counters = bench.core.counters();
        let accepted = bench.core.publisher().counters().accepted;
        let nowhere = counters.dropped[DropReason::NotPublished.index()];
        assert_eq!(counters.numbered, accepted + counters.fed + nowhere);
        (accepted, counters.fed, nowhere)
    };
    let member = bench.accept(admission("m", &["r", "s"]));
    let feeder = bench.accept(Admit { feeds: vec![name("r"), name("s")], ..admission("f", &[]) });
    bench.says(feeder, "to both");
    assert_eq!(bench.reads(member), ["to both", "to both"]);
    bench.says(member, "to nobody");
    assert_eq!(books(&bench), (0, 1, 1));
    let topic = publish::Spec::new("topic");
    let ticket = bench.command(Command::StartPublish { id: id("f"), spec: Box::new(topic) });
    assert!(bench.answer(ticket).is_ok());
    bench.says(feeder, "to all three");
    assert_eq!(bench.reads(member).len(), 2);
    assert_eq!(books(&bench), (1, 1, 1));
}

#[test]
fn a_newer_socket_takes_an_id_that_was_given_and_no_dialled_one() {
    let mut bench = Bench::new();
    let older = bench.accept(admission("a", &["r"]));
    let newer = bench.accept(admission("a", &["r"]));
    assert_eq!(bench.closed(older), Some(1008));
    bench.post("r", "hello");
    assert_eq!(bench.reads(newer), ["hello"]);
    bench.open(connect_to("d", settings()));
    let fault = bench.room(RoomCommand::Admit(Box::new(admission("d", &[])))).unwrap_err();
    assert_eq!((fault.kind, &*fault.field), (FaultKind::IdInUse, "id"));
    let ticket = bench.command(Command::Connect(Box::new(Connect {
        spec: spec_of(settings(), ""),
        ..connect_to("a", settings())
    })));
    assert_eq!(bench.fault(ticket).kind, FaultKind::IdInUse);
    let ticket = bench.command(Command::Retire(id("a")));
    assert_eq!(bench.fault(ticket).kind, FaultKind::NotOpen);
    let fault = bench.room(RoomCommand::Join { id: id("d"), room: name("r"), after: None }).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unimplemented);
}

#[test]
fn its_ends_have_their_codes() {
    let mut bench = Bench::new();
    let user: Arc<str> = "ann".into();
    let kicked = bench.accept(Admit { user: Some(user.clone()), ..admission("k", &[]) });
    let text = Post { kind: Kind::Text, payload: Bytes::from_static(b"psst") };
    let count = |outcome| matches!(outcome, Ok(Answer::Room(RoomAnswer::Count(1))));
    assert!(count(bench.room(RoomCommand::PostToUser { user: user.clone(), post: text })));
    assert_eq!(bench.reads(kicked), ["psst"]);
    let kick = RoomCommand::KickUser { user, code: 4001, reason: "out".into() };
    assert!(count(bench.room(kick)));
    let expires = bench.accept(Admit { valid_for: Some(millis(9000)), ..admission("e", &["r"]) });
    let disconnected = bench.accept(admission("d", &["r"]));
    let drained = bench.accept(admission("s", &["r"]));
    bench.pass(millis(9000));
    let ticket = bench.disconnect("d");
    assert!(bench.answer(ticket).is_ok());
    let ticket = bench.command(Command::Fence);
    assert!(bench.answer(ticket).is_ok());
    assert_eq!(bench.status("s"), Some(Status::Connected), "no lease is needed for it");
    bench.post("r", "still");
    assert_eq!(bench.reads(drained), ["still"]);
    let ticket = bench.command(Command::Unfence);
    assert!(bench.answer(ticket).is_ok());
    bench.command(Command::Stop);
    let codes = [kicked, expires, disconnected, drained].map(|socket| bench.closed(socket));
    assert_eq!(codes, [Some(4001), Some(1008), Some(1000), Some(1012)]);
    assert!(bench.core.rooms_here().is_empty() && bench.core.connections_len() == 0);
    let fault = bench.room(RoomCommand::Admit(Box::new(admission("n", &[])))).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
}

#[test]
fn clients_that_speak_the_protocol_are_answered() {
    let mut bench = Bench::new();
    let socket = bench.accept(Admit { format: Format::Numbered, ..admission("a", &["r"]) });
    for asked in ["{\"join\":\"open/1\",\"id\":1}", "{\"join\":\"shut\",\"id\":2}", "{\"leave\":7,\"id\":3}"]
    {
        bench.says(socket, asked);
    }
    bench.says(socket, "{\"leave\":\"r\"}");
    let told = bench.reads(socket);
    assert!(told[0].starts_with("{\"joined\":\"open/1\",") && told[0].ends_with(",\"id\":1}"), "{told:?}");
    let order = ["PERMISSION_DENIED", "INVALID_ARGUMENT", "\"left\":\"r\""];
    let found = |(text, part): (&String, &&str)| text.contains(*part);
    // The answer to a join has been to the room's home and back.
    let mut rest = told[1..].to_vec();
    rest.sort_unstable_by_key(|text| order.iter().position(|part| text.contains(part)));
    assert!(rest.len() == 3 && rest.iter().zip(&order).all(found), "{told:?}");
    bench.says(socket, "{\"no\":\"request\"}");
    assert_eq!(bench.core.counters().numbered, 1);
    assert_eq!(bench.core.counters().room_requests, 4);
}

#[test]
fn who_asks_and_does_not_read_is_closed() {
    let mut bench = Bench::new();
    let socket = bench.accept(Admit { format: Format::Numbered, ..admission("a", &["r"]) });
    let long: &'static str = "x".repeat(700_000).leak();
    let first = bench.post("r", long);
    bench.reads(socket);
    let resume = format!("{{\"resume\":{{\"room\":\"r\",\"epoch\":{},\"offset\":0}}}}", first.epoch);
    bench.says(socket, &resume);
    bench.says(socket, &resume);
    assert_eq!(bench.closed(socket), None);
    bench.says(socket, &resume);
    assert_eq!(bench.closed(socket), Some(1013));
}
