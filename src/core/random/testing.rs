//! What all tests with random scripts draw from.

use std::time::Duration;

/// Under a seed: every choice of a run comes from here.
pub struct Rng(pub u64);

impl Rng {
    pub fn word(&mut self) -> u64 {
        super::next(&mut self.0)
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// As `below`, for places and lengths.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.index(list.len())]
    }

    pub fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Between so many milliseconds, both of them included.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from * 1000 + self.below((to - from) * 1000 + 1))
    }

    /// As `millis`, for a world that counts nanoseconds.
    pub fn nanos(&mut self, from_millis: u64, to_millis: u64) -> u64 {
        from_millis * 1_000_000 + self.below((to_millis - from_millis) * 1_000_000 + 1)
    }

    /// No more than `most` of them.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.index(most + 1)).map(|_| self.word() as u8).collect()
    }
}
