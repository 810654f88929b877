//! Documents, leases and event streams directly on Redis, without a sidecar.
