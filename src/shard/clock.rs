//! The clocks of this process. The wall clock is read now and then; between, it follows the
//! monotonic one, so that one reading serves both.

use crate::core::time::{Now, Time, Wall};
use std::{
    cell::Cell,
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// How often the wall clock is asked again: it may have been set.
const RESYNC_NANOS: u64 = 1_000_000_000;

static START: OnceLock<Instant> = OnceLock::new();

pub struct Clock {
    synced: Cell<(u64, u64)>,
}

impl Default for Clock {
    fn default() -> Self {
        let mono = monotonic();
        Clock { synced: Cell::new((mono, unix_nanos())) }
    }
}

impl Clock {
    pub fn now(&self) -> Now {
        let mono = monotonic();
        let (mut at, mut wall) = self.synced.get();
        if mono.saturating_sub(at) > RESYNC_NANOS {
            (at, wall) = (mono, unix_nanos());
            self.synced.set((at, wall));
        }
        Now { mono: Time::from_nanos(mono), wall: Wall::from_unix_nanos(wall + mono.saturating_sub(at)) }
    }
}

/// The monotonic clock alone, for whoever has no shard.
pub fn mono() -> Time {
    Time::from_nanos(monotonic())
}

/// Nanoseconds since the process first asked: the same for all threads.
fn monotonic() -> u64 {
    let start = *START.get_or_init(Instant::now);
    // One, not zero: a time of zero means "never" nowhere, but it would be easy to mistake.
    start.elapsed().as_nanos() as u64 + 1
}

/// When a point on the core's clock comes, as the runtime's timers want it.
pub fn instant_of(time: Time) -> Instant {
    let start = *START.get_or_init(Instant::now);
    start + std::time::Duration::from_nanos(time.as_nanos().saturating_sub(1).min(u64::MAX / 4))
}

fn unix_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
