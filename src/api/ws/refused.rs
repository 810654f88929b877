//! An opening handshake that is not answered with 101.

use crate::{
    api::{counters::WsRefusal, json::Refusal},
    core::reason::{Fault, FaultKind},
};
use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, header};

/// Boxed: it is handed up through every step.
pub struct Refused {
    pub reason: WsRefusal,
    answer: Box<Response<Body>>,
}

impl Refused {
    pub fn new(reason: WsRefusal, refusal: Refusal) -> Self {
        Refused::as_is(reason, refusal.into_response())
    }

    pub fn as_is(reason: WsRefusal, answer: Response<Body>) -> Self {
        Refused { reason, answer: Box::new(answer) }
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.answer.headers_mut().insert(name, value);
        self
    }

    /// What the shard, or the way to it, said.
    pub fn of_shard(fault: Fault) -> Self {
        let reason = match fault.kind {
            FaultKind::Full => WsRefusal::Full,
            FaultKind::Invalid => WsRefusal::Arguments,
            FaultKind::Forbidden => WsRefusal::Forbidden,
            _ => WsRefusal::Unavailable,
        };
        Refused::new(reason, Refusal::from(fault))
    }

    /// What a client sends behind a handshake belongs to a WebSocket: it is never read as a request.
    pub fn into_response(self) -> Response<Body> {
        let mut answer = *self.answer;
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}

/// A fault of the URL.
impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        let reason = match fault.kind {
            FaultKind::Invalid => WsRefusal::Arguments,
            FaultKind::Forbidden => WsRefusal::Forbidden,
            _ => WsRefusal::Unavailable,
        };
        Refused::new(reason, Refusal::from(fault))
    }
}
