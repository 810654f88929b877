//! The one table from a fault to what each protocol says of it.

use crate::{
    core::reason::{Fault, FaultKind},
    limits,
};
use bytes::Bytes;
use prost::Message;
use serde_json::{Value, json};
use std::fmt::Write;
use tonic::Code;

#[cfg(test)]
mod tests;

pub const DOMAIN: &str = "websocketmanager";
const TYPE_PREFIX: &str = "type.googleapis.com/";

/// What the protocols say of one kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub grpc: Code,
    pub http: u16,
    /// The code's name in the Connect protocol.
    pub connect: &'static str,
    /// `google.rpc.ErrorInfo.reason`, unless the fault carries a certainty of its own.
    pub reason: &'static str,
}

pub const fn row(kind: FaultKind) -> Row {
    use FaultKind as K;
    let (grpc, http, connect, reason) = match kind {
        K::NotFound => (Code::NotFound, 404, "not_found", "not_found"),
        K::Invalid => (Code::InvalidArgument, 400, "invalid_argument", "invalid"),
        K::EgressDenied => (Code::PermissionDenied, 403, "permission_denied", "egress_denied"),
        K::IdInUse => (Code::AlreadyExists, 409, "already_exists", "id_in_use"),
        K::CorrelationInUse => (Code::AlreadyExists, 409, "already_exists", "correlation_in_use"),
        K::NotOpen => (Code::FailedPrecondition, 400, "failed_precondition", "not_open"),
        K::FifoResync => (Code::FailedPrecondition, 400, "failed_precondition", "fifo_resync"),
        K::DialFailed => (Code::Unavailable, 503, "unavailable", "dial_failed"),
        K::NotSent => (Code::Unavailable, 503, "unavailable", "not_sent"),
        K::MaybeSent => (Code::Aborted, 409, "aborted", "maybe_sent"),
        K::Cancelled => (Code::Aborted, 409, "aborted", "maybe_sent"),
        K::TimedOut => (Code::DeadlineExceeded, 504, "deadline_exceeded", "timed_out"),
        K::Full => (Code::ResourceExhausted, 429, "resource_exhausted", "full"),
        K::PeerProtocol => (Code::Internal, 500, "internal", "peer_protocol"),
        K::Unauthenticated => (Code::Unauthenticated, 401, "unauthenticated", "unauthenticated"),
        K::Forbidden => (Code::PermissionDenied, 403, "permission_denied", "forbidden"),
        K::Unimplemented => (Code::Unimplemented, 501, "unimplemented", "unimplemented"),
        K::Unavailable => (Code::Unavailable, 503, "unavailable", "unavailable"),
        K::Internal => (Code::Internal, 500, "internal", "internal"),
    };
    Row { grpc, http, connect, reason }
}

/// The reason that stands in the details, and in the message where the contract asks for it.
pub fn reason(fault: &Fault) -> &'static str {
    let row = row(fault.kind);
    match fault.certainty {
        // Whether a lost frame may have arrived is what its sender must know first.
        Some(certainty) if matches!(row.grpc, Code::Unavailable | Code::Aborted) => certainty.name(),
        _ => row.reason,
    }
}

/// The field first, then what is wrong, then the word that a client acts upon. Fault messages may
/// hold a caller's text, so control characters never pass.
pub fn message(fault: &Fault) -> String {
    let mut text = String::new();
    let whole = fault.to_string();
    for character in whole.chars().take(limits::FAULT_CHARS_MAX) {
        if is_hostile(character) {
            let _ = write!(text, "{}", character.escape_default());
        } else {
            text.push(character);
        }
    }
    let certainty = match (fault.certainty, fault.kind) {
        (Some(certainty), _) => Some(certainty.name()),
        (None, FaultKind::NotSent | FaultKind::MaybeSent | FaultKind::Cancelled) => Some(reason(fault)),
        (None, _) => None,
    };
    let resync = (fault.kind == FaultKind::FifoResync).then(|| reason(fault));
    for word in [certainty, resync].into_iter().flatten() {
        if !text.contains(word) {
            let _ = write!(text, " ({word})");
        }
    }
    text
}

/// Control characters, and those that reorder or break a line of a log or a terminal.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As a gRPC status with its details.
pub fn to_tonic(fault: &Fault) -> tonic::Status {
    let code = row(fault.kind).grpc;
    let message = message(fault);
    let rpc = RpcStatus { code: code as i32, message: message.clone(), details: details(fault, &message) };
    tonic::Status::with_details(code, message, Bytes::from(rpc.encode_to_vec()))
}

/// As `google.rpc.Status` JSON.
pub fn to_json(fault: &Fault) -> Value {
    let message = message(fault);
    let mut details = vec![json!({
        "@type": type_url(ErrorInfo::NAME), "reason": reason(fault), "domain": DOMAIN,
    })];
    if !fault.field.is_empty() {
        details.push(json!({
            "@type": type_url(BadRequest::NAME),
            "fieldViolations": [{"field": fault.field, "description": message}],
        }));
    }
    if let Some(after) = fault.retry_after {
        details.push(json!({
            "@type": type_url(RetryInfo::NAME),
            "retryDelay": format!("{}.{:09}s", after.as_secs(), after.subsec_nanos()),
        }));
    }
    json!({"code": row(fault.kind).grpc as i32, "message": message, "details": details})
}

/// The details as typed bytes: (type name, encoded message).
pub fn typed_details(fault: &Fault) -> Vec<(&'static str, Vec<u8>)> {
    packed(fault, &message(fault))
}

fn details(fault: &Fault, message: &str) -> Vec<Any> {
    packed(fault, message)
        .into_iter()
        .map(|(name, value)| Any { type_url: type_url(name), value: value.into() })
        .collect()
}

fn packed(fault: &Fault, message: &str) -> Vec<(&'static str, Vec<u8>)> {
    let info = ErrorInfo { reason: reason(fault).into(), domain: DOMAIN.into() };
    let mut packed = vec![(ErrorInfo::NAME, info.encode_to_vec())];
    if !fault.field.is_empty() {
        let violation = FieldViolation { field: fault.field.to_string(), description: message.into() };
        packed.push((BadRequest::NAME, BadRequest { field_violations: vec![violation] }.encode_to_vec()));
    }
    if let Some(after) = fault.retry_after {
        let delay = Delay {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: after.subsec_nanos() as i32,
        };
        packed.push((RetryInfo::NAME, RetryInfo { retry_delay: Some(delay) }.encode_to_vec()));
    }
    packed
}

fn type_url(name: &str) -> String {
    format!("{TYPE_PREFIX}{name}")
}

/// `google.rpc.Status`, on the wire.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct ErrorInfo {
    #[prost(string, tag = "1")]
    pub reason: String,
    #[prost(string, tag = "2")]
    pub domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct FieldViolation {
    #[prost(string, tag = "1")]
    pub field: String,
    #[prost(string, tag = "2")]
    pub description: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    pub field_violations: Vec<FieldViolation>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Delay {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<Delay>,
}

impl ErrorInfo {
    pub const NAME: &'static str = "google.rpc.ErrorInfo";
}

impl BadRequest {
    pub const NAME: &'static str = "google.rpc.BadRequest";
}

impl RetryInfo {
    pub const NAME: &'static str = "google.rpc.RetryInfo";
}
