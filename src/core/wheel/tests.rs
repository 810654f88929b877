use super::*;
use crate::core::random::Rng;
use std::{collections::BTreeMap, time::Duration};

fn expire(wheel: &mut Wheel<u64>, now: Time) -> Vec<u64> {
    let mut fired = Vec::new();
    wheel.expire(now, &mut |key| fired.push(key));
    fired
}

#[test]
fn never_early_and_at_most_one_tick_late() {
    let mut wheel = Wheel::new(Time::ZERO);
    wheel.insert(Time::from_nanos(1), 1u64);
    assert!(expire(&mut wheel, Time::from_nanos(1)).is_empty());
    assert!(expire(&mut wheel, Time::from_nanos(TICK_NANOS - 1)).is_empty());
    assert_eq!(expire(&mut wheel, Time::from_nanos(TICK_NANOS)), [1]);

    wheel.insert(Time::from_nanos(5 * TICK_NANOS), 2);
    assert_eq!(wheel.next(), Some(Time::from_nanos(5 * TICK_NANOS)));
    assert!(expire(&mut wheel, Time::from_nanos(5 * TICK_NANOS - 1)).is_empty());
    assert_eq!(expire(&mut wheel, Time::from_nanos(5 * TICK_NANOS)), [2]);
    assert_eq!(wheel.next(), None);
}

#[test]
fn what_is_past_fires_at_the_next_call_also_in_the_same_tick() {
    let mut wheel = Wheel::new(Time::from_millis(10_000));
    let now = Time::from_millis(10_001);
    assert!(expire(&mut wheel, now).is_empty());
    wheel.insert(Time::ZERO, 7u64);
    assert!(wheel.next().unwrap() <= now);
    assert_eq!(expire(&mut wheel, now), [7]);
    assert!(expire(&mut wheel, now).is_empty());
}

#[test]
fn a_clock_that_goes_back_fires_nothing_and_breaks_nothing() {
    let mut wheel = Wheel::new(Time::from_millis(10_000));
    wheel.insert(Time::from_millis(10_100), 1u64);
    assert!(expire(&mut wheel, Time::from_millis(5)).is_empty());
    assert_eq!(expire(&mut wheel, Time::from_millis(10_104)), [1]);
}

#[test]
fn a_cancelled_timer_does_not_fire_and_its_name_is_dead() {
    let mut wheel = Wheel::new(Time::ZERO);
    let first = wheel.insert(Time::from_millis(100), 1u64);
    assert!(wheel.cancel(first));
    assert!(!wheel.cancel(first));
    let second = wheel.insert(Time::from_millis(100), 2);
    assert_eq!(second.index, first.index, "the place is used again");
    assert!(!wheel.cancel(first), "the old name does not reach the new tenant");
    assert_eq!(expire(&mut wheel, Time::from_millis(200)), [2]);
    assert!(!wheel.cancel(second));
    assert!(!wheel.cancel(TimerId::NONE));
    assert!(wheel.is_empty());
    assert_eq!(wheel.next(), None);
}

#[test]
fn the_end_of_time_can_be_waited_for() {
    let mut wheel = Wheel::new(Time::ZERO);
    let never = wheel.insert(Time::FAR, 1u64);
    assert!(expire(&mut wheel, Time::from_millis(86_400_000 * 365)).is_empty());
    assert!(wheel.next().unwrap() > Time::from_millis(86_400_000 * 365));
    assert!(wheel.cancel(never));
    assert_eq!(wheel.next(), None);
}

/// The model: every waiting timer by (tick, order of insertion).
struct Model {
    waiting: BTreeMap<(u64, u64), TimerId>,
    count: u64,
}

fn delay(random: &mut Rng) -> Duration {
    // All scales: within a tick, each level, beyond all levels.
    let bits = random.below(58);
    Duration::from_nanos(random.word() & ((1 << bits) - 1))
}

fn run(seed: u64, steps: u64) {
    let mut random = Rng(seed);
    let mut now = Time::from_nanos(random.below(1 << 50));
    let mut wheel = Wheel::new(now);
    let mut model = Model { waiting: BTreeMap::new(), count: 0 };
    for _ in 0..steps {
        match random.below(10) {
            0..=4 => {
                let at = if random.below(20) == 0 { Time::ZERO } else { now + delay(&mut random) };
                let tick = at.as_nanos().div_ceil(TICK_NANOS).max(now.as_nanos() / TICK_NANOS);
                let id = wheel.insert(at, model.count);
                model.waiting.insert((tick, model.count), id);
                model.count += 1;
            }
            5 | 6 => {
                let nth = random.below(model.waiting.len().max(1) as u64) as usize;
                if let Some((&place, &id)) = model.waiting.iter().nth(nth) {
                    assert!(wheel.cancel(id));
                    assert!(!wheel.cancel(id));
                    model.waiting.remove(&place);
                }
            }
            7 | 8 => now += delay(&mut random),
            // Sleep exactly as long as the wheel allows.
            _ => now = now.max(wheel.next().unwrap_or(now)),
        }
        let tick = now.as_nanos() / TICK_NANOS;
        let mut expected = Vec::new();
        while let Some(entry) = model.waiting.first_entry().filter(|e| e.key().0 <= tick) {
            expected.push(entry.remove_entry().0.1);
        }
        assert_eq!(expire(&mut wheel, now), expected, "seed {seed}");
        assert_eq!(wheel.len(), model.waiting.len());
        match (wheel.next(), model.waiting.first_key_value()) {
            (None, None) => {}
            (Some(next), Some(((first, _), _))) => {
                assert!(next.as_nanos() <= first * TICK_NANOS, "next() misses a timer, seed {seed}");
                assert!(next > now, "next() would spin, seed {seed}");
            }
            other => panic!("next and model disagree: {other:?}, seed {seed}"),
        }
    }
}

#[test]
fn agrees_with_a_sorted_map_over_long_virtual_time() {
    for seed in 1..=60 {
        run(seed, 1500);
    }
}

#[test]
fn waking_by_next_alone_fires_each_timer_in_its_own_tick() {
    let mut random = Rng(99);
    let mut wheel = Wheel::new(Time::ZERO);
    let mut deadlines = Vec::new();
    for key in 0..500u64 {
        let at = Time::ZERO + delay(&mut random);
        deadlines.push(at);
        wheel.insert(at, key);
    }
    let mut wakings = 0;
    let mut fired = 0;
    while let Some(now) = wheel.next() {
        wakings += 1;
        wheel.expire(now, &mut |key| {
            fired += 1;
            let at = deadlines[key as usize];
            assert!(now >= at && now.since(at) < Duration::from_nanos(TICK_NANOS));
        });
    }
    assert_eq!(fired, 500);
    // Besides one waking a timer and level there is one for each turn of the whole wheel.
    let turns = (1u64 << 58) / (TICK_NANOS << SPAN_BITS) + 1;
    assert!(wakings <= 500 * LEVELS as u64 + turns, "{wakings} wakings");
}
