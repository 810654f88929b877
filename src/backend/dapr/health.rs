//! What is known of the sidecar, asked again and again with `GetMetadata`.

use super::{
    client::{Stub, Watch, within},
    endpoint::Address,
    stats::add,
};
use crate::limits;
use dapr::dapr::proto::runtime::v1::{GetMetadataRequest, GetMetadataResponse, RegisteredComponents};
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;
use tonic::Code;

const WHILE_WAITING: Duration = Duration::from_secs(1);
const WHILE_READY: Duration = Duration::from_secs(10);
/// However many errors knock.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);

/// For `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Waiting { address: String, why: String },
    Missing { component: String, kind: &'static str, found: Vec<String> },
    NoEtag { store: String },
    Ready { runtime: String },
}

impl Health {
    pub fn is_ready(&self) -> bool {
        matches!(self, Health::Ready { .. })
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Waiting { address, why } => write!(f, "waiting for the sidecar at {address}: {why}"),
            Health::Missing { component, kind, found } => {
                let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
                write!(
                    f,
                    "component '{component}' ({kind}) is not configured in the sidecar (it has: {found})"
                )
            }
            Health::NoEtag { store } => write!(f, "store '{store}' has no ETAG: choose one that has"),
            Health::Ready { runtime } => write!(f, "ready (daprd {runtime})"),
        }
    }
}

/// What the components can do, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Abilities {
    pub etag: bool,
    pub ttl: bool,
}

#[derive(Debug)]
pub(super) struct Known {
    pub health: Mutex<Health>,
    pub abilities: Mutex<Abilities>,
    pub ordered_bulk: Arc<AtomicBool>,
}

impl Known {
    pub(super) fn new(address: &Address) -> Known {
        let why = "not asked yet".to_owned();
        Known {
            health: Mutex::new(Health::Waiting { address: address.to_string(), why }),
            abilities: Mutex::default(),
            ordered_bulk: Arc::default(),
        }
    }
}

pub(super) struct Probe {
    pub stub: Stub,
    pub address: Address,
    pub pubsub: Arc<str>,
    pub store: Arc<str>,
    pub known: Arc<Known>,
    pub watch: Watch,
}

impl Probe {
    pub(super) async fn run(mut self) {
        loop {
            let ready = self.look().await;
            let next = if ready { WHILE_READY } else { WHILE_WAITING };
            tokio::time::sleep(AT_MOST_EVERY).await;
            // Timed out: nobody knocked, and it is time.
            let _ = tokio::time::timeout(next - AT_MOST_EVERY, self.watch.knock.notified()).await;
        }
    }

    async fn look(&mut self) -> bool {
        add(&self.watch.counters.probes, 1);
        let until = Instant::now() + limits::DAPR_STATE_TIMEOUT;
        // The probe's own errors must not make it look again at once.
        let silent = Watch { knock: Arc::default(), ..self.watch.clone() };
        let health = match within(&silent, until, self.stub.get_metadata(GetMetadataRequest {})).await {
            Ok(metadata) => self.learn(&metadata),
            Err(fault) => {
                let why = match fault.code() {
                    Some(Code::Unauthenticated) => "it refuses our token: set DAPR_API_TOKEN".to_owned(),
                    _ => fault.text(),
                };
                Health::Waiting { address: self.address.to_string(), why }
            }
        };
        let ready = health.is_ready();
        let before = std::mem::replace(&mut *self.known.health.lock(), health.clone());
        if before != health {
            if ready { tracing::info!("dapr: {health}") } else { tracing::warn!("dapr: {health}") }
        }
        ready
    }

    fn learn(&self, metadata: &GetMetadataResponse) -> Health {
        let components = &metadata.registered_components;
        let find = |name: &str, kind: &'static str| {
            let of_kind = |c: &&RegisteredComponents| c.r#type.starts_with(kind);
            let found = components.iter().find(|c| c.name == name && of_kind(c));
            found.ok_or_else(|| Health::Missing {
                component: name.to_owned(),
                kind: kind.trim_end_matches('.'),
                found: components.iter().filter(of_kind).map(|c| c.name.clone()).collect(),
            })
        };
        let can = |c: &RegisteredComponents, what: &str| c.capabilities.iter().any(|one| one == what);
        let pubsub = find(&self.pubsub, "pubsub.");
        if let Ok(pubsub) = &pubsub {
            self.known.ordered_bulk.store(can(pubsub, "BULK_PUBSUB") && is_ordered(&pubsub.r#type), Relaxed);
        }
        let store = find(&self.store, "state.");
        if let Ok(store) = &store {
            *self.known.abilities.lock() = Abilities { etag: can(store, "ETAG"), ttl: can(store, "TTL") };
        }
        match (pubsub, store) {
            (Err(missing), _) | (_, Err(missing)) => missing,
            (_, Ok(store)) if !can(store, "ETAG") => Health::NoEtag { store: self.store.to_string() },
            _ => Health::Ready { runtime: metadata.runtime_version.clone() },
        }
    }
}

/// Only these publish a bulk natively; the capability alone also says that bulks are received.
fn is_ordered(kind: &str) -> bool {
    ["pubsub.kafka", "pubsub.azure."].iter().any(|native| kind.starts_with(native))
}
