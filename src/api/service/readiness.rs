//! How far the instance is in its life, and whether it can take work.

use crate::ports::{Condition, Health};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU8, Ordering},
};

/// How far the instance is in its life, and how its backend is.
#[derive(Default)]
pub struct Readiness {
    life: AtomicU8,
    health: OnceLock<Arc<dyn Health>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    Starting,
    Ready,
    Draining,
}

impl Readiness {
    pub fn set(&self, life: Life) {
        self.life.store(life as u8, Ordering::Release);
    }

    /// Asked from now on; only the first one counts.
    pub fn watch(&self, health: Arc<dyn Health>) {
        // There is one backend, for the life of the process.
        let _ = self.health.set(health);
    }

    pub fn condition(&self) -> Option<Condition> {
        self.health.get().map(|health| health.condition())
    }

    pub fn is_draining(&self) -> bool {
        self.life.load(Ordering::Acquire) == Life::Draining as u8
    }

    pub fn not_ready(&self) -> Option<String> {
        let problem = || self.condition().and_then(|condition| condition.problem);
        match self.life.load(Ordering::Acquire) {
            1 => problem(),
            2 => Some("draining: this instance is leaving".into()),
            _ => Some(problem().map_or("starting".into(), |problem| format!("starting: {problem}"))),
        }
    }
}
