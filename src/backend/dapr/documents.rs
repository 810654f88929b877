//! Documents with compare-and-set, over a state store whose answers cannot be taken at their word:
//! a save does not tell the new version, a dead store answers like a conflict, and a bulk read is
//! OK with an error for each key. So every write is read back, and in doubt read again.

use super::{
    client::{Fault, Stub, Watch, within},
    stats::add,
};
use crate::{
    limits::{
        DAPR_CALLS_MAX, DAPR_KEYS_PER_CALL, DAPR_STATE_TIMEOUT, DAPR_WRITE_TIMEOUT, PUBLISH_RETRY_BASE,
    },
    ports::{BackendError, Documents, Expect, Pending, Put, Version, Versioned},
};
use bytes::Bytes;
use dapr::dapr::proto::{
    common::v1::{
        Etag, StateItem, StateOptions,
        state_options::{StateConcurrency, StateConsistency},
    },
    runtime::v1::{DeleteStateRequest, GetBulkStateRequest, SaveStateRequest},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};
use tonic::Code;

/// Keys that the sidecar reads at once for one call.
const PARALLELISM: i32 = 32;
/// Calls for documents under way; the sidecar's own pool to its store is of this order.
const CALLS_AT_ONCE: usize = 64;
/// What one more chunk of keys adds to a read's deadline.
const CHUNK_TIME: Duration = Duration::from_millis(100);

type Reply<T> = oneshot::Sender<Result<T, BackendError>>;

pub(super) enum Call {
    Get(Vec<String>, Reply<Vec<Option<Versioned>>>),
    Put { key: String, value: Bytes, expect: Expect, ttl: Option<Duration>, reply: Reply<Put> },
    Delete { key: String, expect: Version, reply: Reply<Put> },
}

/// The end that callers hold, on any thread.
pub(super) struct DaprDocuments {
    calls: mpsc::Sender<(Instant, Call)>,
}

pub(super) fn channel() -> (Arc<DaprDocuments>, mpsc::Receiver<(Instant, Call)>) {
    let (calls, inbox) = mpsc::channel(DAPR_CALLS_MAX);
    (Arc::new(DaprDocuments { calls }), inbox)
}

impl DaprDocuments {
    /// Hands a call to the backend thread at once; the answer is awaited by whoever wants it.
    fn ask<T: Send + 'static>(
        &self,
        key: Option<&str>,
        time: Duration,
        call: impl FnOnce(Reply<T>) -> Call,
    ) -> Pending<Result<T, BackendError>> {
        let (reply, answer) = oneshot::channel();
        let sent = match key.map_or(Ok(()), check_key) {
            Ok(()) => {
                self.calls.try_send((Instant::now() + time, call(reply))).map_err(|error| match error {
                    mpsc::error::TrySendError::Full(_) => {
                        transient("too many calls wait for the sidecar".into())
                    }
                    mpsc::error::TrySendError::Closed(_) => stopped(),
                })
            }
            Err(error) => Err(error),
        };
        Box::pin(async move {
            sent?;
            answer.await.unwrap_or_else(|_| Err(stopped()))
        })
    }
}

impl Documents for DaprDocuments {
    fn get(&self, keys: Vec<String>) -> Pending<Result<Vec<Option<Versioned>>, BackendError>> {
        if let Some(error) = keys.iter().find_map(|key| check_key(key).err()) {
            return Box::pin(async move { Err(error) });
        }
        let chunks = keys.len().div_ceil(DAPR_KEYS_PER_CALL) as u32;
        let time = DAPR_STATE_TIMEOUT + CHUNK_TIME * chunks.saturating_sub(1);
        self.ask(None, time, |reply| Call::Get(keys, reply))
    }

    fn put(
        &self,
        key: String,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Pending<Result<Put, BackendError>> {
        let checked = key.clone();
        let call = |reply| Call::Put { key, value, expect, ttl, reply };
        self.ask(Some(&checked), DAPR_WRITE_TIMEOUT, call)
    }

    fn delete(&self, key: String, expect: Version) -> Pending<Result<Put, BackendError>> {
        let checked = key.clone();
        self.ask(Some(&checked), DAPR_WRITE_TIMEOUT, |reply| Call::Delete { key, expect, reply })
    }
}

fn check_key(key: &str) -> Result<(), BackendError> {
    if key.is_empty() || key.contains("||") {
        let message = format!("the state key '{key}' must not be empty nor hold '||'");
        return Err(BackendError { message, transient: false });
    }
    Ok(())
}

fn stopped() -> BackendError {
    transient("the Dapr backend has stopped".into())
}

fn transient(message: String) -> BackendError {
    BackendError { message, transient: true }
}

/// The end on the backend thread.
#[derive(Clone)]
pub(super) struct Worker {
    pub stub: Stub,
    pub store: Arc<str>,
    pub watch: Watch,
}

/// Serves calls until every handle is gone.
pub(super) async fn serve(worker: Worker, mut inbox: mpsc::Receiver<(Instant, Call)>) {
    let places = Arc::new(Semaphore::new(CALLS_AT_ONCE));
    while let Some((until, call)) = inbox.recv().await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let worker = worker.clone();
        tokio::spawn(async move {
            worker.answer(until, call).await;
            drop(place);
        });
    }
}

impl Worker {
    async fn answer(&self, until: Instant, call: Call) {
        add(&self.watch.counters.state_calls, 1);
        let (since, times) = (Instant::now(), &self.watch.counters.times);
        // Nobody may wait any more.
        match call {
            Call::Get(keys, reply) => {
                let answer = self.get(until, keys).await;
                times.read.record(since.elapsed());
                let _ = reply.send(answer);
            }
            Call::Put { key, value, expect, ttl, reply } => {
                let answer = self.put(until, key, value, expect, ttl).await;
                times.write.record(since.elapsed());
                let _ = reply.send(answer);
            }
            Call::Delete { key, expect, reply } => {
                let answer = self.delete(until, key, expect).await;
                times.write.record(since.elapsed());
                let _ = reply.send(answer);
            }
        }
    }

    async fn get(
        &self,
        until: Instant,
        mut keys: Vec<String>,
    ) -> Result<Vec<Option<Versioned>>, BackendError> {
        let mut answers = Vec::with_capacity(keys.len());
        while !keys.is_empty() {
            let rest = keys.split_off(keys.len().min(DAPR_KEYS_PER_CALL));
            self.get_chunk(until, keys, &mut answers).await?;
            keys = rest;
        }
        Ok(answers)
    }

    async fn get_chunk(
        &self,
        until: Instant,
        keys: Vec<String>,
        answers: &mut Vec<Option<Versioned>>,
    ) -> Result<(), BackendError> {
        let request = GetBulkStateRequest {
            store_name: self.store.to_string(),
            keys: keys.clone(),
            parallelism: PARALLELISM,
            metadata: HashMap::new(),
        };
        let mut stub = self.stub.clone();
        let answer = within(&self.watch, until, stub.get_bulk_state(request)).await;
        let answer = answer.map_err(|fault| self.failed("read", &keys[0], &fault))?;
        let mut found = BTreeMap::new();
        for item in answer.items {
            if item.error.contains("WRONGTYPE") {
                // Redis behind the component, and a key that somebody else uses: it reads as what
                // nobody understands, so that it does not hold the others up.
                found.insert(item.key, (item.error.into_bytes(), "!".to_owned()));
                continue;
            }
            if !item.error.is_empty() {
                self.watch.knock.notify_one();
                let text =
                    format!("the state store '{}' cannot read '{}': {}", self.store, item.key, item.error);
                return Err(transient(text));
            }
            found.insert(item.key, (item.data, item.etag));
        }
        for key in keys {
            let Some((value, etag)) = found.get(&key) else {
                return Err(transient(format!(
                    "the state store '{}' left '{key}' out of its answer",
                    self.store
                )));
            };
            answers.push(
                (!value.is_empty() || !etag.is_empty())
                    .then(|| Versioned { value: value.clone().into(), version: etag.clone().into() }),
            );
        }
        Ok(())
    }

    async fn read(&self, until: Instant, key: &str) -> Result<Option<Versioned>, BackendError> {
        let mut answers = Vec::with_capacity(1);
        self.get_chunk(until, vec![key.to_owned()], &mut answers).await?;
        Ok(answers.pop().flatten())
    }

    /// Reads again while the store stumbles, until the deadline.
    async fn read_surely(&self, until: Instant, key: &str) -> Result<Option<Versioned>, BackendError> {
        let mut pause = PUBLISH_RETRY_BASE;
        loop {
            let step = (Instant::now() + DAPR_STATE_TIMEOUT).min(until);
            match self.read(step, key).await {
                Err(error) if Instant::now() + pause >= until => return Err(error),
                Err(_) => tokio::time::sleep(pause).await,
                answer => return answer,
            }
            pause *= 2;
        }
    }

    async fn put(
        &self,
        until: Instant,
        key: String,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Put, BackendError> {
        // On Redis a first write replaces what was not itself written as a first write, by others.
        let first = (Instant::now() + DAPR_STATE_TIMEOUT).min(until);
        if expect == Expect::Absent && self.read(first, &key).await?.is_some() {
            return Ok(Put::Conflict);
        }
        let etag = match &expect {
            Expect::Absent => None,
            Expect::Version(version) => Some(etag(version)?),
        };
        let metadata = ttl.map(|ttl| ("ttlInSeconds".to_owned(), whole_seconds(ttl).to_string()));
        let item = StateItem {
            key: key.clone(),
            value: value.to_vec(),
            etag,
            metadata: metadata.into_iter().collect(),
            options: Some(first_write()),
        };
        let request = SaveStateRequest { store_name: self.store.to_string(), states: vec![item] };
        let mut stub = self.stub.clone();
        let save_until = (Instant::now() + DAPR_STATE_TIMEOUT).min(until);
        let saved = within(&self.watch, save_until, stub.save_state(request)).await;
        if let Err(fault) = &saved {
            if is_plain(fault) {
                return Err(self.failed("write", &key, fault));
            }
            add(&self.watch.counters.state_doubts, 1);
        }
        let found = self.read_surely(until, &key).await?;
        self.judge(&key, &value, &expect, saved.err().as_ref(), found)
    }

    /// What a write came to, by what stands there now.
    fn judge(
        &self,
        key: &str,
        value: &Bytes,
        expect: &Expect,
        fault: Option<&Fault>,
        found: Option<Versioned>,
    ) -> Result<Put, BackendError> {
        let unknown = |why: &str| match fault {
            Some(fault) => Err(self.failed("write", key, fault)),
            None => Err(transient(format!("nobody knows whether '{key}' was written: {why}"))),
        };
        match found {
            Some(found) if found.value == *value => Ok(Put::Written(found.version)),
            Some(found) => match expect {
                // The store refused, and what we had read still stands: it was no conflict.
                Expect::Version(version) if found.version == *version => {
                    unknown("its old version still stands")
                }
                Expect::Absent | Expect::Version(_) => Ok(Put::Conflict),
            },
            None => unknown("it is not there"),
        }
    }

    async fn delete(&self, until: Instant, key: String, expect: Version) -> Result<Put, BackendError> {
        let request = DeleteStateRequest {
            store_name: self.store.to_string(),
            key: key.clone(),
            etag: Some(etag(&expect)?),
            options: Some(first_write()),
            metadata: HashMap::new(),
        };
        let mut stub = self.stub.clone();
        let step = (Instant::now() + DAPR_STATE_TIMEOUT).min(until);
        let Err(fault) = within(&self.watch, step, stub.delete_state(request)).await else {
            return Ok(Put::Written(Version::new()));
        };
        if is_plain(&fault) {
            return Err(self.failed("delete", &key, &fault));
        }
        add(&self.watch.counters.state_doubts, 1);
        match self.read_surely(until, &key).await? {
            None => Ok(Put::Written(Version::new())),
            Some(found) if found.version == expect => Err(self.failed("delete", &key, &fault)),
            Some(_) => Ok(Put::Conflict),
        }
    }

    fn failed(&self, what: &str, key: &str, fault: &Fault) -> BackendError {
        transient(format!("the state store '{}' cannot {what} '{key}': {}", self.store, fault.text()))
    }
}

/// The sidecar said no before it asked the store: nothing was written, and nothing stands there
/// that would tell more. A version that the store cannot read as one is a conflict, perhaps.
fn is_plain(fault: &Fault) -> bool {
    match fault.code() {
        Some(Code::InvalidArgument) => !fault.says("etag") && !fault.says("ETag"),
        Some(Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated) => true,
        _ => false,
    }
}

fn etag(version: &Version) -> Result<Etag, BackendError> {
    let text = std::str::from_utf8(version).ok().filter(|text| !text.is_empty());
    let value = text.map(str::to_owned).ok_or_else(|| BackendError {
        message: "the state store gave no version: it has no ETAG, which is needed here".to_owned(),
        transient: false,
    })?;
    Ok(Etag { value })
}

fn first_write() -> StateOptions {
    StateOptions {
        concurrency: StateConcurrency::ConcurrencyFirstWrite as i32,
        consistency: StateConsistency::ConsistencyStrong as i32,
    }
}

fn whole_seconds(ttl: Duration) -> u64 {
    (ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(1)
}
