use super::*;
use crate::core::{rooms::RoomGapCause, time::Wall};
use std::sync::Arc;

fn name(text: &str) -> RoomName {
    RoomName::parse("room", text).unwrap()
}

fn at(epoch: u64, offset: u64) -> Position {
    Position { epoch, offset }
}

fn message(kind: Kind, payload: &[u8]) -> Message {
    let places = [Place { room: name("r"), at: at(7, 3) }].into();
    let payload = payload.to_vec().into();
    Message { kind, payload, wall: Wall::default(), places, from: None }
}

fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).unwrap();
    let parsed: Result<Value, _> = serde_json::from_str(&text);
    assert!(parsed.is_ok() || text.len() > 2000, "no JSON: {text}");
    text
}

#[test]
fn every_format_frames_a_message_as_it_says() {
    let framed = |format, kind| {
        let mut out = b"before".to_vec();
        encode(&mut out, format, &name("r"), at(7, 3), &message(kind, b"hi"));
        out.split_off(6)
    };
    assert_eq!(framed(Format::Verbatim, Kind::Text), b"\x81\x02hi");
    assert_eq!(framed(Format::Verbatim, Kind::Binary), b"\x82\x02hi");
    assert_eq!(framed(Format::Binary, Kind::Text), b"\x82\x02hi");
    assert_eq!(framed(Format::Binary, Kind::Binary), b"\x82\x02hi");
    let json = br#"{"room":"r","epoch":7,"offset":3,"data":"hi"}"#;
    assert_eq!(framed(Format::Numbered, Kind::Text), [&[0x81, json.len() as u8], &json[..]].concat());
}

#[test]
fn an_object_or_array_stands_as_it_is_and_all_else_is_a_string_or_base64() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cut = "[".repeat(100_000);
    let cases: [(Kind, &[u8], &str); 14] = [
        (Kind::Text, b"{}", r#""data":{}"#),
        (Kind::Text, b" [1, 2]\n", r#""data":[1, 2]"#),
        (Kind::Text, br#"{"a":1,"a":2}"#, r#""data":{"a":1,"a":2}"#),
        (Kind::Text, br#"{"a":1e300,"b":-0.0}"#, r#""data":{"a":1e300,"b":-0.0}"#),
        (Kind::Text, br#"{"a":1"#, r#""data":"{\"a\":1""#),
        (Kind::Text, b"{} {}", r#""data":"{} {}""#),
        (Kind::Text, b"1", r#""data":"1""#),
        (Kind::Text, b"null", r#""data":"null""#),
        (Kind::Text, b"\"quoted\"\n", r#""data":"\"quoted\"\n""#),
        (Kind::Text, b"", r#""data":"""#),
        (Kind::Text, "\u{a0}{}".as_bytes(), "\"data\":\"\u{a0}{}\""),
        (Kind::Binary, b"{}", r#""dataBase64":"e30=""#),
        (Kind::Text, deep.as_bytes(), &format!("\"data\":{deep}")),
        (Kind::Text, cut.as_bytes(), &format!("\"data\":\"{cut}\"")),
    ];
    for (kind, payload, data) in cases {
        let expected = format!(r#"{{"room":"r","epoch":7,"offset":3,{data}}}"#);
        assert!(text(numbered(&name("r"), at(7, 3), &message(kind, payload))) == expected, "{data:.80}");
        let expected = format!(r#"{{"user":"u\"",{data}}}"#);
        assert!(text(to_user("u\"", kind, payload)) == expected, "{data:.80}");
    }
}

#[test]
fn a_message_of_several_rooms_names_the_others() {
    let places =
        ["a", "r", "z\""].map(|room| Place { room: name(room), at: at(u64::MAX, room.len() as u64) });
    let from = Some(Arc::from("in\\stance"));
    let message = Message { places: places.into(), from, ..message(Kind::Text, b"hi") };
    let max = u64::MAX;
    assert_eq!(
        text(numbered(&name("r"), at(max, 1), &message)),
        format!(
            r#"{{"room":"r","epoch":{max},"offset":1,"from":"in\\stance","also":[{{"room":"a","epoch":{max},"offset":1}},{{"room":"z\"","epoch":{max},"offset":2}}],"data":"hi"}}"#
        )
    );
}

#[test]
fn words_about_a_room_are_json() {
    let tag: Tag = Some(r#"{"a":[1]}"#.into());
    let lost = RoomGap { from: at(7, 3), to: at(8, 1), cause: RoomGapCause::NewEpoch };
    let cases = [
        (
            gap(&name("r"), &lost),
            r#"{"gap":{"room":"r","from":{"epoch":7,"offset":3},"to":{"epoch":8,"offset":1},"cause":"new_epoch"}}"#,
        ),
        (
            entered(Verb::Join, &name("r"), at(7, 3), None, &tag),
            r#"{"joined":"r","epoch":7,"offset":3,"id":{"a":[1]}}"#,
        ),
        (
            entered(Verb::Join, &name("r"), at(7, 3), Some(true), &None),
            r#"{"joined":"r","epoch":7,"offset":3,"recovered":true}"#,
        ),
        (
            entered(Verb::Resume, &RoomName::everyone(), at(7, 3), Some(false), &tag),
            r#"{"recovered":false,"room":"","epoch":7,"offset":3,"id":{"a":[1]}}"#,
        ),
        (left(&name("r\""), &tag), r#"{"left":"r\"","id":{"a":[1]}}"#),
        (pong("[1.50]", &None), r#"{"pong":[1.50]}"#),
        (
            error("CODE", "so \"it\" is", &tag),
            r#"{"error":{"code":"CODE","message":"so \"it\" is"},"id":{"a":[1]}}"#,
        ),
    ];
    for (written, expected) in cases {
        assert_eq!(text(written), expected);
    }
}

#[test]
fn requests_are_told_from_messages() {
    let enter = |verb, room: &str, after| Ok(Request::Enter { verb, room: room.into(), after });
    let cases = [
        (r#"{"ping":{"t":1}}"#, Ok(Request::Ping(r#"{"t":1}"#.into())), None),
        (r#" {"ping":null,"id":"x"}"#, Ok(Request::Ping("null".into())), Some(r#""x""#)),
        (r#"{"leave":"r"}"#, Ok(Request::Leave("r".into())), None),
        (r#"{"join":"r"}"#, enter(Verb::Join, "r", None), None),
        (r#"{"join":"r","epoch":7,"offset":3,"id":4}"#, enter(Verb::Join, "r", Some(at(7, 3))), Some("4")),
        (r#"{"join":"a","join":"b"}"#, enter(Verb::Join, "b", None), None),
        (r#"{"resume":{"room":"","epoch":7,"offset":0}}"#, enter(Verb::Resume, "", Some(at(7, 0))), None),
        (r#"{"leave":1,"id":[2]}"#, Err("leave: must"), Some("[2]")),
        (r#"{"join":{},"id":2}"#, Err("join: must"), Some("2")),
        (r#"{"join":"r","epoch":7}"#, Err("epoch and offset"), None),
        (r#"{"join":"r","epoch":-1,"offset":1}"#, Err("epoch and offset"), None),
        (r#"{"join":"r","epoch":1.5,"offset":1}"#, Err("epoch and offset"), None),
        (r#"{"join":"r","epoch":18446744073709551616,"offset":1}"#, Err("epoch and offset"), None),
        (r#"{"join":"r","epoch":null,"offset":null}"#, Err("epoch and offset"), None),
        (r#"{"resume":"r"}"#, Err("resume: must"), None),
        (r#"{"resume":{"epoch":7,"offset":0},"id":2}"#, Err("resume: must"), Some("2")),
        (r#"{"resume":{"room":"r"}}"#, Err("epoch and offset"), None),
    ];
    for (sent, expected, tag) in cases {
        let (asked, told) = request(sent).unwrap_or_else(|| panic!("a message: {sent}"));
        assert_eq!(told.as_deref(), tag, "{sent}");
        match (asked, expected) {
            (Ok(asked), Ok(expected)) => assert_eq!(asked, expected, "{sent}"),
            (Err(why), Err(start)) => assert!(why.starts_with(start), "{sent}: {why}"),
            (asked, _) => panic!("{sent}: {asked:?}"),
        }
    }
}

#[test]
fn whatever_is_no_request_is_a_message() {
    let deep = format!("{{\"join\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    let messages = [
        "",
        "{",
        "{}",
        "[]",
        "ping",
        "\"ping\"",
        "{\"join\"}",
        "{\"Ping\":1}",
        "{\"data\":{\"ping\":1}}",
        "{\"ping\":1} more",
        "{\"ping\":1e999999}",
        "\u{0}",
        &deep,
    ];
    for message in messages {
        assert_eq!(request(message), None, "{message:.40}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let seed = br#"{"resume":{"room":"r","epoch":7,"offset":0},"id":[2],"join":"x","ping":1,"leave":"y"}"#;
    let mut state = 9;
    for _ in 0..20_000 {
        let mut bytes = seed.to_vec();
        for _ in 0..1 + crate::core::random::next(&mut state) % 4 {
            let random = crate::core::random::next(&mut state);
            let place = (random >> 8) as usize % bytes.len();
            match random % 3 {
                0 => bytes[place] = (random >> 40) as u8,
                1 => drop(bytes.remove(place)),
                _ => bytes.insert(place, b"{}[]\",:0e-"[(random >> 40) as usize % 10]),
            }
        }
        if let Ok(sent) = std::str::from_utf8(&bytes)
            && let Some((_, Some(tag))) = request(sent)
        {
            text(pong("1", &Some(tag)));
        }
    }
}
