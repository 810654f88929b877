//! How a WebSocket ends, as a library that is not ours sees it.

use super::wait::within;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

/// The close code that the service sent, or None when it vanished; what comes before is passed over.
pub async fn close_code<S>(what: &str, socket: &mut WebSocketStream<S>) -> Option<u16>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within(what, async {
        loop {
            if let Message::Close(frame) = socket.next().await?.ok()? {
                return Some(frame.map_or(1005, |frame| frame.code.into()));
            }
        }
    })
    .await
}
