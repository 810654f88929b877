//! What an earlier run left: batches on spill logs of other shards, and stored connections.

use super::{Failure, Instance, ONLY_EMBEDDED, defaults, store_of};
use crate::{
    api::validate,
    backend::Backend,
    core::{
        id::ConnectionId,
        io::{Command, Context},
        publish::batch::Batch,
        reason::FaultKind,
        spec::Restore,
    },
    ports::{BackendError, Bus, Spill, Store},
    proto::ConnectRequest,
    shard::record,
};
use prost::Message;
use std::sync::Arc;
use tokio::sync::oneshot;

pub async fn stored(instance: &Instance) -> Result<(), Failure> {
    drain_leftovers(instance).await?;
    let store = store_of(instance)?;
    if instance.config.clear_all_on_start {
        return clear(&*store).await;
    }
    let Backend::Embedded(embedded) = &*instance.backend else { return Err(ONLY_EMBEDDED.into()) };
    let (mut taken, mut left) = (0, 0);
    let sealer = embedded.sealer();
    for (id, document) in store.load().map_err(|error| error.message)? {
        let restore = record::decode(&document, &*sealer)
            .map_err(|error| error.message)
            .and_then(|stored| check(instance, stored));
        match restore {
            Ok(restore) => {
                take(instance, restore).await?;
                taken += 1;
            }
            Err(why) => {
                left += 1;
                tracing::error!(%id, %why, "a stored connection is left as it is");
            }
        }
    }
    if taken + left > 0 {
        tracing::info!(taken, left, "stored connections");
    }
    Ok(())
}

/// The stored request is checked like a new one: what was allowed then may not be now.
fn check(instance: &Instance, stored: record::Stored) -> Result<Restore, String> {
    let request = ConnectRequest::decode(stored.source)
        .map_err(|error| format!("its request cannot be read: {error}"))?;
    let checked =
        validate::checked(&request, &defaults(&instance.config)).map_err(|fault| fault.to_string())?;
    Ok(Restore {
        id: stored.id,
        spec: checked.spec,
        tags: stored.tags,
        publish: stored.publish,
        created: stored.created,
        epoch: stored.epoch,
        last_seq: stored.last_seq,
        clean: stored.clean,
    })
}

async fn take(instance: &Instance, restore: Restore) -> Result<(), Failure> {
    let shard = instance.hub.owner(&restore.id);
    // One after the other: the mailbox never fills from here.
    match instance.hub.call(shard, Context::default(), Command::Restore(Box::new(restore))).await {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind == FaultKind::IdInUse => Ok(()),
        Err(fault) => Err(fault.to_string().into()),
    }
}

async fn clear(store: &dyn Store) -> Result<(), Failure> {
    let ids: Vec<ConnectionId> =
        store.load().map_err(|error| error.message)?.into_iter().map(|(id, _)| id).collect();
    tracing::warn!(count = ids.len(), "clear_all_on_start: every stored connection is deleted");
    for id in ids {
        let (done, cleared) = oneshot::channel();
        store.delete(&id, Box::new(move |result| drop(done.send(result))));
        cleared.await?.map_err(|error: BackendError| error.message)?;
    }
    Ok(())
}

/// Spill logs of a run with another number of shards: their batches go first.
async fn drain_leftovers(instance: &Instance) -> Result<(), Failure> {
    let Backend::Embedded(embedded) = &*instance.backend else { return Err(ONLY_EMBEDDED.into()) };
    for folder in embedded.leftovers().map_err(|error| error.message)? {
        let spill = embedded.open_leftover(&folder).map_err(|error| error.message)?;
        let bus = embedded.bus();
        while let Some(record) = peek(&*spill).await? {
            if let Some(batch) = Batch::decode(&record) {
                publish(&*bus, batch).await?;
            }
            let (done, popped) = oneshot::channel();
            spill.pop(Box::new(move |result| drop(done.send(result))));
            popped.await?.map_err(|error: BackendError| error.message)?;
        }
    }
    Ok(())
}

async fn peek(spill: &dyn Spill) -> Result<Option<Vec<u8>>, Failure> {
    let (done, peeked) = oneshot::channel();
    spill.peek(Box::new(move |result| drop(done.send(result))));
    Ok(peeked.await?.map_err(|error: BackendError| error.message)?)
}

async fn publish(bus: &dyn Bus, batch: Batch) -> Result<(), Failure> {
    let (done, published) = oneshot::channel();
    bus.publish(Arc::new(batch), Box::new(move |result| drop(done.send(result))));
    match published.await? {
        Ok(()) => Ok(()),
        Err(error) => Err(format!("what an earlier run left cannot be published: {error:?}").into()),
    }
}
