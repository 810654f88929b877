use super::*;
use http::Request;

const GOOD: [(&str, &str); 5] = [
    ("host", "example.com"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

fn parts(headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::get("/ws/a");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// The good one, but for these headers; an empty value takes one out.
fn but(changes: &[(&str, &str)]) -> Parts {
    let kept = GOOD.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let added = changes.iter().filter(|(_, value)| !value.is_empty());
    parts(&kept.chain(added).copied().collect::<Vec<_>>())
}

/// The good one and these beside.
fn and(more: &[(&str, &str)]) -> Parts {
    parts(&[&GOOD, more].concat())
}

#[track_caller]
fn refused(parts: &Parts) -> (u16, Option<String>) {
    let refused = check(parts, true).map(|_| ()).unwrap_err();
    assert_eq!(refused.reason, WsRefusal::Handshake);
    let answer = refused.into_response();
    assert_eq!(answer.headers()["connection"], "close");
    let version = answer.headers().get("sec-websocket-version").map(|it| it.to_str().unwrap().to_owned());
    (answer.status().as_u16(), version)
}

fn accepted(parts: &Parts) -> Offer {
    check(parts, true).unwrap_or_else(|refused| panic!("{:?}", refused.into_response()))
}

#[test]
fn the_example_of_the_standard() {
    let offer = accepted(&and(&[]));
    assert_eq!(offer.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(offer.subprotocols.is_empty() && offer.bearer.is_none());
    for fine in [
        but(&[("upgrade", "WebSocket")]),
        but(&[("connection", "keep-alive, upgrade")]),
        but(&[("connection", "keep-alive"), ("connection", "UPGRADE")]),
        but(&[("sec-websocket-key", "AQIDBAUGBwgJCgsMDQ4PEB==")]),
        and(&[("content-length", "0")]),
        and(&[("sec-websocket-extensions", "permessage-deflate")]),
    ] {
        accepted(&fine);
    }
}

#[test]
fn what_is_no_handshake_is_refused() {
    let again = (426, Some("13".to_owned()));
    assert_eq!(refused(&but(&[("upgrade", "")])), again);
    assert_eq!(refused(&but(&[("sec-websocket-version", "")])), again);
    assert_eq!(refused(&but(&[("sec-websocket-version", "8")])), again);
    assert_eq!(refused(&but(&[("sec-websocket-version", "13, 8")])), again);
    let mut post = and(&[]);
    post.method = Method::POST;
    assert_eq!(refused(&post), (405, None));
    let mut old = and(&[]);
    old.version = Version::HTTP_10;
    assert_eq!(refused(&old), (400, None));
    for bad in [
        but(&[("host", "")]),
        but(&[("upgrade", "h2c")]),
        but(&[("upgrade", "websocket, h2c")]),
        but(&[("connection", "")]),
        but(&[("connection", "keep-alive")]),
        but(&[("connection", "upgraded")]),
        but(&[("sec-websocket-key", "")]),
        but(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")]),
        but(&[("sec-websocket-key", "dGhlIHNhbXBsZQ==")]),
        but(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZTE=")]),
        but(&[("sec-websocket-key", "****************************")]),
        and(&[("sec-websocket-key", GOOD[4].1)]),
        and(&[("sec-websocket-version", "13")]),
        and(&[("upgrade", "websocket")]),
        and(&[("host", "example.com")]),
        and(&[("origin", "http://a"), ("origin", "http://a")]),
        and(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]),
        and(&[("transfer-encoding", "chunked")]),
        and(&[("content-length", "5")]),
        and(&[("sec-websocket-protocol", "a b")]),
        and(&[("sec-websocket-protocol", "a,,b")]),
        and(&[("sec-websocket-protocol", "a"), ("sec-websocket-protocol", "a")]),
        and(&[("sec-websocket-protocol", "bearer.a, bearer.b")]),
    ] {
        assert_eq!(refused(&bad).0, 400, "{:?}", bad.headers);
    }
    assert!(check(&and(&[]), false).is_err(), "a body");
}

#[test]
fn subprotocols_keep_their_order_and_lose_the_token() {
    let offer = accepted(&and(&[
        ("sec-websocket-protocol", "ocpp2.0.1 , bearer.ab.c-d_e"),
        ("sec-websocket-protocol", "wsm.rooms.v1"),
    ]));
    assert_eq!(offer.subprotocols, ["ocpp2.0.1", "wsm.rooms.v1"]);
    assert_eq!(offer.bearer.as_ref().map(|token| token.expose().as_str()), Some("ab.c-d_e"));
    assert!(!format!("{offer:?}").contains("ab.c"), "a token is never shown");
}
