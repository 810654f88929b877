//! Typed messages, and ways into rooms that are no RPC.

use std::time::Duration;

/// A MESSAGE_ID that has a schema: with `.json` behind it, it is a file's name.
pub const MESSAGE_ID_BYTES_MAX: usize = 200;
/// One schema file; a longer one was generated, and compiles for seconds.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// Schemas of one folder: all are compiled again when one changes.
pub const SCHEMAS_MAX: usize = 1000;
/// How often the folder of schemas is looked at, at most.
pub const SCHEMAS_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A pattern of a schema, compiled: its automaton must not eat the memory.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// How long a request of a `--rest-route` waits for its room and its topic.
pub const REST_ROUTE_WAIT_DEFAULT: Duration = Duration::from_secs(5);
pub const REST_ROUTE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Routes and bindings of one instance: they are written by hand.
pub const REST_ROUTES_MAX: usize = 256;
pub const BINDINGS_MAX: usize = 256;
/// Events of one bound topic that a sidecar hands over before the first is acked: they are sent one
/// after the other, so this only hides the way to the sidecar.
pub const BINDING_IN_FLIGHT: usize = 64;
/// A room that did not take an event is asked again after the base, doubling up to the maximum.
pub const BINDING_RETRY_BASE: Duration = Duration::from_millis(50);
pub const BINDING_RETRY_MAX: Duration = Duration::from_secs(2);
/// How often it is written down up to where a bound topic was read: what a crash repeats.
pub const BINDING_PLACE_EVERY: Duration = Duration::from_secs(1);
/// How often who reads a bound topic for the fleet is looked up.
pub const BINDING_READER_INTERVAL: Duration = Duration::from_millis(500);
/// Between two lines of the log about events that go nowhere.
pub const BINDING_LOG_INTERVAL: Duration = Duration::from_secs(60);
