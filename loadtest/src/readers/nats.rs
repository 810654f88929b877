//! What a NATS server says to a subscriber: lines, and payloads of announced length. Over WebSocket a
//! frame holds some of this stream, not a message each.

use std::io;

#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    Message(&'a [u8]),
    Ping,
    Pong,
    Info,
}

#[derive(Default)]
pub struct Lines {
    held: Vec<u8>,
}

/// A line that is longer is no line; INFO is the longest.
const LINE_MAX: usize = 64 << 10;

impl Lines {
    pub fn feed(&mut self, bytes: &[u8], mut on: impl FnMut(Said)) -> io::Result<()> {
        if self.held.is_empty() {
            let used = scan(bytes, &mut on)?;
            self.held.extend_from_slice(&bytes[used..]);
        } else {
            self.held.extend_from_slice(bytes);
            let used = scan(&self.held, &mut on)?;
            self.held.drain(..used);
        }
        Ok(())
    }
}

/// How many bytes were whole.
fn scan(bytes: &[u8], on: &mut impl FnMut(Said)) -> io::Result<usize> {
    let mut used = 0;
    while let Some(end) = memchr::memchr(b'\n', &bytes[used..]) {
        let line = bytes[used..used + end].trim_ascii_end();
        let next = used + end + 1;
        if let Some(words) = line.strip_prefix(b"MSG ") {
            let size = words.rsplit(|byte| *byte == b' ').next().and_then(number);
            let size = size.ok_or_else(|| broken(line))?;
            let Some(payload) = bytes.get(next..next + size + 2) else { return Ok(used) };
            on(Said::Message(&payload[..size]));
            used = next + size + 2;
            continue;
        }
        match line {
            b"PING" => on(Said::Ping),
            b"PONG" => on(Said::Pong),
            b"+OK" => {}
            _ if line.starts_with(b"INFO ") => on(Said::Info),
            _ => return Err(broken(line)),
        }
        used = next;
    }
    if bytes.len() - used > LINE_MAX && !bytes[used..].starts_with(b"MSG ") {
        return Err(broken(&bytes[used..used + 40]));
    }
    Ok(used)
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn broken(line: &[u8]) -> io::Error {
    io::Error::other(format!("nats-server says {:?}", String::from_utf8_lossy(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_same_wherever_pieces_end() {
        let stream = b"INFO {\"a\":1}\r\nPONG\r\nMSG r 1 5\r\nab\r\nc\r\nPING\r\nMSG r.x 1 0\r\n\r\n";
        for cut in 0..stream.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in [&stream[..cut], &stream[cut..]] {
                lines.feed(piece, |said| seen.push(format!("{said:?}"))).expect("well formed");
            }
            let wanted = [Said::Info, Said::Pong, Said::Message(b"ab\r\nc"), Said::Ping, Said::Message(b"")];
            assert_eq!(seen, wanted.map(|said| format!("{said:?}")), "cut at {cut}");
        }
    }

    #[test]
    fn an_error_of_the_server_is_an_error() {
        let error =
            Lines::default().feed(b"-ERR 'Authorization Violation'\r\n", |_| {}).expect_err("refused");
        assert!(error.to_string().contains("Authorization Violation"), "{error}");
    }
}
