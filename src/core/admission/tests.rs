use super::*;
use crate::core::random::Rng;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn it_is_small() {
    assert!(size_of::<TokenBucket>() <= 32);
}

#[test]
fn burst_then_pace() {
    let start = Time::from_millis(5);
    let mut bucket = TokenBucket::new(10.0, 5, start);
    assert_eq!(bucket.available(start), 5);
    assert_eq!(bucket.take(start, 5), Ok(()));
    assert_eq!(bucket.take(start, 1), Err(Duration::from_millis(100)));
    assert_eq!(bucket.take(start, 3), Err(Duration::from_millis(300)));
    assert_eq!(bucket.take(start + Duration::from_millis(40), 1), Err(Duration::from_millis(60)));
    assert_eq!(bucket.take(start + Duration::from_millis(100), 1), Ok(()));
    assert_eq!(bucket.available(start + 100 * SECOND), 5, "no more than the burst is saved up");
    assert_eq!(bucket.take(start, 0), Ok(()));
}

#[test]
fn odd_limits_do_not_break_it() {
    let far = Time::FAR;
    for rate in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        let mut bucket = TokenBucket::new(rate, 1, Time::ZERO);
        assert_eq!(bucket.take(Time::ZERO, 1), Ok(()));
        assert_eq!(bucket.take(far, 1), Err(Duration::MAX), "{rate}");
    }
    let mut never = TokenBucket::new(1.0, 3, Time::ZERO);
    assert_eq!(never.take(far, 4), Err(Duration::MAX), "more than the burst never fits");
    assert_eq!(never.available(far), 3);

    let mut endless = TokenBucket::new(f64::INFINITY, u32::MAX, Time::ZERO);
    assert_eq!(endless.take(Time::ZERO, u32::MAX), Ok(()));
    assert_eq!(endless.take(Time::from_nanos(u64::MAX - 1), u32::MAX), Ok(()));

    assert_eq!(TokenBucket::new(1.0, 0, Time::ZERO).available(Time::ZERO), 1);
}

#[test]
fn a_clock_that_goes_back_gives_nothing() {
    let mut bucket = TokenBucket::new(1.0, 1, Time::from_millis(10_000));
    assert_eq!(bucket.take(Time::from_millis(10_000), 1), Ok(()));
    assert_eq!(bucket.take(Time::from_millis(4_000), 1), Err(7 * SECOND));
    assert_eq!(bucket.take(Time::from_millis(11_000), 1), Ok(()));
}

#[test]
fn a_change_keeps_what_was_saved() {
    let mut bucket = TokenBucket::new(1.0, 10, Time::ZERO);
    bucket.change(Time::ZERO, 2.0, 4);
    assert_eq!(bucket.available(Time::ZERO), 4);
    assert_eq!(bucket.take(Time::ZERO, 4), Ok(()));
    bucket.change(Time::from_millis(500), 4.0, 8);
    assert_eq!(bucket.available(Time::from_millis(500)), 1);
    assert_eq!(bucket.available(Time::from_millis(1000)), 3);
}

/// However the time is cut up, what passes is what the rate allows, to the token.
#[test]
fn nothing_is_lost_to_rounding() {
    let mut random = Rng(99);
    for (rate, burst) in
        [(3.0, 2u32), (0.7, 2), (333.333, 10), (1_000_000.0, 1000), (7.0, 50), (0.000_001, 2)]
    {
        let micro = (rate * 1e6f64).round() as u128;
        let mut bucket = TokenBucket::new(rate, burst, Time::ZERO);
        assert_eq!(bucket.take(Time::ZERO, burst), Ok(()));
        let (mut now, mut taken) = (0u64, 0u128);
        // Steps well below one token, so that nothing is lost at the brim either.
        let step = (1e9 / rate / 3.0) as u64 + 1;
        for _ in 0..20_000 {
            now += random.below(step);
            while bucket.take(Time::from_nanos(now), 1).is_ok() {
                taken += 1;
            }
        }
        assert_eq!(taken, u128::from(now) * micro / 1_000_000_000_000_000, "{rate}");
    }
}

/// The wait is exact: one nanosecond earlier is too early.
#[test]
fn the_wait_is_neither_short_nor_long() {
    let mut random = Rng(5);
    let mut bucket = TokenBucket::new(2.345_678, 7, Time::ZERO);
    let mut now = Time::ZERO;
    let mut waits = 0;
    for _ in 0..5_000 {
        let n = 1 + random.below(7) as u32;
        if let Err(wait) = bucket.take(now, n) {
            waits += 1;
            let mut early = bucket;
            assert!(early.take(now + (wait - Duration::from_nanos(1)), n).is_err());
            now += wait;
            assert_eq!(bucket.take(now, n), Ok(()));
        }
        now += Duration::from_nanos(random.below(2_000_000_000));
    }
    assert!(waits > 500, "{waits}");
}
