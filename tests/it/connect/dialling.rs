//! Whom the service dials, and what it makes of a server that does not behave.

use super::listed;
use crate::harness::{Service, fault, grpc, service::Plan, upstream::RawUpstream, within};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tonic::Code;
use websocket_manager::proto::ConnectRequest;

#[tokio::test]
async fn inner_addresses_are_not_dialled_without_leave() {
    let service = Plan::without_egress().start().await;
    let mut client = service.grpc().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "[fd00::1]",
        "[fe80::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ];
    for host in hosts {
        let status = client.connect(grpc::to(&format!("ws://{host}:{port}/"))).await.expect_err(host);
        let told = (status.code(), fault(&status).reason);
        let refused = told == (Code::PermissionDenied, "egress_denied".into());
        // Some ways to write an address are no address at all.
        assert!(refused || told.0 == Code::InvalidArgument, "{host}: {status:?}");
    }
    let nobody =
        crate::harness::wait::stays_pending(std::time::Duration::from_millis(50), listener.accept()).await;
    assert!(nobody, "nobody was dialled");
    assert_eq!(listed(&mut client).await, 0);
}

#[tokio::test]
async fn our_own_listeners_are_not_dialled_even_with_leave() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    for address in [service.ready.http, service.ready.grpc, service.ready.admin] {
        let status =
            client.connect(grpc::to(&format!("ws://{address}/"))).await.expect_err("our own listener");
        assert_eq!(status.code(), Code::PermissionDenied, "{address}: {status:?}");
    }
}

#[tokio::test]
async fn a_denied_address_stays_denied() {
    let service = Plan::new().args(&["--egress-deny", "127.0.0.2"]).start().await;
    let mut client = service.grpc().await;
    let status = client.connect(grpc::to("ws://127.0.0.2:9/")).await.expect_err("deny wins over allow");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
}

/// The server's answers to a handshake; `{accept}` stands for the right key.
const ANSWERS: &[(&str, &str)] = &[
    ("a redirect", "HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
    ("a refusal", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
    ("plain content", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (
        "a wrong key",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    ),
    (
        "no upgrade",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
    ),
    (
        "a subprotocol nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: other\r\n\r\n",
    ),
    ("no HTTP", "220 smtp.example ESMTP\r\n\r\n"),
    ("silence and an end", ""),
];

fn accept_for(head: &str) -> String {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.unwrap_or_default().as_bytes())
}

#[tokio::test]
async fn a_handshake_that_fails_is_unavailable_and_leaves_nothing() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    for (what, answer) in ANSWERS {
        let dialled = Arc::new(AtomicUsize::new(0));
        let count = dialled.clone();
        let upstream = RawUpstream::start(move |head, mut tcp| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                let _ = tcp.write_all(answer.replace("{accept}", &accept_for(&head)).as_bytes()).await;
            }
        })
        .await;
        let request = ConnectRequest { auto_reconnect: true, ..grpc::to(&upstream.url()) };
        let status = within(what, client.connect(request)).await.expect_err(what);
        assert_eq!(
            (status.code(), fault(&status).reason.as_str()),
            (Code::Unavailable, "dial_failed"),
            "{what}"
        );
        assert!(!status.message().is_empty(), "{what}: with the cause");
        assert_eq!(dialled.load(Ordering::SeqCst), 1, "{what}: one attempt, no redirect followed");
    }
    assert_eq!(listed(&mut client).await, 0, "a Connect whose first dial fails leaves nothing behind");
}

#[tokio::test]
async fn an_endless_head_is_cut() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let upstream = RawUpstream::start(move |_, mut tcp| {
        let count = count.clone();
        async move {
            let _ = tcp.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await;
            let line = format!("x-filler: {}\r\n", "y".repeat(1000));
            while tcp.write_all(line.as_bytes()).await.is_ok() {
                count.fetch_add(line.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    let status = within("the refusal", client.connect(grpc::to(&upstream.url()))).await.expect_err("endless");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    crate::harness::wait_for("the socket to be closed", async || {
        let before = sent.load(Ordering::SeqCst);
        tokio::task::yield_now().await;
        (before == sent.load(Ordering::SeqCst)).then_some(())
    })
    .await;
    assert_eq!(listed(&mut client).await, 0);
}

#[tokio::test]
async fn a_server_that_never_answers_meets_the_connect_timeout() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    let upstream = RawUpstream::start(|_, tcp| async move {
        let _held = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let request = json!({"url": upstream.url(), "connectTimeoutMs": 100});
    let request: ConnectRequest = serde_json::from_value(request).expect("a request");
    let status = within("the timeout", client.connect(request)).await.expect_err("no answer");
    assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "{status:?}");
    assert_eq!(listed(&mut client).await, 0);
}

#[tokio::test]
async fn frames_that_come_with_the_answer_are_not_lost() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    let upstream = RawUpstream::start(|head, mut tcp| async move {
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept_for(&head)
        );
        // One write, so that head and frame come in one segment.
        let _ = tcp.write_all(&[answer.as_bytes(), &[0x81, 0x02, b'h', b'i']].concat()).await;
        std::future::pending::<()>().await;
    })
    .await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    crate::harness::wait_for("the first frame to be counted", async || {
        let connection = grpc::get(&mut client, &id).await.ok()?;
        (connection.counters?.messages_in == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_listening_is_unavailable() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let status = client.connect(grpc::to(&format!("ws://{address}/"))).await.expect_err("nobody there");
    assert_eq!((status.code(), fault(&status).reason.as_str()), (Code::Unavailable, "dial_failed"));
}
