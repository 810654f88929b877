//! Each call as those see it who look on: counted and timed by its method, and a span where spans are
//! wanted. Within one, what the call causes belongs to its trace.

use super::{
    counters::calls::{CallCounters, CallEnd, Method},
    json::Refusal,
    service::{Caller, Flow, Service},
    status,
};
use crate::{
    core::{
        id::ConnectionId,
        reason::{Fault, FaultKind},
        tally::nanos,
    },
    ports::spans::{Begun, Open, SpanKind, Spans, Value},
    proto::*,
};
use futures_core::Stream;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

#[cfg(test)]
mod tests;

/// Who looks on; one for each shard.
#[derive(Clone, Default)]
pub struct Observer {
    pub calls: Arc<CallCounters>,
    pub spans: Spans,
}

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    Connect,
    Rest,
    /// A command on the bus.
    Bus,
    /// Passed on by another instance.
    Peer,
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::Connect => "connect_rpc",
            Protocol::Rest => "rest",
            Protocol::Bus => "bus",
            Protocol::Peer => "peer",
        }
    }
}

/// A call under way. Dropped without an end it was given up by its caller.
pub struct Observed {
    calls: Arc<CallCounters>,
    method: Method,
    since: Instant,
    span: Option<Box<Told>>,
    over: bool,
}

struct Told {
    open: Open,
    protocol: Protocol,
    connection: String,
}

impl Service {
    /// From here on the caller's trace is that of the call's own span. `connection`: the one that the
    /// call names, if any.
    pub fn observe(
        &self,
        protocol: Protocol,
        method: Method,
        caller: &mut Caller,
        connection: &str,
    ) -> Observed {
        let observer = self.observer();
        // A call that another instance passed on is counted where it came in.
        if protocol != Protocol::Peer {
            observer.calls.begun();
        }
        let span = match observer.spans.begin(caller.traceparent.as_deref(), unix_nanos) {
            Begun::Nothing => None,
            Begun::Left(trace) => {
                caller.traceparent = Some(trace.header());
                None
            }
            Begun::Kept(open) => {
                caller.traceparent = Some(open.at.header());
                Some(Box::new(Told { open, protocol, connection: named(connection) }))
            }
        };
        let (calls, since) = (observer.calls.clone(), Instant::now());
        Observed { calls, method, since, span, over: protocol == Protocol::Peer }
    }
}

/// Nobody has checked it yet, and what waits for the collector must stay small.
fn named(connection: &str) -> String {
    ConnectionId::parse(connection).map(|id| id.to_string()).unwrap_or_default()
}

impl Observed {
    /// What the call turns out to name, once it is read.
    pub fn about(&mut self, connection: &str) {
        if let Some(told) = &mut self.span {
            told.connection = named(connection);
        }
    }

    pub fn ended<T>(mut self, answer: Result<T, Fault>) -> Result<T, Fault> {
        let end = match &answer {
            Ok(_) => CallEnd::Ok,
            Err(fault) => end_of(fault.kind),
        };
        self.finish(end, answer.as_ref().err());
        answer
    }

    /// As `ended`, of a request that came by HTTP: what was refused before it was read counts as well.
    pub fn answered<T>(mut self, answer: Result<T, Refusal>) -> Result<T, Refusal> {
        let end = match &answer {
            Ok(_) => CallEnd::Ok,
            Err(refusal) => end_of(refusal.fault.kind),
        };
        self.finish(end, answer.as_ref().err().map(|refusal| &refusal.fault));
        answer
    }

    fn finish(&mut self, end: CallEnd, fault: Option<&Fault>) {
        let took = self.since.elapsed();
        if !std::mem::replace(&mut self.over, true) {
            self.calls.ended(self.method, end, took);
        }
        let Some(told) = self.span.take() else { return };
        let Told { open, protocol, connection } = *told;
        let code = fault.map_or(tonic::Code::Ok, |fault| status::row(fault.kind).grpc);
        let mut attributes: Vec<(&'static str, Value)> = vec![
            ("rpc.system", protocol.name().into()),
            ("rpc.service", "virtufin".into()),
            ("rpc.method", self.method.name().into()),
            ("rpc.grpc.status_code", (code as u64).into()),
        ];
        if !connection.is_empty() {
            attributes.push(("wsm.connection.id", Value::Text(connection)));
        }
        if let Some(fault) = fault {
            attributes.push(("error.type", status::reason(fault).into()));
        }
        // What the caller did wrong is no error of ours.
        let fault = match (end, fault) {
            (CallEnd::Failed, Some(fault)) => Some(status::message(fault)),
            (CallEnd::Cancelled, _) => Some("the caller went away".to_owned()),
            _ => None,
        };
        open.end(took, self.method.name(), SpanKind::Server, attributes, fault);
    }
}

fn unix_nanos() -> u64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Drop for Observed {
    fn drop(&mut self) {
        if !self.over || self.span.is_some() {
            self.finish(CallEnd::Cancelled, None);
        }
    }
}

impl Service {
    /// A stream that was opened: it counts as one until it ends.
    pub fn standing(&self, method: Method) -> Standing {
        let calls = self.observer().calls.clone();
        calls.opened(method);
        Standing { calls, method, end: None }
    }

    /// The same flow, counted in this way.
    pub fn counted<T: 'static>(&self, method: Method, flow: Flow<T>) -> Flow<T> {
        Box::pin(Counted { flow, standing: self.standing(method) })
    }
}

/// A stream that stands. Dropped before its last item it was given up by its caller.
pub struct Standing {
    calls: Arc<CallCounters>,
    method: Method,
    end: Option<CallEnd>,
}

impl Standing {
    /// Its last item was given, and was perhaps this fault. What comes behind a fault changes nothing.
    pub fn over(&mut self, fault: Option<&Fault>) {
        self.end.get_or_insert(fault.map_or(CallEnd::Ok, |fault| end_of(fault.kind)));
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.calls.closed(self.method, self.end.unwrap_or(CallEnd::Cancelled));
    }
}

struct Counted<T> {
    flow: Flow<T>,
    standing: Standing,
}

impl<T> Stream for Counted<T> {
    type Item = Result<T, Fault>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.flow.as_mut().poll_next(context);
        match &polled {
            Poll::Ready(None) => self.standing.over(None),
            Poll::Ready(Some(Err(fault))) => self.standing.over(Some(fault)),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }
}

fn end_of(kind: FaultKind) -> CallEnd {
    match kind {
        // A lost frame is nobody's wrong argument, whatever the code; nor is a Send whose connection somebody
        // else ended.
        FaultKind::MaybeSent | FaultKind::Cancelled => CallEnd::Failed,
        FaultKind::Unimplemented => CallEnd::Refused,
        kind if status::row(kind).http >= 500 => CallEnd::Failed,
        _ => CallEnd::Refused,
    }
}

/// The connection that a request names; empty: none.
pub trait Subject {
    fn connection(&self) -> &str {
        ""
    }
}

macro_rules! subjects {
    ($($request:ident $(by $field:ident)?,)+) => {
        $(impl Subject for $request {
            $(fn connection(&self) -> &str {
                &self.$field
            })?
        })+
    };
}

subjects! {
    ConnectRequest by connection_id,
    ListRequest,
    GetRequest by id,
    UpdateRequest by id,
    DisconnectRequest by id,
    StartPublishRequest by id,
    StopPublishRequest by id,
    SendRequest by id,
    SendBatchRequest,
    SendRawRequest by id,
    SetTagRequest by id,
    GetTagRequest by id,
    SetTagsRequest by id,
    GetTagsRequest by id,
    ReceiveRequest,
    WatchRequest by id,
    RoomSendRequest,
    BroadcastRequest,
    SendToUserRequest,
    KickUserRequest,
    JoinRequest by id,
    LeaveRequest by id,
    ListRoomsRequest,
    ListMembersRequest,
    HistoryRequest,
}
