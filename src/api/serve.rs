//! One connection of a listener, from accept to its end.

use super::{
    certs::Certificates,
    counters::Counters,
    grpc::GrpcRoutes,
    http::HttpEdge,
    io::{EdgeIo, EdgeStream, SharedIo},
    listen::{Stop, Ticket},
};
use crate::limits;
use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    cell::RefCell,
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const WRONG_PROTOCOL: &str = "this is the gRPC port and speaks HTTP/2 only; REST is on the HTTP port\n";

/// What a port answers.
pub trait Door: Clone + 'static {
    /// False: HTTP/2 only.
    const HTTP1: bool;
    type Answer: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + 'static;
    fn answer(self, request: Request<Incoming>) -> impl Future<Output = Response<Self::Answer>> + 'static;
}

impl Door for HttpEdge {
    const HTTP1: bool = true;
    type Answer = Body;
    fn answer(self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + 'static {
        HttpEdge::answer(self, request)
    }
}

impl Door for GrpcRoutes {
    const HTTP1: bool = false;
    type Answer = tonic::body::Body;
    fn answer(self, request: Request<Incoming>) -> impl Future<Output = Response<Self::Answer>> + 'static {
        GrpcRoutes::answer(self, request)
    }
}

impl Door for Router {
    const HTTP1: bool = true;
    type Answer = Body;
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let answered: Result<_, Infallible> = self.oneshot(request).await;
        answered.unwrap_or_else(|never| match never {})
    }
}

/// In the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub tls: bool,
}

/// What the connections of a listener share.
pub struct Shared {
    pub certificates: Option<Certificates>,
    pub counters: Arc<Counters>,
    pub stop: Stop,
}

/// Held until the first request's head was read.
type Handshake = Rc<RefCell<Option<Ticket>>>;

pub async fn connection<D: Door>(
    tcp: TcpStream,
    address: SocketAddr,
    door: D,
    shared: Rc<Shared>,
    ticket: Ticket,
) {
    let deadline = Instant::now() + limits::HANDSHAKE_DEADLINE;
    let peer = Peer { address, tls: shared.certificates.is_some() };
    let Ok(begun) = timeout_at(deadline, begin(tcp, &shared)).await else {
        shared.counters.handshakes_timed_out.add();
        return;
    };
    let Some((io, preface)) = begun else { return };
    let handshake: Handshake = Rc::new(RefCell::new(Some(ticket)));
    let driver = Driver { shared: &shared, handshake: &handshake, deadline };
    let ended = match (preface, D::HTTP1) {
        (true, _) => {
            handshake.take();
            driver.http2(io, door, peer).await
        }
        (false, true) => driver.http1(io, door, peer).await,
        (false, false) => {
            shared.counters.wrong_protocol.add();
            let _ = timeout_at(deadline, refuse_http1(io)).await;
            Ok(())
        }
    };
    if let Err(error) = ended {
        shared.counters.protocol_errors.add();
        tracing::debug!(%address, %error, "connection ended");
    }
}

/// TLS, then as many bytes as tell HTTP/2 from anything else.
async fn begin(tcp: TcpStream, shared: &Shared) -> Option<(EdgeIo, bool)> {
    let stream = match &shared.certificates {
        None => EdgeStream::Plain(tcp),
        Some(certificates) => match TlsAcceptor::from(certificates.current()).accept(tcp).await {
            Ok(stream) => EdgeStream::Tls(Box::new(stream)),
            Err(_) => {
                shared.counters.tls_failures.add();
                return None;
            }
        },
    };
    let mut io = EdgeIo::new(stream);
    let mut seen = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && seen[..length] == PREFACE[..length] {
        match io.read(&mut seen[length..]).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => length += read,
        }
    }
    io.put_back(Bytes::copy_from_slice(&seen[..length]));
    Some((io, seen[..length] == PREFACE[..]))
}

async fn refuse_http1(mut io: EdgeIo) {
    let length = WRONG_PROTOCOL.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{WRONG_PROTOCOL}"
    );
    if io.write_all(answer.as_bytes()).await.is_err() || io.shutdown().await.is_err() {
        return;
    }
    // Closing over unread bytes would reset the connection and take the answer back.
    let mut rest = [0; 1024];
    for _ in 0..64 {
        if !matches!(io.read(&mut rest).await, Ok(read) if read > 0) {
            return;
        }
    }
}

struct Driver<'a> {
    shared: &'a Shared,
    handshake: &'a Handshake,
    deadline: Instant,
}

impl Driver<'_> {
    async fn http1<D: Door>(&self, io: EdgeIo, door: D, peer: Peer) -> Result<(), Box<dyn Error>> {
        let handshake = self.handshake.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            handshake.take();
            request.extensions_mut().insert(peer);
            let answer = door.clone().answer(request);
            async { Ok::<_, Infallible>(answer.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::NEXT_HEAD_DEADLINE)
            .max_headers(limits::HEAD_FIELDS_MAX)
            .max_header_size(limits::HEAD_BYTES_MAX)
            .max_buf_size(limits::READ_BUFFER_BYTES)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        self.drive(
            &mut connection,
            |connection| connection.as_mut().graceful_shutdown(),
            |_| Poll::Ready(Ok(())),
        )
        .await
    }

    async fn http2<D: Door>(&self, io: EdgeIo, door: D, peer: Peer) -> Result<(), Box<dyn Error>> {
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let answer = door.clone().answer(request);
            async { Ok::<_, Infallible>(answer.await) }
        });
        let io = SharedIo::new(io);
        let connection = http2_settings().serve_connection(TokioIo::new(io.clone()), service);
        let mut connection = pin!(connection);
        self.drive(
            &mut connection,
            |connection| connection.as_mut().graceful_shutdown(),
            |context| io.poll_flush_now(context),
        )
        .await
    }

    /// Polls the connection, then writes what its turn gathered; ends it gently when told to stop,
    /// and at once when its first request does not come in time.
    async fn drive<C, E>(
        &self,
        connection: &mut Pin<&mut C>,
        mut stop_gently: impl FnMut(&mut Pin<&mut C>),
        mut flush: impl FnMut(&mut Context<'_>) -> Poll<std::io::Result<()>>,
    ) -> Result<(), Box<dyn Error>>
    where
        C: Future<Output = Result<(), E>>,
        E: Into<Box<dyn Error>>,
    {
        let mut stop = pin!(self.shared.stop.wait());
        let mut stopping = false;
        let mut late = pin!(sleep_until(self.deadline));
        std::future::poll_fn(|context| {
            if !stopping && stop.as_mut().poll(context).is_ready() {
                stopping = true;
                stop_gently(connection);
            }
            if self.handshake.borrow().is_some() && late.as_mut().poll(context).is_ready() {
                self.shared.counters.handshakes_timed_out.add();
                return Poll::Ready(Ok(()));
            }
            let polled = connection.as_mut().poll(context);
            match flush(context) {
                Poll::Ready(Err(error)) if polled.is_pending() => Poll::Ready(Err(error.into())),
                _ => polled.map_err(Into::into),
            }
        })
        .await
    }
}

fn http2_settings() -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .max_send_buf_size(limits::STREAM_SEND_BUFFER_BYTES)
        .max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(limits::PENDING_RESETS_MAX)
        .max_local_error_reset_streams(limits::STREAM_ERRORS_MAX)
        .keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT);
    builder
}

/// Requests run on the thread of their connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

/// For what must end by itself, but may not take for ever.
pub async fn within(time: std::time::Duration, work: impl Future<Output = ()>) -> bool {
    timeout(time, work).await.is_ok()
}
