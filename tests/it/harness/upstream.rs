//! Upstreams on loopback. A test holds each connection as a `Peer` and decides every move of it,
//! or lets a handler do so; a raw upstream speaks no WebSocket at all.

use super::{ending::close_code, wait::within};
use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Upstream {
    pub address: SocketAddr,
    scheme: &'static str,
    peers: mpsc::Receiver<Peer>,
    taken: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection of the service, seen from the other end.
pub struct Peer {
    socket: WebSocketStream<Box<dyn Stream>>,
    /// Of the handshake.
    pub headers: HeaderMap,
    pub path: String,
}

const RECEIVE_BYTES: u32 = 64 * 1024;
const BACKLOG: u32 = 1024;
/// Peers that wait for a test to take them.
const WAITING: usize = 256;

impl Upstream {
    /// Every connection waits for `peer()`.
    pub async fn start() -> Self {
        Self::bind("127.0.0.1:0", None).await
    }

    /// At an address that is known before: for an upstream that comes back.
    pub async fn start_at(address: SocketAddr) -> Self {
        Self::bind(&address.to_string(), None).await
    }

    pub async fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::bind("127.0.0.1:0", Some(acceptor)).await
    }

    /// Sends back whatever comes.
    pub async fn echo() -> Self {
        Self::handled(|mut peer| async move {
            while let Some(message) = peer.next().await {
                if (message.is_text() || message.is_binary()) && !peer.try_send(message).await {
                    break;
                }
            }
        })
        .await
    }

    /// Each connection is given to its own run of `handler`.
    pub async fn handled<H, R>(handler: H) -> Self
    where
        H: Fn(Peer) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let mut upstream = Self::start().await;
        let (_, nobody) = mpsc::channel(1);
        let mut peers = std::mem::replace(&mut upstream.peers, nobody);
        tokio::spawn(async move {
            while let Some(peer) = peers.recv().await {
                tokio::spawn(handler(peer));
            }
        });
        upstream
    }

    async fn bind(address: &str, tls: Option<TlsAcceptor>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an address can be taken again");
        // Small, so that an upstream that stops reading is soon felt.
        socket.set_recv_buffer_size(RECEIVE_BYTES).expect("a buffer size");
        socket.bind(address.parse().expect("an address")).expect("a free port");
        let listener = socket.listen(BACKLOG).expect("it listens");
        let address = listener.local_addr().expect("an address");
        let (send, peers) = mpsc::channel(WAITING);
        let taken = Arc::new(AtomicUsize::new(0));
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let task = tokio::spawn(accept(listener, tls, send, taken.clone()));
        Upstream { address, scheme, peers, taken, task }
    }
}

impl Upstream {
    pub fn url(&self) -> String {
        // By name, so that a certificate can be checked; the service resolves it to loopback.
        let host = if self.scheme == "wss" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}/feed", self.scheme, self.address.port())
    }

    /// The next connection that the service opened.
    pub async fn peer(&mut self) -> Peer {
        within("a connection to the upstream", self.peers.recv()).await.expect("the upstream lives")
    }

    /// Handshakes that were completed.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// No longer listens; connections that are open stay.
    pub async fn stop(mut self) -> SocketAddr {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.address
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    peers: mpsc::Sender<Peer>,
    taken: Arc<AtomicUsize>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, peers, taken) = (tls.clone(), peers.clone(), taken.clone());
        tokio::spawn(async move {
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(tcp),
                Some(acceptor) => match acceptor.accept(tcp).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => return,
                },
            };
            if let Some(peer) = Peer::shake_hands(stream).await {
                taken.fetch_add(1, Ordering::SeqCst);
                let _ = peers.send(peer).await;
            }
        });
    }
}

impl Peer {
    async fn shake_hands(stream: Box<dyn Stream>) -> Option<Self> {
        let (mut headers, mut path) = (HeaderMap::new(), String::new());
        // The library's signature asks for this large error.
        #[allow(clippy::result_large_err)]
        let look = |request: &Request, mut response: Response| {
            headers = request.headers().clone();
            path = request.uri().to_string();
            let first = headers.get("sec-websocket-protocol").and_then(|value| value.to_str().ok());
            if let Some(first) = first.and_then(|offer| offer.split(',').next()) {
                let value = first.trim().parse().expect("a header value");
                response.headers_mut().insert("sec-websocket-protocol", value);
            }
            Ok(response)
        };
        let socket = accept_hdr_async(stream, look).await.ok()?;
        Some(Peer { socket, headers, path })
    }

    /// The next message; None when the service has gone. Pings are answered by the library.
    pub async fn next(&mut self) -> Option<Message> {
        self.socket.next().await?.ok()
    }

    /// The next text; panics when something else comes, or nothing.
    pub async fn text(&mut self) -> String {
        loop {
            match within("a text at the upstream", self.next()).await {
                Some(Message::Text(text)) => return text.to_string(),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("a text was expected, not {other:?}"),
            }
        }
    }

    pub async fn binary(&mut self) -> Vec<u8> {
        loop {
            match within("bytes at the upstream", self.next()).await {
                Some(Message::Binary(data)) => return data.to_vec(),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("bytes were expected, not {other:?}"),
            }
        }
    }

    /// The close code that the service sent, or None when it vanished.
    pub async fn closed(&mut self) -> Option<u16> {
        close_code("the end of the connection", &mut self.socket).await
    }

    pub async fn say(&mut self, text: impl Into<String>) {
        assert!(self.try_send(Message::text(text.into())).await, "the service takes what the upstream says");
    }

    pub async fn say_bytes(&mut self, data: Vec<u8>) {
        assert!(self.try_send(Message::binary(data)).await, "the service takes what the upstream says");
    }

    pub async fn try_send(&mut self, message: Message) -> bool {
        self.socket.send(message).await.is_ok()
    }

    pub async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let _ = self.socket.close(Some(frame)).await;
        while self.next().await.is_some() {}
    }

    /// Ends the stream without a close frame.
    pub async fn end(&mut self) {
        let _ = self.socket.get_mut().shutdown().await;
    }

    /// Bytes past the library: broken frames.
    pub async fn garbage(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).await.expect("the bytes leave");
    }

    /// The bare stream, for a test that reads frame bytes itself. Nothing may have been sent yet.
    pub fn into_stream(self) -> Box<dyn Stream> {
        self.socket.into_inner()
    }
}

/// Answers the handshake of each connection with these bytes and holds the connection.
pub struct RawUpstream {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RawUpstream {
    /// `answer` gets the request's head and the stream.
    pub async fn start<H, R>(answer: H) -> Self
    where
        H: Fn(String, TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let head = read_head(&mut tcp).await;
                    answer(head, tcp).await;
                });
            }
        });
        RawUpstream { address, task }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/feed", self.address)
    }
}

async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && tcp.read_exact(&mut byte).await.is_ok() {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}
