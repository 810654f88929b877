use std::collections::BTreeSet;

use super::*;
use crate::core::random::Rng;

/// Every beginning of the encoding of every character, by the definition of UTF-8 alone.
fn beginnings() -> BTreeSet<Vec<u8>> {
    let mut set = BTreeSet::new();
    // Surrogates are no `char`, so they are left out by the type.
    for character in '\u{80}'..=char::MAX {
        let mut bytes = [0; 4];
        let encoded = character.encode_utf8(&mut bytes).as_bytes();
        // The last byte takes every value a continuation may have: only its absence matters.
        for len in 1..encoded.len() {
            if !set.contains(&encoded[..len]) {
                set.insert(encoded[..len].to_vec());
            }
        }
    }
    set
}

/// How many bytes of `bytes` are read before the one that makes it hopeless.
fn hopeless_at(bytes: &[u8], beginnings: &BTreeSet<Vec<u8>>) -> Option<usize> {
    let mut start = 0;
    for at in 0..bytes.len() {
        let character = &bytes[start..=at];
        if character.len() == 1 && character[0] < 0x80 {
            start = at + 1;
        } else if beginnings.contains(character) {
        } else if character.len() > 1
            && beginnings.contains(&character[..character.len() - 1])
            && (0x80..0xc0).contains(&character[character.len() - 1])
            && completes(character)
        {
            start = at + 1;
        } else {
            return Some(at);
        }
    }
    None
}

fn completes(character: &[u8]) -> bool {
    let width = match character[0] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    character.len() == width
}

/// The index of the piece that was refused, or what was collected.
fn push_all<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(String, Tail), usize> {
    let (mut text, mut tail) = (String::new(), Tail::default());
    for (at, piece) in pieces.enumerate() {
        tail.push(&mut text, piece).map_err(|_| at)?;
    }
    Ok((text, tail))
}

#[test]
fn the_first_hopeless_byte_is_refused_at_once() {
    // The borders of every rule of UTF-8, and a few from between.
    const BYTES: &[u8] = &[
        0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed,
        0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff,
    ];
    let beginnings = beginnings();
    let mut random = Rng(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    for round in 0..60_000 {
        let mut bytes = Vec::new();
        for _ in 0..random.index(6) {
            // Whole characters, so that many rounds get far.
            let character = char::from_u32(random.index(0x11_0000) as u32).unwrap_or('x');
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        for _ in 0..random.index(5) {
            bytes.push(BYTES[random.index(BYTES.len())]);
        }
        let expected = hopeless_at(&bytes, &beginnings);
        match push_all(bytes.chunks(1)) {
            Err(at) => {
                assert_eq!(Some(at), expected, "round {round}: {bytes:x?}");
                refused += 1;
            }
            Ok((text, tail)) => {
                assert_eq!(None, expected, "round {round}: {bytes:x?}");
                assert_eq!(text.as_bytes(), &bytes[..bytes.len() - tail.len()]);
            }
        }
        // In pieces of any size the verdict is that of the piece that holds the byte.
        let size = 1 + random.index(7);
        match push_all(bytes.chunks(size)) {
            Err(piece) => assert_eq!(Some(piece), expected.map(|at| at / size)),
            Ok(_) => assert_eq!(None, expected),
        }
    }
    assert!((10_000..50_000).contains(&refused), "{refused}");
}

#[test]
fn a_character_may_be_cut_anywhere() {
    let text = "aß€😀\u{0}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}z";
    for cut in 0..=text.len() {
        let (head, end) = text.as_bytes().split_at(cut);
        let (collected, tail) = push_all([head, &[], end].into_iter()).expect("valid");
        assert_eq!(collected, text);
        assert!(tail.is_empty());
    }
}

#[test]
fn what_waits_is_at_most_three_bytes_and_counted() {
    for (bytes, waiting) in
        [(&b"a"[..], 0), (b"a\xc3", 1), (b"\xe2\x82", 2), (b"ab\xf0\x9f\x98", 3), (b"\xf4", 1)]
    {
        let (text, tail) = push_all([bytes].into_iter()).expect("valid so far");
        assert_eq!((text.len(), tail.len()), (bytes.len() - waiting, waiting));
        assert_eq!(tail.is_empty(), waiting == 0);
    }
}
