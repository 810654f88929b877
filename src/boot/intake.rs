//! Typed messages, and ways into rooms that are no RPC: what is there of them, from the settings.

use super::{Failure, Instance};
use crate::{
    api::{
        bindings::{self, Book, FileBook, SharedBook},
        counters::IntakeCounters,
        entries::{self, Entries},
        listen::Stop,
        posts::Poster,
        service::Service,
        typed::{Check, Schemas},
    },
    backend::Backend,
    config::Config,
    core::{
        reason::Fault,
        rooms::{Place, Post, RoomName},
    },
    limits,
    ports::Pending,
    shard::entropy::Entropy,
};
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_local};

/// Below the data folder: up to where each bound topic was read.
const PLACES: &str = "bindings";

/// None: messages have no types here.
pub(super) fn check(
    config: &Config,
    counters: &Arc<IntakeCounters>,
) -> Result<Option<Arc<dyn Check>>, Failure> {
    let Some(path) = &config.schemas else { return Ok(None) };
    let schemas = Schemas::open(path, config.schemas_strict, counters.clone())
        .map_err(|problems| format!("--schemas: a schema does not work:\n{problems}"))?;
    Ok(Some(Arc::new(schemas)))
}

/// What sends to rooms, for a shard's edges.
pub(super) fn poster(service: &Service) -> Arc<dyn Poster> {
    Arc::new(ByService(service.clone()))
}

/// None: there are no such routes.
pub(super) fn entries(instance: &Instance, poster: &Arc<dyn Poster>) -> Option<Entries> {
    let routes = instance.config.rest_routes.clone();
    (!routes.is_empty()).then(|| {
        Entries::new(entries::Parts {
            routes,
            poster: poster.clone(),
            bus: instance.backend.bus(),
            check: instance.check.clone(),
            run: instance.run,
            counters: instance.intake.clone(),
        })
    })
}

/// On this thread, until the listeners stop: a task for each bound topic.
pub(super) fn bind(
    instance: &Arc<Instance>,
    poster: &Arc<dyn Poster>,
    stop: &Stop,
) -> Result<Vec<JoinHandle<()>>, Failure> {
    let parts = bindings::Parts {
        poster: poster.clone(),
        check: instance.check.clone(),
        counters: instance.intake.clone(),
    };
    let mut entropy = Entropy::default();
    let lanes = bindings::lanes(&instance.config.bindings, &parts);
    if lanes.is_empty() {
        return Ok(Vec::new());
    }
    let bus = instance.backend.bus();
    let book: Arc<dyn Book> = match instance.backend.documents() {
        Some(documents) => Arc::new(SharedBook::new(documents)),
        None => Arc::new(FileBook::new(&instance.config.data_dir.join(PLACES))),
    };
    let mut tasks = Vec::new();
    for lane in lanes {
        let stop = stop.clone();
        let stopped = async move { stop.wait().await };
        tasks.push(match &*instance.backend {
            Backend::Dapr(dapr, _) => {
                let topic = lane.topic().as_str();
                let inbox = dapr
                    .subscribe(topic, limits::BINDING_IN_FLIGHT, entropy.word())
                    .map_err(|error| error.message)?;
                spawn_local(bindings::receive(lane, inbox, stopped))
            }
            Backend::Embedded(_) | Backend::Redis(..) => {
                let fleet = instance.fleet.clone();
                let turn = move || fleet.as_ref().is_none_or(|fleet| bindings::is_reader(fleet));
                spawn_local(bindings::follow(lane, bus.clone(), book.clone(), turn, stopped))
            }
        });
    }
    Ok(tasks)
}

/// By the service, like any caller's.
struct ByService(Service);

impl Poster for ByService {
    fn post(&self, rooms: Vec<RoomName>, post: Post) -> Pending<Result<Vec<Place>, Fault>> {
        let service = self.0.clone();
        Box::pin(async move { service.post_checked(rooms, post).await })
    }
}
