use super::*;
use crate::core::random::Rng;
use crate::core::reason::FaultKind;

impl Rng {
    /// Of every magnitude.
    fn number(&mut self) -> u64 {
        self.word() >> self.below(64)
    }

    fn places(&mut self, max: usize) -> Vec<RingPlace> {
        let count = self.below(max as u64 + 1);
        let mut incarnation = self.word();
        (0..count)
            .map(|_| {
                if self.below(4) == 0 {
                    incarnation = self.word();
                }
                (incarnation, self.number())
            })
            .collect()
    }

    fn cursor(&mut self) -> Cursor {
        match self.below(5) {
            0 => Cursor::Topic { offset: self.number() },
            1 => Cursor::Connection {
                epoch: self.number(),
                seq: self.number(),
                hint: (self.below(2) == 0).then(|| (self.word(), self.number())),
            },
            2 => Cursor::Filter { positions: self.places(CURSOR_POSITIONS_MAX) },
            3 => Cursor::Lifecycle { positions: self.places(9) },
            _ => {
                let room = "räume/1 ".chars().cycle().take(self.below(60) as usize).collect::<String>();
                Cursor::Room { room: room.into(), epoch: self.number(), offset: self.number() }
            }
        }
    }
}

fn seal(mut body: Vec<u8>) -> String {
    body.push(checksum(&body));
    URL_SAFE_NO_PAD.encode(body)
}

fn refusal(text: &str) -> String {
    let fault = Cursor::decode(text).expect_err(text);
    assert_eq!((fault.kind, fault.field.as_ref()), (FaultKind::Invalid, "cursor"));
    fault.message.into_owned()
}

#[test]
fn every_cursor_comes_back_and_fits_in_a_url() {
    let mut random = Rng(1);
    for _ in 0..5_000 {
        let cursor = random.cursor();
        let text = cursor.encode();
        assert!(text.len() <= CURSOR_CHARS_MAX);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(Cursor::decode_for(&text, cursor.kind()), Ok(cursor));
    }
}

#[test]
fn the_largest_fleet_stays_within_the_bound() {
    let places = |count: u64| (0..count).map(|n| (u64::MAX - n, u64::MAX - n)).collect::<Vec<_>>();
    let full = Cursor::Filter { positions: places(CURSOR_POSITIONS_MAX as u64) };
    assert!(full.encode().len() <= CURSOR_CHARS_MAX);
    assert_eq!(Cursor::decode(&full.encode()), Ok(full.clone()));
    let over = Cursor::Filter { positions: places(500) };
    assert_eq!(Cursor::decode(&over.encode()), Ok(full));
}

#[test]
fn the_longest_room_has_a_cursor() {
    let room = "x".repeat(crate::limits::ROOM_NAME_BYTES_MAX);
    let cursor = Cursor::Room { room: room.into(), epoch: u64::MAX, offset: u64::MAX };
    assert!(cursor.encode().len() <= CURSOR_CHARS_MAX);
    assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
}

#[test]
fn a_connections_cursor_is_short() {
    let hint = Some((0x1234_5678_9abc_def0, 1 << 40));
    let cursor = Cursor::Connection { epoch: 1_700_000_000_000, seq: 1_000_000, hint };
    assert!(cursor.encode().len() <= 40, "{}", cursor.encode());
}

#[test]
fn a_cut_or_damaged_cursor_is_refused() {
    let mut random = Rng(2);
    for _ in 0..60 {
        let cursor = random.cursor();
        let bytes = URL_SAFE_NO_PAD.decode(cursor.encode()).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 + random.below(255) as u8;
            refusal(&URL_SAFE_NO_PAD.encode(damaged));
        }
        for cut in 0..bytes.len() {
            // One cut in 256 meets a good checksum, and is then refused for its content.
            refusal(&URL_SAFE_NO_PAD.encode(&bytes[..cut]));
        }
        refusal(&seal([&bytes[..bytes.len() - 1], &[0]].concat()));
    }
}

#[test]
fn the_refusal_says_what_is_wrong() {
    assert!(refusal("").contains("damaged"));
    assert!(refusal("AA").contains("damaged"));
    assert!(refusal("not a cursor!").contains("not a cursor"));
    assert!(refusal("AAAA====").contains("not a cursor"));
    assert!(refusal("ä").contains("not a cursor"));
    assert!(refusal(&"A".repeat(CURSOR_CHARS_MAX + 1)).contains("longer"));
    assert!(refusal(&seal(vec![VERSION + 1, 1, 5])).contains("another version"));
    assert!(refusal(&seal(vec![VERSION, 99, 5])).contains("damaged"));
    let text = Cursor::Topic { offset: 5 }.encode();
    let fault = Cursor::decode_for(&text, CursorKind::Room).unwrap_err();
    assert_eq!(fault.message, "belongs to a topic, and the request follows a room");
}

#[test]
fn well_sealed_nonsense_is_refused() {
    let kind = |kind: CursorKind, rest: &[u8]| seal([&[VERSION, kind as u8], rest].concat());
    refusal(&kind(CursorKind::Filter, &[]));
    refusal(&kind(CursorKind::Filter, &[1, SAME_INCARNATION, 5]));
    refusal(&kind(CursorKind::Filter, &[1, 7, 5]));
    refusal(&kind(CursorKind::Filter, &[1, NEW_INCARNATION, 1, 2, 3]));
    refusal(&kind(CursorKind::Filter, &[CURSOR_POSITIONS_MAX as u8 + 1]));
    refusal(&kind(CursorKind::Filter, &[0xff; 9]));
    refusal(&kind(CursorKind::Topic, &[5, 5]));
    refusal(&kind(CursorKind::Room, &[1, 2, 3, b'a', b'b']));
    refusal(&kind(CursorKind::Room, &[1, 2, 1, 0xff]));
    refusal(&kind(CursorKind::Room, &[0xff; 9]));
    let two =
        [&[1, 1, 2][..], &[NEW_INCARNATION, 0, 0, 0, 0, 0, 0, 0, 0, 3], &[SAME_INCARNATION, 3]].concat();
    refusal(&kind(CursorKind::Connection, &two));
}

#[test]
fn random_bytes_never_panic_and_what_passes_is_stable() {
    let mut random = Rng(3);
    for round in 0..200_000u64 {
        let len = random.below(48) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| random.word() as u8).collect();
        let text = match round % 3 {
            0 => String::from_utf8_lossy(&bytes).into_owned(),
            1 => URL_SAFE_NO_PAD.encode(&bytes),
            _ => {
                bytes.splice(0..0, [VERSION, 1 + random.below(5) as u8]);
                seal(bytes)
            }
        };
        if let Ok(cursor) = Cursor::decode(&text) {
            assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }
    }
}
