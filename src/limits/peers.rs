//! Calls and streams between the instances of a fleet.

use super::{REQUEST_BYTES_MAX, SENDS_PER_STREAM};
use std::time::Duration;

/// Calls under way from one thread to one member: as many as a full SendStream, twice.
pub const PEER_CALLS_MAX: usize = 2 * SENDS_PER_STREAM;
/// Their bytes; one request of the largest size always fits.
pub const PEER_BYTES_MAX: usize = 4 * REQUEST_BYTES_MAX;
/// One call on the wire: the largest request and what goes with it.
pub const PEER_CALL_BYTES_MAX: usize = REQUEST_BYTES_MAX + 64 * 1024;
/// To connect to a member and hear its greeting: well below a lease, or the member is dead first.
pub const PEER_OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// After a failed attempt callers are answered with its cause at once, for this long.
pub const PEER_RETRY_PAUSE: Duration = Duration::from_millis(200);
/// HTTP/2 pings to members: a dead one is noticed within about a lease.
pub const PEER_KEEPALIVE: Duration = Duration::from_secs(4);
/// The owner answers a call whose deadline passed by itself; silent for longer, it is given up.
pub const PEER_DEADLINE_GRACE: Duration = Duration::from_secs(1);
/// Who holds what, as one thread remembers it: about 10 MB.
pub const PEER_HOLDERS_MAX: usize = 65_536;
/// All members are asked for a connection that no document tells of: as long as it takes to open a
/// stream to each.
pub const PEER_FIND_TIMEOUT: Duration = PEER_OPEN_TIMEOUT;
/// How often members that came or left are looked for by streams that live long.
pub const PEER_MEMBERS_INTERVAL: Duration = Duration::from_secs(1);
/// A Connect waits this long for an orphan to be taken; then its caller may try again.
pub const PEER_ORPHAN_WAIT: Duration = Duration::from_secs(2);
pub const PEER_ORPHAN_POLL: Duration = Duration::from_millis(100);
/// A follower whose source broke tries again after the base, doubling up to the maximum.
pub const PEER_FOLLOW_RETRY_BASE: Duration = Duration::from_millis(100);
pub const PEER_FOLLOW_RETRY_MAX: Duration = Duration::from_secs(2);
/// Followers on one HTTP/2 connection to a member: below `STREAMS_PER_CONNECTION_MAX`.
pub const PEER_FOLLOWERS_PER_CHANNEL: usize = 200;
/// HTTP/2 connections for followers from one thread to one member.
pub const PEER_FOLLOW_CHANNELS_MAX: usize = 20;
/// Members whose places a follower of all remembers after they left.
pub const PEER_PLACES_MAX: usize = 256;
