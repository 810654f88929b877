//! The WebSocket frame codec of both roles, without I/O: RFC 6455, strict, no extensions.
//!
//! `Decoder` is given the bytes of each socket read and hands out whole messages; a frame that lies
//! whole in one read is lent from the read buffer and never copied. `encode` frames one message.

mod decode;
mod encode;
mod head;
mod mask;
mod partial;
mod utf8;

pub use decode::Decoder;
pub use encode::{Opcode, REASON_BYTES_MAX, encode, encode_close, frame_len};

use crate::wire::close;

/// The most that a ping, a pong or a close may carry.
pub const CONTROL_BYTES_MAX: usize = 125;

/// Who we are. A client must receive frames that are not masked, a server masked ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// What one message may cost us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub message_bytes_max: usize,
    /// Frames that one fragmented message may have, empty ones included.
    pub fragments_max: u32,
}

/// What the peer sent, in wire order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    Close { code: Option<u16>, reason: &'a str },
}

/// How the peer broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViolationKind {
    Protocol,
    Utf8,
    TooBig,
    Flood,
}

/// The peer broke the rules: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What our close frame says.
    pub code: u16,
    pub kind: ViolationKind,
    pub what: &'static str,
}

impl Violation {
    #[cold]
    const fn protocol(what: &'static str) -> Self {
        Violation { code: close::PROTOCOL_ERROR, kind: ViolationKind::Protocol, what }
    }

    #[cold]
    const fn utf8(what: &'static str) -> Self {
        Violation { code: close::INVALID_PAYLOAD, kind: ViolationKind::Utf8, what }
    }

    #[cold]
    const fn too_big(what: &'static str) -> Self {
        Violation { code: close::MESSAGE_TOO_BIG, kind: ViolationKind::TooBig, what }
    }

    #[cold]
    const fn flood(what: &'static str) -> Self {
        Violation { code: close::POLICY_VIOLATION, kind: ViolationKind::Flood, what }
    }
}

/// The bits of a frame's first byte.
mod bits {
    pub(super) const FINAL: u8 = 0x80;
    pub(super) const RESERVED: u8 = 0x70;
    pub(super) const OPCODE: u8 = 0x0f;
    /// Set in the opcodes of control frames.
    pub(super) const CONTROL: u8 = 0x08;

    pub(super) const CONTINUATION: u8 = 0x0;
    pub(super) const TEXT: u8 = 0x1;
    pub(super) const BINARY: u8 = 0x2;
    pub(super) const CLOSE: u8 = 0x8;
    pub(super) const PING: u8 = 0x9;
    pub(super) const PONG: u8 = 0xa;
}

#[cfg(all(test, feature = "server"))]
mod differential;
#[cfg(test)]
mod tests;
