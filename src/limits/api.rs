//! The edges: requests and answers, and the sockets by which they come.

use super::MESSAGE_BYTES_MAX;
use std::time::Duration;

/// List pages.
pub const PAGE_SIZE_DEFAULT: usize = 500;
pub const PAGE_SIZE_MAX: usize = 1000;
/// Sends under way on one SendStream; beyond it the stream is read no further.
pub const SENDS_PER_STREAM: usize = 4096;
/// Requests in one SendBatch.
pub const BATCH_REQUESTS_MAX: usize = 1000;
/// One gRPC or HTTP request body.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One gRPC answer: the largest message that a connection may receive fits.
pub const ANSWER_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 64 * 1024;
/// What is told of a fault. A gRPC message travels in a header and clients bound their header lists; 8 KiB
/// is the lowest bound in wide use, and details and percent-encoding must fit as well.
pub const FAULT_CHARS_MAX: usize = 1024;
/// From accept to the end of TLS and the first request's head: a slow client holds no more than this.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// The same for later request heads on a kept HTTP/1 connection, its idle time included.
pub const NEXT_HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// One request body, from first to last byte; of a stream one message.
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Of a gRPC message that is too large so much is read, and thrown away, before it is refused, and no
/// longer than its sender goes on.
pub const OVERSIZE_READ_BYTES: usize = 64 * 1024 * 1024;
pub const OVERSIZE_PAUSE_MAX: Duration = Duration::from_secs(3);
/// Request head over HTTP/1. A List by the longest tag, every character escaped, needs 14 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
pub const HEAD_FIELDS_MAX: usize = 64;
/// Request head over HTTP/2.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Sockets of one listener that have not sent their first request; over it the oldest goes, once it has
/// had its time.
pub const HALF_OPEN_MAX: usize = 4096;
/// The same for one address: behind a proxy all clients share one, so it is not small.
pub const HALF_OPEN_PER_ADDRESS_MAX: usize = 2048;
/// Time that each has: when everybody comes back at once, thousands wait for their turn to speak.
pub const HALF_OPEN_GRACE: Duration = Duration::from_secs(1);
/// Over this many times the bound the oldest goes, however young it is.
pub const HALF_OPEN_CROWD: usize = 4;
/// Requests on one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Bytes that one stream and one HTTP/2 connection may have on the way to us.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Answers of one HTTP/2 stream that wait for the client.
pub const STREAM_SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Streams that the client reset before we looked at them (rapid reset).
pub const PENDING_RESETS_MAX: usize = 20;
/// Stream errors of the client before its connection is closed.
pub const STREAM_ERRORS_MAX: usize = 1024;
/// HTTP/2 pings: when a connection was silent this long, and how long for the answer.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Small writes to a client are gathered up to this and go out in one.
pub const GATHER_BYTES_MAX: usize = 16 * 1024;
/// HTTP connections of one listener (upgraded and half-open ones do not count); beyond it new ones wait.
pub const CLIENTS_PER_LISTENER_MAX: usize = 20_000;
/// The listen queue of one shard's socket.
pub const BACKLOG: i32 = 4096;
/// After an error of accept (no descriptor left, mostly).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Query keys of one request.
pub const QUERY_PAIRS_MAX: usize = 256;
/// A comment on an event stream that has nothing to say, so that proxies keep it.
pub const EVENTS_KEEPALIVE: Duration = Duration::from_secs(15);
/// Events that are ready go out together, up to this.
pub const EVENTS_CHUNK_BYTES: usize = 32 * 1024;
