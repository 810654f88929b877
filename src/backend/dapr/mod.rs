//! The Dapr backend: documents and events through a sidecar.

mod order;
