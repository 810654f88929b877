//! The end of a connection: close frames and their codes.

use super::*;

pub fn closing(cases: &mut Cases) {
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

pub fn close_codes(cases: &mut Cases) {
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
