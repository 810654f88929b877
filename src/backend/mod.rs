//! The backends: where documents, events and rooms live. A closed set.

pub mod dapr;
pub mod embedded;
pub mod redis;

use crate::ports::{BackendError, Bus, Documents, Store};
use embedded::Embedded;
use redis::Redis;
use std::sync::Arc;

/// What a backend can do; the service says so, and does without what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Compare-and-set on documents: ownership is fenced, not advisory.
    pub etag: bool,
    /// Documents may expire by themselves.
    pub ttl: bool,
    /// A bulk publish keeps the order of its events.
    pub ordered_bulk: bool,
    /// A message can reach every instance.
    pub broadcast: bool,
    /// What was answered survives a power cut.
    pub durable: bool,
}

pub enum Backend {
    Embedded(Embedded),
    Redis(Redis),
}

impl Backend {
    pub fn name(&self) -> &'static str {
        match self {
            Backend::Embedded(_) => "embedded",
            Backend::Redis(_) => "redis",
        }
    }

    pub fn capabilities(&self) -> Capabilities {
        match self {
            Backend::Embedded(embedded) => embedded.capabilities(),
            Backend::Redis(redis) => redis.capabilities(),
        }
    }

    /// Of one instance alone; a fleet's documents are in `documents`.
    pub fn store(&self) -> Option<Arc<dyn Store>> {
        match self {
            Backend::Embedded(embedded) => Some(embedded.store()),
            Backend::Redis(_) => None,
        }
    }

    /// Shared by a fleet.
    pub fn documents(&self) -> Option<Arc<dyn Documents>> {
        match self {
            Backend::Embedded(_) => None,
            Backend::Redis(redis) => Some(redis.documents()),
        }
    }

    pub fn bus(&self) -> Arc<dyn Bus> {
        match self {
            Backend::Embedded(embedded) => embedded.bus(),
            Backend::Redis(redis) => redis.bus(),
        }
    }

    pub fn close(&self) -> Result<(), BackendError> {
        match self {
            Backend::Embedded(embedded) => embedded.close(),
            Backend::Redis(redis) => redis.close(),
        }
    }
}
