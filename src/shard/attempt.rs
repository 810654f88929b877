//! Dials and batches for those who look on. What became of a dial is counted by its venue and is a span;
//! one that the core aborts is dropped, and counts as one that failed. A batch is a span.

use super::Local;
use crate::{
    core::{
        io::SocketKey,
        publish::batch::{Batch, PublishError},
        reason::Fault,
        spec::Spec,
        tally::nanos,
        time::Now,
    },
    ports::spans::{Begun, Span, SpanKind, Spans},
};
use std::{rc::Rc, time::Instant};

pub struct Attempt {
    local: Rc<Local>,
    venue: String,
    /// Where the span began, and for which connection.
    span: Option<(Begun, Now, String)>,
    failed: Option<String>,
    opened: Option<bool>,
}

impl Attempt {
    /// `cause`: within the trace of the call that asked for it.
    pub fn begin(local: &Rc<Local>, key: SocketKey, spec: &Spec, cause: Option<&str>) -> Self {
        let span = local.world.spans.begin(cause).map(|begun| {
            let id = local.core.borrow().name_of(key).unwrap_or_default();
            (begun, local.now(), id)
        });
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
        let Some((Begun { at, parent }, begun, id)) = self.span.take() else { return };
        let fault = match (self.opened, self.failed.take()) {
            (Some(_), _) => None,
            (None, why) => Some(why.unwrap_or_else(|| "given up".to_owned())),
        };
        self.local.world.spans.record(Span {
            at,
            parent,
            name: "dial",
            kind: SpanKind::Client,
            begun_unix_nanos: begun.wall.unix_nanos(),
            ended_unix_nanos: begun.wall.unix_nanos() + nanos(self.local.now().mono.since(begun.mono)),
            attributes: vec![
                ("wsm.connection.id", id.as_str().into()),
                ("server.address", self.venue.as_str().into()),
                ("wsm.shard", u64::from(self.local.shard).into()),
            ],
            fault,
        });
    }
}

/// A batch at the bus, whose answer comes on any thread.
pub struct Handed {
    spans: Spans,
    begun: Begun,
    begun_unix_nanos: u64,
    since: Instant,
    shard: u32,
    events: usize,
    bytes: usize,
}

impl Handed {
    pub fn begin(local: &Local, batch: &Batch, now: Now) -> Option<Self> {
        let spans = &local.world.spans;
        let begun = spans.begin(None)?;
        Some(Handed {
            spans: spans.clone(),
            begun,
            begun_unix_nanos: now.wall.unix_nanos(),
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
        self.spans.record(Span {
            at: self.begun.at,
            parent: self.begun.parent,
            name: "publish",
            kind: SpanKind::Producer,
            begun_unix_nanos: self.begun_unix_nanos,
            ended_unix_nanos: self.begun_unix_nanos + nanos(self.since.elapsed()),
            attributes: vec![
                ("messaging.batch.message_count", (self.events as u64).into()),
                ("wsm.batch.bytes", (self.bytes as u64).into()),
                ("wsm.shard", u64::from(self.shard).into()),
            ],
            fault,
        });
    }
}
