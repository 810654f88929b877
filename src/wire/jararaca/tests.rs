use super::*;
use crate::core::random::Rng;

/// Captured from the earlier system: one send to `lobby`, and one broadcast.
const LOBBY: &[u8] = b"lobby\x00{\"MESSAGE_ID\":\"chat.message\",\"message\":{\"ts\":1,\"seq\":2,\
    \"pad\":\"h\xc3\xa9llo\\u0000\\n\\\"/\xe2\x80\xa8<\"}}";
const BROADCAST: &[u8] = b"{\"ts\":1,\"seq\":2,\"pad\":\"x\"}";

fn room(name: &str) -> RoomName {
    RoomName::parse("room", name).expect("a name")
}

fn decoded(bytes: &[u8]) -> Result<Sent, Poison> {
    decode_send(&Bytes::copy_from_slice(bytes))
}

#[test]
fn captured_bytes_are_understood_and_written_again() {
    assert_eq!((LOBBY.len(), BROADCAST.len()), (92, 26));
    let sent = decoded(LOBBY).expect("a send");
    assert_eq!((sent.rooms.clone(), sent.left_out), (vec![room("lobby")], Vec::new()));
    assert!(
        sent.payload.starts_with(b"{\"MESSAGE_ID\":\"chat.message\"") && sent.payload.ends_with(b"<\"}}")
    );
    assert_eq!(encode_send(&sent.rooms, &sent.payload).as_deref(), Ok(LOBBY));
    assert_eq!(decode_broadcast(&Bytes::from_static(BROADCAST)).as_deref(), Ok(BROADCAST));
    assert_eq!(encode_send(&[room("a"), room("b")], b"{").as_deref(), Ok(&[0x61, 0x2c, 0x62, 0, 0x7b][..]));
}

#[test]
fn what_others_write_is_taken_as_far_as_it_goes() {
    let names = |bytes: &[u8]| {
        let sent = decoded(bytes).expect("a send");
        let rooms: Vec<_> = sent.rooms.iter().map(|room| room.as_str().to_owned()).collect();
        (rooms.join(" "), sent.payload, sent.left_out)
    };
    assert_eq!(names(b"a,b\0x"), ("a b".into(), "x".into(), vec![]));
    // Once each; what is empty names nothing; NULs of the payload are its own.
    assert_eq!(names(b"b,a,,b,\0\0x\0"), ("b a".into(), "\0x\0".into(), vec![]));
    assert_eq!(names(b"a\0"), ("a".into(), "".into(), vec![]));
    let bad = names(b"a,\xff,c\td,e\0x");
    assert_eq!(bad, ("a e".into(), "x".into(), vec![Poison::NotUtf8, Poison::BadRoom]));
}

#[test]
fn poison_has_its_reason() {
    for (bytes, reason) in [
        (&b""[..], Poison::NoSeparator),
        (b"{\"a\":1}", Poison::NoSeparator),
        (b"\0x", Poison::NoRooms),
        (b",,\0x", Poison::NoRooms),
        (b"\xc3\x28\0x", Poison::NotUtf8),
        (b"a\nb\0x", Poison::BadRoom),
    ] {
        assert_eq!(decoded(bytes), Err(reason), "{bytes:?}");
    }
    assert_eq!(decoded(&[&[b'a'; 257][..], b"\0x"].concat()), Err(Poison::BadRoom));
    assert_eq!(decoded(&[&b"a,".repeat(RELAY_ROOMS_MAX)[..], b"b\0x"].concat()), Err(Poison::TooManyRooms));
}

#[test]
fn what_would_stop_their_readers_is_refused_by_field() {
    let refused =
        |rooms: &[RoomName], payload: &[u8]| encode_send(rooms, payload).expect_err("refused").field;
    assert_eq!(refused(&[room("a")], b"x\0y"), "data");
    assert_eq!(refused(&[], b"x"), "rooms");
    assert_eq!(refused(&[room("a"), RoomName::everyone()], b"x"), "rooms");
}

#[test]
fn garbage_never_panics() {
    let mut random = Rng(5);
    let mut next = || random.word();
    for _ in 0..20_000 {
        let length = next() % 40;
        // Mostly what means something.
        let bytes: Vec<u8> = (0..length)
            .map(|_| match next() % 4 {
                0 => b"\0,ab"[(next() % 4) as usize],
                _ => next() as u8,
            })
            .collect();
        if let Ok(sent) = decoded(&bytes) {
            assert!(!sent.rooms.is_empty() && bytes.ends_with(&sent.payload));
        }
    }
}
