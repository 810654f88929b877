//! The Dapr backend: documents and events through a sidecar. One thread of its own with one
//! runtime carries every call; the spill log and the key stay with the data directory.
//!
//! Opening never waits for the sidecar: what is offered meanwhile is given back, and `health` says
//! what is missing.

mod bus;
mod client;
mod documents;
pub mod endpoint;
mod health;
mod order;
mod stats;
pub mod subscribe;

pub use endpoint::{Address, local, parse};
pub use health::Health;
pub use stats::{DaprStats, ERROR_KINDS};

use self::{
    client::{Stub, Token, Watch},
    health::{Known, Probe},
    order::{Rules, Scheduler},
    stats::Counters,
};
use super::Capabilities;
use crate::{
    limits,
    ports::{BackendError, Bus, Documents},
};
use parking_lot::Mutex;
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
};
use subscribe::{SubscribeSettings, Subscription};
use tokio::sync::{Notify, oneshot};

#[derive(Clone, Debug)]
pub struct DaprConfig {
    pub endpoint: Address,
    pub api_token: Option<String>,
    pub pubsub: String,
    pub state_store: String,
    /// The sidecar's `--max-body-size`.
    pub max_body_bytes: usize,
    pub bulk_in_flight: usize,
    pub request_events: usize,
    /// Connections for publishing.
    pub publish_channels: usize,
    /// Where events go that their topic will never take.
    pub dead_letter_topic: Option<String>,
    /// Where a word goes when nothing else can show whether the broker lives.
    pub canary_topic: Option<String>,
}

impl DaprConfig {
    pub fn new(endpoint: Address) -> Self {
        DaprConfig {
            endpoint,
            api_token: None,
            pubsub: "pubsub".to_owned(),
            state_store: "statestore".to_owned(),
            max_body_bytes: limits::DAPR_BODY_BYTES_DEFAULT,
            bulk_in_flight: limits::DAPR_BULK_IN_FLIGHT_DEFAULT,
            request_events: limits::DAPR_REQUEST_EVENTS,
            publish_channels: 2,
            dead_letter_topic: None,
            canary_topic: Some("websocketmanager.canary".to_owned()),
        }
    }

    fn rules(&self) -> Rules {
        let body = self.max_body_bytes;
        Rules {
            in_flight: self.bulk_in_flight.clamp(1, limits::DAPR_BULK_IN_FLIGHT_MAX),
            request_events: self.request_events.max(1),
            request_bytes: body.saturating_sub(limits::DAPR_BODY_MARGIN).max(body / 2),
            ordered_bulk: false,
            dead_letter: self.dead_letter_topic.as_deref().map(Arc::from),
            canary: self.canary_topic.as_deref().map(Arc::from),
        }
    }
}

pub struct Dapr {
    config: DaprConfig,
    documents: Arc<documents::DaprDocuments>,
    bus: Arc<bus::DaprBus>,
    known: Arc<Known>,
    counters: Arc<Counters>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Dapr {
    /// Starts the thread; never waits for the sidecar.
    pub fn open(config: DaprConfig) -> Result<Dapr, BackendError> {
        let token = Token::new(config.api_token.as_deref())?;
        let (documents, calls) = documents::channel();
        let (bus, offers) = bus::channel();
        let known = Arc::new(Known::new(&config.endpoint));
        let counters: Arc<Counters> = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let cannot = |what: &str, error: &dyn std::fmt::Display| BackendError {
            message: format!("cannot start the Dapr backend's {what}: {error}"),
            transient: true,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| cannot("runtime", &error))?;
        let inboxes = Inboxes { calls, offers };
        let parts = {
            let _inside = runtime.enter();
            Parts::new(&config, &token, known.clone(), counters.clone())?
        };
        let thread = std::thread::Builder::new()
            .name("dapr".into())
            .spawn(move || runtime.block_on(parts.run(inboxes, stopped)))
            .map_err(|error| cannot("thread", &error))?;
        Ok(Dapr {
            config,
            documents,
            bus,
            known,
            counters,
            stop: Mutex::new(Some(stop)),
            thread: Mutex::new(Some(thread)),
        })
    }

    pub fn documents(&self) -> Arc<dyn Documents> {
        self.documents.clone()
    }

    pub fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    /// Takes the events of a topic, on the runtime of this thread.
    pub fn subscribe(
        &self,
        topic: &str,
        in_flight_max: usize,
        seed: u64,
    ) -> Result<Subscription, BackendError> {
        let settings = SubscribeSettings {
            pubsub: self.config.pubsub.clone(),
            topic: topic.to_owned(),
            in_flight_max,
            token: self.config.api_token.clone(),
            ..SubscribeSettings::default()
        };
        let channel = client::channel(&self.config.endpoint)?;
        Ok(Subscription::start(&tokio::runtime::Handle::current(), channel, settings, seed))
    }

    pub fn health(&self) -> Health {
        self.known.health.lock().clone()
    }

    /// As the sidecar tells; nothing until it has been asked.
    pub fn capabilities(&self) -> Capabilities {
        let abilities = *self.known.abilities.lock();
        Capabilities {
            etag: abilities.etag,
            ttl: abilities.ttl,
            ordered_bulk: self.known.ordered_bulk.load(Relaxed),
            broadcast: false,
            durable: true,
        }
    }

    pub fn stats(&self) -> DaprStats {
        self.counters.read()
    }

    /// Ends the thread. What is under way is dropped unanswered: drain before.
    pub fn close(&self) -> Result<(), BackendError> {
        drop(self.stop.lock().take());
        match self.thread.lock().take().map(JoinHandle::join) {
            Some(Err(_)) => {
                let message = "the Dapr backend's thread panicked".to_owned();
                Err(BackendError { message, transient: false })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Dapr {
    fn drop(&mut self) {
        // The thread ends by itself; only `close` waits for it.
        drop(self.stop.lock().take());
    }
}

struct Inboxes {
    calls: tokio::sync::mpsc::Receiver<(tokio::time::Instant, documents::Call)>,
    offers: tokio::sync::mpsc::Receiver<bus::Offer>,
}

/// What runs on the thread.
struct Parts {
    sender: bus::Sender,
    scheduler: Scheduler,
    worker: documents::Worker,
    probe: Probe,
}

impl Parts {
    fn new(
        config: &DaprConfig,
        token: &Token,
        known: Arc<Known>,
        counters: Arc<Counters>,
    ) -> Result<Parts, BackendError> {
        let connect = || client::connect(&config.endpoint, token, config.max_body_bytes);
        let channels = config.publish_channels.clamp(1, CHANNELS_MAX);
        let stubs = (0..channels).map(|_| connect()).collect::<Result<Vec<Stub>, _>>()?;
        let watch = Watch { counters, knock: Arc::new(Notify::new()) };
        let pubsub: Arc<str> = config.pubsub.as_str().into();
        let store: Arc<str> = config.state_store.as_str().into();
        let state = connect()?;
        Ok(Parts {
            sender: bus::Sender {
                stubs,
                pubsub: pubsub.clone(),
                watch: watch.clone(),
                alpha: false.into(),
                ordered_bulk: known.ordered_bulk.clone(),
            },
            scheduler: Scheduler::new(config.rules()),
            worker: documents::Worker { stub: state.clone(), store: store.clone(), watch: watch.clone() },
            probe: Probe { stub: state, address: config.endpoint.clone(), pubsub, store, known, watch },
        })
    }

    async fn run(self, inboxes: Inboxes, stopped: oneshot::Receiver<()>) {
        let bus = bus::serve(Arc::new(self.sender), self.scheduler, inboxes.offers);
        let documents = documents::serve(self.worker, inboxes.calls);
        tokio::select! {
            _ = stopped => {}
            // Neither ends while a handle lives, nor does the probe.
            () = async { tokio::join!(bus, documents); } => {}
            () = self.probe.run() => {}
        }
    }
}

/// More connections than the sidecar has cores bring nothing.
const CHANNELS_MAX: usize = 8;

#[cfg(test)]
mod tests;
