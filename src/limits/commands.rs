//! Commands over the bus.

use std::time::Duration;

/// A command older than this is refused: its sender has stopped waiting, and a broker that was away
/// delivers what it kept. A time as far ahead of our clock is no time.
pub const COMMAND_AGE_MAX: Duration = Duration::from_secs(60);
/// How long the fleet remembers that a command was taken: longer than any redelivery can be young
/// enough by clocks that differ.
pub const COMMAND_CLAIM_TTL: Duration = Duration::from_secs(300);
/// Commands that one instance remembers: some 200 a second for as long as a claim stands, 5 MiB. What
/// is pushed out is still claimed in the fleet.
pub const COMMANDS_REMEMBERED_MAX: usize = 65_536;
/// Commands taken from the bus and not answered; beyond it none is taken.
pub const COMMANDS_IN_FLIGHT_MAX: usize = 256;
/// Of those, the ones for one connection, which run one after the other: a slow peer must not
/// stand in the way of all others.
pub const COMMANDS_PER_CONNECTION_MAX: usize = 64;
/// An event's id and its source, in a command.
pub const COMMAND_NAME_BYTES_MAX: usize = 1024;
/// For a reply to be taken by the bus; the command itself is done by then.
pub const COMMAND_REPLY_WAIT: Duration = Duration::from_secs(5);
