//! Many readers on one thread, read as cheaply as it can be done: the other side of every fan-out
//! here, ours and other people's, so that what is compared is the writing.
//!
//! One epoll, one large buffer that all share, frames found where they lie, no allocation for a
//! message. Each message's stamp is checked against its reader's books.

pub mod books;
pub mod nats;
mod one;
pub mod stamp;
pub mod target;

use crate::{
    clock::{self, SECOND},
    limits, record, stop,
    trouble::{Result, Trouble},
};
use books::{Tally, Waits};
use hdrhistogram::Histogram;
use one::{Books, Reader, Stage};
use rustix::{
    event::{Timespec, epoll},
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    ops::Range,
    os::fd::OwnedFd,
};
use target::Target;

/// What one read takes at most: all of a round, for most rounds.
const READ_BYTES: usize = 256 << 10;
const EVENTS: usize = 1024;
/// Handshakes under way, unless all are wanted at once.
pub const POLITE: usize = 128;

pub struct Readers {
    poll: OwnedFd,
    events: Vec<epoll::Event>,
    all: Vec<Option<Reader>>,
    buffer: Vec<u8>,
    replies: Vec<u8>,
    pub tally: Tally,
    pub waits: Waits,
    /// From the first packet of a connection to its membership.
    pub openings: Histogram<u64>,
    opening: usize,
    /// Why connections ended before they were open; the last of them.
    pub trouble: Option<String>,
    /// How many.
    pub failed: u64,
}

impl Readers {
    /// Times one message in so many.
    pub fn new(sampled: u64) -> Result<Self> {
        Ok(Readers {
            poll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?,
            events: Vec::with_capacity(EVENTS),
            all: Vec::new(),
            buffer: vec![0; READ_BYTES],
            replies: Vec::new(),
            tally: Tally::default(),
            waits: Waits::new(sampled, 0),
            openings: record::histogram(),
            opening: 0,
            trouble: None,
            failed: 0,
        })
    }

    /// From here on only what is due at `from` or later is timed, one message in so many.
    pub fn forget_times(&mut self, sampled: u64, from: u64) {
        self.waits = Waits::new(sampled, from);
    }

    /// How many are members.
    pub fn members(&self) -> usize {
        self.all.iter().flatten().filter(|reader| reader.stage == Stage::Open).count()
    }

    /// How many are on their way in.
    pub fn opening(&self) -> usize {
        self.opening
    }

    pub fn is_open(&self, number: usize) -> bool {
        self.all.get(number).is_some_and(|it| it.as_ref().is_some_and(|it| it.stage == Stage::Open))
    }

    /// Connects so many, `at_once` of them at a time, and returns when all are members.
    pub fn join(
        &mut self,
        target: &Target,
        count: usize,
        at_once: usize,
        patience: u64,
    ) -> Result<Range<usize>> {
        let (first, failed) = (self.all.len(), self.failed);
        let (mut begun, give_up) = (0, clock::now() + patience);
        while begun < count || self.opening > 0 {
            while begun < count && self.opening < at_once {
                self.begin(target)?;
                begun += 1;
            }
            self.pass(SECOND / 100)?;
            if self.failed > failed || clock::now() > give_up {
                let why = self.trouble.clone().unwrap_or_else(|| "no answer in time".to_owned());
                let (open, address) = (self.members() - first.min(self.members()), target.address);
                return Err(Trouble::Failed(format!("{open} of {count} clients are in at {address}: {why}")));
            }
            if stop::asked() {
                return Err(Trouble::Interrupted);
            }
        }
        Ok(first..self.all.len())
    }

    /// Begins one more connection; it goes on whenever this crowd reads. Tells its number.
    pub fn begin(&mut self, target: &Target) -> Result<usize> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let family = if target.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket =
            rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(
                |error| match error {
                    rustix::io::Errno::MFILE => limits::too_few_files(self.all.len() as u64),
                    other => Trouble::from(io::Error::from(other)),
                },
            )?;
        sockopt::set_tcp_nodelay(&socket, true).map_err(io::Error::from)?;
        if let Some(bytes) = target.receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes).map_err(io::Error::from)?;
        }
        bind_to_share(&socket, target.address.ip(), self.all.len())?;
        match rustix::net::connect(&socket, &target.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(Trouble::Failed(format!("connecting to {}: {error}", target.address))),
        }
        let reader = Reader::new(TcpStream::from(socket), target, clock::now());
        let number = self.all.len();
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.poll, &reader.stream, data, epoll::EventFlags::OUT).map_err(io::Error::from)?;
        self.all.push(Some(reader));
        self.opening += 1;
        Ok(number)
    }

    /// Reads once from each that has something, waiting for at most so long. Zero only looks: who
    /// spins spares the server the waking of this thread, which costs it more than the writing.
    pub fn pass(&mut self, wait: u64) -> Result<usize> {
        let time = Timespec { tv_sec: (wait / SECOND).cast_signed(), tv_nsec: (wait % SECOND).cast_signed() };
        self.events.clear();
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut self.events), Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        for nth in 0..self.events.len() {
            let event = self.events[nth];
            self.turn(event.data.u64() as usize);
        }
        Ok(self.events.len())
    }

    fn turn(&mut self, number: usize) {
        let Some(reader) = &mut self.all[number] else { return };
        let before = reader.stage;
        let outcome = match before {
            Stage::Connecting => self.greet(number),
            _ => self.read(number),
        };
        let after = self.all[number].as_ref().map(|reader| (reader.stage, reader.began));
        match (outcome, after) {
            (Err(error), _) => self.lose(number, &error),
            (Ok(()), Some((Stage::Open, began))) if before != Stage::Open => {
                self.opening -= 1;
                self.openings.saturating_record(clock::now().saturating_sub(began));
            }
            (Ok(()), _) => {}
        }
    }

    /// The connection stands, or could not be made.
    fn greet(&mut self, number: usize) -> io::Result<()> {
        let Some(reader) = &mut self.all[number] else { return Ok(()) };
        if let Some(error) = reader.stream.take_error()? {
            return Err(error);
        }
        let opening = std::mem::take(&mut reader.opening);
        reader.stream.write_all(&opening)?;
        reader.opened();
        let data = epoll::EventData::new_u64(number as u64);
        Ok(epoll::modify(&self.poll, &reader.stream, data, epoll::EventFlags::IN)?)
    }

    #[inline]
    fn read(&mut self, number: usize) -> io::Result<()> {
        let Some(reader) = &mut self.all[number] else { return Ok(()) };
        let count = match (&reader.stream).read(&mut self.buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.tally.bytes += count as u64;
        let mut books = Books {
            tally: &mut self.tally,
            waits: &mut self.waits,
            replies: &mut self.replies,
            now: clock::now(),
            number,
        };
        reader.got(&mut self.buffer[..count], &mut books)?;
        if !self.replies.is_empty() {
            // A few bytes into an empty send buffer; one that takes none is a broken connection.
            let written = reader.stream.write_all(&self.replies);
            self.replies.clear();
            written?;
        }
        Ok(())
    }

    fn lose(&mut self, number: usize, error: &io::Error) {
        let Some(reader) = self.all[number].take() else { return };
        self.tally.closed += 1;
        if reader.stage != Stage::Open {
            self.opening -= 1;
            self.failed += 1;
            self.trouble = Some(match error.kind() {
                ErrorKind::UnexpectedEof => "the connection was ended during the handshake".to_owned(),
                _ => error.to_string(),
            });
        }
    }

    /// Until so many messages came in all, spinning; `meanwhile` is called between two looks.
    pub fn await_received(
        &mut self,
        total: u64,
        patience: u64,
        meanwhile: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        self.until(total, |tally| tally.received, patience, meanwhile)
    }

    /// Until so many pings in all were answered.
    pub fn await_pongs(&mut self, total: u64, patience: u64) -> Result<()> {
        self.until(total, |tally| tally.pongs, patience, &mut || Ok(()))
    }

    fn until(
        &mut self,
        total: u64,
        of: fn(&Tally) -> u64,
        patience: u64,
        meanwhile: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let (mut give_up, mut seen, closed) = (clock::now() + patience, of(&self.tally), self.tally.closed);
        while of(&self.tally) < total {
            let mut idle = 0;
            while of(&self.tally) < total && idle < GLANCE {
                meanwhile()?;
                idle = if self.pass(0)? == 0 { idle + 1 } else { 0 };
            }
            if of(&self.tally) > seen {
                (seen, give_up) = (of(&self.tally), clock::now() + patience);
            }
            if stop::asked() {
                return Err(Trouble::Interrupted);
            }
            if self.tally.closed > closed || clock::now() > give_up {
                let Tally { closed, missing, .. } = self.tally;
                return Err(Trouble::Failed(format!(
                    "{seen} of {total} came ({missing} lost, {closed} connections ended)"
                )));
            }
        }
        Ok(())
    }

    /// Reads until nothing has come for so long.
    pub fn settle(&mut self, quiet: u64) -> Result<()> {
        let mut until = clock::now() + quiet;
        while clock::now() < until && !stop::asked() {
            if self.pass(quiet / 4)? > 0 {
                until = clock::now() + quiet;
            }
        }
        Ok(())
    }

    /// Writes to the server, however long its socket takes; what comes meanwhile is read.
    pub fn write(&mut self, number: usize, mut bytes: &[u8]) -> Result<()> {
        let give_up = clock::now() + PATIENCE;
        while !bytes.is_empty() {
            let Some(Some(reader)) = self.all.get_mut(number) else {
                return Err(Trouble::Failed(
                    "the server ended a connection that was to be written to".to_owned(),
                ));
            };
            match reader.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock && clock::now() < give_up => {
                    self.pass(0)?;
                }
                Err(error) => return Err(Trouble::Failed(format!("writing to a server: {error}"))),
            }
        }
        Ok(())
    }

    /// From now on it takes nothing, or it reads again.
    pub fn set_reading(&mut self, number: usize, reads: bool) -> Result<()> {
        let Some(Some(reader)) = self.all.get_mut(number) else { return Ok(()) };
        if reader.reads != reads {
            reader.reads = reads;
            let data = epoll::EventData::new_u64(number as u64);
            let flags = if reads { epoll::EventFlags::IN } else { epoll::EventFlags::empty() };
            epoll::modify(&self.poll, &reader.stream, data, flags).map_err(io::Error::from)?;
        }
        Ok(())
    }

    /// This one goes, without a word.
    pub fn cut(&mut self, number: usize) {
        if let Some(reader) = self.all.get_mut(number).and_then(Option::take)
            && reader.stage != Stage::Open
        {
            self.opening -= 1;
        }
    }

    /// All go, as pages do that are closed: without a word.
    pub fn leave(&mut self) {
        self.all.clear();
        self.opening = 0;
    }
}

/// Connections from one address of this machine. A port is looked for among the even ones first, and
/// when these are all taken each search walks through them.
const OF_ONE_ADDRESS: usize = 10_000;

/// To 127.0.0.1 there is a whole network of addresses to come from.
fn bind_to_share(socket: &OwnedFd, to: IpAddr, number: usize) -> Result<()> {
    let share = u8::try_from(number / OF_ONE_ADDRESS).unwrap_or(u8::MAX - 1);
    if share == 0 || to != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return Ok(());
    }
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + share), 0));
    Ok(rustix::net::bind(socket, &from).map_err(io::Error::from)?)
}

/// How long a server may take nothing.
const PATIENCE: u64 = 30 * SECOND;
/// Looks in vain, between two looks at the clock.
const GLANCE: u32 = 256;
