//! Documents and events through a Dapr sidecar.
