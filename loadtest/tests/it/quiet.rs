//! Figures beside delays that were put in, on a machine that may be busy with something else.

use std::sync::{Mutex, PoisonError};

/// A busy machine only adds to latencies, so one look of these at a quiet moment is enough.
const LOOKS: usize = 4;

/// One at a time: tests that measure would be each other's noise.
static ALONE: Mutex<()> = Mutex::new(());

pub fn sometime(look: impl Fn() -> Result<(), String>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen = Vec::new();
    for _ in 0..LOOKS {
        match look() {
            Ok(()) => return,
            Err(why) => seen.push(why),
        }
    }
    panic!("{LOOKS} times: {}", seen.join("; "));
}

pub fn near(what: &str, measured: u64, wanted: u64, share: f64) -> Result<(), String> {
    let off = measured.abs_diff(wanted) as f64 / wanted as f64;
    if off <= share { Ok(()) } else { Err(format!("{what}: {measured} is not within {share} of {wanted}")) }
}
