//! The Dapr backend, and subscriptions by a sidecar.

use std::time::Duration;

/// A call of the sidecar that publishes: as long as its own policy for a broker that hangs.
pub const DAPR_PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// A call for documents: a lease of 10 s, renewed every 3 s, must survive one that hangs.
pub const DAPR_STATE_TIMEOUT: Duration = Duration::from_secs(2);
/// A write is read back, and read again in doubt: all of that together.
pub const DAPR_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// When nothing got through for so long, batches go back to the shards, which spill them.
pub const DAPR_AWAY_AFTER: Duration = Duration::from_secs(3);
/// Events of one bulk request: what daprd publishes in five rounds of its hundred workers.
pub const DAPR_REQUEST_EVENTS: usize = 500;
/// daprd's default for `--max-body-size`, and what is left for headers and field tags.
pub const DAPR_BODY_BYTES_DEFAULT: usize = 4 * 1024 * 1024;
pub const DAPR_BODY_MARGIN: usize = 64 * 1024;
/// Bulk publishes under way at a sidecar: enough to fill a round trip to its broker.
pub const DAPR_BULK_IN_FLIGHT_DEFAULT: usize = 8;
pub const DAPR_BULK_IN_FLIGHT_MAX: usize = 64;
/// Calls for documents that wait at the backend thread: a listing asks in few, large ones.
pub const DAPR_CALLS_MAX: usize = 4096;
/// Keys of one bulk read: an answer must fit in `DAPR_DECODE_BYTES_MAX` with 64 KiB documents.
pub const DAPR_KEYS_PER_CALL: usize = 128;
/// One answer of the sidecar.
pub const DAPR_DECODE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Between two streams of a subscription, doubling.
pub const SUBSCRIBE_RETRY_BASE: Duration = Duration::from_millis(100);
pub const SUBSCRIBE_RETRY_MAX: Duration = Duration::from_secs(5);
/// For a sidecar to say that the subscription stands: it asks its broker first.
pub const SUBSCRIBE_READY_MAX: Duration = Duration::from_secs(30);
/// For the last acks of a subscription that is given up.
pub const SUBSCRIBE_LEAVE_MAX: Duration = Duration::from_secs(2);
