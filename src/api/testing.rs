//! A running listener over the service as it is, and a client that speaks bytes.

pub mod rooms;

use super::{
    counters::Counters,
    http::{self, HttpEdge, HttpSettings},
    listen::{self, ListenSettings, Stop, StopTrigger},
    serve::Door,
    service::Service,
};
use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

pub const ANY: &str = "127.0.0.1:0";

/// Runs a test as a shard runs: one thread, one runtime, local tasks.
pub fn on_a_shard<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs")
    })
}

pub struct Running {
    pub address: SocketAddr,
    pub counters: Arc<Counters>,
    pub stop: StopTrigger,
    pub ended: JoinHandle<std::io::Result<usize>>,
}

pub fn start<D: Door>(door: D) -> Running {
    start_with(door, None, Arc::default())
}

pub fn start_with<D: Door>(
    door: D,
    certificates: Option<super::certs::Certificates>,
    counters: Arc<Counters>,
) -> Running {
    let listener = listen::bind(ANY.parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, stop) = Stop::new();
    let settings =
        ListenSettings { certificates, counters: counters.clone(), stop, drain: Duration::from_millis(300) };
    let ended = tokio::task::spawn_local(listen::run(listener, door, settings));
    Running { address, counters, stop: trigger, ended }
}

pub fn edge() -> HttpEdge {
    http::router(&service(), HttpSettings::default())
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// One HTTP/1.1 request on a connection of its own; `headers` end in CRLF each.
pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    raw(
        address,
        &format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{length}{headers}\r\n{body}"
        ),
    )
    .await
}

pub async fn raw(address: SocketAddr, request: &str) -> Answer {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    tcp.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// A service that answers every call with "not started".
pub fn service() -> Service {
    Service::unstarted()
}
