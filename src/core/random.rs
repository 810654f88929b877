//! SplitMix64: small, and the same on every machine from the same seed.

#[cfg(test)]
mod testing;
#[cfg(test)]
pub use testing::Rng;

/// What a state moves on by: states that are this far apart are neighbours in one stream.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(STEP);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
