use super::*;
use crate::core::random::Rng;
use crate::limits::{RECONNECT_BASE_DEFAULT as BASE, RECONNECT_MAX_DEFAULT as MAX};

#[test]
fn doubles_up_to_its_cap() {
    let seconds: Vec<u64> = (0..8).map(|attempt| ceiling(attempt, BASE, MAX).as_secs()).collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
    for attempt in 0..8 {
        assert_eq!(delay(attempt, BASE, MAX, u64::MAX), ceiling(attempt, BASE, MAX));
        assert_eq!(delay(attempt, BASE, MAX, 0), Duration::ZERO);
    }
}

#[test]
fn extremes_do_not_overflow() {
    for attempt in [0, 1, 31, 32, 63, 64, 65, u32::MAX] {
        for base in [Duration::ZERO, Duration::from_nanos(1), BASE, Duration::MAX] {
            for max in [Duration::ZERO, Duration::from_nanos(1), MAX, Duration::MAX] {
                for random in [0, 1, u64::MAX / 2, u64::MAX] {
                    let waited = delay(attempt, base, max, random);
                    assert!(waited <= max && waited <= ceiling(attempt, base, max));
                    assert!(!base.is_zero() || waited.is_zero());
                }
            }
        }
    }
    assert_eq!(ceiling(u32::MAX, Duration::from_nanos(1), MAX), MAX);
}

#[test]
fn the_whole_span_is_drawn_from_evenly() {
    let mut random = Rng(42);
    let mut buckets = [0u32; 10];
    for _ in 0..100_000 {
        let waited = delay(3, BASE, MAX, random.word());
        assert!(waited <= Duration::from_secs(8));
        buckets[((waited.as_nanos() * 10 / 8_000_000_000) as usize).min(9)] += 1;
    }
    assert!(buckets.iter().all(|&count| (9_400..10_600).contains(&count)), "{buckets:?}");
}

#[test]
fn small_spans_reach_both_ends() {
    let drawn = |random| delay(0, Duration::from_nanos(1), MAX, random).as_nanos();
    assert_eq!((drawn(0), drawn(u64::MAX / 2), drawn(u64::MAX / 2 + 1), drawn(u64::MAX)), (0, 0, 1, 1));
}
