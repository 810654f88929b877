//! The public contract, generated from the same protos as the service. The server's half is for the
//! tests, which stand in for a service whose delays are known.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../proto");
    let files = protox::compile(["websocketmanager.proto", "rooms.proto"], ["../proto"])?;
    tonic_prost_build::configure()
        // The RPC named Connect takes the name that the transport helper would have.
        .build_transport(false)
        .generate_default_stubs(true)
        .bytes(".virtufin")
        .compile_fds(files)?;
    Ok(())
}
