//! The pure core: no runtime, no clock, no randomness of its own, no I/O, and it cannot fail.

pub mod id;
pub mod publish;
pub mod reason;
pub mod time;
