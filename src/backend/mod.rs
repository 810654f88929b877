//! The backends: where documents, events and rooms live. A closed set.

pub mod dapr;
pub mod embedded;
pub mod redis;

use crate::ports::{BackendError, Bus, Store};
use embedded::{Embedded, LocalDisk};
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
}

impl Backend {
    pub fn name(&self) -> &'static str {
        match self {
            Backend::Embedded(_) => "embedded",
        }
    }

    /// Spill logs and the sealing key: on this machine's disk, whatever the backend.
    pub fn local(&self) -> &LocalDisk {
        match self {
            Backend::Embedded(embedded) => embedded.local(),
        }
    }

    pub fn capabilities(&self) -> Capabilities {
        match self {
            Backend::Embedded(embedded) => embedded.capabilities(),
        }
    }

    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Backend::Embedded(embedded) => embedded.store(),
        }
    }

    pub fn bus(&self) -> Arc<dyn Bus> {
        match self {
            Backend::Embedded(embedded) => embedded.bus(),
        }
    }

    pub fn close(&self) -> Result<(), BackendError> {
        match self {
            Backend::Embedded(embedded) => embedded.close(),
        }
    }
}
