//! What the fleet's thread measures, and takeovers as spans.

use crate::{
    core::{id::ConnectionId, reason::Fault, tally::nanos},
    ports::{
        spans::{Begun, Span, SpanKind, Spans},
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
    spans: Spans,
    begun: Option<Begun>,
    begun_unix_nanos: u64,
    since: Instant,
    epoch: u64,
}

impl Taking {
    pub(super) fn begin(spans: &Spans, epoch: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begun = spans.begin(None);
        Taking { spans: spans.clone(), begun, begun_unix_nanos: nanos(now), since: Instant::now(), epoch }
    }

    pub(super) fn ended(self, id: &ConnectionId, fault: Option<&Fault>) {
        let Some(Begun { at, parent }) = self.begun else { return };
        self.spans.record(Span {
            at,
            parent,
            name: "takeover",
            kind: SpanKind::Internal,
            begun_unix_nanos: self.begun_unix_nanos,
            ended_unix_nanos: self.begun_unix_nanos + nanos(self.since.elapsed()),
            attributes: vec![("wsm.connection.id", id.as_str().into()), ("wsm.epoch", self.epoch.into())],
            fault: fault.map(Fault::brief),
        });
    }
}
