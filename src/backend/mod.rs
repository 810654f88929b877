//! The backends: where documents, events and rooms live. A closed set.

pub mod dapr;
pub mod embedded;
pub mod redis;

pub use crate::ports::Capabilities;
use crate::ports::{BackendError, Bus, Documents, Store};
use dapr::Dapr;
use embedded::{Embedded, LocalDisk};
use redis::Redis;
use std::sync::Arc;

/// Whatever the backend, spill logs and the sealing key stand on this machine's disk.
pub enum Backend {
    Embedded(Embedded),
    Dapr(Box<Dapr>, LocalDisk),
    Redis(Redis, LocalDisk),
}

impl Backend {
    pub fn name(&self) -> &'static str {
        match self {
            Backend::Embedded(_) => "embedded",
            Backend::Dapr(..) => "dapr",
            Backend::Redis(..) => "redis",
        }
    }

    pub fn local(&self) -> &LocalDisk {
        match self {
            Backend::Embedded(embedded) => embedded.local(),
            Backend::Dapr(_, local) | Backend::Redis(_, local) => local,
        }
    }

    pub fn capabilities(&self) -> Capabilities {
        match self {
            Backend::Embedded(embedded) => embedded.capabilities(),
            Backend::Dapr(dapr, _) => dapr.capabilities(),
            Backend::Redis(redis, _) => redis.capabilities(),
        }
    }

    /// Of an instance that shares its documents with nobody; the others go by their fleet.
    pub fn store(&self) -> Option<Arc<dyn Store>> {
        match self {
            Backend::Embedded(embedded) => Some(embedded.store()),
            Backend::Dapr(..) | Backend::Redis(..) => None,
        }
    }

    /// Shared with the other instances of a fleet.
    pub fn documents(&self) -> Option<Arc<dyn Documents>> {
        match self {
            Backend::Embedded(_) => None,
            Backend::Dapr(dapr, _) => Some(dapr.documents()),
            Backend::Redis(redis, _) => Some(redis.documents()),
        }
    }

    pub fn bus(&self) -> Arc<dyn Bus> {
        match self {
            Backend::Embedded(embedded) => embedded.bus(),
            Backend::Dapr(dapr, _) => dapr.bus(),
            Backend::Redis(redis, _) => redis.bus(),
        }
    }

    /// What it waits for, in one line.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Backend::Embedded(_) => None,
            Backend::Dapr(dapr, _) => Some(dapr.health()).filter(|h| !h.is_ready()).map(|h| h.to_string()),
            Backend::Redis(redis, _) => redis.health().err(),
        }
    }

    pub fn close(&self) -> Result<(), BackendError> {
        match self {
            Backend::Embedded(embedded) => embedded.close(),
            Backend::Dapr(dapr, local) => dapr.close().and(local.close()),
            Backend::Redis(redis, local) => redis.close().and(local.close()),
        }
    }
}
