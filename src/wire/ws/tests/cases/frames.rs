//! What the head of a frame says: reserved bits, masks, lengths, and control frames.

use super::*;

pub fn control_frames(cases: &mut Cases) {
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

pub fn reserved(cases: &mut Cases) {
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

pub fn masking_and_lengths(cases: &mut Cases) {
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
