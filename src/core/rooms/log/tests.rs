use super::*;
use crate::core::{correlation::Kind, rooms::Place, time::Wall};

fn room() -> RoomName {
    RoomName::parse("room", "r").unwrap()
}

fn message(offset: u64, text: &str, places: usize) -> (Position, Arc<Message>) {
    let at = Position { epoch: 7, offset };
    let others = (1..places).map(|nth| RoomName::parse("room", &format!("other{nth}")).unwrap());
    let places = [room()].into_iter().chain(others).map(|room| Place { room, at }).collect();
    let payload = text.to_owned().into();
    (at, Arc::new(Message { kind: Kind::Text, payload, wall: Wall::default(), places, from: None }))
}

fn append(log: &mut Log, offset: u64, text: &str, places: usize) {
    let (at, message) = message(offset, text, places);
    log.append(Format::Verbatim, &room(), at, &message);
    log.check();
}

fn nobody(_: &Frame) -> bool {
    false
}

#[test]
fn a_slice_is_what_comes_after_a_number_and_a_cut_finds_its_frame_again() {
    let mut log = Log::default();
    for (nth, text) in ["a", "bb", "ccc"].into_iter().enumerate() {
        append(&mut log, nth as u64 + 1, text, 1);
    }
    assert_eq!((log.first(), log.end(), log.held_bytes()), (0, 3, 3 + 4 + 5));
    assert_eq!(log.slice(0, nobody), (&b"\x81\x01a\x81\x02bb\x81\x03ccc"[..], 3));
    assert_eq!(log.slice(2, nobody), (&b"\x81\x03ccc"[..], 3));
    assert_eq!(log.slice(3, nobody), (&b""[..], 3));
    assert_eq!(log.bytes_of(1), b"\x81\x02bb");
    assert_eq!([0, 1, 2, 3].map(|number| log.behind_bytes(number)), [12, 9, 5, 0]);
    let cuts: [(u64, usize, (u64, usize)); 9] = [
        (0, 0, (0, 0)),
        (0, 2, (0, 2)),
        (0, 3, (1, 0)),
        (0, 6, (1, 3)),
        (0, 7, (2, 0)),
        (0, 11, (2, 4)),
        (0, 12, (3, 0)),
        (1, 5, (2, 1)),
        (2, 1, (2, 1)),
    ];
    for (from, taken, expected) in cuts {
        assert_eq!(log.cut(from, taken), expected, "{taken} bytes from {from}");
    }
}

#[test]
fn what_is_forgotten_moves_nothing_that_is_left() {
    let mut log = Log::default();
    for offset in 1..=100 {
        append(&mut log, offset, &format!("number {offset}"), 1);
    }
    for upto in [1, 2, 30, 30, 70, 99] {
        log.forget(upto);
        log.check();
        assert_eq!((log.first(), log.end()), (upto, 100));
        assert!(log.frame(upto - 1).is_none());
        assert_eq!(log.frame(upto).unwrap().at.offset, upto + 1);
        let last = log.slice(99, nobody);
        assert_eq!(last, (&b"\x81\x0anumber 100"[..], 100));
        assert_eq!(log.cut(upto, 3), (upto, 3));
    }
    log.forget(100);
    assert_eq!((log.first(), log.end(), log.held_bytes()), (100, 100, 0));
    log.forget(200);
    log.check();
    append(&mut log, 101, "more", 1);
    assert_eq!(log.slice(100, nobody), (&b"\x81\x04more"[..], 101));
    // Whoever asks for what is forgotten gets what is left.
    assert_eq!(log.behind_bytes(3), 6);
}

#[test]
fn memory_goes_back_when_a_busy_room_falls_idle() {
    let mut log = Log::default();
    for offset in 1..=1000 {
        append(&mut log, offset, "something of some length", 1);
    }
    log.forget(1000);
    assert_eq!((log.bytes.capacity(), log.frames.capacity()), (0, 0));
}

#[test]
fn only_frames_of_several_rooms_are_looked_at() {
    let mut log = Log::default();
    append(&mut log, 1, "a", 1);
    assert!(!log.has_shared());
    append(&mut log, 2, "b", 3);
    append(&mut log, 3, "c", 1);
    log.append_note(Position { epoch: 7, offset: 3 }, b"note");
    append(&mut log, 5, "d", 2);
    assert!(log.has_shared());
    assert_eq!(log.slice(0, |_| true), (&b"\x81\x01a"[..], 1));
    assert_eq!(log.slice(1, |_| true), (&b""[..], 1));
    assert_eq!(log.slice(2, |_| true).1, 4);
    assert_eq!(log.slice(0, |frame| frame.at.offset == 5).1, 4);
    assert_eq!(log.slice(0, nobody).1, 5);
    let before = [1, 3, 4].map(|number| log.frame(number).unwrap().before().offset);
    assert_eq!(before, [1, 3, 4], "a word about the room speaks of what comes after it");
    log.forget(2);
    assert!(log.has_shared());
    log.forget(5);
    assert!(!log.has_shared());
}
