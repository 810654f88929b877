use super::*;
use crate::proto::*;

fn fails<T: DeserializeOwned + Default + std::fmt::Debug>(body: &str) -> String {
    let fault = decode::<T>(body.as_bytes()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(!fault.field.is_empty());
    status::message(&fault)
}

#[test]
fn both_spellings_in_camel_case_out() {
    for body in [r#"{"timeoutMs": 5, "contentType":"a"}"#, r#"{"timeout_ms": "5", "content_type":"a"}"#] {
        let request: SendRequest = decode(body.as_bytes()).unwrap();
        assert_eq!((request.timeout_ms, request.content_type.as_str()), (5, "a"));
    }
    let text = serde_json::to_string(&StartPublishResponse { epoch: 1, next_seq: u64::MAX }).unwrap();
    assert_eq!(text, r#"{"epoch":"1","nextSeq":"18446744073709551615"}"#);
}

#[test]
fn no_body_is_the_empty_message_and_null_is_absent() {
    assert_eq!(decode::<SendRequest>(b"").unwrap(), SendRequest::default());
    assert_eq!(decode::<SendRequest>(b" \r\n").unwrap(), SendRequest::default());
    let body = br#"{"message":null,"correlation":null,"timeoutMs":null,"tag":null}"#;
    assert_eq!(decode::<SendRequest>(body).unwrap(), SendRequest::default());
}

#[test]
fn unknown_fields_are_named() {
    assert!(fails::<SendRequest>(r#"{"bogus": 1}"#).starts_with("bogus: unknown field"));
    let nested = fails::<ConnectRequest>(r#"{"url":"x","reconnect":{"bogusMs":1}}"#);
    assert!(nested.starts_with("reconnect.bogusMs: unknown field"), "{nested}");
    let nulls = fails::<ConnectRequest>(r#"{"url":null,"bogus":1}"#);
    assert!(nulls.starts_with("bogus: "), "{nulls}");
}

#[test]
fn wrong_types_name_the_field_and_keep_the_value_back() {
    let text = fails::<ConnectRequest>(r#"{"autoReconnect":"hunter2"}"#);
    assert!(text.starts_with("autoReconnect: invalid type: string, expected"), "{text}");
    let text = fails::<ConnectRequest>(r#"{"headers":{"authorization":42}}"#);
    assert!(text.starts_with("headers.authorization: ") && !text.contains("42"), "{text}");
    let text = fails::<ConnectRequest>(r#"{"publish":{"format":"hunter2"}}"#);
    assert!(text.starts_with("publish.format: ") && !text.contains("hunter2"), "{text}");
    let text = fails::<SendRequest>(r#"{"timeoutMs":99999999999}"#);
    assert!(text.starts_with("timeoutMs: must be a number"), "{text}");
    let text = fails::<SendRequest>(r#"{"data":"***"}"#);
    assert!(text.starts_with("data: "), "{text}");
}

#[test]
fn what_is_no_object_is_refused() {
    for body in ["[]", "1", "\"x\"", "{", "{}{}", "{\"message\":\"a\"} x", "\u{feff}{}", "nul"] {
        assert!(decode::<SendRequest>(body.as_bytes()).is_err(), "{body}");
    }
    let deep = "[".repeat(100_000);
    assert!(decode::<SendRequest>(format!("{{\"message\":{deep}").as_bytes()).is_err());
    assert!(decode::<SendRequest>(b"{\"message\":\"\xff\"}").is_err());
}

#[test]
fn enums_by_name_or_number() {
    for body in [r#"{"format":"PUBLISH_FORMAT_FRAMES"}"#, r#"{"format":3}"#] {
        let request: StartPublishRequest = decode(body.as_bytes()).unwrap();
        assert_eq!(request.format(), PublishFormat::Frames);
    }
    assert!(fails::<StartPublishRequest>(r#"{"format":99}"#).starts_with("format: "));
    let text = serde_json::to_string(&ConnectResponse { status: 2, ..Default::default() }).unwrap();
    assert_eq!(text, r#"{"status":"CONNECTED"}"#);
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let fault = Fault::full("too many", std::time::Duration::from_millis(1200));
    let response = Refusal::from(fault).into_response();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "2");
    assert_eq!(response.headers()["cache-control"], "no-store");
}
