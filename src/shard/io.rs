//! A socket's bytes, plain or in TLS.

use std::{
    io, net,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A stream that carries TLS for us; boxed, since few connections are of one kind for long.
pub trait Stream: AsyncRead + AsyncWrite {}
impl<S: AsyncRead + AsyncWrite> Stream for S {}

pub enum Io {
    Plain(TcpStream),
    Tls(Pin<Box<dyn Stream + Send>>),
}

/// A socket on its way from one thread to another.
pub enum Moving {
    /// It has left its thread's reactor, and is taken in by the next one's.
    Plain(net::TcpStream),
    /// Stays with the reactor that it began with, whose thread wakes the other.
    Tls(Pin<Box<dyn Stream + Send>>),
}

impl Moving {
    /// On the thread that takes it in.
    pub fn arrive(self) -> io::Result<Io> {
        Ok(match self {
            Moving::Plain(tcp) => Io::Plain(TcpStream::from_std(tcp)?),
            Moving::Tls(tls) => Io::Tls(tls),
        })
    }
}

impl Io {
    pub fn leave(self) -> io::Result<Moving> {
        Ok(match self {
            Io::Plain(tcp) => Moving::Plain(tcp.into_std()?),
            Io::Tls(tls) => Moving::Tls(tls),
        })
    }

    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Io::Tls(tls) => tls.as_mut().poll_read(cx, buffer),
        }
    }

    /// Writes what the socket takes now; `WouldBlock` registers nothing.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Io::Plain(tcp) => tcp.try_write(bytes),
            Io::Tls(tls) => {
                let mut cx = Context::from_waker(Waker::noop());
                match tls.as_mut().poll_write(&mut cx, bytes) {
                    Poll::Ready(taken) => {
                        let taken = taken?;
                        // What TLS still holds is pushed by `poll_writable`.
                        if let Poll::Ready(Err(error)) = tls.as_mut().poll_flush(&mut cx) {
                            return Err(error);
                        }
                        Ok(taken)
                    }
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    /// Ready when a write may go on; registers the task otherwise.
    pub fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Plain(tcp) => tcp.poll_write_ready(cx),
            Io::Tls(tls) => tls.as_mut().poll_flush(cx),
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self, Io::Tls(_))
    }
}

#[cfg(test)]
mod tests;

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Io::poll_read(self.get_mut(), cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Io::Tls(tls) => tls.as_mut().poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Io::Tls(tls) => tls.as_mut().poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Io::Tls(tls) => tls.as_mut().poll_shutdown(cx),
        }
    }
}
