//! Two ways to a sidecar: our adapter, and a bare client of the generated stub.

use super::{events::TOPIC, os, servers::PUBSUB};
use dapr::dapr::proto::runtime::v1::{
    BulkPublishRequest, BulkPublishRequestEntry, PublishEventRequest, dapr_client::DaprClient,
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};
use tonic::transport::{Channel, Endpoint};
use websocket_manager::{
    backend::dapr::{Dapr, DaprConfig, DaprStats, local},
    core::publish::batch::{Batch, PublishError},
    ports::Bus,
};

const CLOUD_EVENT: &str = "application/cloudevents+json";

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub wall: Duration,
    /// Of this process: the client's side alone.
    pub cpu: Duration,
}

impl Spent {
    fn measure(work: impl FnOnce()) -> Self {
        let clock = os::CpuClock::of_process(std::process::id());
        let (began, before) = (Instant::now(), clock.nanos());
        work();
        Spent { wall: began.elapsed(), cpu: Duration::from_nanos(clock.nanos() - before) }
    }
}

pub struct Ours {
    dapr: Dapr,
    bus: Arc<dyn Bus>,
}

impl Ours {
    /// Its thread runs on this core, or on any.
    pub fn open(sidecar: SocketAddr, core: Option<usize>, change: impl FnOnce(&mut DaprConfig)) -> Self {
        let mut config = DaprConfig::new(local(sidecar.port()));
        change(&mut config);
        os::place(core);
        let dapr = Dapr::open(config).expect("a thread");
        os::pin(1);
        let give_up = Instant::now() + Duration::from_secs(30);
        while !dapr.health().is_ready() {
            assert!(Instant::now() < give_up, "{}", dapr.health());
            thread::sleep(Duration::from_millis(10));
        }
        let bus = dapr.bus();
        Ours { dapr, bus }
    }

    pub fn stats(&self) -> DaprStats {
        self.dapr.stats()
    }

    /// `count` batches, these in turn, with `window` of them under way as shards have.
    pub fn publish(&self, batches: &[Arc<Batch>], count: usize, window: usize) -> Spent {
        let (done, ended) = mpsc::sync_channel(1);
        let drive = Arc::new(Drive {
            bus: self.bus.clone(),
            batches: batches.to_vec(),
            count,
            next: AtomicUsize::new(0),
            left: AtomicUsize::new(count),
            done,
        });
        Spent::measure(|| {
            (0..window.min(count)).for_each(|_| drive.go());
            let answer = ended.recv_timeout(Duration::from_secs(600)).expect("an end");
            assert_eq!(answer, Ok(()), "{:?}", self.stats());
        })
    }
}

/// Whoever is answered offers the next batch, so that no other thread wakes for it.
struct Drive {
    bus: Arc<dyn Bus>,
    batches: Vec<Arc<Batch>>,
    count: usize,
    next: AtomicUsize,
    left: AtomicUsize,
    done: mpsc::SyncSender<Result<(), PublishError>>,
}

impl Drive {
    fn go(self: &Arc<Self>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.count {
            return;
        }
        let drive = self.clone();
        let answered = move |answer: Result<(), PublishError>| {
            drive.go();
            if answer.is_err() || drive.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                let _ = drive.done.try_send(answer);
            }
        };
        self.bus.publish(self.batches[number % self.batches.len()].clone(), Box::new(answered));
    }
}

/// How a bare client asks.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// `PublishEvent`, so many at a time.
    Single { callers: usize },
    /// `BulkPublishEvent` of so many events, by so many callers at a time.
    Bulk { events: usize, callers: usize },
}

/// Publishes `count` events of the batches in turn, on one thread of its own.
pub fn bare(
    sidecar: SocketAddr,
    core: Option<usize>,
    batches: &[Arc<Batch>],
    count: usize,
    way: Way,
) -> Spent {
    let events: Vec<Vec<u8>> = batches
        .iter()
        .flat_map(|batch| batch.events.iter().map(|event| batch.bytes[event.range.clone()].to_vec()))
        .collect();
    let events: Arc<[Vec<u8>]> = events.into();
    let client = thread::spawn(move || {
        os::place(core);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let stub = runtime.block_on(stub(sidecar));
        Spent::measure(|| runtime.block_on(publish(stub, events, count, way)))
    });
    client.join().expect("no panic")
}

async fn stub(sidecar: SocketAddr) -> DaprClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{sidecar}")).expect("a URL").tcp_nodelay(true);
    DaprClient::new(endpoint.connect().await.expect("it listens"))
}

async fn publish(stub: DaprClient<Channel>, events: Arc<[Vec<u8>]>, count: usize, way: Way) {
    let (callers, each) = match way {
        Way::Single { callers } => (callers, 1),
        Way::Bulk { events, callers } => (callers, events),
    };
    let rounds = count / callers / each;
    let calling: Vec<_> = (0..callers)
        .map(|caller| {
            let (mut stub, events) = (stub.clone(), events.clone());
            tokio::spawn(async move {
                for round in 0..rounds {
                    let at = (round * callers + caller) * each;
                    let mut next = (at..at + each).map(|number| &events[number % events.len()]);
                    match way {
                        Way::Single { .. } => {
                            let event = next.next().expect("one");
                            stub.publish_event(single(event)).await.expect("taken");
                        }
                        Way::Bulk { .. } => {
                            let answer = stub.bulk_publish_event(bulk(next)).await.expect("taken");
                            assert!(answer.get_ref().failed_entries.is_empty());
                        }
                    }
                }
            })
        })
        .collect();
    for caller in calling {
        caller.await.expect("no panic");
    }
}

fn single(event: &[u8]) -> PublishEventRequest {
    PublishEventRequest {
        pubsub_name: PUBSUB.to_owned(),
        topic: TOPIC.to_owned(),
        data: event.to_vec(),
        data_content_type: CLOUD_EVENT.to_owned(),
        metadata: raw(),
    }
}

fn bulk<'a>(events: impl Iterator<Item = &'a Vec<u8>>) -> BulkPublishRequest {
    let entry = |(position, event): (usize, &Vec<u8>)| BulkPublishRequestEntry {
        entry_id: position.to_string(),
        event: event.clone(),
        content_type: CLOUD_EVENT.to_owned(),
        metadata: HashMap::new(),
    };
    BulkPublishRequest {
        pubsub_name: PUBSUB.to_owned(),
        topic: TOPIC.to_owned(),
        entries: events.enumerate().map(entry).collect(),
        metadata: raw(),
    }
}

fn raw() -> HashMap<String, String> {
    HashMap::from([("rawPayload".to_owned(), "true".to_owned())])
}
