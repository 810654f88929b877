//! What an upstream may do to us before there is a WebSocket.

use super::{Neighbour, reaches, request};
use crate::harness::{Service, fault, grpc, upstream::RawUpstream, wait_for, within};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tonic::Code;
use websocket_manager::proto::ListRequest;

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";

fn accept_for(head: &str) -> String {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.unwrap_or_default().as_bytes())
}

/// Answers to a handshake that asked for the subprotocol `v1`; `{accept}` stands for the right key.
fn answers() -> Vec<(&'static str, String)> {
    let switch = |more: &str| format!("{SWITCH}{more}\r\n");
    let accepted = |more: &str| switch(&format!("Sec-WebSocket-Accept: {{accept}}\r\n{more}"));
    let redirect = |code: &str| {
        format!("HTTP/1.1 {code}\r\nLocation: ws://127.0.0.1:{{trap}}/\r\nContent-Length: 0\r\n\r\n")
    };
    vec![
        ("301", redirect("301 Moved Permanently")),
        ("302", redirect("302 Found")),
        ("307", redirect("307 Temporary Redirect")),
        ("308", redirect("308 Permanent Redirect")),
        ("a wrong key", switch("Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n")),
        ("no key", switch("")),
        ("a subprotocol nobody asked for", accepted("Sec-WebSocket-Protocol: other\r\n")),
        ("two subprotocols in one", accepted("Sec-WebSocket-Protocol: v1, other\r\n")),
        ("an extension nobody asked for", accepted("Sec-WebSocket-Protocol: v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n")),
        ("an unknown extension", accepted("Sec-WebSocket-Protocol: v1\r\nSec-WebSocket-Extensions: x-own; a=1\r\n")),
        ("no upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".into()),
        ("another upgrade", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".into()),
        ("a second answer", "HTTP/1.1 100 Continue\r\n\r\n".into()),
        ("200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into()),
        ("429", "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n".into()),
        ("500 with an endless body", "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n".into()),
        ("a NUL in a header", accepted("X-A: \0\r\n")),
        ("a header without a name", accepted(": x\r\n")),
        ("a thousand headers", accepted(&"a: b\r\n".repeat(1000))),
        ("one endless line", format!("HTTP/1.1 101 {}", "x".repeat(64 * 1024))),
        ("another protocol", "220 smtp.example ESMTP\r\n\r\n".into()),
        ("HTTP/2", "\0\0\0\u{4}\0\0\0\0\0\r\n\r\n".into()),
        ("nothing, and the end", String::new()),
    ]
}

#[tokio::test]
async fn every_broken_handshake_is_unavailable_and_leaves_nothing() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut client = service.grpc().await;
    let trap = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let trap_port = trap.local_addr().expect("an address").port().to_string();
    let mut wrong = Vec::new();
    let answers = answers();
    for (what, answer) in &answers {
        let dialled = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (dialled.clone(), answer.replace("{trap}", &trap_port));
        let upstream = RawUpstream::start(move |head, mut tcp| {
            count.fetch_add(1, Ordering::SeqCst);
            let answer = answer.replace("{accept}", &accept_for(&head));
            async move {
                let _ = tcp.write_all(answer.as_bytes()).await;
            }
        })
        .await;
        let connect = request(json!({"url": upstream.url(), "subprotocols": ["v1"], "autoReconnect": true}));
        let Err(status) = within(what, client.connect(connect)).await else {
            wrong.push(format!("{what}: it was taken"));
            continue;
        };
        if (status.code(), fault(&status).reason.as_str()) != (Code::Unavailable, "dial_failed") {
            wrong.push(format!("{what}: {status:?}"));
        }
        assert!(!status.message().is_empty() && status.message().len() < 1024, "{what}: {status:?}");
        assert!(!status.message().contains(char::is_control), "{what}: {status:?}");
        assert_eq!(dialled.load(Ordering::SeqCst), 1, "{what}: one attempt");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let span = std::time::Duration::from_millis(50);
    assert!(crate::harness::wait::stays_pending(span, trap.accept()).await, "no redirect was followed");
    let failures = service.metric("wsm_dial_failures_total", &[]).await;
    assert_eq!(failures, answers.len() as f64, "each failed dial counted");
    let listed = client.list(ListRequest::default()).await.expect("a list").into_inner().total;
    assert_eq!(listed, 1, "only the neighbour");
    neighbour.is_well().await;
}

#[tokio::test]
async fn an_endless_head_is_cut() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let upstream = RawUpstream::start(move |_, mut tcp| {
        let count = count.clone();
        async move {
            let line = format!("x-filler: {}\r\n", "y".repeat(1000));
            let _ = tcp.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await;
            while tcp.write_all(line.as_bytes()).await.is_ok() {}
            count.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let mut client = service.grpc().await;
    let status = within("the refusal", client.connect(grpc::to(&upstream.url()))).await.expect_err("endless");
    assert_eq!((status.code(), fault(&status).reason.as_str()), (Code::Unavailable, "dial_failed"));
    wait_for("the socket to be closed", async || (ended.load(Ordering::SeqCst) == 1).then_some(())).await;
    reaches(&service, "wsm_dial_failures_total", &[], 1.0).await;
    neighbour.is_well().await;
}

/// Silence at each stage of a handshake; the deadline is the caller's.
#[tokio::test]
async fn silence_at_any_stage_meets_the_connect_timeout() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let stages = [
        "",
        "H",
        "HTTP/1.1 101 Switching Protocols\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r",
    ];
    for stage in stages {
        let upstream = RawUpstream::start(move |_, mut tcp| async move {
            let _ = tcp.write_all(stage.as_bytes()).await;
            std::future::pending::<()>().await;
        })
        .await;
        for url in [upstream.url(), upstream.url().replacen("ws:", "wss:", 1)] {
            let mut client = service.grpc().await;
            let connect = request(json!({"url": url, "connectTimeoutMs": 50}));
            let status = within("the timeout", client.connect(connect)).await.expect_err("no answer");
            assert_eq!(
                (status.code(), fault(&status).reason.as_str()),
                (Code::Unavailable, "dial_failed"),
                "{url}"
            );
        }
    }
    reaches(&service, "wsm_dial_failures_total", &[], 2.0 * stages.len() as f64).await;
    reaches(&service, "wsm_connections", &[("status", "connecting")], 0.0).await;
    neighbour.is_well().await;
}

#[tokio::test]
async fn frames_in_the_segment_of_the_answer_are_kept_in_order() {
    let service = Service::start().await;
    let upstream = RawUpstream::start(|head, mut tcp| async move {
        let answer = format!("{SWITCH}Sec-WebSocket-Accept: {}\r\n\r\n", accept_for(&head));
        // The last frame is cut in two.
        let frames = [&[0x81, 2, b'o', b'k'][..], &[0x89, 0], &[0x81, 3, b'e']].concat();
        let _ = tcp.write_all(&[answer.as_bytes(), &frames].concat()).await;
        let _ = tcp.write_all(b"nd").await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut client = service.grpc().await;
    let connect = request(json!({"url": upstream.url(), "connectionId": "fast", "publish": {"topic": "t"}}));
    grpc::dial(&mut client, connect).await;
    let mut events = service.http().events("/v1/messages?topic=t&fromStart=true", None).await;
    for text in ["ok", "end"] {
        assert_eq!(events.next().await.data["text"], text);
    }
    reaches(&service, "wsm_protocol_violations_total", &[], 0.0).await;
}
