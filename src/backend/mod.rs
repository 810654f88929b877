//! The backends: where documents, events and rooms live. A closed set.

pub mod dapr;
pub mod embedded;
pub mod redis;

pub use crate::ports::Capabilities;
use crate::ports::{BackendError, Bus, Store};
use embedded::{Embedded, LocalDisk};
use std::sync::Arc;

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
