use super::*;
use crate::core::reason::FaultKind;

fn one(name: &str, value: &str) -> Result<Headers, Fault> {
    Headers::parse([(name, value)])
}

#[test]
fn ordinary_headers_pass_sorted_and_unshown() {
    let headers = Headers::parse([
        ("X-Api-Key", "canary"),
        ("Authorization", "Bearer canary"),
        ("Origin", "https://example.com"),
        ("cookie", "a=b; c=\"d\""),
        ("X-Empty", ""),
        ("X-Name", "Jürgen"),
    ])
    .unwrap();
    let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Authorization", "cookie", "Origin", "X-Api-Key", "X-Empty", "X-Name"]);
    assert_eq!((headers.get("x-api-KEY"), headers.get("nope"), headers.len()), (Some("canary"), None, 6));
    assert!(!format!("{headers:?} {headers:#?}").contains("canary"));
    assert!(Headers::parse([]).unwrap().is_empty());
}

#[test]
fn names_of_the_handshake_are_refused() {
    for name in [
        "Host",
        "HOST",
        "host",
        "Connection",
        "Upgrade",
        "Sec-WebSocket-Key",
        "sec-websocket-version",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Protocol",
        "Content-Length",
        "content-type",
        "Transfer-Encoding",
        "Proxy-Authorization",
        "proxy-connection",
        "TE",
        "Trailer",
        "Keep-Alive",
        "Expect",
        "HTTP2-Settings",
    ] {
        let fault = one(name, "x").expect_err(name);
        assert_eq!(
            (fault.kind, fault.field.as_ref()),
            (FaultKind::Invalid, format!("headers[{name}]").as_str())
        );
    }
    for name in ["", " ", "a b", "a:", "a\r\nHost", "ä", "a\0", "(a)", "Host ", " Host", "a/b"] {
        let fault = one(name, "x").expect_err(name);
        assert!(!fault.field.contains(['\r', '\n', '\0']), "{fault:?}");
    }
    assert!(one(&"é".repeat(4000), "x").unwrap_err().field.len() < 200);
}

#[test]
fn values_cannot_end_their_line() {
    let middle = ["\r\nHost: evil", "\n", "\r", "\0", "\u{7f}", "\u{1b}[0m", "\t", "\u{85}", "\u{9b}"];
    let values = middle.map(|middle| format!("canary{middle}canary"));
    for value in values.into_iter().chain([" canary".into(), "canary ".into(), "canary\r".into()]) {
        let fault = one("X-Custom", &value).expect_err(&value);
        assert_eq!(fault.field, "headers[X-Custom]");
        assert!(!fault.message.contains("canary"));
    }
}

#[test]
fn bounds_and_duplicates() {
    let fault = Headers::parse([("X-A", "1"), ("x-a", "1")]).unwrap_err();
    assert!(fault.field.starts_with("headers[") && fault.message.contains("twice"));

    let names: Vec<String> = (0..=HEADERS_MAX).map(|n| format!("x-{n}")).collect();
    let pairs = |count: usize| names[..count].iter().map(|name| (name.as_str(), "v"));
    assert_eq!(Headers::parse(pairs(HEADERS_MAX)).unwrap().len(), HEADERS_MAX);
    assert_eq!(Headers::parse(pairs(HEADERS_MAX + 1)).unwrap_err().field, "headers");

    let fits = "v".repeat(HEADERS_BYTES_MAX - 1 - LINE_OVERHEAD);
    assert!(one("x", &fits).is_ok());
    assert_eq!(one("xx", &fits).unwrap_err().field, "headers");
}

#[test]
fn subprotocols() {
    assert!(validate_subprotocols::<&str>(&[]).is_ok());
    assert!(validate_subprotocols(&["ocpp1.6", "ocpp2.0.1", "OCPP1.6", "graphql-ws"]).is_ok());
    for bad in ["", "a b", "a,b", "a\r\nb", "ä", "a;b", "a/b", "\"a\""] {
        let fault = validate_subprotocols(&["fine", bad]).expect_err(bad);
        assert_eq!((fault.kind, &*fault.field), (FaultKind::Invalid, "subprotocols[1]"));
    }
    assert_eq!(validate_subprotocols(&["a", "b", "a"]).unwrap_err().field, "subprotocols[2]");
    let many: Vec<String> = (0..=SUBPROTOCOLS_MAX).map(|n| format!("p{n}")).collect();
    assert!(validate_subprotocols(&many[1..]).is_ok());
    assert_eq!(validate_subprotocols(&many).unwrap_err().field, "subprotocols");
    let token = "t".repeat(HEADERS_BYTES_MAX);
    assert!(validate_subprotocols(&[&token]).is_ok());
    let fault = validate_subprotocols(&["x", &token]).unwrap_err();
    assert!(fault.to_string().len() < 200);
}
