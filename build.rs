//! Compiles the protos without protoc: a fresh machine needs nothing but cargo. The pure core has none.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    #[cfg(feature = "server")]
    server::compile()?;
    Ok(())
}

#[cfg(feature = "server")]
mod server {
    use std::{env, error::Error, fs, path::PathBuf, process::Command};

    /// The compiler, as its users name it: `1.95.0`.
    fn rustc() -> Result<String, Box<dyn Error>> {
        let said = Command::new(env::var("RUSTC")?).arg("--version").output()?.stdout;
        let said = String::from_utf8(said)?;
        Ok(said.split(' ').nth(1).unwrap_or("unknown").to_owned())
    }

    pub fn compile() -> Result<(), Box<dyn Error>> {
        println!("cargo::rustc-env=BUILT_BY_RUSTC={}", rustc()?);
        let out = PathBuf::from(env::var("OUT_DIR")?);
        let files = protox::compile(["websocketmanager.proto", "rooms.proto"], ["proto"])?;
        let descriptor = prost::Message::encode_to_vec(&files);
        fs::write(out.join("descriptor.bin"), &descriptor)?;
        // What the instances of a fleet say to one another is no part of the public descriptor.
        let all = protox::compile(["websocketmanager.proto", "rooms.proto", "peers.proto"], ["proto"])?;
        fs::write(out.join("peers.bin"), prost::Message::encode_to_vec(&all))?;

        tonic_prost_build::configure()
            .build_client(true)
            // The RPC named Connect takes the name that the transport helper would have.
            .build_transport(false)
            .bytes(".virtufin")
            .btree_map(".virtufin")
            .compile_well_known_types(true)
            .extern_path(".google.protobuf.Timestamp", "crate::wkt::Timestamp")
            .extern_path(".google.protobuf", "::pbjson_types")
            .compile_fds(all)?;
        pbjson_build::Builder::new()
            .register_descriptors(&descriptor)?
            .btree_map([".virtufin"])
            .build(&[".virtufin"])?;
        Ok(())
    }
}
