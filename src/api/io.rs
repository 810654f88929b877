//! The socket under HTTP: one type for plain and TLS, so that an upgrade can take it back, and
//! small writes gathered, so that one flush is one system call.
//!
//! HTTP/2 writes each payload of 256 bytes and more by itself, with a flush in between; under
//! `defer` such flushes wait for `poll_flush_now`, which the connection's driver calls once a turn.

use crate::limits;
use bytes::{Buf, Bytes};
use hyper_util::rt::TokioIo;
use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

#[cfg(test)]
mod tests;

pub enum EdgeStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub struct EdgeIo {
    stream: EdgeStream,
    /// Read by us before HTTP began, and given out first.
    ahead: Bytes,
    gathered: Vec<u8>,
    /// How much of `gathered` is written.
    written: usize,
    deferred: bool,
}

/// What an upgrade takes over.
pub struct Taken {
    pub stream: EdgeStream,
    /// What the client sent after its request's head.
    pub read_ahead: Bytes,
}

impl EdgeIo {
    pub fn new(stream: EdgeStream) -> Self {
        EdgeIo { stream, ahead: Bytes::new(), gathered: Vec::new(), written: 0, deferred: false }
    }

    /// Gives bytes back that were read to see what they are.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.ahead = bytes;
    }

    pub fn defer_flushes(&mut self) {
        self.deferred = true;
    }

    /// Writes what is gathered.
    pub fn poll_flush_now(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        self.stream.pinned().poll_flush(context)
    }

    /// Takes the socket out of a finished upgrade. Fails when the upgrade is none of ours.
    pub async fn take(upgraded: hyper::upgrade::Upgraded) -> io::Result<Taken> {
        let parts = upgraded
            .downcast::<TokioIo<EdgeIo>>()
            .map_err(|_| io::Error::other("an upgrade that did not come through our listener"))?;
        let mut io = parts.io.into_inner();
        std::future::poll_fn(|context| io.poll_flush_now(context)).await?;
        let read_ahead = match (parts.read_buf, io.ahead) {
            (read, ahead) if ahead.is_empty() => read,
            (read, ahead) if read.is_empty() => ahead,
            (read, ahead) => [read, ahead].concat().into(),
        };
        Ok(Taken { stream: io.stream, read_ahead })
    }

    fn waiting(&self) -> usize {
        self.gathered.len() - self.written
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            let rest = &self.gathered[self.written..];
            let written = ready!(self.stream.pinned().poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.written = 0;
        give_back(std::mem::take(&mut self.gathered));
        Poll::Ready(Ok(()))
    }

    /// Makes room for `bytes`; false: they are too many to gather.
    fn poll_room(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<io::Result<bool>> {
        if self.waiting() + bytes > limits::GATHER_BYTES_MAX {
            ready!(self.poll_drain(context))?;
        }
        if bytes > limits::GATHER_BYTES_MAX {
            return Poll::Ready(Ok(false));
        }
        if self.gathered.capacity() == 0 {
            self.gathered = lend();
        }
        Poll::Ready(Ok(true))
    }
}

impl EdgeStream {
    fn pinned(&mut self) -> Pin<&mut dyn ReadWrite> {
        match self {
            EdgeStream::Plain(stream) => Pin::<&mut TcpStream>::new(stream),
            EdgeStream::Tls(stream) => Pin::<&mut TlsStream<TcpStream>>::new(stream),
        }
    }
}

trait ReadWrite: AsyncRead + AsyncWrite {}
impl<T: AsyncRead + AsyncWrite> ReadWrite for T {}

impl AsyncRead for EdgeIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let bytes = self.ahead.len().min(into.remaining());
            into.put_slice(&self.ahead[..bytes]);
            self.ahead.advance(bytes);
            return Poll::Ready(Ok(()));
        }
        self.stream.pinned().poll_read(context, into)
    }
}

impl AsyncWrite for EdgeIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if ready!(self.poll_room(context, bytes.len()))? {
            self.gathered.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.stream.pinned().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if ready!(self.poll_room(context, bytes))? {
            slices.iter().for_each(|slice| self.gathered.extend_from_slice(slice));
            return Poll::Ready(Ok(bytes));
        }
        self.stream.pinned().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deferred { Poll::Ready(Ok(())) } else { self.poll_flush_now(context) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        self.stream.pinned().poll_shutdown(context)
    }
}

thread_local! {
    /// A connection needs its buffer for a turn; between turns one serves all.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn lend() -> Vec<u8> {
    let spare = SPARE.take();
    if spare.capacity() == 0 { Vec::with_capacity(limits::GATHER_BYTES_MAX) } else { spare }
}

fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() > 0 {
        buffer.clear();
        SPARE.set(buffer);
    }
}

/// An `EdgeIo` that its connection and the connection's driver both reach.
#[derive(Clone)]
pub struct SharedIo(Rc<RefCell<EdgeIo>>);

impl SharedIo {
    pub fn new(mut io: EdgeIo) -> Self {
        io.defer_flushes();
        SharedIo(Rc::new(RefCell::new(io)))
    }

    pub fn poll_flush_now(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush_now(context)
    }
}

impl AsyncRead for SharedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(context, into)
    }
}

impl AsyncWrite for SharedIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(context)
    }
}
