use super::*;

fn event(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn data(text: &str) -> Data {
    match read(&event(text)) {
        Read::Data(data) => data,
        other => panic!("{text}: {other:?}"),
    }
}

fn binding(text: &str) -> Binding {
    Binding::parse(text).expect("a binding")
}

#[test]
fn data_is_found_however_it_was_published() {
    for text in [
        r#"{"specversion":"1.0","data":{"user": 7}}"#,
        r#"{"specversion":"1.0","data":"{\"user\": 7}"}"#,
        r#"{"specversion":"1.0","data":null,"data_base64":"eyJ1c2VyIjogN30="}"#,
        r#"{"type":"com.dapr.event.sent","data":{"specversion":"1.0","id":"1","type":"x","data":{"user": 7}}}"#,
    ] {
        let data = data(text);
        let bound = binding("topic=t room=user-{/user}");
        assert_eq!(data.room(&bound).unwrap().as_str(), "user-7", "{text}");
        assert_eq!(data.post(&bound).unwrap().payload, br#"{"user": 7}"#.as_slice(), "{text}");
    }
}

#[test]
fn what_is_no_event_with_data_says_why() {
    for (text, why) in [
        ("[]", "the event is not a JSON object"),
        ("{", "the event is not a JSON object"),
        (r#"{"data":{}} x"#, "the event is not a JSON object"),
        (r#"{"id":"1"}"#, "the event has no data"),
        (r#"{"data":null}"#, "the event has no data"),
        (r#"{"data":1,"data_base64":"AA=="}"#, "the event has both data and data_base64"),
        (r#"{"data_base64":"?"}"#, "the event's data_base64 is not base64"),
        (r#"{"data_base64":7}"#, "the event's data_base64 is not base64"),
    ] {
        assert_eq!(read(&event(text)), Read::Malformed(why), "{text}");
    }
}

#[test]
fn our_own_records_are_not_for_rooms() {
    for kind in [TYPE_GAP, TYPE_END] {
        let own = format!(r#"{{"source":"{SOURCE}","type":"{kind}","data":{{}}}}"#);
        assert_eq!(read(&event(&own)), Read::Record);
        let foreign = format!(r#"{{"source":"elsewhere","type":"{kind}","data":{{}}}}"#);
        assert!(matches!(read(&event(&foreign)), Read::Data(_)));
    }
}

#[test]
fn only_texts_and_numbers_name_a_room() {
    let room = |data_json: &str| {
        let bound = binding("topic=t room=r-{/a/0}");
        data(&format!(r#"{{"data":{data_json}}}"#)).room(&bound).map(|room| room.as_str().to_owned())
    };
    assert_eq!(room(r#"{"a":["x y"]}"#), Ok("r-x y".into()));
    assert_eq!(room(r#"{"a":[12.50]}"#), Ok("r-12.50".into()));
    assert_eq!(room(r#"{"a":[123456789012345678901]}"#), Ok("r-123456789012345678901".into()));
    assert_eq!(room(r#"{"a":["\u00e9"]}"#), Ok("r-\u{e9}".into()));
    for none in
        [r#"{"a":[]}"#, r#"{"a":[true]}"#, r#"{"a":[null]}"#, r#"{"a":[{}]}"#, r#"{"a":[""]}"#, "{}", "7"]
    {
        assert_eq!(room(none), Err(NoRoom::NoValue("/a/0".into())), "{none}");
    }
    for bad in [r#"{"a":["x,y"]}"#, r#"{"a":["\u0000"]}"#] {
        assert!(matches!(room(bad), Err(NoRoom::NoName(_))), "{bad}");
    }
    let long = format!(r#"{{"a":["{}"]}}"#, "x".repeat(300));
    assert!(matches!(room(&long), Err(NoRoom::NoName(_))));
}

#[test]
fn a_bound_message_is_wrapped_when_it_has_a_type() {
    let typed = binding("topic=t room=r message-id=order.updated");
    let plain = binding("topic=t room=r");
    let post = |text: &str, binding: &Binding| data(text).post(binding).map(|post| (post.kind, post.payload));
    let json = r#"{"data":{"n":1.0}}"#;
    let wrapped = Bytes::from_static(br#"{"MESSAGE_ID":"order.updated","message":{"n":1.0}}"#);
    assert_eq!(post(json, &typed), Some((Kind::Text, wrapped)));
    assert_eq!(post(json, &plain), Some((Kind::Text, Bytes::from_static(br#"{"n":1.0}"#))));
    let words = r#"{"data":"hello \"you\""}"#;
    let wrapped = Bytes::from_static(br#"{"MESSAGE_ID":"order.updated","message":"hello \"you\""}"#);
    assert_eq!(post(words, &typed), Some((Kind::Text, wrapped)));
    assert_eq!(post(words, &plain), Some((Kind::Text, Bytes::from_static(b"hello \"you\""))));
    let binary = r#"{"data_base64":"/wA="}"#;
    assert_eq!(post(binary, &typed), None);
    assert_eq!(post(binary, &plain), Some((Kind::Binary, Bytes::from_static(b"\xff\0"))));
}
