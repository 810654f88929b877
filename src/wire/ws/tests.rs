mod cases;
pub(super) mod support;

use super::*;
use crate::core::random::Rng;
use cases::{BIN, CONT, FIN, PING, TEXT};
use support::*;

#[test]
fn every_case_has_one_verdict_however_it_is_cut() {
    let cases = cases::all();
    assert!(cases.len() >= 120, "{}", cases.len());
    for case in &cases {
        for role in ROLES {
            let bytes = wire(&case.frames, role);
            let expected = Seen { events: case.events.clone(), verdict: case.verdict.clone() };
            let name = format!("{} as {role:?}", case.name);
            assert_eq!(feed_all(role, &BOUNDS, [&bytes[..]].into_iter()), expected, "{name}, whole");
            assert_eq!(feed_all(role, &BOUNDS, bytes.chunks(1)), expected, "{name}, by the byte");
            // Long payloads are all alike in their middle.
            let near = |at: &usize| *at < 150 || *at + 20 > bytes.len() || at.is_multiple_of(30_011);
            for at in (0..=bytes.len()).filter(near) {
                let (head, end) = bytes.split_at(at);
                let seen = feed_all(role, &BOUNDS, [head, end].into_iter());
                assert_eq!(seen, expected, "{name}, cut at {at}");
            }
            for size in [3, 7, 1460] {
                assert_eq!(feed_all(role, &BOUNDS, bytes.chunks(size)), expected, "{name}, by {size}");
            }
        }
    }
}

/// The number of bytes after which the violation shows, when they come one by one.
fn refused_after(role: Role, bytes: &[u8]) -> Option<(usize, ViolationKind)> {
    let mut decoder = Decoder::new(role);
    for (at, byte) in bytes.iter().enumerate() {
        if let Err(violation) = decoder.feed(&BOUNDS, &mut [*byte], &mut |_| {}) {
            return Some((at + 1, violation.kind));
        }
    }
    None
}

#[test]
fn text_that_cannot_become_valid_fails_before_its_frame_ends() {
    // Autobahn 6.4.3 and 6.4.4: the surrogate half and the character beyond Unicode.
    for (bad, hopeless) in [
        (&b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"[..], 13),
        (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited", 13),
        (b"plain\xff and more", 6),
    ] {
        for role in ROLES {
            let head = if role == Role::Server { 6 } else { 2 };
            let whole = wire(&[frame(FIN | TEXT, bad)], role);
            assert_eq!(refused_after(role, &whole), Some((head + hopeless, ViolationKind::Utf8)));

            let fragments = wire(&[frame(TEXT, &bad[..3]), frame(CONT, &bad[3..])], role);
            let expected = Some((2 * head + hopeless, ViolationKind::Utf8));
            assert_eq!(refused_after(role, &fragments), expected);
        }
    }
}

#[test]
fn a_head_is_judged_byte_by_byte() {
    for role in ROLES {
        let after = |raw: Raw| refused_after(role, &wire(&[raw], role)).expect("refused").0;
        assert_eq!(after(frame(0xc1, "x")), 1);
        assert_eq!(after(frame(FIN | CONT, "x")), 1);
        assert_eq!(after(frame(FIN | TEXT, "x").wrongly_masked()), 2);
        assert_eq!(after(frame(PING, [0; 126])), 2);
        assert_eq!(after(frame(FIN | BIN, "x").length(Length::Two(1))), 4);
        let head = if role == Role::Server { 14 } else { 10 };
        let huge = frame(FIN | BIN, "x").length(Length::Eight(1 << 40));
        assert_eq!(after(huge), head, "before a byte of the payload");
    }
}

fn sizes() -> impl Iterator<Item = usize> {
    (0..=40).chain(120..=130).chain([1000, 4095, 4096, 4097]).chain(65_530..=65_540).chain([150_001])
}

#[test]
fn what_is_encoded_decodes_to_the_same_in_both_directions() {
    for (role, mask) in [(Role::Client, None), (Role::Server, Some(MASK)), (Role::Server, Some([0; 4]))] {
        for len in sizes() {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 31 % 256) as u8).collect();
            let words = "é".repeat(len / 2) + if len % 2 == 1 { "x" } else { "" };
            let mut out = b"kept".to_vec();
            encode(&mut out, Opcode::Binary, &bytes, mask);
            assert_eq!(out.len(), 4 + frame_len(len, mask.is_some()));
            encode(&mut out, Opcode::Text, words.as_bytes(), mask);
            let mut expected = vec![Got::Binary(bytes.clone()), Got::Text(words)];
            if len <= CONTROL_BYTES_MAX {
                encode(&mut out, Opcode::Ping, &bytes, mask);
                encode(&mut out, Opcode::Pong, &bytes, mask);
                expected.extend([Got::Ping(bytes.clone()), Got::Pong(bytes)]);
            }
            assert_eq!(&out[..4], b"kept");
            for size in [out.len(), 1000, 13] {
                let seen = feed_all(role, &BOUNDS, out[4..].chunks(size));
                assert_eq!(seen, Seen { events: expected.clone(), verdict: Verdict::Idle });
            }
        }
    }
}

#[test]
fn encoded_bytes_are_those_of_the_rfc() {
    let mut out = Vec::new();
    encode(&mut out, Opcode::Text, b"Hello", None);
    assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    out.clear();
    encode(&mut out, Opcode::Text, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]));
    assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    out.clear();
    encode(&mut out, Opcode::Binary, &[0; 256], None);
    assert_eq!(&out[..4], [0x82, 0x7e, 0x01, 0x00]);
    out.clear();
    encode(&mut out, Opcode::Binary, &[0; 65_536], None);
    assert_eq!(&out[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn a_close_reason_is_cut_between_characters() {
    for (role, mask) in [(Role::Client, None), (Role::Server, Some(MASK))] {
        for (reason, kept) in [
            (String::new(), 0),
            ("a".repeat(123), 123),
            ("a".repeat(124), 123),
            ("é".repeat(80), 122),
            ("a".repeat(120) + "😀", 120),
            ("a".repeat(119) + "😀", 123),
        ] {
            let mut out = Vec::new();
            encode_close(&mut out, 1001, &reason, mask);
            let seen = feed_all(role, &BOUNDS, [&out[..]].into_iter());
            let expected = Got::Close(Some(1001), reason[..kept].to_owned());
            assert_eq!(seen, Seen { events: vec![expected], verdict: Verdict::Closed });
        }
    }
}

#[test]
fn a_whole_message_is_lent_from_the_read_buffer() {
    for role in ROLES {
        let mut bytes = wire(&[frame(FIN | TEXT, "lent"), frame(FIN | BIN, vec![9; 300])], role);
        let range = bytes.as_ptr_range();
        let mut decoder = Decoder::new(role);
        let mut seen = 0;
        let mut check = |event: Event<'_>| {
            let payload = match event {
                Event::Text(text) => text.as_bytes(),
                Event::Binary(bytes) => bytes,
                _ => panic!("{event:?}"),
            };
            assert!(range.contains(&payload.as_ptr()));
            seen += 1;
        };
        decoder.feed(&BOUNDS, &mut bytes, &mut check).expect("valid");
        // Also when its head alone came before.
        let mut late = wire(&[frame(FIN | BIN, "late")], role);
        let (head, payload) = late.split_at_mut(if role == Role::Server { 6 } else { 2 });
        let range = payload.as_ptr_range();
        decoder.feed(&BOUNDS, head, &mut |_| panic!("too early")).expect("valid");
        assert!(decoder.is_mid_message() && decoder.is_heap_free());
        let mut check = |event: Event<'_>| {
            let Event::Binary(bytes) = event else { panic!("{event:?}") };
            assert!(range.contains(&bytes.as_ptr()));
            seen += 1;
        };
        decoder.feed(&BOUNDS, payload, &mut check).expect("valid");
        assert_eq!(seen, 3);
    }
}

#[test]
fn an_idle_decoder_is_small_and_holds_no_heap() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
    for role in ROLES {
        for frames in [
            vec![frame(FIN | TEXT, "x".repeat(100_000))],
            vec![frame(TEXT, "a"), frame(PING, "p"), frame(FIN | CONT, "b")],
            vec![frame(BIN, ""), frame(FIN | CONT, "")],
            vec![frame(PING, "ping")],
        ] {
            let bytes = wire(&frames, role);
            for cut in (0..=bytes.len()).filter(|at| *at < 64 || at % 5003 == 0) {
                let mut decoder = Decoder::new(role);
                assert!(decoder.is_heap_free());
                let (head, end) = bytes.split_at(cut);
                decoder.feed(&BOUNDS, &mut head.to_vec(), &mut |_| {}).expect("valid");
                decoder.feed(&BOUNDS, &mut end.to_vec(), &mut |_| {}).expect("valid");
                assert!(decoder.is_heap_free() && !decoder.is_mid_message(), "cut at {cut}");
            }
        }
        // Refused in the middle of a message: given back as well.
        let bytes = wire(&[frame(TEXT, "a"), frame(FIN | TEXT, "b")], role);
        let mut decoder = Decoder::new(role);
        assert!(decoder.feed(&BOUNDS, &mut bytes.clone(), &mut |_| {}).is_err());
        assert!(decoder.is_heap_free() && decoder.is_ended());
    }
}

#[test]
fn a_promise_of_much_reserves_little() {
    let bounds = Bounds { message_bytes_max: 1 << 30, fragments_max: 16 };
    for first in [FIN | TEXT, FIN | BIN, TEXT, BIN] {
        let mut bytes = wire(&[frame(first, "x").length(Length::Eight(1 << 30))], Role::Client);
        let mut decoder = Decoder::new(Role::Client);
        decoder.feed(&bounds, &mut bytes, &mut |_| {}).expect("valid so far");
        assert_eq!(decoder.buffered_bytes(), 1);
        assert!(decoder.reserved_bytes() <= 64 * 1024 + 8, "{}", decoder.reserved_bytes());
        let mut arrived = 1;
        for _ in 0..40 {
            decoder.feed(&bounds, &mut [b'x'; 20_000], &mut |_| {}).expect("valid so far");
            arrived += 20_000;
            assert_eq!(decoder.buffered_bytes(), arrived);
            assert!(decoder.reserved_bytes() <= arrived + arrived.max(64 * 1024));
        }
    }
}

#[test]
fn a_long_message_is_moved_a_few_times_only() {
    let len = 8 << 20;
    let bounds = Bounds { message_bytes_max: len, fragments_max: u32::MAX };
    let whole = wire(&[frame(FIN | TEXT, "x".repeat(len))], Role::Client);
    let mut frames = vec![frame(TEXT, "")];
    frames.extend(vec![frame(CONT, "x".repeat(1000)); len / 1000]);
    let fragments = wire(&frames, Role::Client);
    for bytes in [whole, fragments] {
        let mut decoder = Decoder::new(Role::Client);
        let (mut moves, mut reserved) = (0_u32, 0);
        for piece in bytes.chunks(1460) {
            decoder.feed(&bounds, &mut piece.to_vec(), &mut |_| {}).expect("valid");
            let now = decoder.reserved_bytes();
            moves += u32::from(now != reserved);
            reserved = now;
        }
        assert!(moves < 30, "{moves}");
    }
}

#[test]
fn random_bytes_have_one_verdict_however_they_are_cut() {
    let mut random = Rng(0x1234_5678_9abc_def1);
    for _ in 0..20_000 {
        let role = *random.pick(&ROLES);
        let mut bytes: Vec<u8> = (0..random.index(40)).map(|_| random.word() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = *random.pick(&[0x81, 0x82, 0x01, 0x02, 0x89, 0x8a, 0x88, *first]);
        }
        let whole = feed_all(role, &BOUNDS, [&bytes[..]].into_iter());
        let size = 1 + random.index(5);
        assert_eq!(feed_all(role, &BOUNDS, bytes.chunks(size)), whole, "{bytes:x?}");
    }
}

#[test]
fn bounds_of_zero_leave_only_what_costs_nothing() {
    let bounds = Bounds { message_bytes_max: 0, fragments_max: 0 };
    for role in ROLES {
        let seen = |raw: Raw| feed_all(role, &bounds, wire(&[raw], role).chunks(1)).verdict;
        assert_eq!(seen(frame(FIN | TEXT, "")), Verdict::Idle);
        assert_eq!(seen(frame(PING, "ping")), Verdict::Idle);
        assert_eq!(seen(frame(FIN | TEXT, "x")), Verdict::Refused(1009, ViolationKind::TooBig));
        assert_eq!(seen(frame(TEXT, "")), Verdict::Refused(1008, ViolationKind::Flood));
    }
}

#[test]
fn a_buffer_that_grew_is_not_kept_for_the_next_message() {
    for (first, role) in [(TEXT, Role::Client), (BIN, Role::Server)] {
        let bytes = wire(&[frame(FIN | first, "x".repeat(100_000)), frame(first, "next")], role);
        let mut decoder = Decoder::new(role);
        for piece in bytes.chunks(60_000) {
            decoder.feed(&BOUNDS, &mut piece.to_vec(), &mut |_| {}).expect("valid");
        }
        assert_eq!(decoder.buffered_bytes(), 4);
        assert!(decoder.reserved_bytes() <= 4096, "{}", decoder.reserved_bytes());
    }
}
