//! The process: its shards, its start and its end.

use std::time::Duration;

/// Shards: more than any machine has CPUs for; a typing error must not start a million threads.
pub const SHARDS_MAX: u64 = 256;
/// SIGTERM to the forced end: fits the 30 s that orchestrators usually grant.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(25);
/// Load balancers see the failed readiness before work is refused.
pub const DRAIN_LAME_DUCK_DEFAULT: Duration = Duration::from_secs(3);
/// Of the drain's time, what Sends in flight may take.
pub const DRAIN_SENDS: Duration = Duration::from_secs(10);
/// For a shard to say what it leaves behind.
pub const DRAIN_ABANDON: Duration = Duration::from_millis(500);
/// For a shard to answer a scrape: Prometheus itself gives up after ten seconds by default.
pub const SCRAPE_SHARD_WAIT: Duration = Duration::from_secs(1);
/// A start that takes longer than this, for want of its backend, says what it waits for.
pub const START_PATIENCE: Duration = Duration::from_secs(2);
/// How long `check` waits for a server or sidecar to say what it can do.
pub const CHECK_PATIENCE: Duration = Duration::from_secs(2);
