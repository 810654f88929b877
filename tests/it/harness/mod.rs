//! What the tests need around the service: the real binary, clients for its ports, upstreams whose
//! every move a test decides, and one way to wait.

pub mod daemon;
mod ending;
pub mod feed;
pub mod fleet;
pub mod grpc;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod peers;
pub mod pki;
pub mod redis;
pub mod repo;
pub mod service;
pub mod sidecar;
pub mod upstream;
pub mod visitor;
pub mod wait;

pub use grpc::{Client, fault};
pub use service::Service;
pub use upstream::{Peer, Upstream};
pub use visitor::Visitor;
pub use wait::{wait_for, wait_long, within};
