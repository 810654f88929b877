#![forbid(unsafe_code)]

#[cfg(feature = "server")]
pub mod backend;
pub mod core;
pub mod limits;
pub mod wire;

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod boot;
#[cfg(feature = "server")]
pub mod commands;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod pki;
#[cfg(feature = "server")]
pub mod ports;
#[cfg(feature = "server")]
pub mod shard;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod wkt;

#[cfg(feature = "server")]
pub mod proto {
    //! The public contract, generated from `proto/`.
    #![allow(clippy::all, clippy::pedantic)]
    tonic::include_proto!("virtufin");
    include!(concat!(env!("OUT_DIR"), "/virtufin.serde.rs"));
    /// The encoded `FileDescriptorSet`.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
}
