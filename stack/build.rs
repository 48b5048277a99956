//! Generates the gRPC code from `proto/` without protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile([Path::new("proto/game.proto")], [Path::new("proto")])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
