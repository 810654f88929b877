//! Time as the core sees it: values handed in, never read from a clock.

use std::{
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

/// A point on the monotonic clock: nanoseconds since the process took its first reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    pub const ZERO: Time = Time(0);
    pub const FAR: Time = Time(u64::MAX);

    pub const fn from_nanos(nanos: u64) -> Self {
        Time(nanos)
    }

    pub const fn from_millis(millis: u64) -> Self {
        Time(millis.saturating_mul(1_000_000))
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Zero when `earlier` is in fact later.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, after: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, after: Duration) {
        *self = *self + after;
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}

/// A point on the wall clock: nanoseconds since 1970. It may jump; only labels are made from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(u64);

impl Wall {
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Wall(nanos)
    }

    pub const fn from_unix_millis(millis: u64) -> Self {
        Wall(millis.saturating_mul(1_000_000))
    }

    /// As precise as documents and events are written.
    pub const fn to_micros(self) -> Self {
        Wall(self.0 / 1000 * 1000)
    }

    pub const fn unix_nanos(self) -> u64 {
        self.0
    }

    pub const fn unix_millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// Both clocks, read once per turn of a shard's loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub mono: Time,
    pub wall: Wall,
}
