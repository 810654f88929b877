//! The upstream itself: one thread, one loop, as little work a message as there can be.

use super::Counts;
use crate::{
    clock::{self, MICRO, SECOND},
    frames::{self, From},
    handshake, payload,
    poll::{Poll, READ},
    schedule::Schedule,
    stop,
    trouble::{Result, Trouble},
    ws::{OUT_BYTES_MAX, Socket},
};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

const LISTENER: u64 = u64::MAX - 1;
const INPUT: u64 = u64::MAX - 2;
const READ_BYTES: usize = 256 * 1024;
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// What a turn sends of a feed before it looks at the sockets again.
const FEED_TURN: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The request's line and headers are not whole yet.
    Opening,
    Echo,
    Feed,
    Quiet,
}

struct Visitor {
    socket: Socket,
    kind: Kind,
    request: Vec<u8>,
    dirty: bool,
}

/// An echo that waits for its time.
struct Later {
    due: u64,
    visitor: usize,
    frame: Vec<u8>,
}

pub struct Server {
    poll: Poll,
    listener: TcpListener,
    visitors: Vec<Option<Visitor>>,
    free: Vec<usize>,
    feeds: Vec<usize>,
    dirty: Vec<usize>,
    later: VecDeque<Later>,
    delay: u64,
    feed: Option<(Schedule, u64, usize)>,
    counts: Counts,
    buffer: Vec<u8>,
    input: Vec<u8>,
    ended: bool,
}

/// `loadtest upstream [--port N] [--delay-us N]`.
pub fn main(arguments: &[String]) -> Result<()> {
    let (mut port, mut delay) = (0u16, 0u64);
    for pair in arguments.chunks(2) {
        let wrong = || Trouble::Usage(format!("upstream: '{}' wants a number", pair[0]));
        let value = pair.get(1).ok_or_else(wrong)?;
        match pair[0].as_str() {
            "--port" => port = value.parse().map_err(|_| wrong())?,
            "--delay-us" => delay = value.parse::<u64>().map_err(|_| wrong())?.saturating_mul(MICRO),
            other => {
                return Err(Trouble::Usage(format!(
                    "upstream: there is no '{other}'; --port and --delay-us"
                )));
            }
        }
    }
    let _ = crate::limits::raise_files();
    let mut server = Server::bind(port, delay)?;
    // The line that a parent waits for.
    println!("listening {}", server.address()?);
    // A parent that ends closes our input; without one there is nothing to hear there.
    let _ = rustix::fs::fcntl_setfl(io::stdin(), rustix::fs::OFlags::NONBLOCK)
        .map_err(io::Error::from)
        .and_then(|()| server.poll.add(io::stdin(), INPUT, READ));
    server.run()
}

impl Server {
    pub fn bind(port: u16, delay: u64) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| match error.kind() {
                ErrorKind::AddrInUse => Trouble::Unavailable(format!(
                    "port {port} is in use: another program listens there; 0 takes a free one"
                )),
                _ => Trouble::Failed(format!("port {port}: {error}")),
            })?;
        // The standard backlog is too small for thousands that come at once.
        rustix::net::listen(&listener, 4096).map_err(io::Error::from)?;
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER, READ)?;
        Ok(Server {
            poll,
            listener,
            visitors: Vec::new(),
            free: Vec::new(),
            feeds: Vec::new(),
            dirty: Vec::new(),
            later: VecDeque::new(),
            delay,
            feed: None,
            counts: Counts::default(),
            buffer: vec![0; READ_BYTES],
            input: Vec::new(),
            ended: false,
        })
    }

    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    fn run(&mut self) -> Result<()> {
        let mut ready = Vec::new();
        while !self.ended && !stop::asked() {
            let until = self.next_due().unwrap_or(clock::now() + SECOND);
            self.poll.wait(until, &mut ready)?;
            for event in &ready {
                match event.number {
                    LISTENER => self.accept(),
                    INPUT => self.hear(),
                    number => {
                        if event.writable {
                            self.mark(number as usize);
                        }
                        if event.readable {
                            self.read(number as usize);
                        }
                    }
                }
            }
            self.send_due();
            self.flush();
        }
        Ok(())
    }

    fn next_due(&self) -> Option<u64> {
        let echo = self.later.front().map(|later| later.due);
        let feed = self.feed.as_ref().map(|(schedule, next, _)| schedule.due(*next));
        echo.into_iter().chain(feed).min()
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let Ok(socket) = Socket::new(stream) else { continue };
            let number = self.free.pop().unwrap_or_else(|| {
                self.visitors.push(None);
                self.visitors.len() - 1
            });
            if self.poll.add(&socket.stream, number as u64, READ).is_ok() {
                let visitor = Visitor { socket, kind: Kind::Opening, request: Vec::new(), dirty: false };
                self.visitors[number] = Some(visitor);
                self.counts.sockets += 1;
            } else {
                self.free.push(number);
            }
        }
    }

    fn gone(&mut self, number: usize) {
        if self.visitors[number].take().is_some() {
            self.feeds.retain(|feed| *feed != number);
            self.later.retain(|later| later.visitor != number);
            self.free.push(number);
            self.counts.sockets -= 1;
        }
    }

    fn mark(&mut self, number: usize) {
        if let Some(visitor) = &mut self.visitors[number]
            && !visitor.dirty
        {
            visitor.dirty = true;
            self.dirty.push(number);
        }
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            let Some(visitor) = &mut self.visitors[number] else { continue };
            visitor.dirty = false;
            if visitor.socket.flush(&self.poll, number as u64).is_err() {
                self.gone(number);
            }
        }
        self.dirty = dirty;
    }

    fn read(&mut self, number: usize) {
        let Some(visitor) = &mut self.visitors[number] else { return };
        let count = match visitor.socket.stream.read(&mut self.buffer) {
            Ok(0) => return self.gone(number),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(_) => return self.gone(number),
        };
        if visitor.kind == Kind::Opening {
            visitor.request.extend_from_slice(&self.buffer[..count]);
            if !self.open(number) {
                self.gone(number);
            }
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.take(number, &mut buffer[..count]);
        self.buffer = buffer;
    }

    /// False: this will be no WebSocket.
    fn open(&mut self, number: usize) -> bool {
        let Some(visitor) = &mut self.visitors[number] else { return false };
        let Some(end) = visitor.request.windows(4).position(|window| window == b"\r\n\r\n") else {
            return visitor.request.len() < REQUEST_BYTES_MAX;
        };
        let mut rest = visitor.request.split_off(end + 4);
        let request = std::mem::take(&mut visitor.request);
        let Ok(Some((path, answer))) = handshake::answer(&request) else { return false };
        visitor.kind = match path.split('/').nth(1) {
            Some("feed") => Kind::Feed,
            Some("quiet") => Kind::Quiet,
            _ => Kind::Echo,
        };
        if visitor.kind == Kind::Feed {
            self.feeds.push(number);
        }
        visitor.socket.out.extend_from_slice(&answer);
        self.mark(number);
        self.take(number, &mut rest);
        true
    }

    fn take(&mut self, number: usize, bytes: &mut [u8]) {
        let Some(visitor) = &mut self.visitors[number] else { return };
        let (kind, delay) = (visitor.kind, self.delay);
        let Socket { inbox, out, .. } = &mut visitor.socket;
        let (counts, later) = (&mut self.counts, &mut self.later);
        let (now, mut closed) = (clock::now(), false);
        let fed = inbox.feed(bytes, |opcode, payload| match opcode {
            frames::TEXT | frames::BINARY => {
                counts.received += 1;
                if kind != Kind::Echo {
                    return;
                }
                if delay == 0 {
                    frames::put(out, From::Server, opcode, payload);
                    counts.echoed += 1;
                } else {
                    let mut frame = Vec::with_capacity(payload.len() + 10);
                    frames::put(&mut frame, From::Server, opcode, payload);
                    later.push_back(Later { due: now + delay, visitor: number, frame });
                }
            }
            frames::PING => frames::put(out, From::Server, frames::PONG, payload),
            frames::CLOSE => {
                frames::put(out, From::Server, frames::CLOSE, payload);
                closed = true;
            }
            _ => {}
        });
        if closed || fed.is_err() {
            let _ = visitor.socket.flush(&self.poll, number as u64);
            self.gone(number);
        } else if !visitor.socket.out.is_empty() {
            self.mark(number);
        }
    }

    /// Echoes and messages of feeds whose time has come.
    fn send_due(&mut self) {
        let now = clock::now();
        while self.later.front().is_some_and(|later| later.due <= now)
            && let Some(later) = self.later.pop_front()
        {
            if let Some(visitor) = &mut self.visitors[later.visitor] {
                visitor.socket.out.extend_from_slice(&later.frame);
                self.counts.echoed += 1;
                self.mark(later.visitor);
            }
        }
        let Some((schedule, mut next, bytes)) = self.feed.take() else { return };
        let mut sent = 0;
        let mut message = Vec::with_capacity(bytes);
        while next < schedule.total() && schedule.due(next) <= now && sent < FEED_TURN {
            // With nobody there the schedule goes on: it is an open loop.
            let place = next.checked_rem(self.feeds.len() as u64);
            let number = place.and_then(|place| self.feeds.get(place as usize)).copied();
            if let Some(number) = number
                && let Some(visitor) = &mut self.visitors[number]
            {
                if visitor.socket.out.len() < OUT_BYTES_MAX {
                    message.clear();
                    payload::put(&mut message, next, schedule.due(next), bytes);
                    frames::put(&mut visitor.socket.out, From::Server, frames::TEXT, &message);
                    self.counts.fed += 1;
                } else {
                    self.counts.unsent += 1;
                }
                self.mark(number);
            } else {
                self.counts.unsent += 1;
            }
            next += 1;
            sent += 1;
        }
        if next < schedule.total() {
            self.feed = Some((schedule, next, bytes));
        }
    }

    fn hear(&mut self) {
        let mut some = [0; 1024];
        match rustix::io::read(io::stdin(), &mut some) {
            Ok(0) => self.ended = true,
            Ok(count) => self.input.extend_from_slice(&some[..count]),
            Err(_) => return,
        }
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            self.obey(String::from_utf8_lossy(&line).trim());
        }
    }

    fn obey(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
        match words[0] {
            "feed" => {
                let start = words.get(1).and_then(|word| word.parse().ok()).unwrap_or_else(clock::now);
                let schedule =
                    Schedule::new(start, number(2), number(3) as u64).in_bursts_of(number(4) as u64);
                self.feed = Some((schedule, 0, number(5) as usize));
            }
            "hush" => self.feed = None,
            "stall" => clock::sleep(number(1) as u64),
            "cut" => (0..self.visitors.len()).for_each(|number| self.gone(number)),
            "counts" => {
                let Counts { sockets, received, echoed, fed, unsent } = self.counts;
                println!(
                    "counts sockets={sockets} received={received} echoed={echoed} fed={fed} unsent={unsent}"
                );
            }
            _ => {}
        }
    }
}
