//! A shard's spill log in a fleet. What an earlier run of this instance left there may belong to
//! connections that others have taken meanwhile, with a higher epoch: that is told to the shard
//! before it gets to see the record, and the shard publishes nothing of it.

use super::handle::{Handle, Mail};
use crate::{
    core::{
        id::ConnectionId,
        publish::batch::{Batch, EventKind},
    },
    ports::{BackendError, Done, Spill},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::mpsc::error::TrySendError;

pub struct FleetSpill {
    pub inner: Arc<dyn Spill>,
    pub handle: Handle,
    pub shard: u32,
}

/// A record read back, and the highest epoch of each connection in it.
pub(super) struct Unspilled {
    pub shard: u32,
    pub epochs: BTreeMap<ConnectionId, u64>,
    pub record: Vec<u8>,
    pub done: Done<Result<Option<Vec<u8>>, BackendError>>,
}

impl Spill for FleetSpill {
    fn append(&self, record: Vec<u8>, done: Done<Result<bool, BackendError>>) {
        self.inner.append(record, done);
    }

    fn peek(&self, done: Done<Result<Option<Vec<u8>>, BackendError>>) {
        let (handle, shard) = (self.handle.clone(), self.shard);
        let look = move |answer: Result<Option<Vec<u8>>, BackendError>| match answer {
            Ok(Some(record)) => {
                let epochs = epochs(&record);
                let mail = Mail::Unspilled(Unspilled { shard, epochs, record, done });
                match handle.0.mail.try_send(mail) {
                    Ok(()) => {}
                    // The shard asks again a little later.
                    Err(TrySendError::Full(mail)) | Err(TrySendError::Closed(mail)) => {
                        let Mail::Unspilled(unspilled) = mail else { return };
                        let message = "the fleet's thread cannot look at spilled events now".into();
                        unspilled.done.complete(Err(BackendError { message, transient: true }));
                    }
                }
            }
            other => done.complete(other),
        };
        self.inner.peek(Box::new(look));
    }

    fn pop(&self, done: Done<Result<(), BackendError>>) {
        self.inner.pop(done);
    }
}

fn epochs(record: &[u8]) -> BTreeMap<ConnectionId, u64> {
    let mut epochs = BTreeMap::new();
    let events = Batch::decode(record).map(|batch| batch.events).unwrap_or_default();
    for event in events.into_iter().filter(|event| event.kind != EventKind::Lifecycle) {
        let epoch = epochs.entry(event.connection).or_insert(0);
        *epoch = event.epoch.max(*epoch);
    }
    epochs
}
