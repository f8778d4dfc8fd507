//! Wire types of the builder: BuildKit-compatible protobuf, and the JSON of
//! the build API. No logic, no I/O.

pub mod api;
