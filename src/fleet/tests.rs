//! The shell over documents in memory, with short leases and real time: nothing here is timed, all
//! waits are for what is to happen.

use super::*;
use crate::{
    core::{
        fleet::{
            FleetSetup, Timings,
            io::{Expect, FleetNow, Versioned},
            record_key,
        },
        id::ConnectionId,
        time::Wall,
    },
    ports::{BackendError, Directory, Documents, Holder, Pending, Put, Store},
    shard::{
        gate::{Gate, boot_now},
        mailbox::Hub,
    },
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Memory {
    documents: Mutex<BTreeMap<String, (Bytes, u64)>>,
    versions: AtomicU64,
    away: AtomicBool,
}

impl Memory {
    fn answer<T: Send + 'static>(&self, answer: impl FnOnce() -> T) -> Pending<Result<T, BackendError>> {
        let away = BackendError { message: "away".into(), transient: true };
        let answer = if self.away.load(Ordering::Relaxed) { Err(away) } else { Ok(answer()) };
        Box::pin(async move { answer })
    }

    fn version(number: u64) -> Bytes {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }
}

impl Documents for Memory {
    fn get(&self, keys: Vec<String>) -> Pending<Result<Vec<Option<Versioned>>, BackendError>> {
        self.answer(|| {
            let documents = self.documents.lock();
            let one = |key: &String| {
                let (value, version) = documents.get(key)?;
                Some(Versioned { value: value.clone(), version: Memory::version(*version) })
            };
            keys.iter().map(one).collect()
        })
    }

    fn put(
        &self,
        key: String,
        value: Bytes,
        expect: Expect,
        _: Option<Duration>,
    ) -> Pending<Result<Put, BackendError>> {
        self.answer(|| {
            let mut documents = self.documents.lock();
            let found = documents.get(&key).map(|(_, version)| Memory::version(*version));
            let expected = match expect {
                Expect::Absent => None,
                Expect::Version(version) => Some(version),
            };
            if found != expected {
                return Put::Conflict;
            }
            let version = self.versions.fetch_add(1, Ordering::Relaxed);
            documents.insert(key, (value, version));
            Put::Written(Memory::version(version))
        })
    }

    fn delete(&self, key: String, expect: Bytes) -> Pending<Result<Put, BackendError>> {
        self.answer(|| {
            let mut documents = self.documents.lock();
            match documents.get(&key) {
                Some((_, version)) if Memory::version(*version) != expect => Put::Conflict,
                _ => {
                    documents.remove(&key);
                    Put::Written(expect)
                }
            }
        })
    }
}

fn quick() -> Timings {
    Timings {
        lease: Duration::from_millis(1500),
        renew: Duration::from_millis(200),
        valid: Duration::from_millis(1200),
        margin: Duration::from_millis(200),
        scan_min: Duration::from_millis(30),
        scan_max: Duration::from_millis(60),
        leftover: Duration::from_millis(300),
        ..Timings::default()
    }
}

struct Member {
    fleet: Fleet,
    gate: Arc<Gate>,
    taken: Arc<Mutex<Vec<(Bytes, u64)>>>,
}

fn member(documents: &Arc<Memory>, name: &str, seed: u64) -> Member {
    let mut setup = FleetSetup::new(name, "word", &format!("127.0.0.1:{seed}"), seed);
    setup.timings = quick();
    let gate = Arc::new(Gate::default());
    let taken: Arc<Mutex<Vec<(Bytes, u64)>>> = Arc::default();
    let seen = taken.clone();
    let config = FleetConfig {
        setup,
        documents: documents.clone(),
        hub: Hub::new(Vec::new(), 0),
        gate: gate.clone(),
        clock: Box::new(|| FleetNow { boot: boot_now(), wall: Wall::from_unix_millis(1_000) }),
        take: Arc::new(move |document, epoch| {
            seen.lock().push((document.clone(), epoch));
            Err("there is no shard in this test".into())
        }),
        spans: Default::default(),
    };
    Member { fleet: start(config).expect("a thread"), gate, taken }
}

/// Waits, by looking again whenever the others had a turn.
async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn put(handle: &Handle, id: &ConnectionId, document: &str) -> Result<(), BackendError> {
    let (done, answer) = oneshot::channel();
    handle.put(id, Bytes::copy_from_slice(document.as_bytes()), Box::new(move |it| drop(done.send(it))));
    timeout(PATIENCE, answer).await.expect("an answer").expect("not dropped")
}

fn id(text: &str) -> ConnectionId {
    ConnectionId::parse(text).expect("an id")
}

#[tokio::test]
async fn what_one_claims_is_found_by_all_and_taken_when_it_leaves() {
    let documents: Arc<Memory> = Arc::default();
    let (a, b) = (member(&documents, "a", 1), member(&documents, "b", 2));
    let (left, right) = (a.fleet.handle.clone(), b.fleet.handle.clone());
    left.held().await;
    right.held().await;
    assert!(a.gate.is_open() && b.gate.is_open());
    until("both see one another", || left.members().len() == 1 && right.members().len() == 1).await;

    assert_eq!(left.claim(&id("c")).await, Ok(Holder::Me));
    let document = r#"{"id":"c","epoch":5000,"autoReconnect":true,"instanceId":"a"}"#;
    assert_eq!(put(&left, &id("c"), document).await, Ok(()));
    let at_a = Holder::Member(right.members()[0].clone());
    assert_eq!(right.claim(&id("c")).await, Ok(at_a.clone()));
    assert_eq!(right.locate(&id("c")).await, Ok(at_a));
    assert_eq!(left.locate(&id("c")).await, Ok(Holder::Me));
    assert_eq!(right.locate(&id("d")).await, Ok(Holder::Nobody));

    left.leave().await;
    left.left().await;
    let taken = b.taken.clone();
    until("the other takes it", || !taken.lock().is_empty()).await;
    let (document, epoch) = taken.lock()[0].clone();
    assert!(epoch > 5000, "{epoch}");
    let value: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
    assert_eq!((&value["previousEpoch"], &value["epoch"]), (&5000.into(), &epoch.into()));
    assert_eq!(right.locate(&id("c")).await, Ok(Holder::Me));
    assert!(documents.documents.lock().contains_key(&record_key(&id("c"))));
}

#[tokio::test]
async fn without_its_store_a_member_stops_and_a_lone_instance_goes_on() {
    let documents: Arc<Memory> = Arc::default();
    let a = member(&documents, "a", 1);
    a.fleet.handle.held().await;
    documents.away.store(true, Ordering::Relaxed);
    until("it goes on alone", || a.fleet.handle.state() == State::Advisory).await;
    assert!(a.gate.is_open());
    documents.away.store(false, Ordering::Relaxed);
    until("it is a member again", || a.fleet.handle.state() == State::Held).await;

    let b = member(&documents, "b", 2);
    until("they see one another", || {
        a.fleet.handle.members().len() == 1 && b.fleet.handle.members().len() == 1
    })
    .await;
    let before = a.fleet.handle.me();
    documents.away.store(true, Ordering::Relaxed);
    until("it stops", || a.fleet.handle.state() == State::Waiting).await;
    assert!(!a.gate.is_open());
    documents.away.store(false, Ordering::Relaxed);
    until("it begins anew", || a.fleet.handle.state() == State::Held).await;
    assert_ne!(a.fleet.handle.me(), before, "under another name");
}
