//! What the simulations share: which seeds are run, and what a world that broke has to say.

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Those of every test run; `WSM_SEEDS` runs another number, `WSM_SEED` one.
const SEEDS_DEFAULT: u64 = 500;
/// After so many broken worlds the others have nothing to add.
const BROKEN_MAX: usize = 5;
/// Within so many seeds a planted mistake must be found.
const CANARY_SEEDS: u64 = 200;

/// Why the world broke; None when it held.
pub fn broken(run: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).or(Some(String::new()))
}

pub fn every_seed_holds<S: Default + Debug>(
    simulate: impl Fn(u64) -> Result<S, String>,
    add: impl Fn(&mut S, &S),
) {
    let seeds = match number_of("WSM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("WSM_SEEDS").unwrap_or(SEEDS_DEFAULT),
    };
    let (mut sum, mut failed) = (S::default(), 0);
    for seed in seeds {
        match simulate(seed) {
            Ok(ran) => add(&mut sum, &ran),
            Err(report) => {
                println!("{report}");
                failed += 1;
                assert!(failed < BROKEN_MAX, "{BROKEN_MAX} seeds failed");
            }
        }
    }
    println!("{sum:?}");
    assert_eq!(failed, 0);
}

/// The simulation is worth something: it finds each of these mistakes.
pub fn every_canary_is_found<C: Copy + Debug>(canaries: &[C], fails: impl Fn(u64, C) -> bool) {
    let missed: Vec<_> = canaries
        .iter()
        .filter(|canary| {
            let found = (0..CANARY_SEEDS).find(|seed| fails(*seed, **canary));
            println!("{canary:?} is found by seed {found:?}");
            found.is_none()
        })
        .collect();
    assert!(missed.is_empty(), "{missed:?} were not found within {CANARY_SEEDS} seeds");
}

fn number_of(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
