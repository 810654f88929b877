//! Who comes in, by which way, and who does not.

use super::send;
use crate::harness::{Service, Visitor, service::Plan, wait_for, within};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[tokio::test]
async fn what_is_wrong_with_a_handshake_is_said_before_the_upgrade() {
    let service = Service::start().await;
    for (path, status) in [
        ("/ws/a%00b", 400),
        ("/ws/a%2Cb", 400),
        ("/ws/%FF", 400),
        ("/ws?room=", 400),
        ("/ws/a?epoch=x&offset=1", 400),
        ("/nowhere", 404),
    ] {
        let (answered, body) = Visitor::refused(&service, path, &[]).await;
        assert_eq!(answered, status, "{path}: {body}");
        assert!(body.contains("\"message\""), "{path}: {body}");
    }
    let long = format!("/ws/{}", "r".repeat(257));
    assert_eq!(Visitor::refused(&service, &long, &[]).await.0, 400);
    let foreign = [("origin", "http://evil.example"), ("cookie", "session=1")];
    assert_eq!(Visitor::refused(&service, "/ws/a", &foreign).await.0, 403);
    let mut fine = Visitor::new(&service, "/ws/caf%C3%A9%2F%20x").await;
    send(&service, "caf%C3%A9%2F%20x", "odd names are names").await;
    assert_eq!(fine.text().await, "odd names are names");
}

/// An HTTP server that answers each request by this function of its body.
async fn authoriser(answer: impl Fn(Value) -> (u16, Value) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/may-i", listener.local_addr().expect("its address"));
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(answer_all(tcp, answer.clone()));
        }
    });
    url
}

async fn answer_all(mut tcp: TcpStream, answer: Arc<dyn Fn(Value) -> (u16, Value) + Send + Sync>) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if tcp.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")).map_or("0", str::trim);
        let length: usize = length.parse().expect("a length");
        while read.len() < end + length {
            if tcp.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let (status, body) = answer(serde_json::from_slice(&read[end..end + length]).expect("JSON"));
        read.drain(..end + length);
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if tcp.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn an_authoriser_says_who_comes_in_and_what_the_others_see() {
    let url = authoriser(|asked| {
        let path = asked["path"].as_str().unwrap_or_default().to_owned();
        match path.as_str() {
            "/ws/secret" => (418, json!({"why": "tea only"})),
            _ => (200, json!({"user": "ada", "rooms": ["news", "lobby"], "tags": {"plan": "gold"}})),
        }
    })
    .await;
    let service = Plan::new().args(&["--ws-auth", "authoriser", "--ws-authoriser", &url]).start().await;
    let (status, body) = Visitor::refused(&service, "/ws/secret", &[]).await;
    assert_eq!((status, body.contains("tea only")), (418, true), "{body}");
    let mut ada = Visitor::new(&service, "/ws/lobby").await;
    let mut again = Visitor::numbered(&service, "/ws/lobby").await;
    send(&service, "news", "to news").await;
    assert_eq!((ada.text().await, again.json().await["data"].clone()), ("to news".into(), json!("to news")));

    let http = service.http();
    let sent = http.post("/v1/users/ada/messages", &json!({"message": "just you"})).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(ada.text().await, "just you");
    let frame = again.json().await;
    assert_eq!((&frame["user"], &frame["data"]), (&json!("ada"), &json!("just you")));
    let listed = http.get("/v1/connections?direction=IN&tag.plan=gold").await.json();
    assert_eq!(listed["connections"].as_array().map(Vec::len), Some(2), "{listed}");
    assert_eq!(listed["connections"][0]["user"], "ada");
    let kicked = http.call("DELETE", "/v1/users/ada/connections?code=4001&reason=out", None).await;
    assert_eq!(super::number(&kicked.json()["disconnected"]), 2);
    assert_eq!((ada.closed().await, again.closed().await), (Some(4001), Some(4001)));
}

#[tokio::test]
async fn an_authoriser_that_is_away_lets_nobody_in_and_says_so() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", gone.local_addr().expect("its address"));
    drop(gone);
    let service = Plan::new().args(&["--ws-auth", "authoriser", "--ws-authoriser", &url]).start().await;
    assert_eq!(Visitor::refused(&service, "/ws/a", &[]).await.0, 503);
}

#[tokio::test]
async fn a_route_names_rooms_tags_and_ids_and_says_what_becomes_of_messages() {
    let service = Plan::new()
        .args(&[
            "--route",
            "/chat/ws/{room}",
            "--route",
            "/ocpp/{station} id={station} rooms=stations subprotocols=ocpp1.6",
        ])
        .args(&["--route", "/feed/{desk} rooms=desk-{desk} messages=room:desk-{desk}"])
        .start()
        .await;
    let mut chat = Visitor::new(&service, "/chat/ws/tea").await;
    send(&service, "tea", "cup").await;
    assert_eq!(chat.text().await, "cup");

    let station = [("sec-websocket-protocol", "ocpp1.6")];
    let mut older = Visitor::with(&service, "/ocpp/CP-1", &station).await;
    assert_eq!(older.response.headers()["sec-websocket-protocol"], "ocpp1.6");
    let got = service.http().get("/v1/connections/CP-1").await;
    assert_eq!(got.json()["connection"]["tags"]["station"], "CP-1", "{}", got.text());
    let mut newer = Visitor::with(&service, "/ocpp/CP-1", &station).await;
    assert_eq!(older.closed().await, Some(1008));
    let raw = service.http().post("/v1/connections/CP-1/sendraw", &json!({"message": "[2]"})).await;
    assert_eq!(raw.status, 200, "{}", raw.text());
    assert_eq!(newer.text().await, "[2]");

    let (mut one, mut two) =
        (Visitor::new(&service, "/feed/fx").await, Visitor::new(&service, "/feed/fx").await);
    one.say_bytes(vec![1, 2]).await;
    one.say("from one").await;
    assert_eq!((two.binary().await, two.text().await), (vec![1, 2], "from one".to_owned()));
    assert_eq!(one.binary().await, [1, 2]);
}

#[tokio::test]
async fn bytes_behind_the_handshake_are_frames_and_unmasked_ones_end_it() {
    let service = Service::start().await;
    let mut tcp = TcpStream::connect(service.ready.http).await.expect("a connection");
    let head = "GET /ws/a HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // An unmasked text.
    let frames = [0x81, 0x01, b'x'];
    tcp.write_all(&[head.as_bytes(), &frames].concat()).await.expect("written");
    let mut answer = Vec::new();
    within("the end", tcp.read_to_end(&mut answer)).await.expect("an orderly end");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}");
    assert!(
        text.to_ascii_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{text}"
    );
    let frames = &answer[answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4..];
    assert_eq!((frames[0], &frames[2..4]), (0x88, &1002u16.to_be_bytes()[..]));
    wait_for("the violation to be counted", async || {
        (service.metric("wsm_protocol_violations_total", &[]).await == 1.0).then_some(())
    })
    .await;
}
