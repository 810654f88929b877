//! Text that is UTF-8, and text that is not.

use super::*;

pub fn utf8_valid(cases: &mut Cases) {
    for good in [
        "Hello-µ@ßöäüàá-UTF-8!!",
        "κόσμε",
        "\u{0}",
        "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffd}\u{ffff}",
        "\u{10000}\u{3ffff}\u{40000}\u{fffff}\u{10ffff}",
        "😀😀😀😀😀😀😀😀",
        "\u{feff}with a byte order mark",
    ] {
        let name = format!("text {good:?}");
        case(cases, name.clone(), [frame(FIN | TEXT, good)], [text(good)], Verdict::Idle);
        let bytes = good.as_bytes();
        let mut by_byte = vec![frame(TEXT, &bytes[..bytes.len().saturating_sub(15)])];
        for byte in &bytes[bytes.len().saturating_sub(15)..] {
            by_byte.push(frame(CONT, [*byte]));
        }
        by_byte.last_mut().expect("not empty").first |= FIN;
        case(cases, name + " in fragments of a byte", by_byte, [text(good)], Verdict::Idle);
    }
    case(
        cases,
        "a ping inside a character",
        [frame(TEXT, [0xe2]), frame(PING, "p"), frame(CONT, [0x82]), frame(FIN | CONT, [0xac])],
        [ping("p"), text("€")],
        Verdict::Idle,
    );
    case(
        cases,
        "the first fragment ends inside a character",
        [frame(TEXT, b"ab\xf0\x9f\x98")],
        [],
        Verdict::Waiting,
    );
}

/// Each is invalid at its last byte, or for want of more.
pub fn utf8_invalid(cases: &mut Cases) {
    for bad in [
        &b"\x80"[..],
        b"\xbf",
        b"ok\xc0",
        b"\xc1",
        b"\xc2\x41",
        b"\xc2\xc2",
        b"\xe0\x80",
        b"\xe0\x9f",
        b"\xe2\x28",
        b"\xe2\x82\x28",
        b"\xed\xa0",
        b"\xed\xbf",
        b"\xf0\x80",
        b"\xf0\x8f",
        b"\xf4\x90",
        b"\xf0\x9f\x98\x41",
        b"\xf5",
        b"\xf8",
        b"\xfc",
        b"\xfe",
        b"\xff",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90",
    ] {
        case(cases, format!("not UTF-8: {bad:x?}"), [frame(FIN | TEXT, bad)], [], UTF8);
        case(
            cases,
            format!("not UTF-8, and more follows: {bad:x?}"),
            [frame(FIN | TEXT, [bad, b"\x80\x80edited"].concat())],
            [],
            UTF8,
        );
        // Fails at once: the message is not at its end, the frame is not whole.
        case(
            cases,
            format!("not UTF-8 in the first fragment: {bad:x?}"),
            [frame(TEXT, bad), frame(PING, "never seen")],
            [],
            UTF8,
        );
        let (begin, end) = bad.split_at(bad.len() - 1);
        case(
            cases,
            format!("not UTF-8 over the border of fragments: {bad:x?}"),
            [frame(TEXT, begin), frame(PING, "seen"), frame(CONT, end), frame(PING, "never seen")],
            [ping("seen")],
            UTF8,
        );
        case(
            cases,
            format!("the same bytes as binary: {bad:x?}"),
            [frame(FIN | BIN, bad)],
            [binary(bad)],
            Verdict::Idle,
        );
    }
    for unfinished in [&b"\xc2"[..], b"\xe2\x82", b"\xf0\x9f\x98", b"abc\xf4\x8f\xbf"] {
        case(
            cases,
            format!("ends inside a character: {unfinished:x?}"),
            [frame(FIN | TEXT, unfinished)],
            [],
            UTF8,
        );
        case(
            cases,
            format!("ends inside a character, in fragments: {unfinished:x?}"),
            [frame(TEXT, unfinished), frame(FIN | CONT, "")],
            [],
            UTF8,
        );
    }
}
