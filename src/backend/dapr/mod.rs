//! Documents and events through a Dapr sidecar.

pub mod subscribe;
