//! What an instance is told about itself and its fleet at start.

use crate::limits;
use std::{sync::Arc, time::Duration};

#[derive(Clone, Debug)]
pub struct FleetSetup {
    pub instance: Arc<str>,
    /// Drawn at each start; the names of later incarnations are drawn from `seed`.
    pub incarnation_word: Arc<str>,
    /// `host:port` by which peers reach this instance.
    pub address: Arc<str>,
    /// Of jitter and of words; from real entropy outside simulations.
    pub seed: u64,
    pub timings: Timings,
    pub takes_per_second: u32,
    pub index_bytes_max: usize,
    /// After which a record that nobody writes again is gone; none: never.
    pub record_ttl: Option<Duration>,
}

impl FleetSetup {
    pub fn new(instance: &str, incarnation_word: &str, address: &str, seed: u64) -> Self {
        FleetSetup {
            instance: instance.into(),
            incarnation_word: incarnation_word.into(),
            address: address.into(),
            seed,
            timings: Timings::default(),
            takes_per_second: limits::FLEET_TAKES_PER_SECOND,
            index_bytes_max: limits::FLEET_INDEX_BYTES,
            record_ttl: None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Timings {
    pub lease: Duration,
    pub renew: Duration,
    /// From the start of the last successful renewal.
    pub valid: Duration,
    /// Beyond the lease, before an observer holds an instance dead.
    pub margin: Duration,
    pub scan_min: Duration,
    pub scan_max: Duration,
    pub leftover: Duration,
    pub ask: Duration,
    pub index_every: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Timings {
            lease: limits::LEASE,
            renew: limits::LEASE_RENEW,
            valid: limits::LEASE_VALID,
            margin: limits::LEASE_MARGIN,
            scan_min: limits::FLEET_SCAN_MIN,
            scan_max: limits::FLEET_SCAN_MAX,
            leftover: limits::FLEET_LEFTOVER,
            ask: limits::FLEET_ASK,
            index_every: limits::FLEET_INDEX_EVERY,
        }
    }
}

impl Timings {
    pub fn ttl(&self) -> Duration {
        self.lease * limits::LEASE_TTL_LEASES
    }

    /// How long a lease must stand still before it may be tombstoned.
    pub fn silence(&self) -> Duration {
        self.lease + self.margin
    }
}
