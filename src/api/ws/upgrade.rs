//! The answer 101, and what becomes of the connection behind it.

use super::{Admission, handshake::Offer};
use crate::{
    api::{
        counters::WsCounters,
        io::{EdgeIo, EdgeStream, Taken},
    },
    core::{id::ConnectionId, io::SocketKey},
    shard::mailbox::Io,
};
use axum::body::Body;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
};
use hyper::upgrade::OnUpgrade;
use std::{io, sync::Arc};

/// Extensions are never agreed upon.
pub fn switching(offer: &Offer, subprotocol: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let texts = [(SEC_WEBSOCKET_ACCEPT, Some(&*offer.accept)), (SEC_WEBSOCKET_PROTOCOL, subprotocol)];
    for (name, text) in texts {
        // Both are tokens or base64.
        if let Some(Ok(value)) = text.map(HeaderValue::from_str) {
            headers.insert(name, value);
        }
    }
    response
}

/// Waits for the 101 to be on its way, then gives the socket to its shard. When the client is gone
/// before, nothing need be done: the shard drops what it admitted by its deadline.
pub fn hand_over(
    upgrade: OnUpgrade,
    admission: Arc<dyn Admission>,
    id: ConnectionId,
    socket: SocketKey,
    counters: Arc<WsCounters>,
) {
    tokio::task::spawn_local(async move {
        match take(upgrade).await {
            Ok(Taken { stream, read_ahead }) => {
                admission.attach(&id, socket, stream.into(), read_ahead.into())
            }
            Err(error) => {
                counters.vanished.add();
                tracing::debug!(%id, %error, "a client was gone before it had its answer");
            }
        }
    });
}

async fn take(upgrade: OnUpgrade) -> io::Result<Taken> {
    EdgeIo::take(upgrade.await.map_err(io::Error::other)?).await
}

impl From<EdgeStream> for Io {
    fn from(stream: EdgeStream) -> Self {
        match stream {
            EdgeStream::Plain(tcp) => Io::Plain(tcp),
            EdgeStream::Tls(tls) => Io::Tls(Box::into_pin(tls)),
        }
    }
}
