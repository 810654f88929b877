//! What befalls the connections to each upstream's host. A host gets a name of its own once a handshake
//! with it succeeded, so that nobody fills the places with names that lead nowhere; the first ones get
//! them, for good, and all others share one. None makes way for another that is dialled more: whoever may
//! connect could make a monitoring system keep series without bound, and counters would begin anew.

use crate::limits::VENUES_PER_SHARD_MAX;
use std::sync::Arc;

/// The name of all hosts without a place.
pub const OTHERS: &str = "other";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VenueCounts {
    pub dials: u64,
    pub failures: u64,
    /// Connections that were away and came back.
    pub reconnects: u64,
}

impl VenueCounts {
    pub fn add(&mut self, other: &VenueCounts) {
        self.dials += other.dials;
        self.failures += other.failures;
        self.reconnects += other.reconnects;
    }
}

/// Of one shard; a dial comes here once, at its end.
#[derive(Clone, Debug, Default)]
pub struct Venues {
    named: Vec<(Arc<str>, VenueCounts)>,
    others: VenueCounts,
}

impl Venues {
    pub fn opened(&mut self, host: &str, reconnected: bool) {
        if self.named.len() < VENUES_PER_SHARD_MAX && !self.named.iter().any(|(name, _)| **name == *host) {
            self.named.push((host.into(), VenueCounts::default()));
        }
        let counts = self.of(host);
        counts.dials += 1;
        counts.reconnects += u64::from(reconnected);
    }

    pub fn failed(&mut self, host: &str) {
        let counts = self.of(host);
        counts.dials += 1;
        counts.failures += 1;
    }

    fn of(&mut self, host: &str) -> &mut VenueCounts {
        let place = self.named.iter().position(|(name, _)| **name == *host);
        match place {
            Some(place) => &mut self.named[place].1,
            None => &mut self.others,
        }
    }

    /// All of them, the others last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &VenueCounts)> {
        let named = self.named.iter().map(|(name, counts)| (&**name, counts));
        named.chain(std::iter::once((OTHERS, &self.others)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_only_hosts_that_answered_get_one() {
        let mut venues = Venues::default();
        for n in 0..10_000 {
            venues.failed(&format!("nowhere-{n}.example"));
        }
        assert_eq!(venues.iter().count(), 1);
        for n in 0..10_000 {
            venues.opened(&format!("host-{n}.example"), n % 2 == 0);
        }
        venues.opened("host-3.example", true);
        venues.failed("host-3.example");
        assert_eq!(venues.iter().count(), VENUES_PER_SHARD_MAX + 1);
        let of = |wanted: &str| venues.iter().find(|(name, _)| *name == wanted).map(|(_, counts)| *counts);
        assert_eq!(of("host-3.example"), Some(VenueCounts { dials: 3, failures: 1, reconnects: 1 }));
        let named = VENUES_PER_SHARD_MAX as u64;
        let others = VenueCounts { dials: 20_000 - named, failures: 10_000, reconnects: 5_000 - named / 2 };
        assert_eq!(of(OTHERS), Some(others));
    }
}
