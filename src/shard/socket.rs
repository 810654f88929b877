//! One open socket: reads go through the shard's one buffer into the decoder and the core; writes
//! are what the outbox holds, once per turn.

use super::{Local, io::Io};
use crate::{
    core::{id::ConnKey, io::SocketKey, reason::CloseCause, time::Now},
    limits,
    wire::ws::{Bounds, Decoder, Role},
};
use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    task::{Context, Poll, Waker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadBuf},
    task::AbortHandle,
};

pub struct Socket {
    key: SocketKey,
    /// A client's sockets were dialled, a server's came to us.
    pub role: Role,
    /// None when the socket ended or went to its farewell.
    io: RefCell<Option<Io>>,
    decoder: RefCell<Decoder>,
    paused: Cell<bool>,
    /// Reads were paused, and what the peer sent meanwhile is not read to its end yet.
    behind: Cell<bool>,
    /// What came behind the handshake while reads were paused.
    early: RefCell<Vec<u8>>,
    /// The core wants to know when the receive buffer is first found empty.
    tell_empty: Cell<bool>,
    /// The kernel takes no more for now.
    stalled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What stands at a connection's place.
enum Entry {
    Dialling(SocketKey, AbortHandle),
    Live(Rc<Socket>),
}

/// The sockets of a shard by their connection's place.
#[derive(Default)]
pub struct Table {
    entries: Vec<Option<Entry>>,
}

impl Table {
    pub fn dialling(&mut self, key: SocketKey, task: AbortHandle) {
        *self.entry(key.conn) = Some(Entry::Dialling(key, task));
    }

    pub fn live(&mut self, socket: Rc<Socket>) {
        let place = socket.key.conn;
        *self.entry(place) = Some(Entry::Live(socket));
    }

    pub fn get(&self, key: SocketKey) -> Option<&Rc<Socket>> {
        match self.entries.get(key.conn.index as usize)?.as_ref()? {
            Entry::Live(socket) if socket.key == key => Some(socket),
            _ => None,
        }
    }

    /// Ends a dial or takes a live socket out.
    pub fn remove(&mut self, key: SocketKey) -> Option<Rc<Socket>> {
        let entry = self.entries.get_mut(key.conn.index as usize)?;
        let is_it = match entry {
            Some(Entry::Dialling(known, _)) => *known == key,
            Some(Entry::Live(socket)) => socket.key == key,
            None => false,
        };
        match is_it.then(|| entry.take()).flatten()? {
            Entry::Dialling(_, task) => {
                task.abort();
                None
            }
            Entry::Live(socket) => Some(socket),
        }
    }

    fn entry(&mut self, conn: ConnKey) -> &mut Option<Entry> {
        let index = conn.index as usize;
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, || None);
        }
        &mut self.entries[index]
    }
}

impl Socket {
    pub fn dialled(key: SocketKey, io: Io) -> Rc<Self> {
        Socket::new(key, io, Role::Client)
    }

    pub fn accepted(key: SocketKey, io: Io) -> Rc<Self> {
        Socket::new(key, io, Role::Server)
    }

    fn new(key: SocketKey, io: Io, role: Role) -> Rc<Self> {
        Rc::new(Socket {
            key,
            role,
            io: RefCell::new(Some(io)),
            decoder: RefCell::new(Decoder::new(role)),
            paused: Cell::new(false),
            behind: Cell::new(false),
            early: RefCell::default(),
            tell_empty: Cell::new(false),
            stalled: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    pub fn pause(&self, paused: bool) {
        self.paused.set(paused);
        if paused {
            self.behind.set(true);
        }
        self.wake();
    }

    pub fn read_out(&self) {
        self.tell_empty.set(true);
        self.wake();
    }

    /// The end that a read found: it may have come while nothing was read.
    fn cut(&self, cause: CloseCause) -> CloseCause {
        if self.behind.get() { CloseCause::Backpressure } else { cause }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Bytes for the kernel, unless it takes none for now; then the socket's task waits until it does.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.stalled.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = match self.io.borrow_mut().as_mut() {
            Some(io) => io.try_write(bytes),
            None => return Err(io::ErrorKind::WouldBlock.into()),
        };
        let blocked = match &written {
            Ok(taken) => *taken < bytes.len(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        if blocked {
            self.stalled.set(true);
            self.wake();
        }
        written
    }

    /// Takes the stream away: the socket's task ends at its next look.
    pub fn take_io(&self) -> Option<Io> {
        let io = self.io.borrow_mut().take();
        self.wake();
        io
    }
}

impl Local {
    /// A socket's life: ends when its stream is taken away or fails.
    pub(super) async fn serve_socket(self: Rc<Self>, socket: Rc<Socket>) {
        std::future::poll_fn(|cx| self.drive(&socket, cx)).await;
    }

    fn drive(self: &Rc<Self>, socket: &Rc<Socket>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut kept = socket.waker.borrow_mut();
            if !kept.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *kept = Some(cx.waker().clone());
            }
        }
        if socket.stalled.get() {
            self.unstall(socket, cx);
        }
        // A full buffer means that there is more: let the neighbours go first.
        for _ in 0..READS_PER_WAKE {
            if socket.io.borrow().is_none() {
                return Poll::Ready(());
            }
            if socket.paused.get() {
                return Poll::Pending;
            }
            let mut early = socket.early.take();
            if !early.is_empty() {
                self.received(socket, &mut early);
            } else if self.read(socket, cx).is_pending() {
                if socket.tell_empty.take() {
                    self.step(|core, _| core.read_out(socket.key));
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One read and all that it brought. Pending: nothing more now.
    fn read(self: &Rc<Self>, socket: &Rc<Socket>, cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = self.read_buffer.borrow_mut();
        let mut space = ReadBuf::new(&mut buffer);
        let read = match socket.io.borrow_mut().as_mut() {
            Some(io) => io.poll_read(cx, &mut space),
            None => return Poll::Pending,
        };
        let Poll::Ready(read) = read else {
            socket.behind.set(false);
            return Poll::Pending;
        };
        let count = space.filled().len();
        match read {
            Ok(()) if count > 0 => self.received(socket, &mut buffer[..count]),
            Ok(()) => {
                drop(buffer);
                let text = "the peer ended the stream without a close frame";
                self.socket_ended(socket, socket.cut(CloseCause::PeerVanished), text);
            }
            Err(error) => {
                drop(buffer);
                self.socket_ended(socket, socket.cut(CloseCause::NetworkError), &error.to_string());
            }
        }
        Poll::Ready(())
    }

    /// What came with the handshake's answer: handed on, or kept while nothing may be read.
    pub(super) fn received_early(self: &Rc<Self>, socket: &Rc<Socket>, mut bytes: Vec<u8>) {
        if socket.paused.get() {
            socket.early.replace(bytes);
        } else if !bytes.is_empty() {
            self.received(socket, &mut bytes);
        }
    }

    /// Bytes of the peer, decoded and handed to the core message by message.
    pub(super) fn received(self: &Rc<Self>, socket: &Rc<Socket>, bytes: &mut [u8]) {
        let now = self.now();
        let key = socket.key;
        self.step(|core, fx| {
            let message_bytes_max = core.message_bytes_max(key);
            let bounds = Bounds { message_bytes_max, fragments_max: limits::FRAGMENTS_MAX };
            let fed = socket
                .decoder
                .borrow_mut()
                .feed(&bounds, bytes, &mut |event| core.event(now, key, event, fx));
            if let Err(violation) = fed {
                core.violated(now, key, violation, fx);
            }
        });
    }

    pub(super) fn socket_ended(self: &Rc<Self>, socket: &Rc<Socket>, cause: CloseCause, text: &str) {
        self.unfinished.set(true);
        let now = self.now();
        self.step(|core, fx| core.ended(now, socket.key, cause, text, fx));
    }

    /// Writes what the outbox holds, as far as the kernel takes it.
    pub(super) fn flush(self: &Rc<Self>, now: Now, key: SocketKey) {
        let Some(socket) = self.sockets.borrow().get(key).cloned() else { return };
        if !socket.stalled.get() {
            self.write(now, &socket);
        }
    }

    fn write(self: &Rc<Self>, now: Now, socket: &Rc<Socket>) {
        let key = socket.key;
        loop {
            let mut buffer = self.write_buffer.borrow_mut();
            buffer.clear();
            {
                let core = self.core.borrow();
                let Some(outbox) = core.outbox(key) else { return };
                let mut entropy = self.entropy.borrow_mut();
                let masks = core.masks(key);
                outbox.fill(&mut buffer, limits::WRITE_BUFFER_BYTES, || masks.then(|| entropy.mask()));
            }
            if buffer.is_empty() {
                return;
            }
            let written = match socket.io.borrow_mut().as_mut() {
                Some(io) => io.try_write(&buffer),
                None => return,
            };
            match written {
                Ok(taken) => {
                    self.step(|core, fx| core.wrote(now, key, &buffer, taken, fx));
                    if buffer.capacity() > WRITE_BUFFER_KEPT {
                        *buffer = Vec::with_capacity(limits::WRITE_BUFFER_BYTES);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.stalled.set(true);
                    self.core.borrow_mut().stalled(now, key);
                    return socket.wake();
                }
                Err(error) => {
                    drop(buffer);
                    return self.socket_ended(socket, CloseCause::NetworkError, &error.to_string());
                }
            }
        }
    }

    fn unstall(self: &Rc<Self>, socket: &Rc<Socket>, cx: &mut Context<'_>) {
        if socket.role == Role::Client && !self.may_write() {
            return;
        }
        let ready = match socket.io.borrow_mut().as_mut() {
            Some(io) => io.poll_writable(cx),
            None => return,
        };
        match ready {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                socket.stalled.set(false);
                let now = self.now();
                self.write(now, socket);
                if socket.role == Role::Server && !socket.stalled.get() {
                    self.flush_seats(now, socket.key);
                }
                if socket.stalled.get() {
                    // Taken again before this task could register: look once more.
                    cx.waker().wake_by_ref();
                }
            }
            Poll::Ready(Err(error)) => {
                self.socket_ended(socket, CloseCause::NetworkError, &error.to_string())
            }
        }
    }
}

/// The last bytes, then the peer's end, or the end of our patience.
pub async fn farewell(mut io: Io, last: Vec<u8>, dialled: bool) {
    let said = async {
        io.write_all(&last).await?;
        io.flush().await?;
        if !dialled {
            // The server ends the stream first: clients wait for it before they call it closed.
            io.shutdown().await?;
        }
        let mut sink = [0; 4096];
        let mut drained = 0;
        while drained < FAREWELL_BYTES_MAX {
            match io.read(&mut sink).await? {
                0 => break,
                count => drained += count,
            }
        }
        io::Result::Ok(())
    };
    // Whatever it answers, the socket is dropped here.
    let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, said).await;
}

/// Full buffers that one socket may read before its neighbours' turn.
const READS_PER_WAKE: usize = 2;
/// One big message may grow the buffer for itself only.
const WRITE_BUFFER_KEPT: usize = 256 * 1024;
/// What a peer may still send after our close frame.
const FAREWELL_BYTES_MAX: usize = 1024 * 1024;
