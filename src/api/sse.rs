//! Server-sent events: what a stream of the service looks like to a browser.

use super::{json, service::Flow, status};
use crate::{
    core::reason::{Fault, FaultKind},
    limits,
    proto::{LifecycleEvent, ReceivedMessage, received_message::Body as Kind},
};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep, sleep};

#[cfg(test)]
mod tests;

/// One event: its name, the cursor to come back with, the data as one line.
pub struct Event {
    pub name: String,
    pub cursor: String,
    pub data: String,
}

pub fn message_event(message: &ReceivedMessage) -> Result<Event, Fault> {
    let name = match &message.body {
        Some(Kind::Gap(_)) => "gap",
        Some(Kind::End(_)) => "end",
        _ => "message",
    };
    event(name, &message.cursor, message)
}

pub fn lifecycle_event(lifecycle: &LifecycleEvent) -> Result<Event, Fault> {
    let name = lifecycle.r#type.rsplit('.').next().unwrap_or_default();
    event(name, &lifecycle.cursor, lifecycle)
}

fn event<T: serde::Serialize>(name: &str, cursor: &str, message: &T) -> Result<Event, Fault> {
    // JSON escapes line ends in strings, and the compact form has none outside of them.
    let data = serde_json::to_string(message)
        .map_err(|_| Fault::new(FaultKind::Internal, "a message has no JSON form"))?;
    Ok(Event { name: name.to_owned(), cursor: cursor.to_owned(), data })
}

pub fn respond<T: Send + 'static>(flow: Flow<T>, shape: fn(&T) -> Result<Event, Fault>) -> Response<Body> {
    let body = Events { flow: Some(flow), shape, silence: Box::pin(sleep(limits::EVENTS_KEEPALIVE)) };
    let mut response = json::plain(StatusCode::OK, "text/event-stream", Body::new(body));
    // Proxies that buffer would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Events<T> {
    /// None after the last item.
    flow: Option<Flow<T>>,
    shape: fn(&T) -> Result<Event, Fault>,
    silence: Pin<Box<Sleep>>,
}

impl<T> Events<T> {
    /// Everything that is ready, up to a chunk.
    fn gather(&mut self, context: &mut Context<'_>) -> String {
        let mut chunk = String::new();
        while chunk.len() < limits::EVENTS_CHUNK_BYTES {
            let Some(flow) = &mut self.flow else { break };
            let event = match flow.as_mut().poll_next(context) {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    self.flow = None;
                    break;
                }
                Poll::Ready(Some(item)) => item.and_then(|item| (self.shape)(&item)),
            };
            match event {
                Ok(event) => write_event(&mut chunk, &event),
                Err(fault) => {
                    let data = status::to_json(&fault).to_string();
                    write_event(&mut chunk, &Event { name: "error".into(), cursor: String::new(), data });
                    self.flow = None;
                }
            }
        }
        chunk
    }
}

impl<T: Send> http_body::Body for Events<T> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let chunk = this.gather(context);
        let ended = this.flow.is_none();
        let chunk = match (chunk.is_empty(), ended) {
            (false, _) => chunk,
            (true, true) => return Poll::Ready(None),
            (true, false) => {
                if this.silence.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                ": keep-alive\n\n".to_owned()
            }
        };
        this.silence.as_mut().reset(Instant::now() + limits::EVENTS_KEEPALIVE);
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }
}

fn write_event(chunk: &mut String, event: &Event) {
    // A line end in a name or cursor would begin a field of its own.
    for (field, value) in [("event", &event.name), ("id", &event.cursor)] {
        if value.is_empty() {
            continue;
        }
        chunk.push_str(field);
        chunk.push_str(": ");
        chunk.extend(value.chars().filter(|character| !character.is_control()));
        chunk.push('\n');
    }
    chunk.push_str("data: ");
    chunk.push_str(&event.data);
    chunk.push_str("\n\n");
}
