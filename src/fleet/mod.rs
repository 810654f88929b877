//! The shell of the fleet machine: carries its reads and writes to the shared documents, its
//! decisions to the shards, and what the edges ask of it. One thread of its own: a lease must be
//! renewed whatever the shards are busy with.

mod handle;
mod perform;
mod run;
mod spill;
mod takeover;
#[cfg(test)]
mod tests;
mod watch;

pub use handle::{Handle, State, View};
pub use run::{Fleet, FleetConfig, Take, Taken, start};
pub use spill::FleetSpill;
pub use takeover::Takeover;
pub use watch::FleetTimes;
