//! Bodies of gRPC calls on their way to the library, which waits for one as long as its caller likes and
//! refuses a message that is too large in the middle of it.
//!
//! Each message is whole within its time, or its call ends. One that is too large is read to its end and
//! thrown away, and then refused: a client that is told so while it still writes may not be able to hear it
//! (Node's cannot with megabytes queued, and loses its other calls on that connection as well).

use crate::{
    api::{json, status},
    core::reason::Fault,
    limits,
};
use bytes::Bytes;
use http_body::{Body, Frame};
use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::{Instant, Sleep, sleep_until};

#[cfg(test)]
mod tests;

/// The methods whose callers send many messages, and may take their time between them.
const CALLER_STREAMS: [&str; 5] = [
    "/virtufin.WebSocketManager/SendStream",
    "/virtufin.fleet.Peers/Calls",
    "/virtufin.fleet.Peers/Rooms",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Flag and length before each message.
const HEAD: usize = 5;

type BoxError = Box<dyn Error + Send + Sync>;

pub struct Bounded<B> {
    inner: B,
    /// Of one message.
    bytes_max: usize,
    /// It holds one message, and has a deadline as a whole.
    whole: bool,
    seen: Seen,
    /// For the message under way, or the body; from the first time that it was waited for.
    deadline: Option<Instant>,
    late: Option<Pin<Box<Sleep>>>,
    /// `late` is set to what is waited for now.
    armed: bool,
}

/// Where the last byte was.
#[derive(Clone, Copy)]
enum Seen {
    Head { got: usize, bytes: [u8; HEAD] },
    Message { left: usize },
    TooLarge { left: usize, length: usize },
    Over,
}

const BEGIN: Seen = Seen::Head { got: 0, bytes: [0; HEAD] };

impl<B> Bounded<B> {
    /// The body of a call of this method.
    pub fn of(path: &str, inner: B, bytes_max: usize) -> Self {
        let whole = !CALLER_STREAMS.contains(&path);
        Bounded { inner, bytes_max, whole, seen: BEGIN, deadline: None, late: None, armed: false }
    }

    /// How many of these bytes go on to the library: all, but for what belongs to a message that is too large.
    fn follow(&mut self, data: &[u8]) -> usize {
        if !self.whole && self.armed && self.late.as_ref().is_some_and(|late| late.is_elapsed()) {
            // Nobody read in the meantime: that was not the caller.
            self.begin_anew();
        }
        let (mut at, mut head_at) = (0, 0);
        while at < data.len() {
            match &mut self.seen {
                Seen::Head { got, bytes } => {
                    if *got == 0 {
                        head_at = at;
                    }
                    let taken = (HEAD - *got).min(data.len() - at);
                    bytes[*got..*got + taken].copy_from_slice(&data[at..at + taken]);
                    (*got, at) = (*got + taken, at + taken);
                    if *got == HEAD {
                        let [_, length @ ..] = *bytes;
                        self.message(u32::from_be_bytes(length) as usize);
                    }
                }
                Seen::Message { left } => {
                    let taken = (*left).min(data.len() - at);
                    (*left, at) = (*left - taken, at + taken);
                    if *left == 0 {
                        self.between();
                    }
                }
                Seen::TooLarge { left, .. } => {
                    *left = left.saturating_sub(data.len() - at);
                    self.armed = false;
                    return head_at;
                }
                Seen::Over => return 0,
            }
        }
        match self.seen {
            Seen::TooLarge { .. } => head_at,
            _ => data.len(),
        }
    }

    fn message(&mut self, length: usize) {
        match length {
            0 => self.between(),
            _ if length > self.bytes_max => {
                let left = length.min(limits::OVERSIZE_READ_BYTES);
                self.seen = Seen::TooLarge { left, length };
                self.armed = false;
            }
            left => self.seen = Seen::Message { left },
        }
    }

    fn between(&mut self) {
        self.seen = BEGIN;
        if !self.whole {
            self.begin_anew();
        }
    }

    fn begin_anew(&mut self) {
        self.deadline = None;
        self.armed = false;
    }

    /// Nothing more is there. Ready: nothing more is waited for.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Fault> {
        if !self.whole && matches!(self.seen, Seen::Head { got: 0, .. }) {
            return Poll::Pending;
        }
        let until = |deadline: Instant, now: Instant| match self.seen {
            Seen::TooLarge { .. } => deadline.min(now + limits::OVERSIZE_PAUSE_MAX),
            _ => deadline,
        };
        if !self.armed {
            let now = Instant::now();
            let until = until(*self.deadline.get_or_insert(now + limits::BODY_DEADLINE), now);
            match &mut self.late {
                Some(late) => late.as_mut().reset(until),
                None => self.late = Some(Box::pin(sleep_until(until))),
            }
            self.armed = true;
        }
        if let Some(late) = &mut self.late {
            ready!(late.as_mut().poll(context));
        }
        Poll::Ready(self.too_large().unwrap_or_else(json::body_late))
    }

    fn too_large(&self) -> Option<Fault> {
        match self.seen {
            Seen::TooLarge { length, .. } => Some(json::body_too_large(Some(length), self.bytes_max)),
            _ => None,
        }
    }

    fn refuse<T>(&mut self, fault: &Fault) -> Poll<Option<Result<T, BoxError>>> {
        self.seen = Seen::Over;
        Poll::Ready(Some(Err(Box::new(status::to_tonic(fault)))))
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            match this.seen {
                Seen::Over => return Poll::Ready(None),
                Seen::TooLarge { left: 0, length } => {
                    return this.refuse(&json::body_too_large(Some(length), this.bytes_max));
                }
                _ => {}
            }
            let frame = match Pin::new(&mut this.inner).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => match this.too_large() {
                    Some(fault) => return this.refuse(&fault),
                    None => return Poll::Ready(None),
                },
                Poll::Pending => {
                    let fault = ready!(this.wait(context));
                    return this.refuse(&fault);
                }
            };
            let mut data = match frame.into_data() {
                Ok(data) => data,
                Err(_) if matches!(this.seen, Seen::TooLarge { .. }) => continue,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            data.truncate(this.follow(&data));
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.seen {
            Seen::Over => true,
            Seen::TooLarge { .. } => false,
            _ => self.inner.is_end_stream(),
        }
    }
}
