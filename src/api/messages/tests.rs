use super::*;
use crate::core::reason::FaultKind;

fn text(message: &str, message_id: &str) -> Result<Post, Fault> {
    post(message.into(), Bytes::new(), message_id, "")
}

fn binary(data: &'static [u8], content_type: &str) -> Kind {
    post(String::new(), Bytes::from_static(data), "", content_type).unwrap().kind
}

#[test]
fn a_message_is_text_and_data_is_binary_unless_it_says_otherwise() {
    assert_eq!(text("hello", "").unwrap(), Post { kind: Kind::Text, payload: "hello".into() });
    assert_eq!(binary(b"hello", ""), Kind::Binary);
    for text in ["text/plain; charset=utf-8", "TEXT/html", "application/json", "application/ld+json"] {
        assert_eq!(binary(b"{}", text), Kind::Text, "{text}");
        assert_eq!(binary(b"\xff\xfe", text), Kind::Binary, "what is no UTF-8 is no text: {text}");
    }
    assert_eq!(binary(b"{}", "application/octet-stream"), Kind::Binary);
    for (message, data) in [("", ""), ("a", "b")] {
        let fault = post(message.into(), Bytes::from_static(data.as_bytes()), "", "").unwrap_err();
        assert_eq!((fault.kind, fault.field.as_ref()), (FaultKind::Invalid, "message"));
    }
}

#[test]
fn a_typed_message_is_wrapped_as_it_came() {
    for (message, inner) in [
        (r#" { "b" : 1.50 , "a" : [ 1 , 2 ] } "#, r#"{"b":1.50,"a":[1,2]}"#),
        (r#""with \" and \\ and  two spaces""#, r#""with \" and \\ and  two spaces""#),
        ("{\"a\":\n\t{}\r\n}", r#"{"a":{}}"#),
        ("12345678901234567890123", "12345678901234567890123"),
        (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
    ] {
        let post = text(message, "chat.\"said\"").unwrap();
        let expected = format!(r#"{{"MESSAGE_ID":"chat.\"said\"","message":{inner}}}"#);
        assert_eq!((post.kind, post.payload), (Kind::Text, Bytes::from(expected)));
    }
}

#[test]
fn what_cannot_be_wrapped_names_the_field() {
    for message in ["hello", "{", "{} {}", "{'a':1}", "[1,]"] {
        let fault = text(message, "t").unwrap_err();
        assert_eq!((fault.kind, fault.field.as_ref()), (FaultKind::Invalid, "message"), "{message}");
    }
    let bytes = post(String::new(), "{}".into(), "t", "application/json").unwrap_err();
    assert_eq!(bytes.field, "message");
    assert_eq!(text("{}", &"t".repeat(limits::MESSAGE_ID_BYTES_MAX + 1)).unwrap_err().field, "message_id");
}

#[test]
fn a_message_that_could_reach_nobody_is_refused() {
    let most = limits::ROOM_MESSAGE_BYTES_MAX;
    assert!(text(&"x".repeat(most), "").is_ok());
    assert_eq!(text(&"x".repeat(most + 1), "").unwrap_err().field, "message");
    let data = post(String::new(), vec![0; most + 1].into(), "", "").unwrap_err();
    assert_eq!(data.field, "data");
    let wrapped = format!("\"{}\"", "x".repeat(most - 2));
    assert_eq!(text(&wrapped, "t").unwrap_err().field, "message", "with its wrapper it is too long");
}
