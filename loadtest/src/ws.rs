//! A WebSocket client for many sockets on one thread: connections cost a descriptor and a few dozen
//! bytes, and what comes is counted where it was read.

use crate::{
    clock::{self, MILLI, SECOND},
    frames::{self, From, Inbox},
    poll::{Interest, Poll, Ready},
    stop,
    trouble::{Result, Trouble},
};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// What one read takes at most.
const READ_BYTES: usize = 256 * 1024;
/// Opening handshakes under way at once: the listener's queue is bounded too.
const OPENING_MAX: usize = 256;
const OPENING_PATIENCE: u64 = 30 * SECOND;
/// What may wait for a peer that does not read.
pub const OUT_BYTES_MAX: usize = 1 << 20;

/// A socket and what waits to be written to it.
pub struct Socket {
    pub stream: TcpStream,
    pub inbox: Inbox,
    pub out: Vec<u8>,
    interest: Interest,
}

impl Socket {
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Socket { stream, inbox: Inbox::default(), out: Vec::new(), interest: crate::poll::READ })
    }

    /// Writes what waits, and asks to be told when the rest can go.
    pub fn flush(&mut self, poll: &Poll, number: u64) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if sent == self.out.len() {
            self.out.clear();
            // An idle socket of many keeps nothing.
            self.out.shrink_to(4096);
        } else {
            self.out.drain(..sent);
        }
        let write = !self.out.is_empty();
        self.want(poll, number, Interest { write, ..self.interest })
    }

    pub fn want(&mut self, poll: &Poll, number: u64, interest: Interest) -> io::Result<()> {
        if interest != self.interest {
            poll.change(&self.stream, number, interest)?;
            self.interest = interest;
        }
        Ok(())
    }

    pub fn reads(&mut self, poll: &Poll, number: u64, read: bool) -> io::Result<()> {
        self.want(poll, number, Interest { read, ..self.interest })
    }
}

/// What happened at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
    /// With the peer's code; 1006 when it just ended.
    Closed(u16),
}

pub struct Crowd {
    address: SocketAddr,
    poll: Poll,
    /// None once it has ended.
    sockets: Vec<Option<Socket>>,
    buffer: Vec<u8>,
    ready: Vec<Ready>,
    open: usize,
}

impl Crowd {
    pub fn new(address: SocketAddr) -> Result<Self> {
        Ok(Crowd {
            address,
            poll: Poll::new()?,
            sockets: Vec::new(),
            buffer: vec![0; READ_BYTES],
            ready: Vec::new(),
            open: 0,
        })
    }

    /// Opens one socket for each path and tells the number of the first; the others follow. Answers
    /// when all handshakes are done. What comes meanwhile on sockets that are open is given to `take`.
    pub fn open(
        &mut self,
        paths: impl IntoIterator<Item = String>,
        subprotocol: Option<&str>,
        take: &mut impl FnMut(usize, Seen, u64),
    ) -> Result<usize> {
        let first = self.sockets.len();
        let mut paths = paths.into_iter().peekable();
        let mut opening: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut give_up = clock::now() + OPENING_PATIENCE;
        while paths.peek().is_some() || !opening.is_empty() {
            while opening.len() < OPENING_MAX
                && let Some(path) = paths.next()
            {
                opening.push((self.begin(&path, subprotocol)?, Vec::new()));
            }
            let before = opening.len();
            self.advance(&mut opening, take)?;
            if opening.len() < before {
                give_up = clock::now() + OPENING_PATIENCE;
            }
            if stop::asked() {
                return Err(Trouble::Interrupted);
            }
            if clock::now() > give_up {
                return Err(Trouble::Unavailable(format!(
                    "{}: {} opening handshakes are not answered",
                    self.address,
                    opening.len()
                )));
            }
        }
        Ok(first)
    }

    fn begin(&mut self, path: &str, subprotocol: Option<&str>) -> Result<usize> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_nanos(OPENING_PATIENCE))
            .map_err(|error| refused(self.address, &error))?;
        let mut socket = Socket::new(stream)?;
        let offer = subprotocol.map_or(String::new(), |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n",
            self.address
        );
        socket.stream.write_all(request.as_bytes())?;
        let number = self.sockets.len();
        self.poll.add(&socket.stream, number as u64, crate::poll::READ)?;
        self.sockets.push(Some(socket));
        Ok(number)
    }

    /// Reads answers to handshakes until one turn of the poll is over.
    fn advance(
        &mut self,
        opening: &mut Vec<(usize, Vec<u8>)>,
        take: &mut impl FnMut(usize, Seen, u64),
    ) -> Result<()> {
        self.turn(clock::now() + 50 * MILLI)?;
        let mut ready = std::mem::take(&mut self.ready);
        for event in ready.drain(..) {
            let number = event.number as usize;
            let Some(at) = opening.iter().position(|it| it.0 == number) else {
                self.read(number, take);
                continue;
            };
            let Some(socket) = &mut self.sockets[number] else { continue };
            let count = match socket.stream.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(refused(self.address, &error)),
            };
            let answer = &mut opening[at].1;
            answer.extend_from_slice(&self.buffer[..count]);
            let end = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            if count == 0 || end.is_some_and(|_| !answer.starts_with(b"HTTP/1.1 101")) {
                let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
                let line = String::from_utf8_lossy(line).into_owned();
                return Err(Trouble::Unavailable(format!("{} lets no WebSocket in: '{line}'", self.address)));
            }
            let Some(end) = end else { continue };
            let mut rest = opening.swap_remove(at).1.split_off(end);
            self.open += 1;
            self.deliver(number, &mut rest, clock::now(), take);
        }
        self.ready = ready;
        Ok(())
    }

    fn turn(&mut self, until: u64) -> Result<()> {
        self.poll.wait(until, &mut self.ready)?;
        for event in self.ready.iter().filter(|event| event.writable) {
            if let Some(socket) = &mut self.sockets[event.number as usize] {
                // A broken socket is found when it is read.
                let _ = socket.flush(&self.poll, event.number);
            }
        }
        self.ready.retain(|event| event.readable);
        Ok(())
    }

    /// Waits until something comes, or until then, and gives all of it to `take`: the number of the
    /// socket, what it is, and when it was read.
    pub fn poll(&mut self, until: u64, take: &mut impl FnMut(usize, Seen, u64)) -> Result<()> {
        self.turn(until)?;
        let mut ready = std::mem::take(&mut self.ready);
        ready.drain(..).for_each(|event| self.read(event.number as usize, take));
        self.ready = ready;
        Ok(())
    }

    fn read(&mut self, number: usize, take: &mut impl FnMut(usize, Seen, u64)) {
        let Some(socket) = &mut self.sockets[number] else { return };
        match socket.stream.read(&mut self.buffer) {
            Ok(0) => self.ended(number, 1006, take),
            Ok(count) => {
                let mut buffer = std::mem::take(&mut self.buffer);
                self.deliver(number, &mut buffer[..count], clock::now(), take);
                self.buffer = buffer;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.ended(number, 1006, take),
        }
    }

    fn deliver(&mut self, number: usize, bytes: &mut [u8], at: u64, take: &mut impl FnMut(usize, Seen, u64)) {
        let Some(socket) = &mut self.sockets[number] else { return };
        let Socket { inbox, out, .. } = socket;
        let mut closed = None;
        let fed = inbox.feed(bytes, |opcode, payload| match opcode {
            frames::TEXT => take(number, Seen::Text(payload), at),
            frames::BINARY => take(number, Seen::Binary(payload), at),
            frames::PING => frames::put(out, From::Client, frames::PONG, payload),
            frames::CLOSE => {
                closed = Some(payload.get(..2).map_or(1005, |it| u16::from_be_bytes([it[0], it[1]])));
            }
            _ => {}
        });
        if fed.is_err() {
            closed = Some(1002);
        }
        let _ = socket.flush(&self.poll, number as u64);
        if let Some(code) = closed {
            self.ended(number, code, take);
        }
    }

    fn ended(&mut self, number: usize, code: u16, take: &mut impl FnMut(usize, Seen, u64)) {
        if self.sockets[number].take().is_some() {
            self.open = self.open.saturating_sub(1);
            take(number, Seen::Closed(code), clock::now());
        }
    }

    /// Puts a text message where it waits for `flush`. False when the socket has ended, or what waits
    /// there is at its bound.
    pub fn put(&mut self, number: usize, payload: &[u8]) -> bool {
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return false };
        if socket.out.len() > OUT_BYTES_MAX {
            return false;
        }
        frames::put(&mut socket.out, From::Client, frames::TEXT, payload);
        true
    }

    pub fn flush(&mut self, number: usize) {
        if let Some(Some(socket)) = self.sockets.get_mut(number) {
            // A broken socket is found when it is read.
            let _ = socket.flush(&self.poll, number as u64);
        }
    }

    /// A slow reader is one that is not read.
    pub fn reads(&mut self, number: usize, read: bool) {
        if let Some(Some(socket)) = self.sockets.get_mut(number) {
            let _ = socket.reads(&self.poll, number as u64, read);
        }
    }

    /// Ends a socket without a word, as a lost network does.
    pub fn cut(&mut self, number: usize) {
        if let Some(socket) = self.sockets.get_mut(number)
            && socket.take().is_some()
        {
            self.open -= 1;
        }
    }

    /// Sockets whose handshake is done and that have not ended.
    #[must_use]
    pub fn open_now(&self) -> usize {
        self.open
    }
}

fn refused(address: SocketAddr, error: &io::Error) -> Trouble {
    match error.raw_os_error() {
        Some(libc::EMFILE) => Trouble::Usage(
            "too few file descriptors for another socket (RLIMIT_NOFILE): raise it with `ulimit -n`, or ask for \
             fewer --connections"
                .to_owned(),
        ),
        Some(libc::EADDRNOTAVAIL) => Trouble::Unavailable(format!(
            "{address}: no local port is left for another socket; widen net.ipv4.ip_local_port_range or ask for fewer --connections"
        )),
        _ => Trouble::Unavailable(format!("{address}: {error}")),
    }
}
