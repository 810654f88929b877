//! Who owns what in a fleet: leases, claims, the observation of others, adoption. Pure: values and
//! boot-clock times go in, reads and writes of shared documents come out.

mod document;
mod holder;
pub mod io;
mod setup;

pub use document::record_key;
pub use holder::{Holding, holder_of};
pub use setup::{FleetSetup, Timings};

use io::{Asker, Boot, DocAnswer, DocTicket, FleetCounters, FleetEffect, FleetInput, FleetNow, Member};
use std::sync::Arc;

/// The interface; what moves it follows.
pub struct Fleet {
    me: Member,
    members: Arc<[Member]>,
    counters: FleetCounters,
}

impl Fleet {
    /// Asks for nothing before the first `tick`.
    pub fn new(setup: FleetSetup) -> Self {
        let incarnation = format!("{}-{}", setup.instance, setup.incarnation_word);
        let me = Member {
            incarnation: incarnation.into(),
            instance: setup.instance.clone(),
            address: setup.address.clone(),
        };
        Fleet { me, members: Arc::from([]), counters: FleetCounters::default() }
    }

    pub fn handle(&mut self, now: FleetNow, input: FleetInput, fx: &mut Vec<FleetEffect>) {
        let _ = now;
        match input {
            FleetInput::Store { asker, .. } | FleetInput::Forget { asker, .. } => self.refuse(asker, fx),
            _ => {}
        }
    }

    /// Every `Get`, `Put` and `Delete` is answered once; answers to forgotten tickets are ignored.
    pub fn answered(&mut self, now: FleetNow, ticket: DocTicket, answer: DocAnswer, fx: &mut Vec<FleetEffect>) {
        let _ = (now, ticket, answer, fx);
    }

    pub fn tick(&mut self, now: FleetNow, fx: &mut Vec<FleetEffect>) {
        let _ = (now, fx);
    }

    /// When `tick` is wanted next.
    pub fn poll_timeout(&self) -> Boot {
        Boot::FAR
    }

    /// This run's name; another one after each `Fence`.
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// Others whose leases live.
    pub fn members(&self) -> Arc<[Member]> {
        self.members.clone()
    }

    pub fn valid_until(&self) -> Boot {
        Boot::ZERO
    }

    pub fn is_advisory(&self) -> bool {
        false
    }

    pub fn owned(&self) -> usize {
        0
    }

    pub fn counters(&self) -> FleetCounters {
        self.counters
    }

    /// Panics when the books do not agree; for tests.
    pub fn check(&self) {}

    fn refuse(&mut self, asker: Asker, fx: &mut Vec<FleetEffect>) {
        fx.push(FleetEffect::Stored { asker, result: Err("the fleet machine is not built yet".into()) });
    }
}
