//! Commands over the bus, where the backend has one that other applications publish to.

use super::{Failure, Instance};
use crate::{
    api::{
        commands::{self, Parts},
        listen::Stop,
        service::Service,
    },
    backend::Backend,
    limits,
    shard::entropy::Entropy,
};
use tokio::task::JoinHandle;

/// On this thread, until the listeners stop. None: no commands are taken.
pub(super) fn start(
    instance: &Instance,
    service: &Service,
    stop: &Stop,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(topic) = &instance.config.commands_topic else { return Ok(None) };
    let Backend::Dapr(dapr, _) = &*instance.backend else { return Ok(None) };
    let mut entropy = Entropy::default();
    let inbox = dapr
        .subscribe(topic, limits::COMMANDS_IN_FLIGHT_MAX, entropy.word())
        .map_err(|error| error.message)?;
    let parts = Parts {
        service: service.clone(),
        bus: instance.backend.bus(),
        documents: instance.backend.documents(),
        run: entropy.word(),
        commands_topic: topic.clone(),
        counters: instance.commands.clone(),
    };
    let stop = stop.clone();
    let taking = async move { commands::run(parts, inbox, async move { stop.wait().await }).await };
    Ok(Some(tokio::task::spawn_local(taking)))
}
