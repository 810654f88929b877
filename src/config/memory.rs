//! The worst case that a configuration implies: every connection open, every queue full.
//!
//! What callers of the API have under way is left out: a request may have 4 MiB, a client may send 256 at
//! once, and a listener takes 20,000 clients, which is more than all the rest together and says nothing. What
//! bounds it in practice is time: a body that is not complete is dropped after `limits::BODY_DEADLINE`.

use super::{Config, value::show_bytes};
use crate::limits;
use std::fmt;

/// The program itself, the runtimes, the certificate authorities, metrics.
const PROCESS_BYTES: u64 = 64 * 1024 * 1024;
/// An idle connection with its id, URL, tags and topic.
const CONNECTION_BYTES: u64 = 2560;
/// The TLS library's state and its record buffers.
const TLS_BYTES: u64 = 40 * 1024;
/// One Send that waits: its slot, its timer, its correlation id.
const WAITING_SEND_BYTES: u64 = 512;
/// One remembered id of a Send that timed out.
const LATE_ID_BYTES: u64 = limits::CORRELATION_ID_BYTES_MAX as u64 + 32;
/// A span that waits for the collector: names, ids, and what went wrong, of which each character may be
/// written as eight.
const SPAN_BYTES: u64 = 1024 + 8 * limits::FAULT_CHARS_MAX as u64;
/// A socket that has not sent its first request: its task and its buffers, of which TLS has its own.
const HALF_OPEN_BYTES: u64 = 16 * 1024 + TLS_BYTES;
/// A command without its payload.
const COMMAND_BYTES: u64 = 512;

/// The HTTP port and the gRPC port.
const LISTENERS_PER_SHARD: u64 = 2;

#[derive(Clone, Debug)]
pub struct MemoryRow {
    pub what: &'static str,
    pub each: u64,
    pub count: u64,
    /// Taken even when nothing waits.
    pub always: bool,
}

impl MemoryRow {
    pub fn total(&self) -> u64 {
        self.each.saturating_mul(self.count)
    }
}

#[derive(Clone, Debug)]
pub struct MemoryBound {
    pub rows: Vec<MemoryRow>,
    pub connections: u64,
}

impl MemoryBound {
    pub fn of(config: &Config) -> Self {
        let shards = u64::from(config.shards);
        let connections = shards.saturating_mul(config.max_connections as u64);
        let waiting = (config.sends_in_flight_max as u64).saturating_mul(WAITING_SEND_BYTES);
        let late = limits::LATE_IDS_MAX as u64 * LATE_ID_BYTES;
        let mail = (config.mailbox_max as u64).saturating_mul(shards);
        let under_way = (config.publish.in_flight as u64).saturating_mul(config.publish.batch_bytes as u64);
        let followers = limits::FOLLOWERS_PER_SHARD_MAX as u64 * limits::FETCH_BYTES_MAX as u64;
        let spans = if config.otlp_endpoint.is_some() { limits::SPANS_WAITING_MAX as u64 } else { 0 };
        let half_open = (limits::HALF_OPEN_MAX * limits::HALF_OPEN_CROWD) as u64 * LISTENERS_PER_SHARD;
        let row = |what, each, count| MemoryRow { what, each, count, always: false };
        let always = |what, each, count| MemoryRow { what, each, count, always: true };
        let rows = vec![
            always("process", PROCESS_BYTES, 1),
            always("read buffers", limits::READ_BUFFER_BYTES as u64, shards),
            always("write buffers", limits::WRITE_BUFFER_BYTES as u64, shards),
            row("rings", config.ring_bytes as u64, shards),
            row("histories of rooms", config.rooms.history_bytes_max as u64, shards),
            row("publish queues", config.publish.queue_bytes as u64, shards),
            row("batches under way", under_way, shards),
            row("answers to followers", followers, shards),
            row("mailboxes", COMMAND_BYTES + limits::REQUEST_BYTES_MAX as u64, mail),
            always("connections, idle", CONNECTION_BYTES, connections),
            always("TLS of connections", TLS_BYTES, connections),
            row("messages being received", config.max_message_bytes as u64, connections),
            row("outboxes", config.outbox_bytes_max as u64, connections),
            row("waiting Sends", waiting.saturating_add(late), connections),
            row("spans", SPAN_BYTES, spans),
            row("half-open sockets", HALF_OPEN_BYTES, half_open.saturating_mul(shards)),
        ];
        MemoryBound { rows, connections }
    }

    /// With every connection open and idle, and nothing waiting anywhere.
    pub fn idle(&self) -> u64 {
        self.rows.iter().filter(|it| it.always).fold(0, |sum, row| sum.saturating_add(row.total()))
    }

    pub fn total(&self) -> u64 {
        self.rows.iter().fold(0, |sum, row| sum.saturating_add(row.total()))
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Worst case: {} connections open, every queue full.", self.connections)?;
        writeln!(f, "{:<24} {:>12} {:>10} {:>12}", "memory", "each", "count", "total")?;
        for row in &self.rows {
            let (each, total) = (rounded(row.each), rounded(row.total()));
            writeln!(f, "{:<24} {each:>12} {:>10} {total:>12}", row.what, row.count)?;
        }
        writeln!(f, "{:<24} {:>12} {:>10} {:>12}", "sum", "", "", rounded(self.total()))?;
        writeln!(f, "{:<24} {:>12} {:>10} {:>12}", "when all are idle", "", "", rounded(self.idle()))?;
        writeln!(f, "Without the requests and answers of callers of the API, while they are under way.")?;
        f.write_str(
            "To lower it: max_connections first, then outbox_bytes_max, sends_in_flight_max, mailbox_max.",
        )
    }
}

fn rounded(bytes: u64) -> String {
    let (shift, unit) = match bytes {
        0..=0x3ff => return show_bytes(bytes),
        0x400..=0xf_ffff => (10, "KiB"),
        0x10_0000..=0x3fff_ffff => (20, "MiB"),
        _ => (30, "GiB"),
    };
    // Rounded up: it is a bound.
    let tenths = (u128::from(bytes) * 10).div_ceil(1 << shift);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}
