//! A small HTTP/1.1 client: one connection a request, JSON and server-sent events.

use super::{pki::Pki, wait::within};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpStream;

pub struct Http {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}: no JSON: {}", self.status, self.text()))
    }
}

impl Http {
    pub fn new(address: SocketAddr, tls: Option<&Pki>) -> Self {
        Http { address, tls: tls.map(Pki::client_config) }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = match body {
            None => request.body(Full::default()),
            Some(body) => {
                let request = request.header("content-type", "application/json");
                request.body(Full::from(body.to_string()))
            }
        };
        self.send(request.expect("a request")).await
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        within(&what, async {
            let (head, body) = self.open(request).await.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            Answer { status: head.status.as_u16(), headers: head.headers, body }
        })
        .await
    }

    /// Follows server-sent events; `cursor` is what a browser sends when it comes back.
    pub async fn events(&self, path: &str, cursor: Option<&str>) -> Events {
        let mut request = Request::builder().uri(path).header("accept", "text/event-stream");
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor);
        }
        let response = self.open(request.body(Full::default()).expect("a request")).await;
        let (status, body) = (response.status().as_u16(), response.into_body());
        assert_eq!(status, 200, "{path}");
        Events { body, buffer: BytesMut::new() }
    }

    /// None when nobody answers: for what is still starting.
    pub async fn try_get(&self, path: &str) -> Option<Answer> {
        let request = Request::builder().uri(path).body(Full::default()).expect("a request");
        let (head, body) = self.try_open(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    async fn open(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.try_open(request).await.unwrap_or_else(|error| panic!("{}: {error}", self.address))
    }

    async fn try_open(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        request.headers_mut().entry("host").or_insert(http::HeaderValue::from_static("localhost"));
        let tcp =
            TcpStream::connect(self.address).await.map_err(|error| format!("no connection: {error}"))?;
        match &self.tls {
            None => exchange(TokioIo::new(tcp), request).await,
            Some(config) => {
                let connector = super::pki::connector(config, false);
                let tls = connector.connect(super::pki::localhost(), tcp).await;
                exchange(TokioIo::new(tls.map_err(|error| format!("no TLS: {error}"))?), request).await
            }
        }
    }
}

async fn exchange<T>(io: T, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let shaken = hyper::client::conn::http1::handshake(io).await;
    let (mut sender, connection) = shaken.map_err(|error| format!("no HTTP/1.1: {error}"))?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))
}

#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

pub struct Events {
    body: Incoming,
    buffer: BytesMut,
}

impl Events {
    /// The next event; comments are passed over.
    pub async fn next(&mut self) -> Event {
        within("the next event", async {
            loop {
                if let Some(event) = self.take() {
                    return event;
                }
                let frame =
                    self.body.frame().await.expect("the stream goes on").expect("the stream is whole");
                self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
            }
        })
        .await
    }

    fn take(&mut self) -> Option<Event> {
        loop {
            let end = self.buffer.windows(2).position(|two| two == b"\n\n")?;
            let block = String::from_utf8(self.buffer[..end].to_vec()).expect("UTF-8");
            self.buffer.advance(end + 2);
            let field = |name: &str| {
                let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                lines.collect::<Vec<_>>().join("\n")
            };
            let data = field("data");
            if !data.is_empty() {
                let data = serde_json::from_str(&data).expect("events carry JSON");
                return Some(Event { name: field("event"), id: field("id"), data });
            }
        }
    }
}
