//! How much of something may pass: send limits, control floods, the pace of dials.

use crate::core::time::Time;
use std::time::Duration;

const MICRO: u64 = 1_000_000;
const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Faster is no limit at all; the bound keeps the arithmetic inside its types.
const PER_SECOND_MAX: f64 = 1e12;

/// Holds up to `burst` tokens and gains `per_second` of them a second, in whole millionths and with
/// the remainder kept: nothing is lost to rounding, however often it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    micro_per_second: u64,
    level_micro: u64,
    filled_at: Time,
    burst: u32,
    /// Billionths of a millionth of a token.
    remainder: u32,
}

impl TokenBucket {
    /// Full at first. A rate that is not a positive number never refills; a burst below one token
    /// would never let anything pass and counts as one.
    pub fn new(per_second: f64, burst: u32, now: Time) -> Self {
        let burst = burst.max(1);
        TokenBucket {
            micro_per_second: micro_rate(per_second),
            level_micro: u64::from(burst) * MICRO,
            filled_at: now,
            burst,
            remainder: 0,
        }
    }

    /// Takes `n` tokens or none. The error is how long to wait until `n` are there, if nobody else
    /// takes any; `Duration::MAX` when they never will be.
    pub fn take(&mut self, now: Time, n: u32) -> Result<(), Duration> {
        self.fill(now);
        let wanted = u64::from(n) * MICRO;
        if wanted <= self.level_micro {
            self.level_micro -= wanted;
            return Ok(());
        }
        if n > self.burst || self.micro_per_second == 0 {
            return Err(Duration::MAX);
        }
        let missing = u128::from(wanted - self.level_micro) * NANOS_PER_SECOND - u128::from(self.remainder);
        let nanos = missing.div_ceil(u128::from(self.micro_per_second));
        // Counted from the last filling, which a clock that went back leaves ahead of `now`.
        let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Err(wait.saturating_add(self.filled_at.since(now)))
    }

    /// Whole tokens that could be taken now.
    pub fn available(&mut self, now: Time) -> u32 {
        self.fill(now);
        (self.level_micro / MICRO) as u32
    }

    /// Changes the limit and keeps what was saved up, as far as the new burst holds it.
    pub fn change(&mut self, now: Time, per_second: f64, burst: u32) {
        self.fill(now);
        self.micro_per_second = micro_rate(per_second);
        self.burst = burst.max(1);
        self.level_micro = self.level_micro.min(self.capacity_micro());
    }

    fn capacity_micro(&self) -> u64 {
        u64::from(self.burst) * MICRO
    }

    fn fill(&mut self, now: Time) {
        let elapsed = now.as_nanos().saturating_sub(self.filled_at.as_nanos());
        if elapsed == 0 {
            return;
        }
        self.filled_at = now;
        let gained = u128::from(elapsed) * u128::from(self.micro_per_second) + u128::from(self.remainder);
        let level = u128::from(self.level_micro) + gained / NANOS_PER_SECOND;
        let capacity = self.capacity_micro();
        if level >= u128::from(capacity) {
            self.level_micro = capacity;
            self.remainder = 0;
        } else {
            self.level_micro = level as u64;
            self.remainder = (gained % NANOS_PER_SECOND) as u32;
        }
    }
}

fn micro_rate(per_second: f64) -> u64 {
    // `clamp` hands on what is not a number, and the cast makes zero of it.
    (per_second.clamp(0.0, PER_SECOND_MAX) * MICRO as f64).round() as u64
}

#[cfg(test)]
mod tests;
