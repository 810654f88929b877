//! One clock for every process of this machine, and timers that are finer than a runtime's.
//!
//! Times are nanoseconds of CLOCK_MONOTONIC: what one process writes into a message another one can
//! take the latency from.

use crate::stop;
use rustix::time::{ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::{
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};
use tokio::io::unix::AsyncFd;

pub const SECOND: u64 = 1_000_000_000;
pub const MILLI: u64 = 1_000_000;
pub const MICRO: u64 = 1_000;
/// Between two looks at whether Ctrl-C was pressed.
pub const GLANCE: u64 = SECOND / 5;

#[must_use]
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * SECOND + time.tv_nsec.unsigned_abs()
}

fn timespec(nanos: u64) -> Timespec {
    Timespec { tv_sec: (nanos / SECOND).cast_signed(), tv_nsec: (nanos % SECOND).cast_signed() }
}

/// Blocks this thread until then. Signals end it early, so that whoever sleeps looks at what happened.
pub fn sleep_until(at: u64) {
    let at = timespec(at);
    let _ = rustix::thread::clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &at);
}

pub fn sleep(nanos: u64) {
    sleep_until(now() + nanos);
}

/// A duration as people read it.
#[must_use]
pub fn human(nanos: u64) -> String {
    match nanos {
        0..MICRO => format!("{nanos} ns"),
        MICRO..MILLI => format!("{:.1} us", nanos as f64 / 1e3),
        MILLI..SECOND => format!("{:.2} ms", nanos as f64 / 1e6),
        _ => format!("{:.2} s", nanos as f64 / 1e9),
    }
}

/// A timer of the kernel. A runtime's own timers count whole milliseconds: too coarse for a schedule
/// whose latencies are fractions of one.
pub struct Timer {
    descriptor: AsyncFd<OwnedFd>,
    armed: Option<u64>,
}

impl Timer {
    /// Must be made inside a runtime.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: the descriptor is owned, and closed only after it is taken out of the runtime.
        let descriptor = unsafe { AsyncFd::register(descriptor)? };
        Ok(Timer { descriptor, armed: None })
    }

    /// Ready when it is `at` or later.
    pub fn poll_until(&mut self, at: u64, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if now() >= at {
                return Poll::Ready(());
            }
            if self.armed != Some(at) {
                let none = Timespec { tv_sec: 0, tv_nsec: 0 };
                let when = Itimerspec { it_interval: none, it_value: timespec(at) };
                let set = rustix::time::timerfd_settime(
                    self.descriptor.get_ref(),
                    TimerfdTimerFlags::ABSTIME,
                    &when,
                );
                debug_assert!(set.is_ok(), "a time on a timer of ours");
                self.armed = Some(at);
            }
            let Ok(mut guard) = ready!(self.descriptor.poll_read_ready(cx)) else { return Poll::Ready(()) };
            let mut expired = [0; 8];
            if rustix::io::read(self.descriptor.get_ref(), &mut expired).is_err() {
                guard.clear_ready();
            }
        }
    }

    /// The same, and ready within a glance of Ctrl-C however far off that is.
    pub fn poll_until_or_stop(&mut self, at: u64, cx: &mut Context<'_>) -> Poll<()> {
        while now() < at && !stop::asked() {
            ready!(self.poll_until(at.min(now() + GLANCE), cx));
        }
        Poll::Ready(())
    }

    pub async fn until_or_stop(&mut self, at: u64) {
        std::future::poll_fn(|cx| self.poll_until_or_stop(at, cx)).await;
    }
}
