//! The conformance cases: what a peer sends, what must come of it. Each holds for both roles.

use super::super::ViolationKind;
use super::support::{BOUNDS, Got, Length, Raw, Verdict, frame};

pub struct Case {
    pub name: String,
    pub frames: Vec<Raw>,
    pub events: Vec<Got>,
    pub verdict: Verdict,
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    whole_messages(&mut cases);
    fragmentation(&mut cases);
    control_frames(&mut cases);
    reserved(&mut cases);
    masking_and_lengths(&mut cases);
    bounds(&mut cases);
    closing(&mut cases);
    close_codes(&mut cases);
    utf8_valid(&mut cases);
    utf8_invalid(&mut cases);
    cases
}

pub const CONT: u8 = 0x00;
pub const TEXT: u8 = 0x01;
pub const BIN: u8 = 0x02;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
pub const FIN: u8 = 0x80;

const PROTOCOL: Verdict = Verdict::Refused(1002, ViolationKind::Protocol);
const UTF8: Verdict = Verdict::Refused(1007, ViolationKind::Utf8);
const TOO_BIG: Verdict = Verdict::Refused(1009, ViolationKind::TooBig);
const FLOOD: Verdict = Verdict::Refused(1008, ViolationKind::Flood);

type Cases = Vec<Case>;

fn case(
    cases: &mut Cases,
    name: impl Into<String>,
    frames: impl Into<Vec<Raw>>,
    events: impl Into<Vec<Got>>,
    verdict: Verdict,
) {
    let (name, frames, events) = (name.into(), frames.into(), events.into());
    cases.push(Case { name, frames, events, verdict });
}

fn text(text: &str) -> Got {
    Got::Text(text.to_owned())
}

fn binary(bytes: impl AsRef<[u8]>) -> Got {
    Got::Binary(bytes.as_ref().to_vec())
}

fn ping(bytes: &str) -> Got {
    Got::Ping(bytes.into())
}

fn pong(bytes: &str) -> Got {
    Got::Pong(bytes.into())
}

fn closed(code: u16, reason: &str) -> Got {
    Got::Close(Some(code), reason.to_owned())
}

fn close_payload(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_ref()].concat()
}

fn whole_messages(cases: &mut Cases) {
    case(cases, "nothing", [], [], Verdict::Idle);
    for len in [0, 1, 2, 7, 8, 124, 125, 126, 127, 128, 255, 256, 1000, 65_535, 65_536, 70_000] {
        let body = "*".repeat(len);
        case(cases, format!("text of {len}"), [frame(FIN | TEXT, &body)], [text(&body)], Verdict::Idle);
        let body: Vec<u8> = (0..len).map(|at| (at % 251) as u8 ^ 0x80).collect();
        case(cases, format!("binary of {len}"), [frame(FIN | BIN, &body)], [binary(&body)], Verdict::Idle);
    }
    case(
        cases,
        "three in one read",
        [frame(FIN | TEXT, "a"), frame(FIN | BIN, [0xff, 0]), frame(FIN | TEXT, "c")],
        [text("a"), binary([0xff, 0]), text("c")],
        Verdict::Idle,
    );
    case(
        cases,
        "the second is not whole",
        [frame(FIN | TEXT, "first"), frame(FIN | TEXT, "second").cut(2)],
        [text("first")],
        Verdict::Waiting,
    );
    case(cases, "half a head", [frame(FIN | BIN, "x").cut(2)], [], Verdict::Waiting);
    case(
        cases,
        "large, then small",
        [frame(FIN | TEXT, "L".repeat(9000)), frame(FIN | TEXT, "s"), frame(FIN | BIN, "t")],
        [text(&"L".repeat(9000)), text("s"), binary("t")],
        Verdict::Idle,
    );
}

fn fragmentation(cases: &mut Cases) {
    for (first, got) in [(TEXT, text("ab")), (BIN, binary("ab"))] {
        let name = |what: &str| format!("{what}, opcode {first}");
        let (a, b) = (frame(first, "a"), frame(FIN | CONT, "b"));
        case(cases, name("two fragments"), [a.clone(), b.clone()], [got.clone()], Verdict::Idle);
        case(
            cases,
            name("the last is empty"),
            [a.clone(), frame(CONT, "b"), frame(FIN | CONT, "")],
            [got.clone()],
            Verdict::Idle,
        );
        case(
            cases,
            name("the first is empty"),
            [frame(first, ""), frame(FIN | CONT, "ab")],
            [got.clone()],
            Verdict::Idle,
        );
        case(
            cases,
            name("empty ones between"),
            [a.clone(), frame(CONT, ""), frame(CONT, ""), b.clone()],
            [got.clone()],
            Verdict::Idle,
        );
        let empty = if first == TEXT { text("") } else { binary("") };
        case(
            cases,
            name("all empty"),
            [frame(first, ""), frame(CONT, ""), frame(FIN | CONT, "")],
            [empty],
            Verdict::Idle,
        );
        case(cases, name("the last is missing"), [a.clone(), frame(CONT, "b")], [], Verdict::Waiting);
        case(cases, name("only an empty first"), [frame(first, "")], [], Verdict::Waiting);
        case(
            cases,
            name("a ping between"),
            [a.clone(), frame(PING, "p"), b.clone()],
            [ping("p"), got.clone()],
            Verdict::Idle,
        );
        case(
            cases,
            name("controls around an empty fragment"),
            [a.clone(), frame(PING, ""), frame(CONT, ""), frame(PONG, "q"), b.clone()],
            [ping(""), pong("q"), got.clone()],
            Verdict::Idle,
        );
        case(
            cases,
            name("a ping after an empty first"),
            [frame(first, ""), frame(PING, "p"), frame(FIN | CONT, "ab")],
            [ping("p"), got.clone()],
            Verdict::Idle,
        );
        case(
            cases,
            name("two fragmented messages"),
            [a.clone(), b.clone(), a.clone(), b.clone()],
            [got.clone(), got.clone()],
            Verdict::Idle,
        );
        case(
            cases,
            name("a close inside"),
            [a.clone(), frame(CLOSE, close_payload(1001, "bye")), b.clone()],
            [closed(1001, "bye")],
            Verdict::Closed,
        );
        for opener in [FIN | TEXT, FIN | BIN, TEXT, BIN] {
            let what = format!("a new message {opener:02x} inside");
            case(cases, name(&what), [a.clone(), frame(opener, "x"), b.clone()], [], PROTOCOL);
        }
        case(
            cases,
            name("continued after its end"),
            [a.clone(), b.clone(), frame(FIN | CONT, "c")],
            [got.clone()],
            PROTOCOL,
        );
    }
    case(cases, "a final continuation of nothing", [frame(FIN | CONT, "x")], [], PROTOCOL);
    case(cases, "a continuation of nothing", [frame(CONT, "x"), frame(FIN | CONT, "y")], [], PROTOCOL);
    case(cases, "an empty continuation of nothing", [frame(FIN | CONT, "")], [], PROTOCOL);
    case(
        cases,
        "a continuation after a whole message",
        [frame(FIN | TEXT, "whole"), frame(FIN | CONT, "x")],
        [text("whole")],
        PROTOCOL,
    );
}

fn control_frames(cases: &mut Cases) {
    case(cases, "an empty ping", [frame(PING, "")], [ping("")], Verdict::Idle);
    case(cases, "a ping", [frame(PING, "here")], [ping("here")], Verdict::Idle);
    case(cases, "a pong that nobody asked for", [frame(PONG, "here")], [pong("here")], Verdict::Idle);
    case(
        cases,
        "a ping of bytes that are not UTF-8",
        [frame(PING, [0xff, 0xfe, 0])],
        [Got::Ping(vec![0xff, 0xfe, 0])],
        Verdict::Idle,
    );
    case(cases, "ten pings", vec![frame(PING, "p"); 10], vec![ping("p"); 10], Verdict::Idle);
    for (opcode, name) in [(PING, "ping"), (PONG, "pong"), (CLOSE, "close")] {
        let body = [&[0x03, 0xe8][..], &[b'z'; 123]].concat();
        let got = match opcode {
            PING => Got::Ping(body.clone()),
            PONG => Got::Pong(body.clone()),
            _ => closed(1000, &"z".repeat(123)),
        };
        let verdict = if opcode == CLOSE { Verdict::Closed } else { Verdict::Idle };
        case(cases, format!("a {name} of 125"), [frame(opcode, &body)], [got], verdict);
        let long = [&body[..], b"z"].concat();
        case(cases, format!("a {name} of 126"), [frame(opcode, &long)], [], PROTOCOL);
        case(
            cases,
            format!("a {name} with its length in eight bytes"),
            [frame(opcode, "x").length(Length::Eight(1))],
            [],
            PROTOCOL,
        );
        case(
            cases,
            format!("a {name} that is fragmented"),
            [frame(opcode & !FIN, "a"), frame(FIN | CONT, "b")],
            [],
            PROTOCOL,
        );
        case(
            cases,
            format!("a {name} that is fragmented, inside a message"),
            [frame(TEXT, "a"), frame(opcode & !FIN, "a"), frame(FIN | CONT, "b")],
            [],
            PROTOCOL,
        );
    }
}

fn reserved(cases: &mut Cases) {
    for bit in [0x40, 0x20, 0x10, 0x70, 0x60] {
        for first in [FIN | TEXT, FIN | BIN, PING, CLOSE] {
            case(
                cases,
                format!("reserved bits {bit:02x} on {first:02x}"),
                [frame(PONG, "before"), frame(first | bit, ""), frame(PING, "after")],
                [pong("before")],
                PROTOCOL,
            );
        }
        case(
            cases,
            format!("reserved bits {bit:02x} on a continuation"),
            [frame(TEXT, "a"), frame(FIN | CONT | bit, "b")],
            [],
            PROTOCOL,
        );
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        case(
            cases,
            format!("reserved opcode {opcode}"),
            [frame(FIN | TEXT, "before"), frame(FIN | opcode, "x")],
            [text("before")],
            PROTOCOL,
        );
        case(
            cases,
            format!("reserved opcode {opcode}, not final, inside a message"),
            [frame(BIN, "a"), frame(opcode, "x")],
            [],
            PROTOCOL,
        );
    }
}

fn masking_and_lengths(cases: &mut Cases) {
    for first in [FIN | TEXT, FIN | BIN, PING, PONG, CLOSE, TEXT] {
        case(
            cases,
            format!("masked where it must not be, or the reverse: {first:02x}"),
            [frame(PING, "before"), frame(first, "").wrongly_masked()],
            [ping("before")],
            PROTOCOL,
        );
    }
    case(
        cases,
        "wrongly masked continuation",
        [frame(TEXT, "a"), frame(FIN | CONT, "b").wrongly_masked()],
        [],
        PROTOCOL,
    );
    for (len, length) in [
        (0, Length::Two(0)),
        (1, Length::Two(1)),
        (125, Length::Two(125)),
        (0, Length::Eight(0)),
        (125, Length::Eight(125)),
        (126, Length::Eight(126)),
        (65_535, Length::Eight(65_535)),
    ] {
        case(
            cases,
            format!("length {len} not in its shortest form: {length:?}"),
            [frame(FIN | BIN, vec![7; len]).length(length)],
            [],
            PROTOCOL,
        );
    }
    for length in [1 << 63, u64::MAX, (1 << 63) | 65_536] {
        case(
            cases,
            format!("the highest bit of the length: {length:x}"),
            [frame(FIN | TEXT, "x").length(Length::Eight(length))],
            [],
            PROTOCOL,
        );
    }
}

fn bounds(cases: &mut Cases) {
    let max = BOUNDS.message_bytes_max;
    case(
        cases,
        "as long as the bound",
        [frame(FIN | BIN, vec![1; max])],
        [binary(vec![1; max])],
        Verdict::Idle,
    );
    for (length, name) in [(max as u64 + 1, "one more"), (u64::MAX >> 1, "the longest there is")] {
        case(
            cases,
            format!("longer than the bound: {name}, and no byte of it sent"),
            [frame(FIN | BIN, "").length(Length::Eight(length))],
            [],
            TOO_BIG,
        );
    }
    case(
        cases,
        "fragments that reach the bound together",
        [frame(BIN, vec![1; max - 5]), frame(FIN | CONT, [1; 5])],
        [binary(vec![1; max])],
        Verdict::Idle,
    );
    case(
        cases,
        "fragments that pass the bound together",
        [frame(TEXT, vec![b'x'; max - 5]), frame(PING, "p"), frame(FIN | CONT, "x").length(Length::One(6))],
        [ping("p")],
        TOO_BIG,
    );
    let most = BOUNDS.fragments_max as usize;
    let mut frames = vec![frame(TEXT, "")];
    frames.extend(vec![frame(CONT, "y"); most - 2]);
    let whole = [&frames[..], &[frame(FIN | CONT, "z")]].concat();
    let got = text(&("y".repeat(most - 2) + "z"));
    case(cases, "as many fragments as the bound", whole.clone(), [got.clone()], Verdict::Idle);
    let twice = [&whole[..], &whole[..]].concat();
    case(cases, "the count begins anew", twice, [got.clone(), got], Verdict::Idle);
    frames.push(frame(CONT, "y"));
    frames.push(frame(FIN | CONT, "z"));
    case(cases, "one fragment too many", frames, [], FLOOD);
    let mut frames = vec![frame(BIN, "")];
    frames.extend(vec![frame(CONT, ""); 40]);
    case(cases, "empty fragments without end", frames, [], FLOOD);
}

fn closing(cases: &mut Cases) {
    case(
        cases,
        "a close without a code",
        [frame(CLOSE, "")],
        [Got::Close(None, String::new())],
        Verdict::Closed,
    );
    case(
        cases,
        "a close with a reason",
        [frame(CLOSE, close_payload(1000, "grüß dich"))],
        [closed(1000, "grüß dich")],
        Verdict::Closed,
    );
    case(cases, "half a close code", [frame(CLOSE, [0x03])], [], PROTOCOL);
    for (after, name) in [
        (frame(FIN | TEXT, "x"), "a text"),
        (frame(PING, ""), "a ping"),
        (frame(CLOSE, ""), "a second close"),
        (frame(0xff, "rubbish"), "rubbish"),
        (frame(FIN | TEXT, "x").cut(1), "half a frame"),
    ] {
        case(
            cases,
            format!("{name} after a close is ignored"),
            [frame(CLOSE, close_payload(1000, "")), after],
            [closed(1000, "")],
            Verdict::Closed,
        );
    }
    for reason in [&[0xff][..], b"ab\xc0\xaf", b"\xed\xa0\x80", b"cut \xe2\x82"] {
        case(
            cases,
            format!("a reason that is not UTF-8: {reason:x?}"),
            [frame(CLOSE, close_payload(1000, reason))],
            [],
            UTF8,
        );
    }
    case(cases, "a bad code with a bad reason", [frame(CLOSE, close_payload(1005, [0xff]))], [], PROTOCOL);
}

fn close_codes(cases: &mut Cases) {
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        case(
            cases,
            format!("close code {code}"),
            [frame(CLOSE, close_payload(code, "r"))],
            [closed(code, "r")],
            Verdict::Closed,
        );
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65_535] {
        case(
            cases,
            format!("bad close code {code}"),
            [frame(FIN | TEXT, "before"), frame(CLOSE, close_payload(code, ""))],
            [text("before")],
            PROTOCOL,
        );
    }
}

fn utf8_valid(cases: &mut Cases) {
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
fn utf8_invalid(cases: &mut Cases) {
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
