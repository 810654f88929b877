use super::*;
use crate::{
    core::{correlation::Kind, id::ConnKey, rooms::Place as RoomPlace, time::Wall},
    wire::ws::{self, Decoder, Role},
};

/// One room, and what each member's kernel took.
struct Bench {
    here: Here,
    key: RoomKey,
    offset: u64,
    took: Vec<Vec<u8>>,
    /// Bytes that each kernel still takes.
    space: Vec<usize>,
    overtaken: Vec<Overtaken>,
}

fn room() -> RoomName {
    RoomName::parse("room", "r").unwrap()
}

fn socket(member: usize) -> SocketKey {
    SocketKey { conn: ConnKey { index: member as u32, generation: 0 }, nth: 1 }
}

impl Bench {
    fn new(slow: Slow, formats: &[Format]) -> Self {
        let mut here = Here::new(&crate::core::rooms::Setup { reader_bytes_max: 200, ..Default::default() });
        let mut key = None;
        for (member, format) in formats.iter().enumerate() {
            let entering = here.entering(&room(), || slow.clone());
            let index = here.entered(entering, socket(member), *format, Position { epoch: 7, offset: 0 });
            assert_eq!(index as usize, member);
            key = Some(entering);
        }
        let members = formats.len();
        let (took, space) = (vec![Vec::new(); members], vec![usize::MAX; members]);
        Bench { here, key: key.unwrap(), offset: 0, took, space, overtaken: Vec::new() }
    }

    fn deliver(&mut self, text: &str) {
        self.offset += 1;
        let at = Position { epoch: 7, offset: self.offset };
        let places = [RoomPlace { room: room(), at }].into();
        let payload = text.to_owned().into();
        let message = Message { kind: Kind::Text, payload, wall: Wall::default(), places, from: None };
        self.here.deliver(&room(), at, &Arc::new(message));
        self.here.overtaken(&room(), &mut self.overtaken);
        self.here.check();
    }

    /// Members that could not be written to, and what is to go before anything else.
    fn flush(&mut self) -> Vec<(SocketKey, Stuck)> {
        self.write(|here, write, stuck| here.flush(&mut 100, &|_, _, _| false, write, stuck))
    }

    fn push(&mut self, member: usize) -> Vec<(SocketKey, Stuck)> {
        let key = self.key;
        self.write(|here, write, stuck| here.push(key, member as u32, &|_, _, _| false, write, stuck))
    }

    fn write(
        &mut self,
        act: impl FnOnce(&mut Here, &mut dyn FnMut(SocketKey, &[u8]) -> Wrote, &mut dyn FnMut(SocketKey, Stuck)),
    ) -> Vec<(SocketKey, Stuck)> {
        let mut all = Vec::new();
        let (took, space) = (&mut self.took, &mut self.space);
        let mut write = |socket: SocketKey, bytes: &[u8]| {
            let member = socket.conn.index as usize;
            let taken = bytes.len().min(space[member]);
            space[member] -= if space[member] == usize::MAX { 0 } else { taken };
            took[member].extend_from_slice(&bytes[..taken]);
            if taken == 0 { Wrote::Blocked } else { Wrote::Taken(taken) }
        };
        act(&mut self.here, &mut write, &mut |socket, why| all.push((socket, why)));
        self.here.check();
        all
    }

    /// What a member could decode: payloads, and gaps.
    fn read(&mut self, member: usize) -> Vec<String> {
        let mut texts = Vec::new();
        let bounds = ws::Bounds { message_bytes_max: 1 << 20, fragments_max: 1 };
        let mut bytes = std::mem::take(&mut self.took[member]);
        let fed = Decoder::new(Role::Client).feed(&bounds, &mut bytes, &mut |event| {
            let ws::Event::Text(text) = event else { panic!("{event:?}") };
            let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
            texts.push(match value.get("gap") {
                Some(gap) => format!("{}..{}", gap["from"]["offset"], gap["to"]["offset"]),
                None if value.get("offset").is_some() => value["offset"].to_string(),
                None => text.to_owned(),
            });
        });
        fed.unwrap();
        texts
    }
}

#[test]
fn all_that_came_in_a_turn_is_one_write_for_each_member() {
    let mut bench = Bench::new(Slow::Close, &[Format::Verbatim, Format::Numbered]);
    for text in ["a", "b", "c"] {
        bench.deliver(text);
    }
    let mut writes = 0;
    let mut write = |_: SocketKey, bytes: &[u8]| {
        writes += 1;
        Wrote::Taken(bytes.len())
    };
    bench.here.flush(&mut 9, &|_, _, _| false, &mut write, &mut |_, _| panic!("nobody is stuck"));
    assert_eq!((writes, bench.here.deliveries.delivered, bench.here.held_bytes()), (2, 6, 0));
}

#[test]
fn a_frame_that_is_begun_is_finished_before_anything_else() {
    let mut bench = Bench::new(Slow::Close, &[Format::Verbatim, Format::Verbatim]);
    bench.deliver("first");
    bench.deliver("second");
    bench.space[0] = 9;
    let stuck = bench.flush();
    assert_eq!(stuck, [(socket(0), Stuck::Rest(b"second".to_vec()))]);
    assert_eq!(bench.read(1), ["first", "second"]);
    assert_eq!(bench.here.deliveries.delivered, 4, "what is left of it goes another way");
    // Exactly one frame.
    bench.space[0] = usize::MAX;
    assert!(bench.push(0).is_empty());
    bench.took[0].clear();
    bench.deliver("third");
    bench.deliver("fourth");
    bench.space[0] = 7;
    assert_eq!(bench.flush(), [(socket(0), Stuck::Blocked)]);
    bench.space[0] = usize::MAX;
    assert!(bench.push(0).is_empty());
    assert_eq!(bench.read(0), ["third", "fourth"]);
    assert_eq!(bench.here.held_bytes(), 0);
}

#[test]
fn the_log_goes_when_the_last_one_behind_leaves() {
    let mut bench = Bench::new(Slow::Close, &[Format::Verbatim, Format::Verbatim]);
    bench.space[1] = 0;
    bench.deliver("something");
    bench.flush();
    assert!(bench.here.held_bytes() > 0);
    bench.here.leave(bench.key, 1);
    bench.here.check();
    assert_eq!((bench.here.held_bytes(), bench.here.deliveries.left), (0, 1));
}

#[test]
fn the_oldest_are_dropped_and_one_gap_tells_of_all_of_them() {
    let mut bench = Bench::new(Slow::DropOldest, &[Format::Numbered, Format::Numbered]);
    bench.space[0] = 0;
    for _ in 0..100 {
        bench.deliver("some text of a few bytes");
        bench.flush();
    }
    assert!(bench.overtaken.len() > 5);
    assert_eq!(bench.read(1).len(), 100);
    assert!(bench.here.held_bytes() <= 400, "no more than the bound and a little");
    bench.space[0] = usize::MAX;
    assert!(bench.push(0).is_empty());
    let read = bench.read(0);
    let first: u64 = read[1].parse().unwrap();
    assert_eq!(read[0], format!("0..{first}"));
    assert_eq!(read[1..], (first..=100).map(|offset| offset.to_string()).collect::<Vec<_>>());
    let of = bench.here.deliveries;
    assert_eq!((of.dropped_oldest, of.delivered), (first - 1, 201 - first));
}

#[test]
fn the_latest_of_each_key_is_kept_however_long_nothing_is_read() {
    let mut bench = Bench::new(Slow::KeepLatest(Some("/k".into())), &[Format::Numbered, Format::Verbatim]);
    bench.space = vec![0, 0];
    bench.deliver("{\"k\":\"once\"}");
    for nth in 0..1000 {
        bench.deliver(&format!("{{\"k\":{},\"n\":{nth}}}", nth % 3));
        bench.flush();
    }
    assert!(bench.here.held_bytes() <= 700);
    bench.space = vec![usize::MAX; 2];
    assert!(bench.push(0).is_empty() && bench.push(1).is_empty());
    let numbered = bench.read(0);
    assert_eq!(numbered[0], "1", "the only one of its key");
    let gap = numbered.iter().position(|text| text.contains("..")).unwrap();
    assert_eq!((gap, numbered.last().unwrap().as_str()), (1, "1001"));
    assert_eq!(numbered[1..].iter().filter(|text| text.contains("..")).count(), 1);
    assert!(bench.read(1).last().unwrap().contains("999"));
    let of = bench.here.deliveries;
    assert_eq!(of.accepted, of.delivered + of.dropped_latest);
    assert_eq!((bench.here.in_flight(), of.recovered), (0, 0));
}

#[test]
fn a_slow_reader_is_given_up_once() {
    let mut bench = Bench::new(Slow::Close, &[Format::Verbatim, Format::Verbatim]);
    bench.space[0] = 0;
    for _ in 0..30 {
        bench.deliver("some text of a few bytes");
        bench.flush();
        if let Some(member) = bench.overtaken.pop() {
            assert_eq!((member.socket, member.slow), (socket(0), Slow::Close));
            let (moved, empty) = bench.here.leave(bench.key, 0);
            assert_eq!((moved.unwrap().socket, empty), (socket(1), false));
            bench.here.check();
        }
    }
    assert_eq!(bench.read(1).len(), 30);
    let of = bench.here.deliveries;
    assert_eq!((of.delivered, of.left, of.dropped_closed), (30, 0, of.accepted - 30));
}
