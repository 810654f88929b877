//! Ownership in a fleet: leases, what is watched and taken, and hand-overs.

use std::time::Duration;

/// Ownership in a fleet: a lease of ten seconds, renewed every three, and its owner stops two
/// seconds before it ends, counted from the start of its last renewal.
pub const LEASE: Duration = Duration::from_secs(10);
pub const LEASE_RENEW: Duration = Duration::from_secs(3);
pub const LEASE_VALID: Duration = Duration::from_secs(8);
/// Observers wait for this much longer than the lease: for a write that was on its way.
pub const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// Only garbage collection: long enough that a lease is never gone before it was tombstoned.
pub const LEASE_TTL_LEASES: u32 = 10;
/// A name of one run: the instance id, which is a host's name, and a random word.
pub const INCARNATION_CHARS_MAX: usize = 320;
/// How often an instance looks at the others, with jitter between the two.
pub const FLEET_SCAN_MIN: Duration = Duration::from_millis(500);
pub const FLEET_SCAN_MAX: Duration = Duration::from_millis(1000);
/// Connections of dead instances that one instance takes a second: their upstreams are dialled.
pub const FLEET_TAKES_PER_SECOND: u32 = 500;
/// Who was not preferred for a dead instance's connection takes it after this long, the next after
/// twice as long.
pub const FLEET_LEFTOVER: Duration = Duration::from_secs(5);
/// A caller whose write has not reached the store by then is told so; the document is kept.
pub const FLEET_ASK: Duration = Duration::from_secs(5);
/// Callers that wait for one connection's document.
pub const FLEET_ASKERS_MAX: usize = 64;
/// Reads and writes of records that one instance has under way.
pub const FLEET_RECORDS_IN_FLIGHT: usize = 64;
/// Records that one read asks for.
pub const FLEET_READ_KEYS: usize = 32;
/// Records of ours that each look at the others compares with what we believe of them.
pub const FLEET_AUDIT_KEYS: usize = 16;
/// The derived index is written at most this often.
pub const FLEET_INDEX_EVERY: Duration = Duration::from_secs(1);
/// The derived index, which others read whole: about 40,000 ids.
pub const FLEET_INDEX_BYTES: usize = 1024 * 1024;
/// Keys of which an operator was told that they are in trouble: each is told once.
pub const FLEET_TROUBLES_MAX: usize = 1024;
/// Members that are watched; a list that grows beyond it is broken.
pub const FLEET_MEMBERS_MAX: usize = 1024;
/// Writes and claims of shards and edges that wait at the fleet's thread: a burst of Connects on
/// every shard; beyond it they are told to come again.
pub const FLEET_MAIL_MAX: usize = 65_536;
/// How long a drain waits for the lease to be given back: a peer finds it expired otherwise.
pub const FLEET_LEFT_WAIT: Duration = Duration::from_secs(3);
/// A connection that was dialled for a hand-over and is neither committed nor given up: its peer waits
/// for a pong meanwhile, and the kernel holds what it says.
pub const PREPARED_KEPT: Duration = Duration::from_secs(30);
/// Pending Sends of a connection that is handed over may take this long, like those of a drain.
pub const RETIRE_SENDS: Duration = Duration::from_secs(10);
/// Then the bus may take this long for what was received, and for the end marker.
pub const RETIRE_PUBLISH: Duration = Duration::from_secs(10);
/// Connections of one shard that another instance took while the spill log holds something of them,
/// perhaps: as many as a shard may have had.
pub const SUPERSEDED_KEPT_MAX: usize = 65_536;
/// Connections that a leaving instance hands over at a time: each is a dial at a member.
pub const HAND_OVERS_AT_ONCE: usize = 64;
/// Members that are offered one connection, best first.
pub const HAND_OVER_TRIES: usize = 3;
