//! Clients of the public contract, generated from the same protos as the service.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../proto");
    let files = protox::compile(["websocketmanager.proto", "rooms.proto"], ["../proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        // The RPC named Connect takes the name that the transport helper would have.
        .build_transport(false)
        .bytes(".virtufin")
        .compile_fds(files)?;
    Ok(())
}
