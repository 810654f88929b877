//! Typed messages: what is sent to rooms is checked against the JSON Schema of its MESSAGE_ID.
//!
//! Schemas are the files of one folder, `<MESSAGE_ID>.json`. They are read again when they change: a
//! use asks for a look at the folder, at most once a second, and a thread of its own does it, since
//! compiling a thousand schemas takes longer than a sender should wait.
//!
//! Decisions that senders can rely on:
//! - Only what is a JSON object with a string `MESSAGE_ID` that has a schema is checked; with
//!   `schemas_strict` everything else is refused.
//! - `MESSAGE_ID` or `message` twice is refused: readers would not agree which one counts.
//! - Text that looks like such an object, and that our parser cannot read, is refused too: a reader's
//!   parser may be more patient than ours.

mod compile;
pub mod folder;
#[cfg(test)]
mod tests;

use super::counters::IntakeCounters;
use crate::{
    core::{json, reason::Fault},
    limits,
};
use compile::Schema;
use folder::Folder;
use parking_lot::RwLock;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Instant,
};

/// Asked before a message goes to rooms, to everybody or to a user.
pub trait Check: Send + Sync {
    /// The fault names the place in the message that is wrong, and the schema.
    fn check(&self, payload: &[u8]) -> Result<(), Fault>;
}

/// Schemas by their MESSAGE_ID.
pub type Set = BTreeMap<Box<str>, Arc<Schema>>;

/// The schemas of one folder, shared by all shards.
pub struct Schemas {
    strict: bool,
    counters: Arc<IntakeCounters>,
    now: Arc<RwLock<Arc<Set>>>,
    begun: Instant,
    /// Milliseconds from `begun` to the last look that was asked for.
    asked: AtomicU64,
    looks: SyncSender<()>,
}

impl Schemas {
    /// Fails when the folder or one of its schemas does not work: at start that is a bad
    /// configuration. The error has all of them, a line each.
    pub fn open(path: &Path, strict: bool, counters: Arc<IntakeCounters>) -> Result<Self, String> {
        let mut folder = Folder::new(path, counters.clone());
        folder.look();
        let problems = folder.problems();
        if !problems.is_empty() {
            return Err(problems.join("\n"));
        }
        let now = Arc::new(RwLock::new(Arc::new(folder.set())));
        let (looks, asked) = sync_channel(1);
        let shared = now.clone();
        thread::Builder::new()
            .name("schemas".into())
            .spawn(move || keep_current(folder, &shared, &asked))
            .map_err(|error| format!("cannot start the thread that reads schemas: {error}"))?;
        Ok(Schemas { strict, counters, now, begun: Instant::now(), asked: AtomicU64::new(0), looks })
    }

    /// Asks for a look when the last one was long enough ago.
    fn ask(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.asked.load(Relaxed);
        let due = u128::from(now.saturating_sub(last)) >= limits::SCHEMAS_LOOK_INTERVAL.as_millis();
        if due && self.asked.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            // Full: a look is under way, and sees what there is.
            let _ = self.looks.try_send(());
        }
    }
}

/// Until the schemas are dropped.
fn keep_current(mut folder: Folder, shared: &RwLock<Arc<Set>>, asked: &Receiver<()>) {
    while asked.recv().is_ok() {
        if folder.look() {
            *shared.write() = Arc::new(folder.set());
        }
    }
}

impl Check for Schemas {
    fn check(&self, payload: &[u8]) -> Result<(), Fault> {
        self.ask();
        // Held for the clone alone.
        let set = self.now.read().clone();
        judge(&set, self.strict, payload).map_err(|wrong| match wrong {
            Wrong::Invalid(fault) => {
                self.counters.messages_invalid.add();
                fault
            }
            Wrong::Untyped(fault) => {
                self.counters.messages_untyped.add();
                fault
            }
        })
    }
}

enum Wrong {
    Invalid(Fault),
    Untyped(Fault),
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "MESSAGE_ID", default)]
    id: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    message: Option<Value>,
}

/// A null that is there is not the same as nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn judge(set: &Set, strict: bool, payload: &[u8]) -> Result<(), Wrong> {
    let untyped = |field: &'static str, what: String| match strict {
        true => Err(Wrong::Untyped(Fault::invalid(field, what))),
        false => Ok(()),
    };
    let whole =
        || untyped("message", "must be a JSON object with MESSAGE_ID: only typed messages are taken".into());
    // A list would be read as a struct's fields in their order.
    if !json::is_object(payload) {
        return whole();
    }
    let envelope: Envelope = match serde_json::from_slice(payload) {
        Ok(envelope) => envelope,
        Err(error) if may_be_typed(payload) => {
            let what = format!("cannot be checked: {error}");
            return Err(Wrong::Invalid(Fault::invalid("message", what)));
        }
        Err(_) => return whole(),
    };
    let Some(Value::String(id)) = envelope.id else {
        return untyped("MESSAGE_ID", "is missing or no string: only typed messages are taken".into());
    };
    let Some(schema) = set.get(&*id) else {
        let shown: String = id.chars().take(limits::MESSAGE_ID_BYTES_MAX).collect();
        return untyped("MESSAGE_ID", format!("'{shown}' has no schema: only messages with one are taken"));
    };
    let invalid =
        |field: String, what: String| Wrong::Invalid(Fault::invalid(field, format!("{what} (schema {id})")));
    let Some(message) = envelope.message else {
        return Err(invalid("message".into(), "is missing".into()));
    };
    schema.check(&message).map_err(|(path, what)| invalid(format!("message{path}"), what))
}

/// Its keys may be spelt with escapes.
fn may_be_typed(payload: &[u8]) -> bool {
    [b"MESSAGE_ID".as_slice(), b"\\u"].iter().any(|word| memchr::memmem::find(payload, word).is_some())
}
