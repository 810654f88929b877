//! Every bound in one place, with its reason. Bounds that an operator may move are defaults here
//! and settings in `config`; the others are fixed by the contract or by safety.

use std::time::Duration;

// Names and tags: fixed by the contract.
pub const ID_CHARS_MAX: usize = 128;
pub const TAGS_MAX: usize = 50;
pub const TAG_KEY_CHARS_MAX: usize = 128;
pub const TAG_VALUE_CHARS_MAX: usize = 1024;
pub const ROOM_NAME_BYTES_MAX: usize = 256;

/// A topic becomes a folder name in the embedded log and a stream name on a broker.
pub const TOPIC_BYTES_MAX: usize = 200;
/// Longer URLs are refused by most servers, and each is kept for as long as the connection lives.
pub const URL_BYTES_MAX: usize = 4096;
pub const HEADERS_MAX: usize = 64;
pub const HEADERS_BYTES_MAX: usize = 8 * 1024;
pub const SUBPROTOCOLS_MAX: usize = 16;
pub const TLS_PEM_BYTES_MAX: usize = 64 * 1024;
/// A JSON pointer of a correlation rule.
pub const POINTER_BYTES_MAX: usize = 256;
/// A correlation id, as it stands in the message; a longer one is an argument error.
pub const CORRELATION_ID_BYTES_MAX: usize = 256;
/// Nesting that the JSON scanner follows before it gives up on a message of a hostile peer.
pub const JSON_DEPTH_MAX: u32 = 128;

/// Connections in one shard; beyond it Connect is RESOURCE_EXHAUSTED.
pub const CONNECTIONS_PER_SHARD_MAX: usize = 50_000;
/// Sends that wait for their reply on one connection.
pub const SENDS_IN_FLIGHT_DEFAULT: usize = 4096;
/// Bytes that wait to be written on one connection.
pub const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
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

/// Messages that a shard keeps for followers.
pub const RING_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// Followers that wait at one shard.
pub const FOLLOWERS_PER_SHARD_MAX: usize = 4096;
/// One answer to a follower.
pub const FETCH_BYTES_MAX: usize = 256 * 1024;

/// A batch of events leaves when it is this big, this long, or this old.
pub const PUBLISH_BATCH_BYTES: usize = 256 * 1024;
pub const PUBLISH_BATCH_COUNT: usize = 1000;
pub const PUBLISH_LINGER: Duration = Duration::from_millis(5);
/// Batches of one shard under way at the bus.
pub const PUBLISH_IN_FLIGHT: usize = 4;
/// Events of one shard that wait in memory before they spill.
pub const PUBLISH_QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Events of one shard that wait on disk before reads pause.
pub const SPILL_BYTES_DEFAULT: usize = 256 * 1024 * 1024;

/// Commands that wait at one shard; beyond it callers get RESOURCE_EXHAUSTED.
pub const MAILBOX_COMMANDS_MAX: usize = 8192;
/// Mail that a shard handles before it looks at its sockets again.
pub const MAILBOX_BATCH: usize = 256;

/// List pages.
pub const PAGE_SIZE_DEFAULT: usize = 500;
pub const PAGE_SIZE_MAX: usize = 1000;
/// Requests in one SendBatch.
pub const BATCH_REQUESTS_MAX: usize = 1000;
/// One gRPC or HTTP request body.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
