//! One connection, its Sends and its heart; and the shard that holds many of them.

use std::time::Duration;

/// Connections in one shard; beyond it Connect is RESOURCE_EXHAUSTED.
pub const CONNECTIONS_PER_SHARD_MAX: usize = 50_000;
/// Sends that wait for their reply on one connection.
pub const SENDS_IN_FLIGHT_MAX: usize = 65_536;
pub const SENDS_IN_FLIGHT_DEFAULT: usize = 4096;
/// Bytes that wait to be written on one connection.
pub const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An emptied outbox gives its queue back when it had grown over this many frames.
pub const OUTBOX_IDLE_FRAMES: usize = 8;
/// One inbound message; read from the length field before anything is buffered.
pub const MESSAGE_BYTES_DEFAULT: usize = 1024 * 1024;
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Fragments of one message: endless fragmentation is an attack, not a message.
pub const FRAGMENTS_MAX: u32 = 1024;
/// Pings a peer may send: a bucket of `CONTROL_BURST`, refilled at `CONTROL_PER_SECOND`.
pub const CONTROL_PER_SECOND: u32 = 20;
pub const CONTROL_BURST: u32 = 50;
pub const SEND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
pub const SEND_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
pub const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// Ids of timed-out Sends are remembered, so that a reused id does not meet an old reply.
pub const LATE_IDS_MAX: usize = 1024;
pub const LATE_IDS_AGE: Duration = Duration::from_secs(60);
pub const FIFO_RESYNC_DEFAULT: Duration = Duration::from_millis(1000);
/// A longer silence than this is not worth waiting for: reconnecting is quicker.
pub const FIFO_RESYNC_MAX: Duration = Duration::from_secs(60);
/// Where an array message may carry its id; OCPP and its kin have it at 1.
pub const ARRAY_POSITION_MAX: usize = 15;
pub const PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(25);
/// Two pings missed.
pub const PONG_TIMEOUT_DEFAULT: Duration = Duration::from_secs(50);
/// How long a peer may take no byte of what waits for it.
pub const WRITE_STALL: Duration = Duration::from_secs(10);
/// From our close frame to the end of the socket, answered or not.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A dead connection without auto-reconnect stays listed for this long.
pub const DISCONNECTED_KEPT: Duration = Duration::from_secs(300);
pub const RECONNECT_BASE_DEFAULT: Duration = Duration::from_millis(1000);
pub const RECONNECT_MAX_DEFAULT: Duration = Duration::from_millis(30_000);
/// Reconnect dials a shard starts a second: an upstream that returns must not meet a stampede.
pub const DIALS_PER_SECOND: u32 = 500;
/// The response head of an upstream's handshake.
pub const HANDSHAKE_HEAD_BYTES_MAX: usize = 16 * 1024;
/// One read from a socket goes through this buffer, one per shard.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;
/// One write to a socket is at most this much, one buffer per shard.
pub const WRITE_BUFFER_BYTES: usize = 64 * 1024;
/// Commands that wait at one shard; beyond it callers get RESOURCE_EXHAUSTED.
pub const MAILBOX_COMMANDS_MAX: usize = 8192;
/// Mail that a shard handles before it looks at its sockets again.
pub const MAILBOX_BATCH: usize = 256;
