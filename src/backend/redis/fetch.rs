//! One read of a topic: what the script answers, in the terms of the port.

use super::{
    documents::script_sha,
    fault::Fault,
    link::{Link, Tools},
    scripts,
    stats::add,
    values,
};
use crate::{
    limits::FETCH_RECORDS_MAX,
    ports::{BackendError, TopicChunk, TopicEvent, TopicFrom},
};
use bytes::Bytes;
use redis::Value;
use std::sync::Arc;
use tokio::time::Instant;

/// One answer; a single event may be longer.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// A place in a stream: what comes behind this entry has this offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    pub id: String,
    pub offset: u64,
}

pub enum Looked {
    Chunk(TopicChunk, Option<Hint>),
    /// Nothing yet: wait behind this entry for what has this offset.
    Park(Hint),
    Failed(BackendError),
}

pub struct Looker {
    pub tools: Arc<Tools>,
    pub link: Link,
    pub topic: Arc<str>,
    pub from: TopicFrom,
    pub bytes_max: usize,
    pub until: Instant,
    pub hint: Option<Hint>,
}

impl Looker {
    pub async fn look(mut self) -> Looked {
        loop {
            let answer = match self.ask().await {
                Ok(answer) => answer,
                Err(fault) => return Looked::Failed(fault.error(&self.tools.settings)),
            };
            let parts = values::list(Some(&answer)).unwrap_or_default();
            match self.understand(parts) {
                // The search goes on where it ended, or anew: the deadline of each call ends it.
                Some(Step::On(hint)) => self.hint = hint,
                Some(Step::Done(looked)) => return looked,
                None => return Looked::Failed(Fault::answer("a script").error(&self.tools.settings)),
            }
        }
    }

    async fn ask(&mut self) -> Result<Value, Fault> {
        let (mode, offset) = match self.from {
            TopicFrom::Now => ("now", 0),
            TopicFrom::Start => ("start", 0),
            TopicFrom::Offset(offset) => ("at", offset),
        };
        let (id, behind) = self.hint.as_ref().map_or(("", 0), |hint| (&*hint.id, hint.offset));
        let call = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(1).arg(&*self.topic).arg(mode).arg(offset);
            command.arg(self.bytes_max.clamp(1, CHUNK_BYTES_MAX)).arg(FETCH_RECORDS_MAX).arg(id).arg(behind);
            command
        };
        let by_name = call("EVALSHA", &script_sha(scripts::READ));
        let whole = call("EVAL", scripts::READ);
        match self.link.command(&by_name, self.until).await {
            Err(fault) if fault.no_script => self.link.command(&whole, self.until).await,
            answer => answer,
        }
    }

    fn understand(&self, parts: &[Value]) -> Option<Step> {
        let number = |place: usize| values::number(parts.get(place));
        let id = |place: usize| values::text(parts.get(place)).map(str::to_owned);
        Some(match values::text(parts.first())? {
            "now" => Step::chunk(TopicChunk { events: Vec::new(), next: number(1)?, skipped: 0 }, None),
            "park" => Step::Done(Looked::Park(Hint { offset: number(1)?, id: id(2)? })),
            "more" => Step::On(Some(Hint { id: id(1)?, offset: number(2)? })),
            // The stream was deleted and began again since.
            "stale" if self.hint.is_some() => Step::On(None),
            "chunk" => {
                let hint = Hint { id: id(3)?, offset: number(2)? };
                Step::chunk(self.chunk(number(1)?, hint.offset, values::list(parts.get(4))?)?, Some(hint))
            }
            "beyond" => self.refuse(format!("has {} events: begin at the start or at now", number(1)?)),
            "foreign" => {
                self.refuse(format!("is a {} in Redis, not a stream: somebody else uses this key", id(1)?))
            }
            "old" => self.refuse("cannot be followed: Redis 7.0 or newer is needed".into()),
            _ => return None,
        })
    }

    fn refuse(&self, what: String) -> Step {
        let message = format!("topic '{}' {what}", self.topic);
        Step::Done(Looked::Failed(BackendError { message, transient: false }))
    }

    fn chunk(&self, asked: u64, next: u64, entries: &[Value]) -> Option<TopicChunk> {
        let mut events = Vec::with_capacity(entries.len());
        for entry in entries {
            let entry = values::list(Some(entry))?;
            let millis: u64 = values::text(entry.first())?.split('-').next()?.parse().ok()?;
            let ours = values::number(entry.get(3))? == 1;
            let Some(event) = values::bytes(entry.get(2)).filter(|event| ours || is_json(event)) else {
                add(&self.tools.counters.foreign_entries, 1);
                continue;
            };
            events.push(TopicEvent {
                offset: values::number(entry.get(1))?,
                unix_nanos: millis.saturating_mul(1_000_000),
                event: Bytes::copy_from_slice(event),
            });
        }
        let skipped = next.saturating_sub(asked).saturating_sub(events.len() as u64);
        Some(TopicChunk { events, next, skipped })
    }
}

enum Step {
    Done(Looked),
    On(Option<Hint>),
}

impl Step {
    fn chunk(chunk: TopicChunk, hint: Option<Hint>) -> Step {
        Step::Done(Looked::Chunk(chunk, hint))
    }
}

/// Another writer may have put anything there.
fn is_json(event: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(event).is_ok()
}
