//! A topic, through the sidecar's streaming subscription.
//!
//! The sidecar never subscribes again by itself, so a stream that ends is followed by another, for
//! ever. It keeps one of its broker's workers for each event until that event is acked, has no
//! deadline of its own for that, and does not bear a second ack: so each event is acked once,
//! whatever becomes of it, and on the stream that it came by. Two events with one id on one stream
//! are one event to it: the second is let go, the ack of the first serves both.

mod event;

use crate::{
    core::{backoff, random},
    limits,
    ports::{Ack, Completion, Delivery, Inbox},
};
use dapr::dapr::proto::runtime::v1::{
    SubscribeTopicEventsRequestAlpha1, SubscribeTopicEventsRequestInitialAlpha1,
    SubscribeTopicEventsRequestProcessedAlpha1, SubscribeTopicEventsResponseAlpha1, TopicEventRequest,
    TopicEventResponse, dapr_client::DaprClient,
    subscribe_topic_events_request_alpha1::SubscribeTopicEventsRequestType as Says,
    subscribe_topic_events_response_alpha1::SubscribeTopicEventsResponseType as Hears,
    topic_event_response::TopicEventResponseStatus,
};
use futures_util::stream;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tonic::{Streaming, metadata::MetadataValue, transport::Channel};

#[cfg(test)]
mod tests;

const TOKEN: &str = "dapr-api-token";

#[derive(Clone, Debug, Default)]
pub struct SubscribeSettings {
    pub pubsub: String,
    pub topic: String,
    /// For the component.
    pub metadata: BTreeMap<String, String>,
    /// Takes what is acked with `Ack::Drop`.
    pub dead_letter_topic: Option<String>,
    /// Events that may wait for their ack.
    pub in_flight_max: usize,
    /// `DAPR_API_TOKEN`.
    pub token: Option<String>,
}

/// What one subscription counts of itself.
#[derive(Debug, Default)]
pub struct SubscribeStats {
    /// Streams that the sidecar accepted, and attempts that it did not.
    pub opened: AtomicU64,
    pub refused: AtomicU64,
    pub events: AtomicU64,
    /// Events with the id of one that waits for its ack.
    pub doubles: AtomicU64,
    pub acked_done: AtomicU64,
    pub acked_retry: AtomicU64,
    pub acked_drop: AtomicU64,
    /// Acks whose stream had ended.
    pub acks_late: AtomicU64,
    /// Whether a stream stands now.
    pub standing: AtomicBool,
}

/// The receiving end. Dropping it ends the subscription, once what was delivered is acked or a short
/// time has passed: an ack that is cut off is an event that comes again, or is lost.
pub struct Subscription {
    deliveries: mpsc::Receiver<Delivery>,
    stats: Arc<SubscribeStats>,
}

impl Subscription {
    /// Begins on `runtime`; the channel must belong to it.
    pub fn start(runtime: &Handle, channel: Channel, settings: SubscribeSettings, seed: u64) -> Self {
        let in_flight_max = settings.in_flight_max.max(1);
        let (sender, deliveries) = mpsc::channel(in_flight_max);
        let stats = Arc::new(SubscribeStats::default());
        let driver = Driver {
            client: DaprClient::new(channel).max_decoding_message_size(2 * limits::REQUEST_BYTES_MAX),
            settings: SubscribeSettings { in_flight_max, ..settings },
            sender,
            stats: stats.clone(),
            random: seed,
        };
        // Ends by itself when the receiving end is gone.
        drop(runtime.spawn(driver.run()));
        Subscription { deliveries, stats }
    }

    pub fn stats(&self) -> Arc<SubscribeStats> {
        self.stats.clone()
    }
}

impl Inbox for Subscription {
    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.deliveries.poll_recv(context)
    }
}

struct Driver {
    client: DaprClient<Channel>,
    settings: SubscribeSettings,
    sender: mpsc::Sender<Delivery>,
    stats: Arc<SubscribeStats>,
    random: u64,
}

/// Why a stream ended.
enum Ended {
    /// Nobody takes deliveries any more.
    Deserted,
    /// It never stood.
    Refused(String),
    Broken(String),
}

impl Driver {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let ended = self.stream().await;
            self.stats.standing.store(false, Relaxed);
            let (topic, pubsub) = (&self.settings.topic, &self.settings.pubsub);
            match ended {
                Ended::Deserted => return,
                Ended::Refused(why) => {
                    self.stats.refused.fetch_add(1, Relaxed);
                    failures = u32::saturating_add(failures, 1);
                    // It may go on for days: the first, the second, the fourth, and so on.
                    if failures.is_power_of_two() {
                        tracing::warn!(
                            topic,
                            pubsub,
                            failures,
                            why,
                            "the sidecar does not subscribe; trying again"
                        );
                    }
                }
                Ended::Broken(why) => {
                    failures = 1;
                    tracing::info!(topic, pubsub, why, "the subscription ended; subscribing again");
                }
            }
            let wait = self.pause(failures);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.sender.closed() => return,
            }
        }
    }

    /// From half of the ceiling to all of it: never at once, and not all instances together.
    fn pause(&mut self, failures: u32) -> std::time::Duration {
        let (base, max) = (limits::SUBSCRIBE_RETRY_BASE, limits::SUBSCRIBE_RETRY_MAX);
        let half = backoff::ceiling(failures.saturating_sub(1), base, max) / 2;
        half + backoff::delay(0, half, half, random::next(&mut self.random))
    }

    async fn stream(&mut self) -> Ended {
        // Room for the first request and for an ack of each event that may be in flight.
        let (acks, mut outgoing) = mpsc::channel(self.settings.in_flight_max + 1);
        if acks.try_send(self.initial()).is_err() {
            return Ended::Refused("no room for the first request".into());
        }
        let outgoing = stream::poll_fn(move |context| outgoing.poll_recv(context));
        let mut request = tonic::Request::new(outgoing);
        if let Some(token) = &self.settings.token {
            match MetadataValue::try_from(token.as_str()) {
                Ok(value) => drop(request.metadata_mut().insert(TOKEN, value)),
                Err(_) => return Ended::Refused("dapr_api_token holds what no header may hold".into()),
            }
        }
        let sender = self.sender.clone();
        let opened = tokio::select! {
            opened = tokio::time::timeout(limits::SUBSCRIBE_READY_MAX, self.open(request)) => opened,
            () = sender.closed() => return Ended::Deserted,
        };
        let mut incoming = match opened {
            Err(_) => return Ended::Refused("no answer within its time".into()),
            Ok(Err(why)) => return Ended::Refused(why),
            Ok(Ok(incoming)) => incoming,
        };
        self.stats.opened.fetch_add(1, Relaxed);
        self.stats.standing.store(true, Relaxed);
        let line = Line {
            acks,
            room: Arc::new(Semaphore::new(self.settings.in_flight_max)),
            ids: Arc::default(),
            stats: self.stats.clone(),
        };
        let ended = tokio::select! {
            ended = line.pump(&mut incoming, &sender) => ended,
            () = sender.closed() => Ended::Deserted,
        };
        if matches!(ended, Ended::Deserted) {
            let leave = line.leave(self.settings.in_flight_max, incoming);
            if tokio::time::timeout(limits::SUBSCRIBE_LEAVE_MAX, leave).await.is_err() {
                tracing::debug!("a subscription was cut with events that wait for their ack");
            }
        }
        ended
    }

    /// The stream stands when the sidecar has answered for the first time.
    async fn open(
        &mut self,
        request: tonic::Request<
            impl futures_core::Stream<Item = SubscribeTopicEventsRequestAlpha1> + Send + 'static,
        >,
    ) -> Result<Streaming<SubscribeTopicEventsResponseAlpha1>, String> {
        let response = self.client.subscribe_topic_events_alpha1(request).await.map_err(|s| told(&s))?;
        let mut incoming = response.into_inner();
        match incoming.message().await.map_err(|status| told(&status))? {
            Some(SubscribeTopicEventsResponseAlpha1 {
                subscribe_topic_events_response_type: Some(Hears::InitialResponse(_)),
            }) => Ok(incoming),
            Some(_) => Err("something else than the initial response came first".into()),
            None => Err("it closed the stream at once".into()),
        }
    }

    fn initial(&self) -> SubscribeTopicEventsRequestAlpha1 {
        let settings = &self.settings;
        says(Says::InitialRequest(SubscribeTopicEventsRequestInitialAlpha1 {
            pubsub_name: settings.pubsub.clone(),
            topic: settings.topic.clone(),
            metadata: settings.metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            dead_letter_topic: settings.dead_letter_topic.clone(),
        }))
    }
}

fn says(what: Says) -> SubscribeTopicEventsRequestAlpha1 {
    SubscribeTopicEventsRequestAlpha1 { subscribe_topic_events_request_type: Some(what) }
}

fn told(status: &tonic::Status) -> String {
    let text = format!("{:?}: {}", status.code(), status.message());
    text.chars().take(limits::LOG_TEXT_CHARS_MAX).collect()
}

/// One stream that stands.
struct Line {
    acks: mpsc::Sender<SubscribeTopicEventsRequestAlpha1>,
    room: Arc<Semaphore>,
    /// Events that wait for their ack.
    ids: Arc<Mutex<BTreeSet<String>>>,
    stats: Arc<SubscribeStats>,
}

impl Line {
    async fn pump(
        &self,
        incoming: &mut Streaming<SubscribeTopicEventsResponseAlpha1>,
        sender: &mpsc::Sender<Delivery>,
    ) -> Ended {
        loop {
            // Before the read: what is not read stays with the sidecar.
            let Ok(permit) = self.room.clone().acquire_owned().await else { return Ended::Deserted };
            match incoming.message().await {
                Ok(Some(SubscribeTopicEventsResponseAlpha1 {
                    subscribe_topic_events_response_type: Some(Hears::EventMessage(event)),
                })) => {
                    let Some(delivery) = self.delivery(event, permit) else { continue };
                    if sender.send(delivery).await.is_err() {
                        return Ended::Deserted;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ended::Broken("closed by the sidecar".into()),
                Err(status) => return Ended::Broken(told(&status)),
            }
        }
    }

    /// Waits for the acks, tells the sidecar that no more will come, and for its end of the stream:
    /// to close it at once would cut off acks on their way.
    async fn leave(self, in_flight_max: usize, mut incoming: Streaming<SubscribeTopicEventsResponseAlpha1>) {
        let all = u32::try_from(in_flight_max).unwrap_or(u32::MAX);
        drop(self.room.acquire_many(all).await);
        drop(self.acks);
        while let Ok(Some(_)) = incoming.message().await {}
    }

    fn delivery(&self, event: TopicEventRequest, permit: OwnedSemaphorePermit) -> Option<Delivery> {
        if !self.ids.lock().insert(event.id.clone()) {
            self.stats.doubles.fetch_add(1, Relaxed);
            return None;
        }
        self.stats.events.fetch_add(1, Relaxed);
        let ack = AckOnce {
            open: Some((event.id.clone(), permit)),
            acks: self.acks.clone(),
            ids: self.ids.clone(),
            stats: self.stats.clone(),
        };
        Some(Delivery { event: event::render(event).into(), ack: Box::new(ack) })
    }
}

/// Acks once: as it is told, or with `Retry` when it is dropped.
struct AckOnce {
    open: Option<(String, OwnedSemaphorePermit)>,
    acks: mpsc::Sender<SubscribeTopicEventsRequestAlpha1>,
    ids: Arc<Mutex<BTreeSet<String>>>,
    stats: Arc<SubscribeStats>,
}

impl AckOnce {
    fn send(&mut self, ack: Ack) {
        let Some((id, permit)) = self.open.take() else { return };
        let (status, count) = match ack {
            Ack::Done => (TopicEventResponseStatus::Success, &self.stats.acked_done),
            Ack::Retry => (TopicEventResponseStatus::Retry, &self.stats.acked_retry),
            Ack::Drop => (TopicEventResponseStatus::Drop, &self.stats.acked_drop),
        };
        // Before the ack leaves: what comes with this id afterwards is a redelivery.
        self.ids.lock().remove(&id);
        let status = Some(TopicEventResponse { status: status.into() });
        let processed = SubscribeTopicEventsRequestProcessedAlpha1 { id, status };
        // There is room for every permit: an error means that the stream has ended, and the broker
        // delivers the event again.
        match self.acks.try_send(says(Says::EventProcessed(processed))) {
            Ok(()) => count.fetch_add(1, Relaxed),
            Err(_) => self.stats.acks_late.fetch_add(1, Relaxed),
        };
        drop(permit);
    }
}

impl Completion<Ack> for AckOnce {
    fn complete(mut self: Box<Self>, ack: Ack) {
        self.send(ack);
    }
}

impl Drop for AckOnce {
    fn drop(&mut self) {
        self.send(Ack::Retry);
    }
}
