use super::*;
use crate::core::{correlation::Kind, reason::GapCause, sequence::Gap, time::Wall};
use crate::wire::event::{LifecycleState, SOURCE};
use serde_json::{Value, json};

const AT: &str = "2024-01-02T03:04:05.678901Z";
const URL: &str = "wss://host/a?\"b\"=\\";

fn id() -> ConnectionId {
    ConnectionId::parse("feed.1").unwrap()
}

fn time() -> TimeText {
    TimeText::at(Wall::from_unix_nanos(1_704_164_645_678_901_234))
}

fn render(format: Format, stamp: Stamp, kind: Kind, payload: &[u8]) -> Value {
    let prefix = LanePrefix::new(format, &id(), URL);
    // Something stands before it already: rendering appends.
    let mut out = b"before".to_vec();
    append_message(&mut out, &prefix, &stamp, &time(), kind, payload);
    serde_json::from_slice(&out[6..]).unwrap()
}

fn stamp(reply: bool, possible_duplicate: bool) -> Stamp {
    Stamp { epoch: 1_700_000_000_123, seq: 42, reply, possible_duplicate }
}

fn event(kind: &str, id: &str, rest: Value) -> Value {
    let mut event = json!({"specversion": "1.0", "type": kind, "source": SOURCE, "subject": "feed.1",
        "id": id, "time": AT, "datacontenttype": "application/json"});
    event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    event
}

#[test]
fn the_exact_bytes_of_an_envelope() {
    let prefix = LanePrefix::new(Format::Envelope, &id(), "wss://host/");
    let mut out = Vec::new();
    append_message(&mut out, &prefix, &stamp(false, false), &time(), Kind::Text, b"{\"a\":1}\n");
    let expected = concat!(
        r#"{"specversion":"1.0","type":"com.virtufin.websocketmanager.message","#,
        r#""source":"urn:com.virtufin.websocketmanager","subject":"feed.1","#,
        r#""datacontenttype":"application/json","id":"feed.1/1700000000123/42","#,
        r#""time":"2024-01-02T03:04:05.678901Z","data":{"websocketId":"feed.1","#,
        r#""websocketUrl":"wss://host/","timestamp":"2024-01-02T03:04:05.678901Z","#,
        r#""payload":"{\"a\":1}\n","epoch":1700000000123,"seq":42}}"#
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn envelopes() {
    let rows = [
        (Kind::Text, &b"\"hi\\"[..], json!({"payload": "\"hi\\"})),
        (Kind::Text, b"", json!({"payload": ""})),
        (
            Kind::Binary,
            b"\x00\xff",
            json!({"payloadBase64": "AP8=", "contentType": "application/octet-stream"}),
        ),
    ];
    for (kind, payload, content) in rows {
        for (reply, duplicate) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut data = json!({"websocketId": "feed.1", "websocketUrl": URL, "timestamp": AT,
                "epoch": 1_700_000_000_123_u64, "seq": 42});
            let fields = data.as_object_mut().unwrap();
            fields.extend(content.as_object().unwrap().clone());
            if reply {
                fields.insert("reply".into(), true.into());
            }
            if duplicate {
                fields.insert("possibleDuplicate".into(), true.into());
            }
            let expected = event(TYPE_MESSAGE, "feed.1/1700000000123/42", json!({"data": data}));
            assert_eq!(render(Format::Envelope, stamp(reply, duplicate), kind, payload), expected);
        }
    }
}

#[test]
fn payloads_are_verbatim() {
    let text = event(
        TYPE_MESSAGE,
        "feed.1/1700000000123/42",
        json!({"websocketid": "feed.1",
        "epoch": "1700000000123", "seq": "42", "reply": true, "possibleduplicate": true,
        "datacontenttype": "text/plain", "contenttype": "text/plain", "data": "{\"a\" : 1.0}"}),
    );
    assert_eq!(render(Format::Payload, stamp(true, true), Kind::Text, b"{\"a\" : 1.0}"), text);
    let binary = event(
        TYPE_MESSAGE,
        "feed.1/1700000000123/42",
        json!({"websocketid": "feed.1",
        "epoch": "1700000000123", "seq": "42", "datacontenttype": "application/octet-stream",
        "contenttype": "application/octet-stream", "data_base64": "YQ=="}),
    );
    assert_eq!(render(Format::Payload, stamp(false, false), Kind::Binary, b"a"), binary);
}

#[test]
fn frames_hold_many() {
    let prefix = LanePrefix::new(Format::Frames, &id(), URL);
    let mut elements = Vec::new();
    append_frame_element(&mut elements, &stamp(false, false), &time(), Kind::Text, b"\"a\"");
    elements.push(b',');
    let second = Stamp { seq: 43, ..stamp(true, true) };
    append_frame_element(&mut elements, &second, &time(), Kind::Binary, b"a");
    let mut out = Vec::new();
    append_frames(&mut out, &prefix, 1_700_000_000_123, (42, 43), &time(), &elements);
    let expected = event(
        TYPE_MESSAGE,
        "feed.1/1700000000123/42-43",
        json!({"data": {
        "websocketId": "feed.1", "websocketUrl": URL, "epoch": 1_700_000_000_123_u64, "messages": [
            {"seq": 42, "timestamp": AT, "payload": "\"a\""},
            {"seq": 43, "timestamp": AT, "payloadBase64": "YQ==",
                "contentType": "application/octet-stream", "reply": true, "possibleDuplicate": true}]}}),
    );
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
    let alone = render(Format::Frames, stamp(false, false), Kind::Text, b"x");
    assert_eq!(alone["id"], "feed.1/1700000000123/42-42");
    assert_eq!(alone["data"]["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn gap_records() {
    let rows = [
        (
            Gap { from: (7, Some(3)), to: Some((7, 9)), cause: GapCause::OverflowDropNewest, count: Some(5) },
            "feed.1/7/9/gap/1",
            json!({"websocketId": "feed.1", "from": {"epoch": 7, "seq": 3}, "to": {"epoch": 7, "seq": 9},
                "cause": "overflow_drop_newest", "count": 5}),
        ),
        (
            Gap { from: (7, None), to: None, cause: GapCause::Crash, count: None },
            "feed.1/7/0/last/1",
            json!({"websocketId": "feed.1", "from": {"epoch": 7, "seq": null}, "to": null,
                "cause": "crash", "count": null}),
        ),
    ];
    for (gap, name, data) in rows {
        let mut out = Vec::new();
        append_gap(&mut out, &id(), 1, &time(), &gap);
        assert_eq!(
            serde_json::from_slice::<Value>(&out).unwrap(),
            event(TYPE_GAP, name, json!({"data": data}))
        );
    }
}

#[test]
fn end_markers() {
    let mut out = Vec::new();
    append_end(&mut out, &id(), &time(), 7, 12);
    let data = json!({"websocketId": "feed.1", "epoch": 7, "lastSeq": 12});
    let expected = event(TYPE_END, "feed.1/7/12/end", json!({"data": data}));
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
}

#[test]
fn lifecycle_events() {
    let states = [
        (LifecycleState::Connecting, "connecting"),
        (LifecycleState::Connected, "connected"),
        (LifecycleState::Reconnecting, "reconnecting"),
        (LifecycleState::Disconnected, "disconnected"),
        (LifecycleState::Error, "error"),
    ];
    for (state, name) in states {
        for attempt in [None, Some(3)] {
            let connection = id();
            let lifecycle = LifecycleEvent {
                state,
                connection: &connection,
                redacted_url: URL,
                instance_id: "host \"1\"",
                reason: "a\nb",
                attempt,
            };
            let mut out = Vec::new();
            append_lifecycle(&mut out, (5, 6), &time(), &lifecycle);
            let mut data =
                json!({"connection_id": "feed.1", "url": URL, "instance_id": "host \"1\"", "reason": "a\nb"});
            if let Some(attempt) = attempt {
                data["attempt"] = attempt.into();
            }
            let kind = format!("com.virtufin.websocketmanager.lifecycle.{name}");
            let expected = event(&kind, "feed.1/5/6/lifecycle", json!({"data": data}));
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        }
    }
}
