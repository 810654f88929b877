//! Where readers come in, and what is spoken there.

use crate::frames::{self, From};
use std::net::SocketAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A message a frame: the payload and nothing else.
    Plain,
    /// `wsm.rooms.v1`: JSON frames with numbers, and gaps that are announced.
    Numbered,
    /// Plain, and each message goes back as it came: a device that answers commands.
    Answering,
    NatsOverWebSocket,
    NatsOverTcp,
    /// No handshake, and what comes back is only counted: a command connection to Redis.
    Ignored,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub path: String,
    pub wire: Wire,
    /// The server says something when a reader is a member, which is after it is connected.
    pub greets: bool,
    /// On a NATS server: whether it hears [`SUBJECT`], or only speaks.
    pub listens: bool,
    /// Of the socket, where the system's own would hide that a reader is slow.
    pub receive_buffer: Option<usize>,
}

/// What every subscriber of a NATS server hears.
pub const SUBJECT: &str = "r";
/// The key that RFC 6455 uses as its example, and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPTED: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

impl Target {
    pub fn plain(address: SocketAddr, path: &str) -> Self {
        Target {
            address,
            path: path.to_owned(),
            wire: Wire::Plain,
            greets: false,
            listens: true,
            receive_buffer: None,
        }
    }

    pub fn greeting(address: SocketAddr, path: &str) -> Self {
        Target { greets: true, ..Target::plain(address, path) }
    }

    /// The first bytes of a connection.
    pub fn opening(&self) -> Vec<u8> {
        match self.wire {
            Wire::NatsOverTcp => return self.nats_greeting(),
            Wire::Ignored => return Vec::new(),
            _ => {}
        }
        let subprotocol = match self.wire {
            Wire::Numbered => "Sec-WebSocket-Protocol: wsm.rooms.v1\r\n",
            _ => "",
        };
        let Target { address, path, .. } = self;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{subprotocol}\r\n"
        )
        .into_bytes()
    }

    /// What follows when the server has answered the handshake.
    pub fn after_handshake(&self) -> Option<Vec<u8>> {
        (self.wire == Wire::NatsOverWebSocket).then(|| {
            let mut frame = Vec::new();
            frames::put(&mut frame, From::Client, frames::BINARY, &self.nats_greeting());
            frame
        })
    }

    fn nats_greeting(&self) -> Vec<u8> {
        let subscribe = if self.listens { format!("SUB {SUBJECT} 1\r\n") } else { String::new() };
        format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\n{subscribe}PING\r\n").into_bytes()
    }
}

/// The length of a response's head, when it is whole; an error when it is no 101, or another's.
pub fn response_head(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() < HEAD_MAX {
            Ok(None)
        } else {
            Err("a response head without an end".to_owned())
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101") {
        let rest = String::from_utf8_lossy(&bytes[end..bytes.len().min(end + 300)]);
        return Err(format!("'{status}' instead of an upgrade: {}", rest.trim()));
    }
    if !head.contains(ACCEPTED) {
        return Err("the answer to another handshake".to_owned());
    }
    Ok(Some(end + 4))
}

const HEAD_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_to_its_end_and_not_beyond() {
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPTED}\r\n\r\n");
        let with_frame = [head.as_bytes(), b"\x81\x02hi"].concat();
        for cut in 0..head.len() {
            assert_eq!(response_head(&with_frame[..cut]), Ok(None));
        }
        assert_eq!(response_head(&with_frame), Ok(Some(head.len())));
    }

    #[test]
    fn a_refusal_is_told_as_the_server_put_it() {
        let refused =
            response_head(b"HTTP/1.1 503 Service Unavailable\r\n\r\ntoo many").expect_err("refused");
        assert!(refused.contains("503 Service Unavailable") && refused.contains("too many"), "{refused}");
        let other =
            response_head(b"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: x\r\n\r\n").expect_err("refused");
        assert!(other.contains("another handshake"), "{other}");
    }
}
