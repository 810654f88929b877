//! The open loop: each operation has a time when it is due, whatever became of those before it.
//!
//! A generator that waits for an answer before it sends again sends nothing while the service
//! stalls, and then reports one slow answer where there were a thousand late ones. Here latency counts
//! from the due time, and how far the generator itself fell behind is told apart.

use crate::clock::{self, SECOND};
use std::sync::atomic::{AtomicU64, Ordering};

/// When each of a row of operations is due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start: u64,
    /// Nanoseconds between two.
    period: f64,
    total: u64,
    /// So many are due at the same moment.
    burst: u64,
}

impl Schedule {
    /// `rate` a second for so many nanoseconds.
    #[must_use]
    pub fn new(start: u64, rate: f64, nanos: u64) -> Self {
        let total = (rate * nanos as f64 / SECOND as f64).round() as u64;
        Schedule { start, period: SECOND as f64 / rate, total, burst: 1 }
    }

    #[must_use]
    pub fn in_bursts_of(mut self, burst: u64) -> Self {
        self.burst = burst.max(1);
        self
    }

    /// The same operations dealt out to `parts` generators: this is number `part`.
    #[must_use]
    pub fn share(&self, part: u64, parts: u64) -> Self {
        Schedule {
            start: self.start + (self.period * part as f64) as u64,
            period: self.period * parts as f64,
            total: self.total / parts + u64::from(part < self.total % parts),
            burst: self.burst,
        }
    }

    #[must_use]
    pub fn due(&self, number: u64) -> u64 {
        self.start + ((number - number % self.burst) as f64 * self.period) as u64
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// When the last one is due.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.due(self.total)
    }
}

/// How late operations were issued: the generator's own fault, or that of a connection that took no more.
#[derive(Debug, Default)]
pub struct Behind {
    issued: AtomicU64,
    late: AtomicU64,
    sum: AtomicU64,
    max: AtomicU64,
    never: AtomicU64,
}

/// What counts as late: more than a timer's own error.
pub const LATE: u64 = 1_000_000;

impl Behind {
    pub fn issued(&self, due: u64, now: u64) {
        let late = now.saturating_sub(due);
        self.issued.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(late, Ordering::Relaxed);
        self.max.fetch_max(late, Ordering::Relaxed);
        if late > LATE {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many were due, and their turn did not come before patience ended.
    pub fn gave_up(&self, count: u64) {
        self.never.fetch_add(count, Ordering::Relaxed);
    }

    #[must_use]
    pub fn told(&self) -> Lag {
        let issued = self.issued.load(Ordering::Relaxed);
        Lag {
            issued,
            late: self.late.load(Ordering::Relaxed),
            mean: self.sum.load(Ordering::Relaxed) / issued.max(1),
            max: self.max.load(Ordering::Relaxed),
            never: self.never.load(Ordering::Relaxed),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    pub issued: u64,
    /// Of those, by more than a millisecond.
    pub late: u64,
    /// Nanoseconds.
    pub mean: u64,
    pub max: u64,
    /// Due, and not issued when the run gave up: the connection took no more.
    pub never: u64,
}

impl Lag {
    #[must_use]
    pub fn says(&self) -> String {
        let never = match self.never {
            0 => String::new(),
            count => format!("; {count} MORE WERE DUE AND NEVER ISSUED"),
        };
        format!(
            "{} issued, {} of them more than 1 ms late; behind by {} on average, {} at most{never}",
            self.issued,
            self.late,
            clock::human(self.mean),
            clock::human(self.max)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_due_when_the_whole_is() {
        let whole = Schedule::new(1000, 500.0, 3 * SECOND);
        assert_eq!(whole.total(), 1500);
        let mut dealt: Vec<u64> = (0..4)
            .flat_map(|part| {
                let share = whole.share(part, 4);
                (0..share.total()).map(move |number| share.due(number))
            })
            .collect();
        dealt.sort_unstable();
        let wanted: Vec<u64> = (0..1500).map(|number| whole.due(number)).collect();
        assert_eq!(dealt, wanted);
    }

    #[test]
    fn a_burst_is_due_at_once_and_keeps_the_rate() {
        let schedule = Schedule::new(0, 100.0, SECOND).in_bursts_of(10);
        assert_eq!(schedule.due(9), 0);
        assert_eq!(schedule.due(10), SECOND / 10);
        assert_eq!(schedule.total(), 100);
    }

    #[test]
    fn lateness_is_told() {
        let behind = Behind::default();
        behind.issued(100, 100);
        behind.issued(0, 3 * LATE);
        assert_eq!(behind.told(), Lag { issued: 2, late: 1, mean: 3 * LATE / 2, max: 3 * LATE, never: 0 });
        behind.gave_up(7);
        assert!(behind.told().says().contains("7 MORE WERE DUE"), "{}", behind.told().says());
    }
}
