use super::*;
use crate::core::random::Rng;

fn message(random: &mut Rng) -> Message {
    let count = 1 + random.index(ROOMS_PER_SEND_MAX);
    let mut names: Vec<String> = (0..count).map(|_| format!("r{}é", random.index(1000))).collect();
    if random.index(3) == 0 {
        names.push(String::new());
    }
    names.sort();
    names.dedup();
    names.truncate(ROOMS_PER_SEND_MAX);
    let place = |name: &String| Place {
        room: match &**name {
            "" => RoomName::everyone(),
            name => RoomName::parse("room", name).expect("a name"),
        },
        at: Position { epoch: u64::MAX - name.len() as u64, offset: name.len() as u64 },
    };
    let text = random.index(2) == 0;
    Message {
        kind: if text { Kind::Text } else { Kind::Binary },
        payload: if text { "text \0 é".into() } else { random.bytes(100).into() },
        wall: Wall::from_unix_nanos(1_700_000_000_000_000_000 + random.word() % (1 << 40)).to_micros(),
        places: names.iter().map(place).collect(),
        from: (random.index(2) == 0).then(|| "instance-1".into()),
    }
}

#[test]
fn what_is_written_is_read() {
    let mut random = Rng(7);
    for _ in 0..2000 {
        let message = message(&mut random);
        let bytes = Bytes::from(encode(&message));
        assert_eq!(decode(&bytes), Ok(message));
    }
}

#[test]
fn the_layout_stands() {
    let place = |name: &str, epoch, offset| Place {
        room: RoomName::parse("room", name).expect("a name"),
        at: Position { epoch, offset },
    };
    let message = Message {
        kind: Kind::Text,
        payload: "{}".into(),
        wall: Wall::from_unix_nanos(258_000),
        places: vec![place("a", 1, 2), place("bc", 3, 4)].into(),
        from: Some("i".into()),
    };
    let expected = b"\x01\x00\0\0\0\0\0\0\x01\x02\x02\
        \0\x01a\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\
        \0\x02bc\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\
        \0\x01i{}";
    assert_eq!(encode(&message), expected);
}

#[test]
fn garbage_is_refused_and_never_panics() {
    let mut random = Rng(11);
    for _ in 0..20_000 {
        let _ = decode(&random.bytes(200).into());
        let mut bytes = encode(&message(&mut random));
        for _ in 0..=random.index(3) {
            let place = random.index(bytes.len());
            bytes[place] = random.word() as u8;
        }
        bytes.truncate(random.index(bytes.len() + 1));
        let bytes = Bytes::from(bytes);
        // What is taken is what the encoder writes: nothing is read in two ways.
        if let Ok(read) = decode(&bytes) {
            assert_eq!(encode(&read), bytes);
        }
    }
}

#[test]
fn each_wrong_has_its_name() {
    let good = |places: &[&str]| {
        let place = |name: &&str| Place {
            room: RoomName::parse("room", name).expect("a name"),
            at: Position::default(),
        };
        let (payload, wall) = (Bytes::from("x"), Wall::default());
        let places = places.iter().map(place).collect();
        encode(&Message { kind: Kind::Text, payload, wall, places, from: None })
    };
    let changed = |at: usize, byte: u8| {
        let mut bytes = good(&["a"]);
        bytes[at] = byte;
        decode(&bytes.into()).expect_err("malformed")
    };
    assert_eq!(changed(0, 2), Malformed::Version);
    assert_eq!(changed(1, 2), Malformed::Kind);
    assert_eq!(changed(2, 255), Malformed::Short);
    assert_eq!(changed(10, 0), Malformed::Places);
    assert_eq!(changed(10, 255), Malformed::Places);
    assert_eq!(changed(13, b','), Malformed::Places);
    assert_eq!(changed(13, 0xff), Malformed::Places);
    assert_eq!(changed(30, 0xff), Malformed::Sender);
    assert_eq!(changed(32, 0xff), Malformed::Text);
    assert_eq!(decode(&good(&["b", "a"]).into()), Err(Malformed::Places));
    assert_eq!(decode(&good(&["a", "a"]).into()), Err(Malformed::Places));
    assert_eq!(decode(&Bytes::new()), Err(Malformed::Short));
    let longest = "é".repeat(ROOM_SENDER_BYTES_MAX);
    assert_eq!(sender(Some(&longest)).len(), 2 + ROOM_SENDER_BYTES_MAX);
}
