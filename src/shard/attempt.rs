//! Dials and batches for those who look on. What became of a dial is counted by its venue and is a span;
//! one that the core aborts is dropped, and counts as one that failed. A batch is a span.

use super::Local;
use crate::{
    core::{
        io::SocketKey,
        publish::batch::{Batch, PublishError},
        reason::Fault,
        spec::Spec,
        time::{Now, Time},
    },
    ports::spans::{Open, SpanKind},
};
use std::{rc::Rc, time::Instant};

pub struct Attempt {
    local: Rc<Local>,
    venue: String,
    /// Since when, and for which connection.
    span: Option<(Open, Time, String)>,
    failed: Option<String>,
    opened: Option<bool>,
}

impl Attempt {
    /// `cause`: within the trace of the call that asked for it.
    pub fn begin(local: &Rc<Local>, key: SocketKey, spec: &Spec, cause: Option<&str>) -> Self {
        let now = local.now();
        let open = local.world.spans.begin(cause, || now.wall.unix_nanos()).kept();
        let span = open.map(|open| (open, now.mono, local.core.borrow().name_of(key).unwrap_or_default()));
        let venue = spec.dial.target.host.to_string();
        Attempt { local: local.clone(), venue, span, failed: None, opened: None }
    }

    /// A connection stands; one that was away came back with it, or not.
    pub fn opened(&mut self, reconnected: bool) {
        self.opened = Some(reconnected);
    }

    pub fn failed(&mut self, why: &Fault) {
        self.failed = self.span.is_some().then(|| why.brief());
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        {
            let venues = &mut self.local.metrics.borrow_mut().venues;
            match self.opened {
                Some(reconnected) => venues.opened(&self.venue, reconnected),
                None => venues.failed(&self.venue),
            }
        }
        let Some((open, since, id)) = self.span.take() else { return };
        let fault = match (self.opened, self.failed.take()) {
            (Some(_), _) => None,
            (None, why) => Some(why.unwrap_or_else(|| "given up".to_owned())),
        };
        let attributes = vec![
            ("wsm.connection.id", id.as_str().into()),
            ("server.address", self.venue.as_str().into()),
            ("wsm.shard", u64::from(self.local.shard).into()),
        ];
        open.end(self.local.now().mono.since(since), "dial", SpanKind::Client, attributes, fault);
    }
}

/// A batch at the bus, whose answer comes on any thread.
pub struct Handed {
    open: Open,
    since: Instant,
    shard: u32,
    events: usize,
    bytes: usize,
}

impl Handed {
    pub fn begin(local: &Local, batch: &Batch, now: Now) -> Option<Self> {
        Some(Handed {
            open: local.world.spans.begin(None, || now.wall.unix_nanos()).kept()?,
            since: Instant::now(),
            shard: local.shard,
            events: batch.events.len(),
            bytes: batch.bytes.len(),
        })
    }

    pub fn answered(self, result: &Result<(), PublishError>) {
        let fault = match result {
            Ok(()) => None,
            Err(PublishError::Retry) => Some("not taken: it goes again".to_owned()),
            Err(PublishError::Refused(events)) => Some(format!("{} events were refused", events.len())),
        };
        let attributes = vec![
            ("messaging.batch.message_count", (self.events as u64).into()),
            ("wsm.batch.bytes", (self.bytes as u64).into()),
            ("wsm.shard", u64::from(self.shard).into()),
        ];
        self.open.end(self.since.elapsed(), "publish", SpanKind::Producer, attributes, fault);
    }
}
