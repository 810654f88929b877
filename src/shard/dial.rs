//! From a specification to an open socket: resolve, check every address, connect to what was
//! checked, TLS, handshake. Nothing looks a name up twice and no redirect is followed.

use super::io::Io;
use crate::{
    core::{
        egress::{self, Policy},
        io::DialFailed,
        reason::{CloseCause, Fault, FaultKind},
        redact,
        spec::{Dial, Spec},
        target::Host,
    },
    limits, pki,
    ports::Resolver,
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tokio_tungstenite::tungstenite::{
    Error as WsError,
    error::UrlError,
    handshake::client::{Request, generate_key},
    http::{HeaderValue, header},
};

pub struct Dialler {
    pub policy: Policy,
    pub resolver: Arc<dyn Resolver>,
    /// For connections that bring no TLS settings of their own.
    pub tls: Arc<ClientConfig>,
    pub user_agent: String,
}

pub struct Dialled {
    pub io: Io,
    /// Bytes that came behind the handshake's answer.
    pub rest: Vec<u8>,
    pub subprotocol: Option<Arc<str>>,
}

impl Dialler {
    /// Bounded by the core, which aborts it at its deadline.
    pub async fn dial(&self, spec: &Spec) -> Result<Dialled, DialFailed> {
        let dial = &spec.dial;
        let addresses = self.addresses(dial).await?;
        let tcp =
            connect(dial, &addresses).await.map_err(|error| failed(format!("cannot connect: {error}")))?;
        tcp.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        if !dial.target.scheme.is_tls() {
            let (tcp, rest, subprotocol) = handshake(dial, tcp, &self.user_agent).await?;
            return Ok(Dialled { io: Io::Plain(tcp), rest, subprotocol });
        }
        let config = self.tls_config(dial)?;
        let name = server_name(dial)?;
        let tls = TlsConnector::from(config)
            .connect(name, tcp)
            .await
            .map_err(|error| failed(format!("TLS: {error}")))?;
        let (tls, rest, subprotocol) = handshake(dial, tls, &self.user_agent).await?;
        Ok(Dialled { io: Io::Tls(Box::pin(tls)), rest, subprotocol })
    }

    async fn addresses(&self, dial: &Dial) -> Result<Vec<SocketAddr>, DialFailed> {
        let target = &dial.target;
        let found = match (target.ip(), target.lookup_name()) {
            (Some(ip), _) => vec![SocketAddr::new(ip, target.port)],
            (None, Some(name)) => self
                .resolver
                .resolve(&name, target.port)
                .await
                .map_err(|error| failed(format!("cannot resolve '{name}': {error}")))?,
            (None, None) => Vec::new(),
        };
        let host = target.host.to_string();
        egress::check(&self.policy, &host, target.port, &found)
            .map_err(|fault| DialFailed { cause: CloseCause::EgressDenied, fault })
    }

    fn tls_config(&self, dial: &Dial) -> Result<Arc<ClientConfig>, DialFailed> {
        let Some(tls) = &dial.tls else { return Ok(self.tls.clone()) };
        if tls.ca.is_empty() && tls.client_cert.is_empty() {
            return Ok(self.tls.clone());
        }
        pki::client_config(&tls.ca, &tls.client_cert, &tls.client_key)
            .map_err(|fault| DialFailed { cause: CloseCause::DialFailed, fault })
    }
}

fn server_name(dial: &Dial) -> Result<ServerName<'static>, DialFailed> {
    let given = dial.tls.as_ref().map_or("", |tls| tls.server_name.as_str());
    let name = if !given.is_empty() {
        given.to_owned()
    } else {
        match &dial.target.host {
            Host::V4(ip) => ip.to_string(),
            Host::V6(ip) => ip.to_string(),
            Host::Domain(name) => name.trim_end_matches('.').to_owned(),
        }
    };
    ServerName::try_from(name).map_err(|_| failed("the server name is not valid for TLS".to_owned()))
}

/// The addresses in order, each with its share of the time that the core gives.
async fn connect(dial: &Dial, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let share = dial.timeout / addresses.len().max(1) as u32;
    for address in addresses {
        match tokio::time::timeout(share, connect_one(dial.source_ip, *address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn connect_one(source: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await
}

/// The opening handshake. The stream is read no further than the end of the answer's head, so
/// that frames which come with it are not lost.
async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    dial: &Dial,
    stream: S,
    user_agent: &str,
) -> Result<(S, Vec<u8>, Option<Arc<str>>), DialFailed> {
    let request = request(dial, user_agent)?;
    let head = HeadOnly { stream, seen: 0, read: 0, done: false, pending: Vec::new(), at: 0 };
    let (socket, response) =
        tokio_tungstenite::client_async(request, head).await.map_err(|error| refused(&error))?;
    // None was offered, and the library does not look: frames of one could only be misread.
    if response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(failed("the server chose an extension that was not offered".to_owned()));
    }
    let subprotocol = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let subprotocol = subprotocol.and_then(|value| value.to_str().ok()).map(Arc::from);
    let head = socket.into_inner();
    let rest = head.pending[head.at..].to_vec();
    Ok((head.stream, rest, subprotocol))
}

fn request(dial: &Dial, user_agent: &str) -> Result<Request, DialFailed> {
    let target = &dial.target;
    let mut request = Request::builder()
        .method("GET")
        .uri(format!("{}://{}{}", target.scheme.name(), target.authority(), target.request_target()))
        .header(header::HOST, target.authority())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key());
    let named = |name: &str| dial.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    if !named("user-agent") {
        request = request.header(header::USER_AGENT, user_agent);
    }
    if !dial.subprotocols.is_empty() {
        request = request.header(header::SEC_WEBSOCKET_PROTOCOL, dial.subprotocols.join(", "));
    }
    if let Some(basic) = target.basic_authorization()
        && !named("authorization")
    {
        request = request.header(header::AUTHORIZATION, sensitive(basic.expose())?);
    }
    for (name, value) in &dial.headers {
        request = request.header(&**name, sensitive(value)?);
    }
    request.body(()).map_err(|error| failed(format!("the handshake request cannot be built: {error}")))
}

fn sensitive(value: &str) -> Result<HeaderValue, DialFailed> {
    let mut value =
        HeaderValue::from_str(value).map_err(|_| failed("a header's value is not valid".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn failed(message: String) -> DialFailed {
    let message = redact::escape_log(&redact::redact_text(&message)).into_owned();
    DialFailed { cause: CloseCause::DialFailed, fault: Fault::new(FaultKind::DialFailed, message) }
}

fn refused(error: &WsError) -> DialFailed {
    let text = match error {
        WsError::Http(response) if response.status().is_redirection() => {
            format!("the server answered {}: redirects are not followed", response.status())
        }
        WsError::Http(response) => format!("the server answered {} to the handshake", response.status()),
        WsError::Url(UrlError::UnableToConnect(_)) => "cannot connect".to_owned(),
        other => format!("the handshake failed: {other}"),
    };
    failed(text)
}

/// Lets the handshake read up to the empty line that ends a response's head, and no byte more.
struct HeadOnly<S> {
    stream: S,
    /// The last four bytes handed out.
    seen: u32,
    read: usize,
    done: bool,
    pending: Vec<u8>,
    at: usize,
}

const END_OF_HEAD: u32 = 0x0d0a_0d0a;

impl<S: AsyncRead + Unpin> AsyncRead for HeadOnly<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.done {
            return Poll::Pending;
        }
        if this.at == this.pending.len() {
            let mut block = [0; 1024];
            let mut space = ReadBuf::new(&mut block);
            std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, &mut space))?;
            this.pending = space.filled().to_vec();
            this.at = 0;
        }
        while this.at < this.pending.len() && out.remaining() > 0 && !this.done {
            let byte = this.pending[this.at];
            out.put_slice(&[byte]);
            this.at += 1;
            this.read += 1;
            this.seen = (this.seen << 8) | u32::from(byte);
            this.done = this.seen == END_OF_HEAD;
        }
        if this.read > limits::HANDSHAKE_HEAD_BYTES_MAX {
            return Poll::Ready(Err(io::Error::other("the response head is too long")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadOnly<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The system's resolver, on the runtime's threads for blocking work.
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> crate::ports::Resolved<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, port)).await;
            found
                .map(Iterator::collect)
                .map_err(|error| crate::ports::BackendError { message: error.to_string(), transient: true })
        })
    }
}
