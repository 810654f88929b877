#![forbid(unsafe_code)]

#[cfg(feature = "server")]
pub mod api;
pub mod core;
pub mod limits;
pub mod ports;
pub mod wire;

#[cfg(feature = "server")]
pub mod proto {
    //! The public contract, generated from `proto/`.
    #![allow(clippy::all, clippy::pedantic)]
    tonic::include_proto!("virtufin");
    include!(concat!(env!("OUT_DIR"), "/virtufin.serde.rs"));
    /// The encoded `FileDescriptorSet`.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
}
