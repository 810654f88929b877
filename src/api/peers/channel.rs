//! The connections of one thread to one member's gRPC port.

use crate::{limits, ports::Member};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

/// How members are reached when their ports speak TLS.
pub type PeerTls = Option<Arc<rustls::ClientConfig>>;

/// Connected; an error names the address.
pub async fn connect(member: &Member, tls: &PeerTls) -> Result<Channel, String> {
    let address = member.address.clone();
    let failed = |why: String| format!("instance {} at {address} cannot be reached: {why}", member.instance);
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| failed(format!("its address is none: {error}")))?
        .connect_timeout(limits::PEER_OPEN_TIMEOUT)
        .initial_stream_window_size(limits::CONNECTION_WINDOW_BYTES)
        .initial_connection_window_size(4 * limits::CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(limits::PEER_KEEPALIVE)
        .keep_alive_timeout(limits::PEER_KEEPALIVE)
        .keep_alive_while_idle(true);
    let (address, tls) = (member.address.clone(), tls.clone());
    let connector = tower::service_fn(move |_: http::Uri| {
        let (address, tls) = (address.clone(), tls.clone());
        async move { dial(&address, tls).await.map(TokioIo::new) }
    });
    let connecting = endpoint.connect_with_connector(connector);
    match tokio::time::timeout(limits::PEER_OPEN_TIMEOUT, connecting).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(failed(cause(&error))),
        Err(_) => Err(failed("it does not answer".to_owned())),
    }
}

/// The innermost error says what happened; the outer ones say "transport error".
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

async fn dial(address: &str, tls: PeerTls) -> io::Result<PeerIo> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(PeerIo::Plain(tcp)) };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "its host is no name for TLS"))?;
    Ok(PeerIo::Tls(Box::new(TlsConnector::from(tls).connect(name, tcp).await?)))
}

enum PeerIo {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for PeerIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            PeerIo::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            PeerIo::Tls(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            PeerIo::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            PeerIo::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            PeerIo::Plain(io) => Pin::new(io).poll_flush(cx),
            PeerIo::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            PeerIo::Plain(io) => Pin::new(io).poll_shutdown(cx),
            PeerIo::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
