//! Publishing: drives the scheduler, and turns its requests into bulk calls.

use super::{
    client::{Fault, Stub, Watch, within},
    order::{Outcome, Request, Scheduler, Ticket},
    stats::add,
};
use crate::{
    core::{
        publish::batch::{Batch, PublishError},
        time::Time,
    },
    limits::{BUS_BATCHES_MAX, DAPR_PUBLISH_TIMEOUT},
    ports::{BackendError, Bus, Done, TopicChunk, TopicFrom},
};
use dapr::dapr::proto::runtime::v1::{BulkPublishRequest, BulkPublishRequestEntry, BulkPublishResponse};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tonic::Code;

const CLOUD_EVENT: &str = "application/cloudevents+json";
/// What a canary says: enough for any reader to skip it.
const CANARY: &[u8] = br#"{"specversion":"1.0","id":"canary","source":"websocketmanager","type":"com.virtufin.websocketmanager.canary"}"#;

pub(super) type Offer = (Arc<Batch>, Done<Result<(), PublishError>>);

/// The end that shards hold.
pub(super) struct DaprBus {
    offers: mpsc::Sender<Offer>,
}

pub(super) fn channel() -> (Arc<DaprBus>, mpsc::Receiver<Offer>) {
    let (offers, inbox) = mpsc::channel(BUS_BATCHES_MAX);
    (Arc::new(DaprBus { offers }), inbox)
}

impl Bus for DaprBus {
    fn publish(&self, batch: Arc<Batch>, done: Done<Result<(), PublishError>>) {
        // Stopped: the completion is dropped, which says so.
        if let Err(mpsc::error::TrySendError::Full((_, done))) = self.offers.try_send((batch, done)) {
            done.complete(Err(PublishError::Retry));
        }
    }

    fn fetch(
        &self,
        _topic: &str,
        _from: TopicFrom,
        _bytes_max: usize,
        done: Done<Result<TopicChunk, BackendError>>,
    ) {
        let message = "reading topics is not available on this backend".to_owned();
        done.complete(Err(BackendError { message, transient: false }));
    }
}

/// What a call needs; one for all.
pub(super) struct Sender {
    /// Calls take turns on them: the sidecar reads each connection with one thread.
    pub stubs: Vec<Stub>,
    pub pubsub: Arc<str>,
    pub watch: Watch,
    /// The sidecar knows the bulk call by its older name only.
    pub alpha: AtomicBool,
    /// The component publishes a bulk natively and in order, says the probe.
    pub ordered_bulk: Arc<AtomicBool>,
}

/// Runs until every handle is gone and what they offered is answered.
pub(super) async fn serve(sender: Arc<Sender>, mut scheduler: Scheduler, mut inbox: mpsc::Receiver<Offer>) {
    let start = Instant::now();
    let now = || Time::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let mut waiting: BTreeMap<Ticket, Done<Result<(), PublishError>>> = BTreeMap::new();
    let mut calls: JoinSet<(u64, Outcome)> = JoinSet::new();
    let mut open = true;
    while open || !waiting.is_empty() {
        // Only between requests: a lane must not go by two rules at once.
        if calls.is_empty() {
            scheduler.set_ordered_bulk(sender.ordered_bulk.load(Relaxed));
        }
        while let Some(request) = scheduler.next(now()) {
            calls.spawn(call(sender.clone(), scheduler.ordered_bulk(), request));
        }
        // Before the answers: whoever has one finds it counted.
        account(&sender, &scheduler, waiting.len());
        while let Some((ticket, answer)) = scheduler.finished() {
            if let Some(done) = waiting.remove(&ticket) {
                done.complete(answer);
            }
        }
        if !open && waiting.is_empty() {
            return;
        }
        let wake = scheduler.wake_at();
        let wake = start + wake.map_or(IDLE, |at| std::time::Duration::from_nanos(at.as_nanos()));
        tokio::select! {
            Some(Ok((number, outcome))) = calls.join_next() => scheduler.answer(now(), number, outcome),
            offer = inbox.recv(), if open => match offer {
                Some(offer) => {
                    let mut next = Some(offer);
                    while let Some((batch, done)) = next {
                        waiting.insert(scheduler.offer(now(), batch), done);
                        next = inbox.try_recv().ok();
                    }
                }
                None => open = false,
            },
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

/// Far enough: something else happens first, and if not, a look costs nothing.
const IDLE: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

fn account(sender: &Sender, scheduler: &Scheduler, held: usize) {
    let (counters, tally) = (&sender.watch.counters, scheduler.tally());
    counters.bulk_retries.store(tally.retries, Relaxed);
    counters.events.store(tally.acknowledged, Relaxed);
    counters.refused_events.store(tally.refused, Relaxed);
    counters.dead_lettered.store(tally.dead_lettered, Relaxed);
    counters.batches_given_back.store(tally.given_back, Relaxed);
    counters.bulk_in_flight.store(scheduler.in_flight() as u64, Relaxed);
    counters.batches_held.store(held as u64, Relaxed);
}

async fn call(sender: Arc<Sender>, ordered: bool, request: Request) -> (u64, Outcome) {
    let since = Instant::now();
    let until = since + DAPR_PUBLISH_TIMEOUT;
    add(&sender.watch.counters.bulk_requests, 1);
    let mut stub = sender.stubs[request.number as usize % sender.stubs.len()].clone();
    let mut alpha = sender.alpha.load(Relaxed);
    let answer = loop {
        let bulk = render(&sender.pubsub, ordered, &request);
        let answer = if alpha {
            #[allow(deprecated, reason = "all that a sidecar before 1.17 knows")]
            let sent = stub.bulk_publish_event_alpha1(bulk);
            within(&sender.watch, until, sent).await
        } else {
            within(&sender.watch, until, stub.bulk_publish_event(bulk)).await
        };
        match answer {
            Err(fault) if !alpha && fault.is_unknown_call() => {
                alpha = true;
                if !sender.alpha.swap(true, Relaxed) {
                    sender.watch.counters.fallback.store(1, Relaxed);
                    tracing::info!("the sidecar is older than 1.17: publishing with BulkPublishEventAlpha1");
                }
            }
            answer => break answer,
        }
    };
    sender.watch.counters.times.publish.record(since.elapsed());
    let outcome = match answer {
        Ok(response) => judge(request.entries.len(), &response),
        Err(fault) => {
            let outcome = outcome_of(&fault);
            tracing::debug!(topic = %request.topic, events = request.entries.len(), ?outcome,
                error = fault.text(), "a bulk publish failed");
            outcome
        }
    };
    (request.number, outcome)
}

fn render(pubsub: &str, ordered: bool, request: &Request) -> BulkPublishRequest {
    let mut entries = Vec::with_capacity(request.entries.len().max(1));
    for (position, entry) in request.entries.iter().enumerate() {
        let Some(event) = entry.batch.events.get(entry.index as usize) else { continue };
        // The partition key stands on entries only: on the request it would be that of all.
        let key = ordered.then(|| ("partitionKey".to_owned(), event.connection.as_str().to_owned()));
        entries.push(BulkPublishRequestEntry {
            entry_id: position.to_string(),
            event: entry.batch.bytes.get(event.range.clone()).unwrap_or_default().to_vec(),
            content_type: CLOUD_EVENT.to_owned(),
            metadata: key.into_iter().collect(),
        });
    }
    if request.entries.is_empty() {
        entries.push(BulkPublishRequestEntry {
            entry_id: "0".to_owned(),
            event: CANARY.to_vec(),
            content_type: CLOUD_EVENT.to_owned(),
            metadata: HashMap::new(),
        });
    }
    BulkPublishRequest {
        pubsub_name: pubsub.to_owned(),
        topic: request.topic.to_string(),
        entries,
        metadata: HashMap::from([("rawPayload".to_owned(), "true".to_owned())]),
    }
}

/// An answer that names what failed; HTTP's manner, and perhaps gRPC's again one day.
fn judge(count: usize, response: &BulkPublishResponse) -> Outcome {
    if response.failed_entries.is_empty() {
        return Outcome::Taken;
    }
    let place = |id: &str| id.parse().ok().filter(|at: &usize| *at < count);
    let missing: Option<Vec<usize>> = response.failed_entries.iter().map(|e| place(&e.entry_id)).collect();
    // An id that is none of ours: then nobody knows which ones.
    missing.map_or(Outcome::Failed, Outcome::Partly)
}

/// What an error proves. A bulk error on gRPC never says which events it is about.
fn outcome_of(fault: &Fault) -> Outcome {
    let too_large = TOO_LARGE.iter().any(|part| fault.says(part));
    match fault.code() {
        None => Outcome::Away,
        Some(Code::OutOfRange | Code::ResourceExhausted | Code::Internal | Code::InvalidArgument)
            if too_large =>
        {
            Outcome::Never
        }
        _ if fault.is_transport() => Outcome::Away,
        Some(Code::PermissionDenied) => Outcome::TopicRefused,
        // The component is missing, not the event wrong: the sidecar may get it yet.
        Some(Code::InvalidArgument) if fault.says("not found") || fault.says("not configured") => {
            Outcome::Away
        }
        Some(Code::InvalidArgument) => Outcome::Never,
        Some(
            Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Unauthenticated
            | Code::Unimplemented
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::ResourceExhausted,
        ) => Outcome::Away,
        Some(_) => Outcome::Failed,
    }
}

/// How the sidecar, the transport and brokers say that a message is too large.
const TOO_LARGE: [&str; 5] =
    ["larger than max", "too large", "Too Large", "exceeds the maximum", "maximum message size"];
