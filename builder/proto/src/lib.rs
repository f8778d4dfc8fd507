//! Wire types of the builder: BuildKit-compatible protobuf, and the JSON of
//! the build API. No logic, no I/O.

pub mod api;

/// LLB, the build graph (`proto/ops.proto`).
#[expect(
    clippy::large_enum_variant,
    reason = "generated; a graph holds few ops, and boxing would only move them"
)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/pb.rs"));
}

#[cfg(test)]
#[path = "pb/tests.rs"]
mod tests;
