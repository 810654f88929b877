//! What a caller may write into a request. Each answer is an argument error that names the field,
//! never a failure of the service and never an echo that breaks a line.

use super::{Neighbour, reaches, request};
use crate::harness::{Client, Service, fault, wait_for};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tonic::{Code, Status};
use websocket_manager::proto::{DisconnectRequest, SendRequest, SetTagRequest, SetTagsRequest};

/// One line, of bounded length.
fn is_presentable(status: &Status) -> bool {
    let shown = |character: char| !character.is_control() && !matches!(character, '\u{2028}'..='\u{202e}');
    !status.message().is_empty() && status.message().len() < 4096 && status.message().chars().all(shown)
}

/// The complaint, unless the request was refused with INVALID_ARGUMENT for this field.
pub async fn not_refused(client: &mut Client, what: &str, connect: Value, field: &str) -> Option<String> {
    let status = match client.connect(request(connect)).await {
        Ok(_) => return Some(format!("{what}: it was taken")),
        Err(status) => status,
    };
    let named = fault(&status).fields.iter().any(|it| it.starts_with(field));
    let right = status.code() == Code::InvalidArgument && named && is_presentable(&status);
    (!right).then(|| format!("{what}: {status:?}"))
}

fn urls() -> Vec<String> {
    let fixed = [
        "",
        " ",
        "ws",
        "ws:",
        "ws:/",
        "ws://",
        "ws:///",
        "//127.0.0.1:9/",
        "127.0.0.1:9",
        "ws:127.0.0.1:9/",
        "ws:\\\\127.0.0.1\\",
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "javascript:alert(1)",
        "data:,x",
        "unix:/run/x.sock",
        "gopher://127.0.0.1/",
        "wsx://127.0.0.1/",
        "ws+unix://127.0.0.1/",
        "ws://127.0.0.1:0/",
        "ws://127.0.0.1:65536/",
        "ws://127.0.0.1:-1/",
        "ws://127.0.0.1:9x/",
        "ws://:9/",
        "ws://@127.0.0.1@127.0.0.2/",
        "ws://127.0.0.1:9\r\nx: y/",
        "ws://127.0.0.1:9/\r\nhost: x",
        "ws://127.0.0.1:9/\0",
        "ws://127.0.0.1:9/\tb",
        " ws://127.0.0.1:9/",
        "ws://127.0.0.1:9/ ",
        "ws://127.0.0.1:9/#fragment",
        "ws://[::1",
        "ws://::1/",
        "ws://[::1%25lo]/",
        "ws://[fe80::1%eth0]/",
        "ws://a b/",
        "ws://%zz/",
        "ws://exa%6dple\u{202e}/",
        "ws://1.2.3.256/",
        "ws://1.2.3.4.5/",
        "ws://0x100000000/",
        "ws://a..b/",
        "ws://-.-/\u{0}",
    ];
    let mut urls: Vec<String> = fixed.iter().map(ToString::to_string).collect();
    urls.push(format!("ws://127.0.0.1:9/{}", "x".repeat(4096)));
    urls.push(format!("ws://127.0.0.1:9/{}", "\u{e9}".repeat(1000)));
    urls.push(format!("ws://{}.example/", "x".repeat(64)));
    urls.push(format!("ws://{}/", "x.".repeat(1000)));
    urls
}

#[tokio::test]
async fn no_malformed_url_is_dialled() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut client = service.grpc().await;
    let mut wrong = Vec::new();
    for url in urls() {
        wrong.extend(not_refused(&mut client, &format!("{url:?}"), json!({"url": url}), "url").await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(service.metric("wsm_dials_total", &[]).await, 1.0, "only the neighbour was dialled");
    neighbour.is_well().await;
}

const HEADER_NAMES: &[&str] = &[
    "",
    " ",
    "a b",
    "a:",
    "a\r\nb",
    "a\nb",
    "a\0",
    "\u{e9}",
    "(x)",
    ":authority",
    "Host",
    "host",
    "CONNECTION",
    "Upgrade",
    "Content-Length",
    "content-type",
    "Transfer-Encoding",
    "TE",
    "Trailer",
    "Keep-Alive",
    "Expect",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Sec-WebSocket-Key",
    "sec-websocket-version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Accept",
];

#[tokio::test]
async fn nothing_slips_into_the_handshake() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut client = service.grpc().await;
    let mut wrong = Vec::new();
    let url = "ws://127.0.0.1:9/";
    for name in HEADER_NAMES {
        let connect = json!({"url": url, "headers": {*name: "v"}});
        wrong.extend(not_refused(&mut client, &format!("header {name:?}"), connect, "headers").await);
    }
    for value in [
        "a\r\nx-evil: 1",
        "a\nb",
        "a\rb",
        "a\0b",
        "\r\n\r\nGET / HTTP/1.1",
        "a\u{7f}",
        "\u{1b}[2J",
        &"x".repeat(9000),
    ] {
        let connect = json!({"url": url, "headers": {"x-a": value}});
        wrong.extend(not_refused(&mut client, &format!("value {value:?}"), connect, "headers").await);
    }
    for name in ["", "a b", "a,b", "a\r\nb", "\u{e9}", &"x".repeat(9000)] {
        let connect = json!({"url": url, "subprotocols": [name]});
        wrong.extend(
            not_refused(&mut client, &format!("subprotocol {name:?}"), connect, "subprotocols").await,
        );
    }
    let many: serde_json::Map<_, _> = (0..65).map(|n| (format!("x-{n}"), json!("v"))).collect();
    wrong.extend(
        not_refused(&mut client, "65 headers", json!({"url": url, "headers": many}), "headers").await,
    );
    let twice = json!({"url": url, "headers": {"x-a": "1", "X-A": "2"}});
    wrong.extend(not_refused(&mut client, "a header twice", twice, "headers").await);
    for name in ["a\r\nb", "a\0", ""] {
        let connect =
            json!({"url": url, "tls": {"serverName": name, "ca": "-----BEGIN CERTIFICATE-----\r\nx"}});
        wrong.extend(not_refused(&mut client, &format!("TLS {name:?}"), connect, "tls").await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(service.metric("wsm_dials_total", &[]).await, 1.0, "only the neighbour was dialled");
    neighbour.is_well().await;
}

#[tokio::test]
async fn names_tags_and_topics_are_bounded() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut client = service.grpc().await;
    let mut wrong = Vec::new();
    let url = "ws://127.0.0.1:9/";
    for id in [
        "~x",
        "index",
        "a b",
        "a/b",
        "../a",
        "a\r\nb",
        "a\0",
        "\u{e9}",
        "a?b",
        "a%2fb",
        &"x".repeat(129),
        &"x".repeat(100_000),
    ] {
        let connect = json!({"url": url, "connectionId": id});
        wrong.extend(not_refused(&mut client, &format!("id {id:.20?}"), connect, "connection_id").await);
    }
    for (key, value) in [
        ("", "v"),
        ("a\r\nb", "v"),
        ("a\0", "v"),
        (&"k".repeat(129), "v"),
        ("k", &"v".repeat(1025)),
        ("k", &"v".repeat(100_000)),
    ] {
        let connect = json!({"url": url, "tags": {key: value}});
        wrong.extend(not_refused(&mut client, &format!("tag {key:.20?}"), connect, "tags").await);
    }
    let topics = [
        "",
        "../x",
        "..",
        ".",
        "a/../b",
        "/etc/passwd",
        "a\r\nb",
        "a\0b",
        "a b",
        "a?metadata.x=1",
        "a%2e%2e",
        "*",
        "\u{202e}x",
        &"t".repeat(201),
    ];
    for topic in topics {
        let connect = json!({"url": url, "publish": {"topic": topic}});
        let what = format!("topic {topic:.20?}");
        wrong.extend(not_refused(&mut client, &what, connect, "publish.topic").await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    neighbour.is_well().await;
}

#[tokio::test]
async fn a_living_connection_keeps_its_bounds() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut client = service.grpc().await;
    let id = || neighbour.id.clone();
    let fifty = (0..50).map(|n| (format!("k{n}"), "v".to_owned())).collect();
    client.set_tags(SetTagsRequest { id: id(), tags: fifty }).await.expect("50 tags are allowed");
    let one_more = SetTagRequest { id: id(), key: "k50".into(), value: "v".into() };
    let status = client.set_tag(one_more).await.expect_err("the 51st");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let both =
        SendRequest { id: id(), message: "x".into(), data: Bytes::from_static(b"y"), ..Default::default() };
    assert_eq!(client.send(both).await.expect_err("text and binary").code(), Code::InvalidArgument);
    let gone = DisconnectRequest { id: id(), code: 1000, reason: "r".repeat(124) };
    assert_eq!(client.disconnect(gone).await.expect_err("a long reason").code(), Code::InvalidArgument);
    for code in [1, 999, 1001, 1005, 1006, 1015, 2999, 5000, 65536 + 1000, u32::MAX] {
        let gone = DisconnectRequest { id: id(), code, reason: String::new() };
        assert_eq!(
            client.disconnect(gone).await.expect_err("a bad code").code(),
            Code::InvalidArgument,
            "{code}"
        );
    }
    neighbour.is_well().await;
}

pub fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::builder().method("POST").uri(path).header("content-type", "application/json");
    request.body(Full::new(body.into())).expect("a request")
}

#[tokio::test]
async fn bodies_of_every_kind_are_argument_errors() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let http = service.http();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let bodies: Vec<(&str, Bytes)> = vec![
        ("an unknown field", r#"{"url":"ws://127.0.0.1:9/","nonsense":1}"#.into()),
        ("an unknown field inside", r#"{"url":"ws://127.0.0.1:9/","limits":{"nonsense":1}}"#.into()),
        ("a field twice", r#"{"url":"ws://127.0.0.1:9/","url":"ws://127.0.0.1:9/"}"#.into()),
        ("arrays in arrays", deep("[", "]").into()),
        ("objects in objects", deep("{\"a\":", "}").into()),
        ("depth in a field", format!(r#"{{"url":{}}}"#, deep("[", "]")).into()),
        ("a wrong enum", r#"{"url":"ws://127.0.0.1:9/","publish":{"topic":"t","format":"NO"}}"#.into()),
        ("not JSON", "{".into()),
        ("two values", "{} {}".into()),
        ("not UTF-8", Bytes::from_static(b"{\"url\":\"\xff\"}")),
        ("half a surrogate", r#"{"url":"\ud800"}"#.into()),
        ("a text", "\"ws://127.0.0.1:9/\"".into()),
        ("a wrong oneof", r#"{"url":"ws://127.0.0.1:9/","correlation":{"fifo":{},"prefix":{}}}"#.into()),
    ];
    let mut wrong = Vec::new();
    for (what, body) in bodies {
        let answer = http.send(post("/v1/connections", body)).await;
        if answer.status != 400 || answer.json()["code"] != 3 || answer.body.len() > 4096 {
            wrong.push(format!("{what}: {} {:.300}", answer.status, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(service.metric("wsm_edge_total", &[("event", "handler_panics")]).await, 0.0);
    neighbour.is_well().await;
}

/// 10 MiB: refused without being kept.
#[tokio::test]
async fn bodies_over_the_bound_are_refused() {
    const BYTES: usize = 10 * 1024 * 1024;
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut client = service.grpc().await;
    let before = service.metric("wsm_process_resident_memory_bytes", &[]).await;
    for _ in 0..8 {
        let send = SendRequest { id: "neighbour".into(), message: "x".repeat(BYTES), ..Default::default() };
        let status = client.send(send).await.expect_err("too long");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    // The service may answer and hang up before it has read all, so the head is all that is sent.
    for path in ["/v1/connections", "/v1/connections/neighbour/send", "/virtufin.WebSocketManager/Send"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {BYTES}\r\n\r\n"
        );
        let answer = super::ports::exchange(service.ready.http, head.as_bytes()).await;
        let refused =
            ["HTTP/1.1 413", "HTTP/1.1 429", "HTTP/1.1 400"].iter().any(|line| answer.starts_with(line));
        assert!(refused, "{path}: {answer}");
    }
    let grown = service.metric("wsm_process_resident_memory_bytes", &[]).await - before;
    assert!(grown < 64.0 * 1024.0 * 1024.0, "grown by {grown}");
    neighbour.is_well().await;
}

#[tokio::test]
async fn what_a_caller_writes_never_breaks_a_line_of_the_log() {
    let service = crate::harness::service::Plan::new().args(&["--log-level", "trace"]).start().await;
    let mut client = service.grpc().await;
    let forged = "x\nERROR forged=1\r\n\u{1b}[31mforged";
    for connect in [
        json!({"url": format!("ws://{forged}/")}),
        json!({"url": "ws://127.0.0.1:1/", "connectionId": forged}),
        json!({"url": "ws://127.0.0.1:1/", "headers": {forged: "v"}}),
        json!({"url": "ws://127.0.0.1:1/", "tags": {"k": forged}}),
        json!({"url": "ws://127.0.0.1:1/", "publish": {"topic": forged}}),
    ] {
        let status = client.connect(request(connect)).await.expect_err("it is refused, or the port is dead");
        assert!(is_presentable(&status), "{status:?}");
    }
    reaches(&service, "wsm_connections", &[("status", "connected")], 0.0).await;
    let log = wait_for("the log", async || Some(service.log())).await;
    assert!(!log.contains('\u{1b}') && !log.lines().any(|line| line.starts_with("ERROR forged")), "{log}");
}
