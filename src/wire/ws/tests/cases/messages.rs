//! Whole messages and their fragments, and how long they may be.

use super::*;

pub fn whole_messages(cases: &mut Cases) {
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

pub fn fragmentation(cases: &mut Cases) {
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

pub fn bounds(cases: &mut Cases) {
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
