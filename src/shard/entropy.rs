//! Masks must be unpredictable to whoever chooses the payload. The system's generator is asked for
//! many at once: one call serves 256 frames.

use ring::rand::{SecureRandom, SystemRandom};

const BLOCK: usize = 1024;

pub struct Entropy {
    source: SystemRandom,
    block: [u8; BLOCK],
    at: usize,
}

impl Default for Entropy {
    fn default() -> Self {
        Entropy { source: SystemRandom::new(), block: [0; BLOCK], at: BLOCK }
    }
}

impl Entropy {
    pub fn mask(&mut self) -> [u8; 4] {
        if self.at + 4 > BLOCK {
            self.refill();
        }
        let mask =
            [self.block[self.at], self.block[self.at + 1], self.block[self.at + 2], self.block[self.at + 3]];
        self.at += 4;
        mask
    }

    pub fn word(&mut self) -> u64 {
        let (high, low) = (self.mask(), self.mask());
        (u64::from(u32::from_ne_bytes(high)) << 32) | u64::from(u32::from_ne_bytes(low))
    }

    fn refill(&mut self) {
        // Without entropy nothing here is safe: no mask, no id, no jitter can be made.
        self.source.fill(&mut self.block).expect("the system's random generator answers");
        self.at = 0;
    }
}
