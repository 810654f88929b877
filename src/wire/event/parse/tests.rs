use super::*;
use crate::{
    core::{correlation::Kind, id::ConnectionId},
    wire::event::{
        Format, LanePrefix, LifecycleEvent, LifecycleState, Stamp, TimeText, append_end,
        append_frame_element, append_frames, append_gap, append_lifecycle, append_message,
    },
};

const AT: Wall = Wall::from_unix_nanos(1_704_164_645_678_901_000);

fn id() -> ConnectionId {
    ConnectionId::parse("feed").unwrap()
}

fn expected(seq: u64, marked: bool, content_type: &str, body: Body) -> ParsedMessage {
    ParsedMessage {
        id: "feed".into(),
        epoch: 9,
        seq,
        timestamp: Some(AT),
        content_type: content_type.into(),
        reply: marked,
        possible_duplicate: marked,
        body,
    }
}

#[test]
fn reads_back_every_format() {
    let time = TimeText::at(AT);
    for format in [Format::Envelope, Format::Payload, Format::Frames] {
        let prefix = LanePrefix::new(format, &id(), "wss://x/\"");
        for marked in [false, true] {
            let stamp = Stamp { epoch: 9, seq: 4, reply: marked, possible_duplicate: marked };
            let mut out = Vec::new();
            append_message(&mut out, &prefix, &stamp, &time, Kind::Text, "{\"\u{e9}\": 1}".as_bytes());
            let text = expected(4, marked, "text/plain", Body::Text("{\"\u{e9}\": 1}".into()));
            assert_eq!(parse_event(&out), [text]);
            out.clear();
            append_message(&mut out, &prefix, &stamp, &time, Kind::Binary, &[0, 255, 7]);
            let binary = expected(4, marked, "application/octet-stream", Body::Binary(vec![0, 255, 7]));
            assert_eq!(parse_event(&out), [binary]);
        }
    }
}

#[test]
fn reads_back_frames_and_records() {
    let time = TimeText::at(AT);
    let prefix = LanePrefix::new(Format::Frames, &id(), "wss://x/");
    let mut elements = Vec::new();
    for seq in 1..=3 {
        if seq > 1 {
            elements.push(b',');
        }
        let stamp = Stamp { epoch: 9, seq, ..Stamp::default() };
        append_frame_element(&mut elements, &stamp, &time, Kind::Text, b"t");
    }
    let mut out = Vec::new();
    append_frames(&mut out, &prefix, 9, (1, 3), &time, &elements);
    let all: Vec<_> = (1..=3).map(|seq| expected(seq, false, "text/plain", Body::Text("t".into()))).collect();
    assert_eq!(parse_event(&out), all);

    let gaps = [
        Gap { from: (8, None), to: Some((9, 1)), cause: GapCause::NewEpoch, count: None },
        Gap { from: (9, Some(0)), to: None, cause: GapCause::Crash, count: Some(2) },
    ];
    for gap in gaps {
        out.clear();
        append_gap(&mut out, &id(), 1, &time, &gap);
        assert_eq!(parse_event(&out), [expected(0, false, "", Body::Gap(gap))]);
    }
    out.clear();
    append_end(&mut out, &id(), &time, 9, 12);
    assert_eq!(parse_event(&out), [expected(12, false, "", Body::End { epoch: 9, last_seq: 12 })]);
}

#[test]
fn everything_else_is_foreign() {
    let lifecycle = LifecycleEvent {
        state: LifecycleState::Error,
        connection: &id(),
        redacted_url: "",
        instance_id: "",
        reason: "",
        attempt: None,
    };
    let mut event = Vec::new();
    append_lifecycle(&mut event, (1, 1), &TimeText::at(AT), &lifecycle);
    let parsed = parse_event(&event);
    assert_eq!((parsed[0].id.as_str(), &parsed[0].body), ("feed", &Body::Foreign(event.clone())));
    for bytes in [&b""[..], b"[]", b"{", b"\xff", b"{\"source\":1}", b"{\"specversion\":\"1.0\",\"data\":5}"]
    {
        assert_eq!(parse_event(bytes), [foreign(&Map::new(), bytes)]);
    }
}

#[test]
fn cut_and_changed_events_never_panic() {
    let prefix = LanePrefix::new(Format::Frames, &id(), "wss://x/");
    let mut event = Vec::new();
    let stamp = Stamp { epoch: 9, seq: 1, ..Stamp::default() };
    append_message(&mut event, &prefix, &stamp, &TimeText::at(AT), Kind::Binary, b"abc");
    for at in 0..event.len() {
        assert!(matches!(parse_event(&event[..at])[0].body, Body::Foreign(_)));
        let mut changed = event.clone();
        for byte in *b"0\"{}[]n-" {
            changed[at] = byte;
            parse_event(&changed);
        }
    }
}
