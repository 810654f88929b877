#![forbid(unsafe_code)]
#[cfg(feature = "server")]
pub mod proto {
    tonic::include_proto!("virtufin");
    include!(concat!(env!("OUT_DIR"), "/virtufin.serde.rs"));
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
}
