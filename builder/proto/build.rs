//! Generates the messages without `protoc`: protox compiles the .proto files
//! and prost-build writes the Rust.

use std::io::{Error, Result};

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/ops.proto"], ["proto"]).map_err(Error::other)?;
    prost_build::Config::new()
        // Maps in key order: a message always encodes to the same bytes, and
        // vertex digests are hashes of those bytes.
        .btree_map(["."])
        // Byte fields share the buffer they were decoded from.
        .bytes(["."])
        .compile_fds(files)
}
