//! The Redis backend: documents and streams, and rooms that are numbered there.

use super::ROOMS_PER_SHARD_MAX;
use std::time::Duration;

/// Every command; a lease of ten seconds survives four of them that hang.
pub const REDIS_COMMAND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Events that a topic's stream keeps, about: with 1 KiB each, 1 GiB of the server's memory.
pub const REDIS_STREAM_EVENTS_DEFAULT: u64 = 1_000_000;
/// Reconnecting: quick at first, and a server that is away is not hammered.
pub const REDIS_RETRY_BASE: Duration = Duration::from_millis(50);
pub const REDIS_RETRY_MAX: Duration = Duration::from_secs(2);
/// Batches under way on the one connection: with 256 KiB each, 4 MiB between two answers.
pub const REDIS_BATCHES_IN_FLIGHT: usize = 16;
/// Reads and writes of documents that wait or are under way.
pub const REDIS_DOCUMENT_COMMANDS_MAX: usize = 4096;
pub const REDIS_DOCUMENTS_IN_FLIGHT: usize = 64;
/// Keys in one MGET: the server does nothing else meanwhile.
pub const REDIS_KEYS_PER_GET: usize = 500;
/// Reads of streams under way at once.
pub const REDIS_READS_IN_FLIGHT: usize = 8;
/// Topics for which a place to read on is remembered; without it a read searches.
pub const REDIS_HINTS_MAX: usize = 4096;
/// A lane whose failed batch was never sent again (its connection ended) is held back no longer.
pub const REDIS_LANE_HELD_MAX: Duration = Duration::from_secs(10);
/// Batches that turned out to be taken after their answer was lost, until they are sent again.
pub const REDIS_TAKEN_KEPT: usize = 1024;
/// Sends to rooms that wait for their turn at Redis, and what all that are not answered may hold: a
/// burst; beyond it they are told to come again.
pub const REDIS_ROOM_SENDS_MAX: usize = 4096;
pub const REDIS_ROOM_SEND_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Of those, the ones under way: less than the client library queues, so that they keep their order.
pub const REDIS_ROOM_SENDS_IN_FLIGHT: usize = 128;
/// When the others are told to come again.
pub const REDIS_ROOM_FULL_RETRY: Duration = Duration::from_millis(100);
/// Reads of histories that wait, and those under way, each with up to a room's whole history.
pub const REDIS_ROOM_READS_MAX: usize = 65_536;
pub const REDIS_ROOM_READS_IN_FLIGHT: usize = 16;
/// Rooms that one instance subscribes: as many as its shards know.
pub const REDIS_ROOMS_MAX: usize = 4 * ROOMS_PER_SHARD_MAX;
/// Rooms in one SUBSCRIBE and in one call for their numbers: the server does nothing else meanwhile.
pub const REDIS_ROOMS_PER_CALL: usize = 500;
/// What one room gets while its number is asked for; beyond it the number is asked for again.
pub const REDIS_ROOM_HELD_MAX: usize = 256;
/// Highest numbers of rooms that are sent to and not subscribed, and counters of those that keep
/// nothing. A forgotten counter begins a new epoch.
pub const REDIS_ROOM_NUMBERS_MAX: usize = 65_536;
/// How often the numbers of all subscribed rooms are compared with the server's: a server that lost
/// its data without a broken connection is noticed, and rooms that rest keep their epochs.
pub const REDIS_ROOM_CHECK_EVERY: Duration = Duration::from_secs(60);
/// How long a room's epoch outlives its last message, beyond its history.
pub const REDIS_ROOM_EPOCH_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The same for a room to which nothing was sent yet: names that clients make up must not pile up
/// at the server. Longer than several rounds of `REDIS_ROOM_CHECK_EVERY`.
pub const REDIS_ROOM_FRESH_KEPT: Duration = Duration::from_secs(600);
