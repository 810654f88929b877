//! From a message to the bus: batches, what waits for them, and what spills.

use std::time::Duration;

/// A batch of events leaves when it is this big, this long, or this old.
pub const PUBLISH_BATCH_BYTES: usize = 256 * 1024;
pub const PUBLISH_BATCH_COUNT: usize = 1000;
pub const PUBLISH_LINGER: Duration = Duration::from_millis(5);
/// Batches of one shard under way at the bus.
pub const PUBLISH_IN_FLIGHT: usize = 4;
/// Events of one shard that wait in memory before they spill.
pub const PUBLISH_QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// The waiting room of one lane that drops its oldest messages or keeps its latest.
pub const PUBLISH_LANE_WAIT_BYTES: usize = 256 * 1024;
/// A batch that the bus did not take goes again after the base, doubling up to the maximum; the
/// spill log is asked again after the maximum.
pub const PUBLISH_RETRY_BASE: Duration = Duration::from_millis(50);
pub const PUBLISH_RETRY_MAX: Duration = Duration::from_secs(2);
/// Gap records that one lane holds back during a congestion; beyond it they are merged.
pub const GAPS_HELD_MAX: usize = 16;
/// Events of one shard that wait on disk before reads pause.
pub const SPILL_BYTES_DEFAULT: usize = 256 * 1024 * 1024;
/// Streams that an earlier process left on one spill log and that are remembered by their last
/// number: a connection and a topic each.
pub const LEFT_KEPT_MAX: usize = 65_536;
/// The contract: events are in the log's file within 100 ms of being accepted.
pub const BUS_FSYNC_INTERVAL_DEFAULT: Duration = Duration::from_millis(100);
/// Retention drops whole files, so a file is a small part of what a topic keeps.
pub const BUS_SEGMENT_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
pub const BUS_TOPIC_BYTES_DEFAULT: usize = 1024 * 1024 * 1024;
pub const BUS_TOPIC_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
