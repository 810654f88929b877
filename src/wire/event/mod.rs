//! What the bus carries: CloudEvents 1.0 in JSON, rendered in one pass into the batch's buffer.
//!
//! Decisions that readers can rely on:
//! - An event's `id` depends only on the connection and its numbers, so a retried event carries
//!   the id it had: `{connection}/{epoch}/{seq}`, for `frames` `{connection}/{epoch}/{first}-{last}`.
//! - `payload` never guesses: a text message, JSON or not, is `data` as a JSON string with
//!   `datacontenttype` `text/plain`, verbatim and without loss; a binary one is `data_base64`.
//! - The extensions `epoch` and `seq` are strings: a CloudEvents integer has 32 bits only, and
//!   strict readers refuse a larger one. Inside `data` they are JSON numbers.
//! - A gap record's ends are both exclusive: what may be missing lies strictly between them.

mod json;
mod parse;
mod render;
mod time;

pub use json::push_escaped;
pub use parse::{Body, ParsedMessage, parse_event};
pub use render::{
    LanePrefix, append_end, append_frame_element, append_frames, append_gap, append_lifecycle, append_message,
};
pub use time::{TimeCache, TimeText, parse_rfc3339, rfc3339};

use crate::core::{correlation::Kind, id::ConnectionId};

pub const SOURCE: &str = "urn:com.virtufin.websocketmanager";
pub const TYPE_MESSAGE: &str = "com.virtufin.websocketmanager.message";
pub const TYPE_GAP: &str = "com.virtufin.websocketmanager.gap";
pub const TYPE_END: &str = "com.virtufin.websocketmanager.end";
pub const TYPE_LIFECYCLE: &str = "com.virtufin.websocketmanager.lifecycle.";
pub const CONTENT_TEXT: &str = "text/plain";
pub const CONTENT_BINARY: &str = "application/octet-stream";

/// The shape of a published message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `data` is an object that holds the message and where it came from.
    #[default]
    Envelope,
    /// `data` is the message itself; the rest stands in extensions.
    Payload,
    /// Many messages of one connection in one event.
    Frames,
}

pub const fn content_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => CONTENT_TEXT,
        Kind::Binary => CONTENT_BINARY,
    }
}

/// The numbers of one inbound message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub epoch: u64,
    pub seq: u64,
    /// FIFO took it as the answer to a Send; it may have been a tick of the feed.
    pub reply: bool,
    /// Both sockets of a rotation may have delivered it.
    pub possible_duplicate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleState {
    Connecting,
    Connected,
    Reconnecting,
    Disconnected,
    Error,
}

impl LifecycleState {
    pub const fn name(self) -> &'static str {
        match self {
            LifecycleState::Connecting => "connecting",
            LifecycleState::Connected => "connected",
            LifecycleState::Reconnecting => "reconnecting",
            LifecycleState::Disconnected => "disconnected",
            LifecycleState::Error => "error",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct LifecycleEvent<'a> {
    pub state: LifecycleState,
    pub connection: &'a ConnectionId,
    pub redacted_url: &'a str,
    pub instance_id: &'a str,
    pub reason: &'a str,
    pub attempt: Option<u32>,
}
