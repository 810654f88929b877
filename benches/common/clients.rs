//! Many clients that only receive, read by one thread as cheaply as it can be done. Whoever writes to
//! them, they are the same, so that what is compared is the writing.

use super::os;
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// What one read takes at most: all of a round, for most rounds.
const READ_BYTES: usize = 256 * 1024;

pub struct Clients {
    ready: os::Readable,
    all: Vec<Client>,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    frames: Frames,
    /// Payload bytes of its messages so far.
    got: u64,
}

/// One read of one client.
pub struct Got<'a> {
    pub client: usize,
    /// Payload bytes of its messages, before the read and after it.
    pub before: u64,
    pub after: u64,
    bytes: &'a [u8],
}

/// Sockets whose other ends these clients are: accepted, and no more.
pub fn pairs(count: usize) -> (Vec<TcpStream>, Clients) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (mut served, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..count {
        streams.push(TcpStream::connect(address).expect("it listens"));
        let (stream, _) = listener.accept().expect("one comes");
        stream.set_nodelay(true).expect("TCP");
        served.push(stream);
    }
    (served, Clients::new(streams))
}

impl Clients {
    pub fn new(streams: Vec<TcpStream>) -> Self {
        let ready = os::Readable::new();
        for (number, stream) in streams.iter().enumerate() {
            stream.set_nonblocking(true).expect("a socket");
            ready.add(stream, number);
        }
        let client = |stream| Client { stream, frames: Frames::default(), got: 0 };
        Clients { ready, all: streams.into_iter().map(client).collect(), buffer: vec![0; READ_BYTES] }
    }

    /// Reads once from each that has something.
    pub fn read(&mut self, millis: i32, mut seen: impl FnMut(Got)) {
        for number in self.ready.wait(millis) {
            let client = &mut self.all[number];
            let count = match client.stream.read(&mut self.buffer) {
                Ok(0) => panic!("client {number}: the stream has ended"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("client {number}: {error}"),
            };
            let bytes = &self.buffer[..count];
            let before = client.got;
            client.got += client.frames.feed(bytes);
            seen(Got { client: number, before, after: client.got, bytes });
        }
    }

    /// Until each has got so many payload bytes more, and not one beyond; the last of them are
    /// `ending`.
    pub fn await_all(&mut self, payload: u64, ending: &[u8]) {
        let targets: Vec<u64> = self.all.iter().map(|client| client.got + payload).collect();
        let (mut done, mut give_up) = (0, Instant::now() + PATIENCE);
        while done < targets.len() {
            let before = done;
            self.read(1000, |got| {
                assert!(got.after <= targets[got.client], "client {}: more than was sent", got.client);
                if got.after == targets[got.client] {
                    let known = got.bytes.len().min(ending.len());
                    let (end, wanted) =
                        (&got.bytes[got.bytes.len() - known..], &ending[ending.len() - known..]);
                    assert_eq!(end, wanted, "client {}: another message is the last", got.client);
                    done += 1;
                }
            });
            if done > before {
                give_up = Instant::now() + PATIENCE;
            }
            assert!(Instant::now() < give_up, "{done} of {} clients have all", targets.len());
        }
    }

    /// Reads and forgets what still comes.
    pub fn settle(&mut self, quiet: Duration) {
        let mut until = Instant::now() + quiet;
        while Instant::now() < until {
            self.read(10, |_| until = Instant::now() + quiet);
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

/// A server's frames, counted as they come.
#[derive(Default)]
struct Frames {
    head: [u8; 10],
    known: usize,
    /// Of the payload.
    left: u64,
}

impl Frames {
    /// Payload bytes of messages among these.
    fn feed(&mut self, mut bytes: &[u8]) -> u64 {
        let mut counted = 0;
        while !bytes.is_empty() {
            if self.left == 0 {
                self.head[self.known] = bytes[0];
                (self.known, bytes) = (self.known + 1, &bytes[1..]);
                if let Some(len) = self.payload_len() {
                    (self.left, self.known) = (len, 0);
                }
                continue;
            }
            let here = self.left.min(bytes.len() as u64);
            // Pings are no messages.
            if self.head[0] & 0x0f < 8 {
                counted += here;
            }
            self.left -= here;
            bytes = &bytes[here as usize..];
        }
        counted
    }

    /// When the head is whole.
    fn payload_len(&self) -> Option<u64> {
        match (self.known, self.head[1]) {
            (0 | 1, _) => None,
            (4, 126) => Some(u64::from(u16::from_be_bytes([self.head[2], self.head[3]]))),
            (10, 127) => Some(u64::from_be_bytes(self.head[2..].try_into().expect("eight bytes"))),
            (2, len @ 0..=125) => Some(u64::from(len)),
            _ => None,
        }
    }
}

/// Clients of a NATS server, over WebSocket, that hear the subject `r`.
pub fn subscribers(address: SocketAddr, count: usize) -> Clients {
    let streams = (0..count).map(|_| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("TCP");
        stream.write_all(upgrade(address, "/").as_bytes()).expect("open");
        read_until(&mut stream, b"\r\n\r\n");
        let hello = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB r 1\r\nPING\r\n";
        // A client's frames are masked; by zeros they stay what they are.
        let mut frame = vec![0x82, 0x80 | hello.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(hello);
        stream.write_all(&frame).expect("open");
        read_until(&mut stream, b"PONG\r\n");
        stream
    });
    Clients::new(streams.collect())
}

pub fn upgrade(host: SocketAddr, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let (mut text, mut some) = (Vec::new(), [0; 4096]);
    while !text.windows(end.len()).any(|window| window == end) {
        let count = stream.read(&mut some).expect("open");
        assert!(count > 0, "the server ended it: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&some[..count]);
    }
}
