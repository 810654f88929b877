//! The server's side of an opening handshake, for the upstream and the floors.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use std::io;

const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const HEAD_MAX: usize = 16 << 10;

/// The path that was asked for, and the answer; None while the request is not whole.
pub fn answer(request: &[u8]) -> io::Result<Option<(String, Vec<u8>)>> {
    if !request.ends_with(b"\r\n\r\n") {
        return if request.len() < HEAD_MAX { Ok(None) } else { Err(io::ErrorKind::InvalidData.into()) };
    }
    let text = String::from_utf8_lossy(request);
    let path = text.split(' ').nth(1);
    let key = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let (Some(path), Some(key)) = (path, key) else { return Err(io::ErrorKind::InvalidData.into()) };
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(MAGIC).finalize());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Ok(Some((path.to_owned(), answer.into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_answered_as_it_says() {
        let request = b"GET /sink HTTP/1.1\r\nHost: x\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        assert!(answer(&request[..30]).expect("well formed").is_none());
        let (path, answer) = answer(request).expect("well formed").expect("whole");
        assert_eq!(path, "/sink");
        assert!(String::from_utf8_lossy(&answer).contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
}
