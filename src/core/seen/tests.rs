use super::*;
use crate::core::random;

const AGE: Duration = Duration::from_millis(1000);

#[test]
fn twice_is_noticed_until_it_is_too_old() {
    let mut seen = Seen::new(10, AGE);
    assert!(seen.remember(1, "first", Time::from_millis(0)));
    assert!(!seen.remember(1, "again", Time::from_millis(999)));
    assert_eq!(seen.get(1, Time::from_millis(999)), Some(&"first"));
    assert_eq!(seen.get(1, Time::from_millis(1000)), None);
    assert!(seen.remember(1, "later", Time::from_millis(1000)));
}

#[test]
fn a_key_that_came_back_is_as_old_as_its_return() {
    let mut seen = Seen::new(2, AGE);
    assert!(seen.remember(1, (), Time::from_millis(0)));
    assert_eq!(seen.forget(1), Some(()));
    assert_eq!(seen.forget(1), None);
    assert!(seen.remember(1, (), Time::from_millis(500)));
    assert!(!seen.remember(1, (), Time::from_millis(1200)), "the stale entry took the younger one along");
    assert!(seen.remember(2, (), Time::from_millis(1200)));
    assert!(!seen.remember(1, (), Time::from_millis(1200)));
    assert!(seen.remember(3, (), Time::from_millis(1200)), "the third pushes the oldest out");
    assert_eq!(seen.len(), 2);
    assert!(seen.remember(1, (), Time::from_millis(1200)));
}

/// Against a plain list, over random keys, times and forgettings.
#[test]
fn it_knows_what_a_list_knows() {
    for seed in 1..=200u64 {
        let mut state = seed;
        let mut random = move |below: u64| random::next(&mut state) % below;
        let count_max = 1 + random(20) as usize;
        let mut seen = Seen::new(count_max, AGE);
        // Of each arrival: its key, its time, whether it is still known.
        let mut model: Vec<(u128, Time, bool)> = Vec::new();
        let mut now = Time::ZERO;
        for step in 0..500 {
            now += Duration::from_millis(random(120));
            model.retain(|(_, at, _)| now.since(*at) < AGE);
            let key = u128::from(random(30));
            let known = model.iter().any(|entry| entry.0 == key && entry.2);
            if random(5) == 0 {
                // Expiry happens at the next look, so what is too old may still be there to forget.
                seen.get(key, now);
                assert_eq!(seen.forget(key).is_some(), known, "seed {seed} step {step}");
                model.iter_mut().filter(|entry| entry.0 == key).for_each(|entry| entry.2 = false);
            } else {
                assert_eq!(seen.remember(key, (), now), !known, "seed {seed} step {step}");
                if !known {
                    model.push((key, now, true));
                    let over = model.len().saturating_sub(count_max);
                    model.drain(..over);
                }
            }
            assert_eq!(seen.len(), model.iter().filter(|entry| entry.2).count(), "seed {seed} step {step}");
            assert!(seen.order.len() <= count_max);
        }
    }
}
