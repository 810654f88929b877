//! The closed table of WebSocket close codes: which a close frame may carry, in which direction.

/// The task of the connection is fulfilled.
pub const NORMAL: u16 = 1000;
/// This end goes away.
pub const GOING_AWAY: u16 = 1001;
pub const PROTOCOL_ERROR: u16 = 1002;
/// Data of a type that this end cannot take.
pub const UNSUPPORTED_DATA: u16 = 1003;
/// What an application is told when the close frame had no code; never on the wire.
pub const NO_STATUS: u16 = 1005;
/// What an application is told when there was no close frame; never on the wire.
pub const ABNORMAL: u16 = 1006;
pub const INVALID_PAYLOAD: u16 = 1007;
pub const POLICY_VIOLATION: u16 = 1008;
pub const MESSAGE_TOO_BIG: u16 = 1009;
pub const INTERNAL_ERROR: u16 = 1011;
/// Come back, after a random pause.
pub const SERVICE_RESTART: u16 = 1012;
pub const TRY_AGAIN_LATER: u16 = 1013;

/// One row: a code, or a range of them with one standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCodes {
    pub first: u16,
    pub last: u16,
    pub name: &'static str,
    pub may_send: bool,
    pub may_receive: bool,
}

/// Every code there is, in order and without a hole.
pub const TABLE: &[CloseCodes] = &[
    never(0, 999, "below_range"),
    both(NORMAL, "normal"),
    both(GOING_AWAY, "going_away"),
    both(PROTOCOL_ERROR, "protocol_error"),
    both(UNSUPPORTED_DATA, "unsupported_data"),
    never(1004, 1004, "reserved"),
    never(NO_STATUS, NO_STATUS, "no_status"),
    never(ABNORMAL, ABNORMAL, "abnormal"),
    both(INVALID_PAYLOAD, "invalid_payload"),
    both(POLICY_VIOLATION, "policy_violation"),
    both(MESSAGE_TOO_BIG, "message_too_big"),
    // For a client whose extension was not granted; we demand none.
    CloseCodes { first: 1010, last: 1010, name: "mandatory_extension", may_send: false, may_receive: true },
    both(INTERNAL_ERROR, "internal_error"),
    both(SERVICE_RESTART, "service_restart"),
    both(TRY_AGAIN_LATER, "try_again_later"),
    both(1014, "bad_gateway"),
    never(1015, 1015, "tls_handshake"),
    never(1016, 2999, "unassigned"),
    CloseCodes { first: 3000, last: 3999, name: "registered", may_send: true, may_receive: true },
    CloseCodes { first: 4000, last: 4999, name: "private", may_send: true, may_receive: true },
    never(5000, u16::MAX, "above_range"),
];

/// Whether our close frame may carry it.
pub const fn may_send(code: u16) -> bool {
    row(code).may_send
}

/// Whether a peer's close frame may carry it; if not, the peer broke the protocol.
pub const fn may_receive(code: u16) -> bool {
    row(code).may_receive
}

/// The name in records and metrics.
pub const fn name(code: u16) -> &'static str {
    row(code).name
}

const fn row(code: u16) -> CloseCodes {
    let mut at = 0;
    // Ends at the last row at the latest: its range reaches the highest code.
    while TABLE[at].last < code {
        at += 1;
    }
    TABLE[at]
}

const fn both(code: u16, name: &'static str) -> CloseCodes {
    CloseCodes { first: code, last: code, name, may_send: true, may_receive: true }
}

const fn never(first: u16, last: u16, name: &'static str) -> CloseCodes {
    CloseCodes { first, last, name, may_send: false, may_receive: false }
}

#[cfg(test)]
mod tests;
