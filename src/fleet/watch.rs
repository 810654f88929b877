//! What the fleet's thread measures, and takeovers as spans.

use crate::{
    core::{id::ConnectionId, reason::Fault, tally::nanos},
    ports::{
        spans::{Open, SpanKind, Spans},
        timing::Timing,
    },
};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Answers of the shared store.
#[derive(Debug, Default)]
pub struct FleetTimes {
    /// Renewals of the lease, the failed ones among them.
    pub lease: Timing,
    pub read: Timing,
    pub write: Timing,
}

/// A connection of another run on its way here.
pub(super) struct Taking {
    open: Option<Open>,
    since: Instant,
    epoch: u64,
}

impl Taking {
    pub(super) fn begin(spans: &Spans, epoch: u64) -> Self {
        let now = || nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        Taking { open: spans.begin(None, now).kept(), since: Instant::now(), epoch }
    }

    pub(super) fn ended(self, id: &ConnectionId, fault: Option<&Fault>) {
        let Some(open) = self.open else { return };
        let attributes = vec![("wsm.connection.id", id.as_str().into()), ("wsm.epoch", self.epoch.into())];
        let fault = fault.map(Fault::brief);
        open.end(self.since.elapsed(), "takeover", SpanKind::Internal, attributes, fault);
    }
}
