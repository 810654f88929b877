//! Clients that connect to the service, by a WebSocket library that is not ours.

use super::{Service, ending::close_code, wait::within, wait_for};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::client::Response,
        http::{HeaderName, HeaderValue},
    },
};

/// One WebSocket client of the service.
pub struct Visitor {
    socket: WebSocketStream<TcpStream>,
    pub response: Response,
}

/// The subprotocol with numbers.
pub const NUMBERED: (&str, &str) = ("sec-websocket-protocol", "wsm.rooms.v1");

impl Visitor {
    pub async fn new(service: &Service, path: &str) -> Self {
        Visitor::with(service, path, &[]).await
    }

    pub async fn numbered(service: &Service, path: &str) -> Self {
        Visitor::with(service, path, &[NUMBERED]).await
    }

    pub async fn with(service: &Service, path: &str, headers: &[(&str, &str)]) -> Self {
        match Visitor::try_with(service.ready.http, path, headers).await {
            Ok(visitor) => visitor,
            Err(error) => panic!("{path}: {error:?}"),
        }
    }

    /// In a fleet, where a room may be without somebody that numbers it for a lease.
    pub async fn when_ready(service: &Service, path: &str) -> Self {
        wait_for("a way into the room", async || {
            match Visitor::try_with(service.ready.http, path, &[NUMBERED]).await {
                Ok(visitor) => Some(visitor),
                Err(error) => match *error {
                    Error::Http(response) if response.status() == 503 => None,
                    error => panic!("{path}: {error:?}"),
                },
            }
        })
        .await
    }

    /// Refused: the status and body of the answer.
    pub async fn refused(service: &Service, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        match Visitor::try_with(service.ready.http, path, headers).await {
            Ok(_) => panic!("{path}: let in"),
            Err(error) => match *error {
                Error::Http(response) => {
                    let body = response.body().clone().unwrap_or_default();
                    (response.status().as_u16(), String::from_utf8_lossy(&body).into_owned())
                }
                error => panic!("{path}: {error:?}"),
            },
        }
    }

    pub async fn try_with(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Box<Error>> {
        let tcp = TcpStream::connect(address).await.map_err(Error::Io)?;
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a header's name");
            request.headers_mut().append(name, HeaderValue::from_str(value).expect("a header's value"));
        }
        let (socket, response) =
            within("the handshake", client_async(request, tcp)).await.map_err(Box::new)?;
        Ok(Visitor { socket, response })
    }

    /// The next message; None when the service has gone. Pings are answered by the library.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            match self.socket.next().await?.ok()? {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return Some(message),
            }
        }
    }

    pub async fn text(&mut self) -> String {
        match within("a text for the visitor", self.next()).await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("a text was expected, not {other:?}"),
        }
    }

    pub async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("JSON was expected, not {text}"))
    }

    pub async fn binary(&mut self) -> Vec<u8> {
        match within("bytes for the visitor", self.next()).await {
            Some(Message::Binary(data)) => data.to_vec(),
            other => panic!("bytes were expected, not {other:?}"),
        }
    }

    /// The close code that the service sent, or None when it vanished.
    pub async fn closed(&mut self) -> Option<u16> {
        close_code("the end of the visit", &mut self.socket).await
    }

    pub async fn say(&mut self, text: impl Into<String>) {
        let sent = self.socket.send(Message::text(text.into())).await;
        sent.expect("the service takes what a visitor says");
    }

    pub async fn say_bytes(&mut self, data: Vec<u8>) {
        let sent = self.socket.send(Message::binary(data)).await;
        sent.expect("the service takes what a visitor says");
    }

    pub async fn close(mut self) {
        // The service may have closed already.
        let _ = self.socket.close(None).await;
        while self.next().await.is_some() {}
    }

    /// The bare stream, for a test that reads or writes frame bytes itself.
    pub fn into_stream(self) -> TcpStream {
        self.socket.into_inner()
    }
}
