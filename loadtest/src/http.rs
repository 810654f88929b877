//! One question over plain HTTP, whose answer is small and must be there soon.

use std::{
    io::{self, Error, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// Metrics of hundreds of shards stay far below it.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// The body of the answer to a GET; all of it is there within `patience`, however slowly it comes.
pub fn get(address: SocketAddr, path: &str, patience: Duration) -> Result<String, String> {
    let answer = ask(address, path, patience).map_err(|error| match error.kind() {
        // What a read or a connect that took too long ends with.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("no answer within {} s", patience.as_secs())
        }
        _ => error.to_string(),
    })?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or("it does not speak HTTP: is this the admin port?")?;
    match head.lines().next().unwrap_or_default() {
        line if line.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        line => Err(format!("{path} answered '{line}': is this the admin port?")),
    }
}

/// HTTP/1.0, so that the answer comes in one piece and ends with the connection.
fn ask(address: SocketAddr, path: &str, patience: Duration) -> io::Result<Vec<u8>> {
    let end = Instant::now() + patience;
    let left = || match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(Error::from(ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    // In one write: a server may answer the first packet and close on the second.
    let question = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: text/plain\r\n\r\n");
    stream.write_all(question.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let taken = match stream.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            taken => taken?,
        };
        if taken == 0 {
            return Ok(answer);
        }
        answer.extend_from_slice(&piece[..taken]);
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(Error::other(format!("its answer is larger than {ANSWER_BYTES_MAX} bytes")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use std::net::TcpListener;

    /// A server of one question that writes these pieces, a moment apart, and whether it then stays.
    fn server(pieces: &'static [&'static str], pause: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let _ = stream.read(&mut [0; 1024]);
            for piece in pieces {
                clock::sleep(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
                if stream.write_all(piece.as_bytes()).is_err() {
                    return;
                }
            }
        });
        address
    }

    #[test]
    fn a_body_is_what_follows_the_head() {
        let address = server(&["HTTP/1.1 200 OK\r\n\r\nwsm_", "a 1\n"], Duration::ZERO);
        assert_eq!(get(address, "/metrics", Duration::from_secs(10)), Ok("wsm_a 1\n".to_owned()));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let other = server(&["HTTP/1.1 404 Not Found\r\n\r\n"], Duration::ZERO);
        let why = get(other, "/metrics", Duration::from_secs(10)).expect_err("no such page");
        assert!(why.contains("404 Not Found") && why.contains("admin port"), "{why}");
        let other = server(&["SSH-2.0"], Duration::ZERO);
        let why = get(other, "/metrics", Duration::from_secs(10)).expect_err("no HTTP");
        assert!(why.contains("does not speak HTTP"), "{why}");
    }

    /// Each byte comes in time, and the answer does not: a limit of each read alone would wait on.
    #[test]
    fn an_answer_that_trickles_in_is_waited_for_no_longer_than_was_said() {
        let address = server(&["x"; 600], Duration::from_millis(100));
        let begun = Instant::now();
        let why = get(address, "/metrics", Duration::from_secs(1)).expect_err("too slow");
        assert_eq!(why, "no answer within 1 s");
        assert!(begun.elapsed() < Duration::from_secs(30), "it gave up long before the last byte");
    }
}
