//! Until when sockets may be written. The clock is the boot clock, which also runs while the
//! machine is suspended: after a suspend the first turn finds the gate shut already.
//!
//! Once a shard has found it shut it stays shut, for every shard, until it is opened anew: a
//! renewal that comes a moment too late cannot undo what a shard has dropped.

use crate::core::fleet::io::Boot;
use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Nobody has leave to write.
const SHUT: u64 = 0;

type BootClock = Box<dyn Fn() -> Boot + Send + Sync>;

pub struct Gate {
    /// Nanoseconds on the boot clock; `u64::MAX`: for ever.
    until: AtomicU64,
    clock: BootClock,
}

impl Default for Gate {
    fn default() -> Self {
        Gate::with_clock(Box::new(boot_now))
    }
}

impl Gate {
    /// With another clock, for tests. Shut until `reopen`.
    pub fn with_clock(clock: BootClock) -> Self {
        Gate { until: AtomicU64::new(SHUT), clock }
    }

    /// A new lease: sockets may be written until then. Before this nothing is written at all.
    pub fn reopen(&self, until: Boot) {
        self.until.store(until.0, Ordering::Release);
    }

    /// The lease was renewed. False when the gate was found shut meanwhile: then it stays shut, and
    /// the lease counts as lost.
    #[must_use]
    pub fn extend(&self, until: Boot) -> bool {
        let renewed = self
            .until
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now != SHUT).then_some(until.0));
        renewed.is_ok()
    }

    /// The lease is lost: from now on nothing is written.
    pub fn shut(&self) {
        self.until.store(SHUT, Ordering::Release);
    }

    /// How long writes may still start; none when it is shut, or was found past its time.
    pub fn left(&self) -> Duration {
        let until = self.until.load(Ordering::Acquire);
        Duration::from_nanos(until.saturating_sub((self.clock)().0))
    }

    /// Whether a write may start now.
    pub fn is_open(&self) -> bool {
        loop {
            let until = self.until.load(Ordering::Acquire);
            if until == u64::MAX {
                return true;
            }
            if until == SHUT {
                return false;
            }
            if (self.clock)().0 < until {
                return true;
            }
            // Renewed just now: that one counts.
            if self.until.compare_exchange(until, SHUT, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return false;
            }
        }
    }
}

/// Now, on the clock that a gate is measured by.
pub fn boot_now() -> Boot {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    Boot(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
