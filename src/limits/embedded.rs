//! The embedded backend: logs, stores and spill logs on the disk of one machine.

use std::time::Duration;

/// Topics of the embedded log: each is a folder, and a caller chooses their names.
pub const TOPICS_MAX: usize = 1000;
/// One topic's files; the oldest segments go first.
pub const TOPIC_LOG_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
pub const TOPIC_LOG_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// One log segment: small enough that reading the last one at start takes a fraction of a second.
pub const SEGMENT_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;
/// One record of a log: the longest message as base64, with room to spare. A longer length field is
/// damage, not a record.
pub const RECORD_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Open log files; the least used one is closed first.
pub const LOG_FILES_OPEN_MAX: usize = 64;
/// Batches that wait at the bus thread; each shard has `PUBLISH_IN_FLIGHT` at most.
pub const BUS_BATCHES_MAX: usize = 1024;
/// Fetches that wait at the bus thread to be looked at.
pub const BUS_FETCHES_MAX: usize = 4096;
/// Readers parked at the end of one topic, and of all topics.
pub const PARKED_PER_TOPIC_MAX: usize = 4096;
pub const PARKED_MAX: usize = 16_384;
/// What one turn of a disk thread writes before it answers.
pub const DISK_GROUP_BYTES: usize = 8 * 1024 * 1024;
pub const DISK_GROUP_COUNT: usize = 1024;
/// Writes that wait at the store thread.
pub const STORE_WRITES_MAX: usize = 16_384;
/// Records that wait at one spill log's thread.
pub const SPILL_COMMANDS_MAX: usize = 1024;
