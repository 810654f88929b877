//! What a connection is asked to be: checked values, made by an edge from a request.

#[cfg(test)]
pub mod testing;

use crate::core::{
    correlation::Rule, id::ConnectionId, names::RoomName, publish, target::Target, time::Wall,
};
use bytes::Bytes;
use std::{net::IpAddr, sync::Arc, time::Duration};

/// Everything Connect says, checked. Shared by the connection and by each of its dials.
#[derive(Debug)]
pub struct Spec {
    pub dial: Dial,
    /// One for all connections that ask for nothing special.
    pub settings: Arc<Settings>,
    /// The request in canonical bytes, opaque to the core: stored with the connection, and compared
    /// to tell a repeated Connect from one with other settings.
    pub source: Bytes,
    /// Whether `source` holds what must not be stored in clear.
    pub has_secrets: bool,
}

#[derive(Debug)]
pub struct Dial {
    pub target: Target,
    pub headers: Vec<(Box<str>, Box<str>)>,
    pub subprotocols: Vec<Box<str>>,
    pub tls: Option<Box<Tls>>,
    pub source_ip: Option<IpAddr>,
    pub timeout: Duration,
}

/// PEM texts and a name; built into a TLS configuration when the socket is dialled.
#[derive(Default)]
pub struct Tls {
    pub ca: String,
    pub client_cert: String,
    pub client_key: String,
    pub server_name: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub auto_reconnect: bool,
    /// 0: for ever.
    pub reconnect_attempts_max: u32,
    pub reconnect_base: Duration,
    pub reconnect_max: Duration,
    pub ping_interval: Duration,
    pub pong_timeout: Duration,
    /// Zero: never.
    pub idle_data: Duration,
    /// Messages a second; 0: unlimited.
    pub sends_per_second: f64,
    pub sends_burst: u32,
    pub send_bytes_max: usize,
    pub sends_in_flight_max: usize,
    pub message_bytes_max: usize,
    pub correlation: Rule,
    /// What it receives goes straight to these; by name, each once.
    pub rooms: Arc<[RoomName]>,
}

/// Sorted by key. A vector: a tree node would cost more than the whole connection.
pub type Tags = Vec<(Box<str>, Box<str>)>;

/// Whether `tags` has each of these.
pub fn has_tags(tags: &Tags, wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|(key, value)| find_tag(tags, key) == Some(value.as_str()))
}

fn find_tag<'a>(tags: &'a Tags, key: &str) -> Option<&'a str> {
    let place = tags.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
    Some(&tags[place].1)
}

/// A Connect, ready for its shard.
#[derive(Debug)]
pub struct Connect {
    pub id: ConnectionId,
    /// The caller chose the id: the same Connect again finds the connection.
    pub chosen: bool,
    pub spec: Arc<Spec>,
    pub tags: Tags,
    pub publish: Option<publish::Spec>,
}

/// A connection that the store remembers, taken again after a start.
#[derive(Debug)]
pub struct Restore {
    pub id: ConnectionId,
    pub spec: Arc<Spec>,
    pub tags: Tags,
    pub publish: Option<publish::Spec>,
    pub created: Wall,
    /// The epoch of its last owner.
    pub epoch: u64,
    /// The last seq known to have been kept, when it is known.
    pub last_seq: Option<u64>,
    /// The last owner ended it in order.
    pub clean: bool,
    /// The epoch under which it was claimed in the fleet's store; None: a new one is derived here.
    pub claimed: Option<u64>,
}

/// What the store keeps of a connection; `shard::record` gives it its written form.
#[derive(Clone, Debug)]
pub struct Record {
    pub id: ConnectionId,
    pub spec: Arc<Spec>,
    pub tags: Tags,
    pub publish: Option<publish::Spec>,
    pub created: Wall,
    pub epoch: u64,
    pub last_seq: Option<u64>,
    pub clean: bool,
    pub status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Connecting,
    Connected,
    Disconnected,
    Error,
    Reconnecting,
}

impl Status {
    /// As it stands in stored documents.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Connecting => "Connecting",
            Status::Connected => "Connected",
            Status::Disconnected => "Disconnected",
            Status::Error => "Error",
            Status::Reconnecting => "Reconnecting",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Out,
    In,
}

/// What Get and List tell of a connection.
#[derive(Clone, Debug)]
pub struct Info {
    pub id: ConnectionId,
    pub url: String,
    pub status: Status,
    pub direction: Direction,
    pub topic: Option<Arc<str>>,
    pub content_type: &'static str,
    pub tags: Tags,
    pub auto_reconnect: bool,
    pub created: Wall,
    pub connected: Option<Wall>,
    pub last_error: String,
    pub epoch: u64,
    pub seq: u64,
    pub subprotocol: Option<Arc<str>>,
    pub attempt: u32,
    pub sends_in_flight: u32,
    pub counters: ConnectionCounters,
    /// Those it is a member of, or feeds when it is dialled.
    pub rooms: Vec<Arc<str>>,
    /// Of an accepted connection that said who it is.
    pub user: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounters {
    pub messages_in: u64,
    pub bytes_in: u64,
    pub messages_out: u64,
    pub bytes_out: u64,
    pub reconnects: u32,
    pub dropped: u32,
}
