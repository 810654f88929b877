use super::*;
use crate::core::reason::Certainty;
use std::time::Duration;

/// The contract's table, written out a second time on purpose.
const TABLE: &[(FaultKind, i32, u16, &str, &str)] = &[
    (FaultKind::NotFound, 5, 404, "not_found", "not_found"),
    (FaultKind::Invalid, 3, 400, "invalid_argument", "invalid"),
    (FaultKind::EgressDenied, 7, 403, "permission_denied", "egress_denied"),
    (FaultKind::IdInUse, 6, 409, "already_exists", "id_in_use"),
    (FaultKind::CorrelationInUse, 6, 409, "already_exists", "correlation_in_use"),
    (FaultKind::NotOpen, 9, 400, "failed_precondition", "not_open"),
    (FaultKind::FifoResync, 9, 400, "failed_precondition", "fifo_resync"),
    (FaultKind::DialFailed, 14, 503, "unavailable", "dial_failed"),
    (FaultKind::NotSent, 14, 503, "unavailable", "not_sent"),
    (FaultKind::MaybeSent, 10, 409, "aborted", "maybe_sent"),
    (FaultKind::Cancelled, 10, 409, "aborted", "maybe_sent"),
    (FaultKind::TimedOut, 4, 504, "deadline_exceeded", "timed_out"),
    (FaultKind::Full, 8, 429, "resource_exhausted", "full"),
    (FaultKind::PeerProtocol, 13, 500, "internal", "peer_protocol"),
    (FaultKind::Unauthenticated, 16, 401, "unauthenticated", "unauthenticated"),
    (FaultKind::Forbidden, 7, 403, "permission_denied", "forbidden"),
    (FaultKind::Unimplemented, 12, 501, "unimplemented", "unimplemented"),
    (FaultKind::Unavailable, 14, 503, "unavailable", "unavailable"),
    (FaultKind::Internal, 13, 500, "internal", "internal"),
];

fn details_of(fault: &Fault) -> RpcStatus {
    RpcStatus::decode(to_tonic(fault).details()).unwrap()
}

#[test]
fn the_whole_table() {
    for &(kind, grpc, http, connect, reason) in TABLE {
        let row = row(kind);
        assert_eq!(
            (row.grpc as i32, row.http, row.connect, row.reason),
            (grpc, http, connect, reason),
            "{kind:?}"
        );
        let fault = Fault::new(kind, "what happened");
        let status = to_tonic(&fault);
        assert_eq!(status.code() as i32, grpc);
        let wire = details_of(&fault);
        assert_eq!((wire.code, wire.message.as_str()), (grpc, status.message()));
        let info = ErrorInfo::decode(wire.details[0].value.clone()).unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "websocketmanager"));
        let json = to_json(&fault);
        assert_eq!(json["code"], grpc);
        assert_eq!(json["details"][0]["reason"], reason);
        assert_eq!(json["details"][0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
    }
    let kinds: std::collections::HashSet<_> = TABLE.iter().map(|row| row.0).collect();
    assert_eq!(kinds.len(), TABLE.len());
}

#[test]
fn the_certainty_stands_in_reason_and_message() {
    for (fault, word) in [
        (Fault::new(FaultKind::NotSent, "the socket broke"), "not_sent"),
        (Fault::new(FaultKind::MaybeSent, "the socket broke"), "maybe_sent"),
        (Fault::new(FaultKind::Cancelled, "disconnected"), "maybe_sent"),
        (Fault::new(FaultKind::FifoResync, "in doubt"), "fifo_resync"),
        (Fault::new(FaultKind::TimedOut, "no reply").with_certainty(Certainty::MaybeSent), "maybe_sent"),
        (Fault::new(FaultKind::Full, "outbox").with_certainty(Certainty::NotSent), "not_sent"),
        (Fault::new(FaultKind::Cancelled, "before").with_certainty(Certainty::NotSent), "not_sent"),
    ] {
        let status = to_tonic(&fault);
        assert!(status.message().contains(word), "{status:?}");
        let info = ErrorInfo::decode(details_of(&fault).details[0].value.clone()).unwrap();
        let certain = matches!(row(fault.kind).grpc, Code::Unavailable | Code::Aborted);
        assert_eq!(info.reason, if certain { word } else { row(fault.kind).reason });
    }
    let said = Fault::new(FaultKind::MaybeSent, "maybe_sent: the socket broke");
    assert_eq!(message(&said), "maybe_sent: the socket broke");
}

#[test]
fn the_field_comes_first_and_is_a_violation() {
    let fault = Fault::invalid("timeout_ms", "must not be negative");
    assert_eq!(message(&fault), "timeout_ms: must not be negative");
    let wire = details_of(&fault);
    assert_eq!(wire.details[1].type_url, "type.googleapis.com/google.rpc.BadRequest");
    let bad = BadRequest::decode(wire.details[1].value.clone()).unwrap();
    assert_eq!(bad.field_violations[0].field, "timeout_ms");
    assert_eq!(to_json(&fault)["details"][1]["fieldViolations"][0]["field"], "timeout_ms");
}

#[test]
fn retry_info_says_when() {
    let fault = Fault::full("too many", Duration::from_millis(1500));
    let wire = details_of(&fault);
    let retry = RetryInfo::decode(wire.details[1].value.clone()).unwrap();
    assert_eq!(retry.retry_delay, Some(Delay { seconds: 1, nanos: 500_000_000 }));
    assert_eq!(to_json(&fault)["details"][1]["retryDelay"], "1.500000000s");
}

#[test]
fn a_callers_text_brings_no_control_characters_and_no_flood() {
    let fault =
        Fault::new(FaultKind::NotFound, format!("no '\u{1b}[31m\r\n\0\u{85}\u{202e}' {}", "x".repeat(9000)));
    let text = message(&fault);
    assert!(!text.chars().any(is_hostile), "{text:?}");
    assert!(text.contains("\\u{1b}") && text.contains("\\r\\n"));
    assert!(text.chars().count() < 1200);
}
