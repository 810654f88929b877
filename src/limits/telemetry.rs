//! What the service tells of itself: spans for a collector, and names that its metrics tell apart.

use std::time::Duration;

/// Spans that wait for the collector; further ones are dropped.
pub const SPANS_WAITING_MAX: usize = 8192;
/// Spans of one call of the collector, how long the first waits for others, and how long it may take.
pub const SPANS_PER_EXPORT: usize = 512;
pub const SPANS_LINGER: Duration = Duration::from_millis(500);
pub const SPANS_EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all that is left may take at the end: whoever stops us counts the seconds.
pub const SPANS_CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Hosts that a shard's metrics tell apart by name.
pub const VENUES_PER_SHARD_MAX: usize = 32;
