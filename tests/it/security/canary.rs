//! Secrets with names of their own, put in everywhere they may stand; then every output is searched.

use super::{Neighbour, request};
use crate::harness::{Client, Service, Upstream, grpc, pki::Pki, service::Plan, within};
use serde_json::json;
use std::{fs, path::Path};
use tokio_stream::StreamExt;
use websocket_manager::proto::{
    ConnectionStatus, ListRequest, ReceiveRequest, WatchRequest, receive_request::Source,
};

const KEYS: [&str; 6] = ["token", "key", "secret", "signature", "auth", "password"];
const HEADERS: [&str; 4] = ["authorization", "cookie", "x-api-key", "x-anything"];

/// Every secret that is given, and the forms in which it could come out.
struct Canaries(Vec<String>);

impl Canaries {
    fn new(pki_key: &str) -> Self {
        let mut list = vec!["canary-password-0".to_owned(), "Y2FuYXJ5".to_owned(), "OmNhbmFyeS1".to_owned()];
        list.extend(KEYS.iter().map(|key| format!("canary-{key}-1")));
        list.extend(HEADERS.iter().map(|name| format!("canary-{name}-2")));
        // A line of the key's PEM; not the first, which all keys of one kind share.
        list.extend(pki_key.lines().nth(2).map(str::to_owned));
        Canaries(list)
    }

    fn missing_from(&self, what: &str, bytes: &[u8]) {
        for canary in &self.0 {
            let shown = bytes.windows(canary.len()).any(|part| part == canary.as_bytes());
            assert!(!shown, "{canary} is in {what}: {:.2000}", String::from_utf8_lossy(bytes));
        }
    }
}

fn files_below(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push((path.to_string_lossy().into_owned(), fs::read(&path).expect("a file")));
        }
    }
}

fn with_secrets(scheme: &str, host: &str, id: &str, tls: Option<&Pki>) -> serde_json::Value {
    let query: Vec<_> = KEYS.iter().map(|key| format!("{key}=canary-{key}-1")).collect();
    let url = format!("{scheme}://canary:canary-password-0@{host}/feed?symbol=BTC&{}", query.join("&"));
    let headers: serde_json::Map<_, _> =
        HEADERS.iter().map(|name| ((*name).to_owned(), json!(format!("canary-{name}-2")))).collect();
    let mut value = json!({
        "url": url, "connectionId": id, "headers": headers, "autoReconnect": true,
        "reconnect": {"baseMs": 1, "maxMs": 20}, "publish": {"topic": "t"}, "connectTimeoutMs": 2000,
    });
    if let Some(pki) = tls {
        let client = pki.client("caller");
        value["tls"] = json!({"ca": pki.ca(), "clientCert": client.cert, "clientKey": client.key});
    }
    value
}

async fn said(client: &mut Client, canaries: &Canaries) {
    let list = client.list(ListRequest::default()).await.expect("a list").into_inner();
    canaries.missing_from("List", format!("{list:?}").as_bytes());
    for source in [Source::Topic("t".into()), Source::Topic("websocketmanager.lifecycle".into())] {
        let request = ReceiveRequest { source: Some(source), from_start: true, ..Default::default() };
        let mut stream = client.receive(request).await.expect("a stream").into_inner();
        let first = within("an event", stream.next()).await;
        canaries.missing_from("Receive", format!("{first:?}").as_bytes());
    }
}

/// Errors that could quote what was given.
async fn refused(
    service: &Service,
    client: &mut Client,
    connect: &serde_json::Value,
    key: &str,
    canaries: &Canaries,
) {
    let mut errors = Vec::new();
    let dead = with_secrets("ws", "127.0.0.1:1", "dead", None);
    let denied = with_secrets("ws", "10.0.0.1", "denied", None);
    let mut bad_url = connect.clone();
    bad_url["url"] = json!("ws://canary:canary-password-0@[::1/?token=canary-token-1");
    let mut in_use = connect.clone();
    in_use["tags"] = json!({"other": "settings"});
    let mut unasked = connect.clone();
    unasked["tls"] = json!({"clientKey": key, "clientCert": key});
    let mut bad_header = connect.clone();
    bad_header["headers"] = json!({"x-api-key": "canary-x-api-key-2\r\n"});
    for body in [dead, denied, bad_url, unasked, bad_header, in_use] {
        let answer = service.http().post("/v1/connections", &body).await;
        errors.push(answer.text());
        if let Err(status) = client.connect(request(body)).await {
            errors.push(format!("{status:?}"));
        }
    }
    let mut typed = connect.clone();
    typed["headers"]["x-api-key"] = json!(["canary-x-api-key-2"]);
    errors.push(service.http().post("/v1/connections", &typed).await.text());
    canaries.missing_from("errors", errors.join("\n").as_bytes());
}

#[tokio::test]
async fn secrets_come_out_nowhere() {
    let service = Plan::new().args(&["--log-level", "trace", "--egress-allow", "::1/128"]).start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let pki = Pki::new();
    let mut plain = Upstream::start().await;
    let mut secure = Upstream::start_tls(pki.acceptor(&pki.server("localhost"), true)).await;
    let mut client = service.grpc().await;
    let mut watched = client.watch(WatchRequest::default()).await.expect("a stream").into_inner();

    let connect = with_secrets("ws", &plain.address.to_string(), "plain", None);
    grpc::dial(&mut client, request(connect.clone())).await;
    let connect_tls =
        with_secrets("wss", &format!("localhost:{}", secure.address.port()), "secure", Some(&pki));
    let key = connect_tls["tls"]["clientKey"].as_str().expect("a key").to_owned();
    let canaries = Canaries::new(&key);
    grpc::dial(&mut client, request(connect_tls)).await;

    let mut peer = plain.peer().await;
    assert_eq!(peer.headers["x-api-key"], "canary-x-api-key-2", "the upstream gets what it is to get");
    assert!(peer.path.contains("canary-token-1"));
    let mut peer_tls = secure.peer().await;
    for peer in [&mut peer, &mut peer_tls] {
        peer.say("tick").await;
        peer.garbage(&[0xff, 0xff]).await;
        peer.end().await;
    }
    plain.peer().await;
    secure.peer().await;
    for id in ["plain", "secure"] {
        let connection = grpc::once(&mut client, id, ConnectionStatus::Connected).await;
        canaries.missing_from("Get", format!("{connection:?}").as_bytes());
    }

    refused(&service, &mut client, &connect, &key, &canaries).await;
    said(&mut client, &canaries).await;
    let first = within("a lifecycle event", watched.next()).await;
    canaries.missing_from("Watch", format!("{first:?}").as_bytes());
    for path in ["/v1/connections", "/v1/connections/plain", "/readyz", "/openapi.json"] {
        canaries.missing_from(path, &service.http().get(path).await.body);
    }
    for path in ["/metrics", "/config", "/readyz"] {
        canaries.missing_from(path, &service.admin().get(path).await.body);
    }
    neighbour.is_well().await;
    on_disk_and_in_the_log(service, &canaries).await;
}

async fn on_disk_and_in_the_log(mut service: Service, canaries: &Canaries) {
    let folder = service.data_dir();
    assert_eq!(service.terminate().await, 0, "{}", service.log());
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    for text in [&b"tick"[..], b"symbol=BTC"] {
        let stands = files.iter().any(|(_, bytes)| bytes.windows(text.len()).any(|part| part == text));
        assert!(stands, "what is no secret is found, so the search does search");
    }
    for (path, bytes) in files {
        canaries.missing_from(&path, &bytes);
    }
    canaries.missing_from("the log", service.log().as_bytes());
}
