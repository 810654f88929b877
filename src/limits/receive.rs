//! What is kept for followers and watchers.

/// Messages that a shard keeps for followers.
pub const RING_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// Followers that wait at one shard.
pub const FOLLOWERS_PER_SHARD_MAX: usize = 4096;
/// Followers that one turn of the loop answers: the sockets come next.
pub const FOLLOWERS_PER_TURN: usize = 64;
/// One answer to a follower.
pub const FETCH_BYTES_MAX: usize = 256 * 1024;
/// Records one read of the ring looks at, wanted or not: a turn must not stand still for a follower
/// of a rare connection among busy ones.
pub const FETCH_RECORDS_MAX: usize = 4096;
/// A cursor travels in URLs and in `Last-Event-ID` headers.
pub const CURSOR_CHARS_MAX: usize = 2048;
/// Shards in one cursor: as many as fit in `CURSOR_CHARS_MAX` when each is of another process.
pub const CURSOR_POSITIONS_MAX: usize = 76;
/// Lifecycle events that a shard keeps for watchers.
pub const WATCH_EVENTS_MAX: usize = 1024;
/// Ended connections whose last records a follower can still ask for by id.
pub const ENDED_KEPT: usize = 256;
