//! The floor: a server that does nothing but what the kernel makes it do. One thread, one epoll, a
//! plain loop of `send(2)` over the members' sockets.
//!
//! `/members` gets every message, what `/publish` sends goes to all members, what `/sink` sends is
//! counted. It believes its clients: there are no limits here, no pings, no masks but zeros.

use crate::{
    frames::{self, From, Inbox},
    handshake,
    trouble::Result,
};
use rustix::{event::epoll, net::sockopt};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
};

const READ_BYTES: usize = 64 << 10;
const LISTENER: u64 = u64::MAX;

/// What one `send(2)` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// A message.
    One,
    /// All messages that one read of the publisher brought.
    Batch,
}

enum Role {
    Shaking(Vec<u8>),
    Member,
    Publisher(Inbox),
    Sink(Inbox),
}

struct Raw {
    sends: Sends,
    poll: OwnedFd,
    sockets: Vec<Option<(TcpStream, Role)>>,
    members: Vec<usize>,
    buffer: Vec<u8>,
    /// Frames of one read of the publisher, back to back, and where each ends.
    out: Vec<u8>,
    ends: Vec<usize>,
    received: u64,
}

/// Serves for ever; the port is told on standard output.
pub fn serve(sends: Sends) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    rustix::net::listen(&listener, 4096).map_err(io::Error::from)?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)
        .map_err(io::Error::from)?;
    println!("port {}", listener.local_addr()?.port());
    let mut raw = Raw {
        sends,
        poll,
        sockets: Vec::new(),
        members: Vec::new(),
        buffer: vec![0; READ_BYTES],
        out: Vec::new(),
        ends: Vec::new(),
        received: 0,
    };
    let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&raw.poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => raw.accept(&listener)?,
                number => raw.turn(number as usize),
            }
        }
    }
}

impl Raw {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            sockopt::set_tcp_nodelay(&stream, true)?;
            let data = epoll::EventData::new_u64(self.sockets.len() as u64);
            epoll::add(&self.poll, &stream, data, epoll::EventFlags::IN)?;
            self.sockets.push(Some((stream, Role::Shaking(Vec::new()))));
        }
    }

    /// A socket that ends, or says what is no frame, is forgotten.
    fn turn(&mut self, number: usize) {
        if !matches!(self.read(number), Ok(true)) {
            self.sockets[number] = None;
            self.members.retain(|member| *member != number);
        }
        if !self.ends.is_empty() {
            self.send_to_all();
        }
    }

    /// False when the socket has ended.
    fn read(&mut self, number: usize) -> io::Result<bool> {
        let Raw { sockets, members, buffer, out, ends, received, .. } = self;
        let Some((stream, role)) = &mut sockets[number] else { return Ok(true) };
        let count = stream.read(buffer)?;
        let bytes = &mut buffer[..count];
        match role {
            Role::Shaking(head) => {
                head.extend_from_slice(bytes);
                let Some((path, answer)) = handshake::answer(head)? else { return Ok(count > 0) };
                stream.write_all(&answer)?;
                *role = match path.as_str() {
                    "/publish" => Role::Publisher(Inbox::default()),
                    "/sink" => Role::Sink(Inbox::default()),
                    _ => {
                        let mut greeting = Vec::new();
                        frames::put(&mut greeting, From::Server, frames::TEXT, b"joined");
                        stream.write_all(&greeting)?;
                        members.push(number);
                        Role::Member
                    }
                };
            }
            Role::Member => {}
            Role::Publisher(inbox) => {
                let taken = inbox.feed(bytes, |opcode, payload| {
                    if opcode == frames::TEXT || opcode == frames::BINARY {
                        frames::put(out, From::Server, opcode, payload);
                        ends.push(out.len());
                    }
                });
                taken.map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
            }
            Role::Sink(inbox) => {
                let mut pong = Vec::new();
                let taken = inbox.feed(bytes, |opcode, payload| match opcode {
                    frames::PING => frames::put(&mut pong, From::Server, frames::PONG, payload),
                    _ => *received += 1,
                });
                taken.map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
                stream.write_all(&pong)?;
            }
        }
        Ok(count > 0)
    }

    /// The sockets block: a member that takes nothing holds up all, which is what a plain loop does.
    fn send_to_all(&mut self) {
        let Raw { sends, sockets, members, out, ends, .. } = self;
        let mut begin = 0;
        let last = [out.len()];
        let ends_of_sends = if *sends == Sends::One { &ends[..] } else { &last[..] };
        for end in ends_of_sends {
            for member in members.iter() {
                if let Some((stream, _)) = &mut sockets[*member] {
                    // One that has gone is found by its next read.
                    let _ = stream.write_all(&out[begin..*end]);
                }
            }
            begin = *end;
        }
        out.clear();
        ends.clear();
    }
}
