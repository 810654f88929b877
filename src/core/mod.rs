//! The pure core: no runtime, no clock, no randomness of its own, no I/O, and it cannot fail.

pub mod admission;
pub mod backoff;
pub mod connection;
pub mod correlation;
pub mod counters;
pub mod egress;
pub mod endpoint;
pub mod fleet;
pub mod follow;
pub mod headers;
pub mod id;
pub mod io;
pub mod json;
pub mod names;
pub mod origin;
pub mod outbox;
pub mod percent;
pub mod publish;
pub mod random;
pub mod reason;
pub mod redact;
pub mod ring;
pub mod rooms;
pub mod seen;
pub mod sequence;
pub mod shard;
#[cfg(test)]
mod simulation;
pub mod slab;
pub mod spec;
pub mod tally;
pub mod target;
pub mod time;
pub mod token;
pub mod varint;
pub mod watch;
pub mod wheel;
