//! How far the instance is in its life, and whether it can take work.

use crate::{
    core::reason::{Certainty, Fault, FaultKind},
    ports::{Condition, Health},
};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// How far the instance is in its life, and how its backend is.
#[derive(Default)]
pub struct Readiness {
    life: watch::Sender<Life>,
    health: OnceLock<Arc<dyn Health>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    #[default]
    Starting,
    Ready,
    /// Not ready any more, but all work is still done or refused by what does it.
    Draining,
    /// The shards let go of what they have: what is not found here any more may go on elsewhere, or
    /// come back with the next start.
    Stopping,
    /// The drain has ended: nothing more comes of anything.
    Over,
}

impl Readiness {
    pub fn set(&self, life: Life) {
        self.life.send_replace(life);
    }

    fn life(&self) -> Life {
        *self.life.borrow()
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
        self.life() >= Life::Draining
    }

    pub fn is_stopping(&self) -> bool {
        self.life() >= Life::Stopping
    }

    /// How it ends for who has read all that there is here of a connection: it ended, unless it was only
    /// let go of.
    pub fn end_of_it(&self) -> Result<(), Fault> {
        if self.is_stopping() { Err(leaving()) } else { Ok(()) }
    }

    /// Waits until nothing more comes of anything.
    pub async fn over(&self) {
        // An error means that it can never be set any more.
        let _ = self.life.subscribe().wait_for(|life| *life == Life::Over).await;
    }

    pub fn not_ready(&self) -> Option<String> {
        let problem = || self.condition().and_then(|condition| condition.problem);
        match self.life() {
            Life::Starting => {
                Some(problem().map_or("starting".into(), |problem| format!("starting: {problem}")))
            }
            Life::Ready => problem(),
            Life::Draining | Life::Stopping | Life::Over => Some("draining: this instance is leaving".into()),
        }
    }
}

/// Whatever was asked for was not done, and whoever has it next can be asked.
pub fn leaving() -> Fault {
    Fault::new(FaultKind::Unavailable, "this instance is leaving: ask again")
        .with_certainty(Certainty::NotSent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_has_ended_until_everything_is_let_go_of() {
        let readiness = Readiness::default();
        assert_eq!(readiness.not_ready().as_deref(), Some("starting"));
        readiness.set(Life::Ready);
        assert!(readiness.not_ready().is_none() && !readiness.is_draining());
        readiness.set(Life::Draining);
        assert!(readiness.is_draining() && !readiness.is_stopping());
        assert_eq!(readiness.end_of_it(), Ok(()));
        for life in [Life::Stopping, Life::Over] {
            readiness.set(life);
            assert!(readiness.is_draining() && readiness.is_stopping());
            assert!(readiness.not_ready().is_some_and(|why| why.starts_with("draining")));
            let fault = readiness.end_of_it().unwrap_err();
            assert_eq!((fault.kind, fault.certainty), (FaultKind::Unavailable, Some(Certainty::NotSent)));
        }
    }
}
