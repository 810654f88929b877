//! How long to wait before the next attempt.

use std::time::Duration;

/// Full jitter: uniform between nothing and `min(max, base * 2^attempt)`, the first attempt being 0.
/// The whole span is drawn from, so that those who lost the same upstream do not return together.
pub fn delay(attempt: u32, base: Duration, max: Duration, random: u64) -> Duration {
    let span = ceiling(attempt, base, max).as_nanos();
    // `span` fits 64 bits, and so does the high half of the product.
    let nanos = (u128::from(random) * (span + 1)) >> 64;
    Duration::from_nanos(nanos as u64)
}

/// The longest that `delay` can answer.
pub fn ceiling(attempt: u32, base: Duration, max: Duration) -> Duration {
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let (base, max) = (nanos(base), nanos(max));
    let doubled = 1u64.checked_shl(attempt).map_or(u64::MAX, |factor| base.saturating_mul(factor));
    // A base of zero means no wait, however many attempts there were.
    Duration::from_nanos(if base == 0 { 0 } else { doubled.min(max) })
}

#[cfg(test)]
mod tests;
